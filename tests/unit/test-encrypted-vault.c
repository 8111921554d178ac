/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Vaults that are encrypted (docs/NBI.md §12, §13): backups, interrupted ones,
 * prunes and their editions; with the key, without it, with another.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/repo/lease.h"
#include "lib/repo/vault-keys.h"
#include "tests/support/nonces.h"
#include "tests/support/store-faulty.h"
#include "tests/support/vault-trial.h"

static const struct prune_options keep_one = {
  .retention = { { [RETENTION_LAST] = 1 } },
};

static struct keyring *
another_key (void)
{
  static const char file[] = "another key file, which opens nothing here";
  const struct crypt_secret secret = { NBI_SLOT_KEY_FILE, file, sizeof file };
  struct keyring *keys;

  assert_int_equal (keyring_new (&secret, &keys, NULL), 0);
  return keys;
}

static int
try_to_back_up (struct vault_trial *t, unsigned disk, struct err *err)
{
  struct store *store = vault_trial_store (t, 0);
  struct vault_backup_result result;
  int r = vault_trial_back_up (t, store, disk, &result, err);

  store_close (store);
  return r;
}

static int
try_to_prune (struct vault_trial *t, struct err *err)
{
  struct store *store = vault_trial_store (t, 0);
  struct prune_result result;
  int r = vault_trial_prune (t, store, &keep_one, NULL, &result, err);

  store_close (store);
  return r;
}

/* Two generations, of which the second needs little of the first one's file. */
static struct vault_trial *
trial_with_rest (uint64_t seed)
{
  struct vault_trial *t = vault_trial_new_encrypted (seed);

  t->file_limit = TRIAL_ONE_FILE;
  vault_trial_back_up_well (t, 0, NULL);
  for (size_t i = 0; i < 5 * TRIAL_CHUNK_SIZE; ++i)
    t->disks[0][i] = (uint8_t) rng_next (&t->rng);
  vault_trial_back_up_well (t, 0, NULL);
  return t;
}

static void
backups_and_prunes_lose_nothing (void **state)
{
  (void) state;
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    struct vault_trial *t = vault_trial_new_encrypted (seed);

    for (int i = 0; i < 10; ++i) {
      vault_trial_change (t, (unsigned) i % 2, 2);
      vault_trial_back_up_well (t, (unsigned) i % 2, NULL);
      if (i % 4 == 3) {
        store_model_advance (t->model, 90000);
        vault_trial_prune_well (t, &keep_one, NULL);
      }
      assert_true (vault_trial_check (t) > 0);
    }
    vault_trial_verify (t);
    vault_trial_free (t);
  }
  assert_false (nonces_have_twice ());
}

/* An edition has the old one's records as they are, and tables of its own. */
static void
editions_are_encrypted_anew (void **state)
{
  struct vault_trial *t = trial_with_rest (30);
  struct prune_result result;
  size_t before = nonces_count (), used;

  (void) state;
  vault_trial_prune_well (t, &keep_one, &result);
  assert_int_equal (result.nr_rewritten, 1);
  /* A directory and a table, and no record. */
  used = nonces_count () - before;
  assert_int_equal (used, 2);
  assert_int_equal (vault_trial_check (t), 1);
  vault_trial_verify (t);
  store_model_advance (t->model, 100000);
  vault_trial_prune_well (t, &keep_one, &result);
  assert_int_equal (result.deleted.nr, 1);
  assert_int_equal (vault_trial_check (t), 1);
  vault_trial_back_up_well (t, 0, NULL);
  assert_int_equal (vault_trial_check (t), 2);
  vault_trial_verify (t);
  vault_trial_free (t);
  assert_false (nonces_have_twice ());
}

/* Killed at each operation that writes; the next one takes what is whole. */
static void
interrupted_backups_are_adopted (void **state)
{
  bool adopted = false;

  (void) state;
  for (unsigned at = 1; at < 130; at += 3) {
    struct vault_trial *t = vault_trial_new_encrypted (100 + at);
    struct store *store = vault_trial_store (t, 0);
    struct store *faulty = store_faulty_new (store);
    const struct store_fault fault = {
      .kind = STORE_FAULT_KILLED, .ops = STORE_OP_ALL, .at = at, .code = -EIO,
    };
    struct vault_backup_result result;

    store_faulty_set (faulty, &fault);
    (void) vault_trial_back_up (t, faulty, 0, &result, NULL);
    store_close (faulty);
    store_close (store);
    store_model_advance (t->model, LEASE_TTL + 10);
    vault_trial_back_up_well (t, 0, &result);
    adopted |= result.backup.adopted > 0;
    assert_true (vault_trial_check (t) > 0);
    vault_trial_verify (t);
    vault_trial_free (t);
  }
  assert_true (adopted);
  assert_false (nonces_have_twice ());
}

/* NBI-125, and that nothing is written or deleted. */
static void
nothing_is_done_without_the_key (void **state)
{
  struct vault_trial *t = trial_with_rest (40);
  uint64_t before = vault_trial_bytes (t, "files/");
  struct keyring *right = t->keys, *wrong = another_key ();

  (void) state;
  for (int i = 0; i < 2; ++i) {
    const char *why = i == 0 ? "encrypted, and there is no key"
      : "encrypted, and this key file does not open it";
    struct err err = ERR_INIT;

    t->keys = i == 0 ? NULL : wrong;
    assert_int_equal (try_to_back_up (t, 0, &err), -EACCES);
    assert_non_null (strstr (err.msg, why));
    assert_int_equal (try_to_back_up (t, 2, &err), -EACCES);
    assert_non_null (strstr (err.msg, why));
    assert_int_equal (try_to_prune (t, &err), -EACCES);
    assert_non_null (strstr (err.msg, why));
    assert_int_equal (vault_trial_bytes (t, "files/"), before);
  }
  t->keys = right;
  assert_int_equal (vault_trial_check (t), 2);
  keyring_free (wrong);
  vault_trial_free (t);
}

static void
vault_without_encryption_takes_no_key (void **state)
{
  struct vault_trial *t = vault_trial_new (50);
  struct err err = ERR_INIT;

  (void) state;
  vault_trial_back_up_well (t, 0, NULL);
  t->keys = another_key ();
  assert_int_equal (try_to_back_up (t, 0, &err), -EACCES);
  assert_non_null (strstr (err.msg, "not encrypted"));
  assert_int_equal (try_to_prune (t, &err), -EACCES);
  keyring_free (t->keys);
  t->keys = NULL;
  assert_int_equal (vault_trial_check (t), 1);
  vault_trial_free (t);
}

/* vault/ is lost: the newest generation says that it is encrypted, and has the
 * slots.
 */
static void
lost_vault_json_does_not_open_it (void **state)
{
  struct vault_trial *t = trial_with_rest (60);
  struct store *store = vault_trial_store (t, 0);
  struct keyring *right = t->keys;
  struct err err = ERR_INIT;

  (void) state;
  assert_int_equal (store_delete (store, "vault/vault.json", NULL), 0);
  store_close (store);
  t->keys = NULL;
  assert_int_equal (try_to_back_up (t, 0, &err), -EACCES);
  assert_int_equal (try_to_back_up (t, 2, &err), -EACCES);
  assert_int_equal (try_to_prune (t, &err), -EACCES);
  t->keys = right;
  vault_trial_back_up_well (t, 2, NULL);
  assert_int_equal (vault_trial_check (t), 3);
  vault_trial_verify (t);
  vault_trial_free (t);
}

static void
write_all (struct store *store, const char *name, const char *text)
{
  struct store_file *file;

  assert_int_equal (store_make (store, name, &file, NULL), 0);
  assert_int_equal (store_write (file, text, strlen (text), NULL), 0);
  assert_int_equal (store_end (file, NULL), 0);
}

/* vault.json is protected by nothing: whoever can write to the vault could make
 * all that follows readable, if it alone was asked.
 */
static void
vault_json_that_says_plain_is_not_believed (void **state)
{
  struct vault_trial *t = trial_with_rest (70);
  struct store *store = vault_trial_store (t, 0);
  struct keyring *right = t->keys;
  uint64_t before = vault_trial_bytes (t, "files/");
  struct vault_about about;
  struct err err = ERR_INIT;
  char *json;
  size_t len;

  (void) state;
  assert_int_equal (store_read_all (store, "vault/vault.json", 65536, &json,
                                    &len, NULL), 0);
  assert_int_equal (vault_about_decode (json, len, &about, NULL), 0);
  free (json);
  about.encryption = 0;
  memset (about.key_id, 0, sizeof about.key_id);
  assert_int_equal (vault_about_encode (&about, &json, &len, NULL), 0);
  assert_int_equal (store_delete (store, "vault/vault.json", NULL), 0);
  write_all (store, "vault/vault.json", json);
  free (json);
  t->keys = NULL;
  assert_int_equal (try_to_back_up (t, 0, &err), -EACCES);
  /* Of a disk that has no generation that says it. */
  assert_int_equal (try_to_back_up (t, 2, &err), -EACCES);
  assert_non_null (strstr (err.msg, "NBI-125"));
  assert_int_equal (vault_trial_bytes (t, "files/"), before);
  t->keys = right;
  assert_int_equal (try_to_back_up (t, 0, &err), -EACCES);
  store_close (store);
  vault_trial_free (t);
}

static int
say_it (void *opaque, char **passphrase, size_t *len, struct err *err)
{
  unsigned *nr = opaque;

  ++*nr;
  *passphrase = strdup ("not that of the vault");
  *len = strlen (*passphrase);
  return *passphrase != NULL ? 0 : err_set (err, -ENOMEM, "no memory");
}

/* Where vault/ is lost it is the first root that says that there is something
 * to ask for; and it is asked for once, not for each file.
 */
static void
lost_vault_json_is_asked_for_all_the_same (void **state)
{
  struct vault_trial *t = trial_with_rest (80);
  struct store *store = vault_trial_store (t, 0);
  struct keyring *right = t->keys, *asking;
  struct err err = ERR_INIT;
  unsigned nr = 0;

  (void) state;
  assert_int_equal (store_delete (store, "vault/vault.json", NULL), 0);
  store_close (store);
  assert_int_equal (keyring_new_asking (say_it, &nr, &asking, NULL), 0);
  t->keys = asking;
  assert_int_equal (try_to_back_up (t, 0, &err), -EACCES);
  assert_non_null (strstr (err.msg, "not for a passphrase"));
  assert_int_equal (try_to_prune (t, &err), -EACCES);
  assert_int_equal (nr, 1);
  t->keys = right;
  keyring_free (asking);
  vault_trial_free (t);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (backups_and_prunes_lose_nothing),
    cmocka_unit_test (editions_are_encrypted_anew),
    cmocka_unit_test (interrupted_backups_are_adopted),
    cmocka_unit_test (nothing_is_done_without_the_key),
    cmocka_unit_test (vault_without_encryption_takes_no_key),
    cmocka_unit_test (lost_vault_json_does_not_open_it),
    cmocka_unit_test (vault_json_that_says_plain_is_not_believed),
    cmocka_unit_test (lost_vault_json_is_asked_for_all_the_same),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
