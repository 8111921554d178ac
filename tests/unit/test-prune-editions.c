/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Files of which only a part is still needed: prunes write them anew. */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/cleanup.h"
#include "lib/repo/prune-private.h"
#include "tests/support/prune-trial.h"

/* A file of a run: its name ends so. */
static void
find_of_run (struct vault_trial *t, const uint8_t run[UUID_SIZE],
             const char *end, char *found, size_t size)
{
  CLEANUP_FREE char *names = store_model_names (t->model);
  char hex[VAULT_NAME_SIZE], *rest = NULL;

  found[0] = '\0';
  vault_name_adopted (hex, run);
  for (char *name = strtok_r (names, "\n", &rest); name != NULL;
       name = strtok_r (NULL, "\n", &rest))
    if (strstr (name, hex) != NULL && strstr (name, end) != NULL)
      snprintf (found, size, "%s", name);
  assert_int_not_equal (found[0], '\0');
}

static bool is_encrypted;

static struct vault_trial *
new_trial (uint64_t seed)
{
  return is_encrypted ? vault_trial_new_encrypted (seed)
    : vault_trial_new (seed);
}

/* Two generations, of which the second needs one chunk of the first one's file,
 * and pages of its map.
 */
static struct vault_trial *
trial_with_rest (uint64_t seed)
{
  struct vault_trial *t = new_trial (seed);

  t->file_limit = TRIAL_ONE_FILE;
  vault_trial_back_up_well (t, 0, NULL);
  for (size_t i = 0; i < 5 * TRIAL_CHUNK_SIZE; ++i)
    t->disks[0][i] = (uint8_t) rng_next (&t->rng);
  vault_trial_back_up_well (t, 0, NULL);
  return t;
}

static void
test_edition (void **state)
{
  struct vault_trial *t = trial_with_rest (30);
  uint64_t before = vault_trial_bytes (t, "files/"), both;
  struct prune_result result;

  (void) state;
  vault_trial_prune_well (t, &keep_one, &result);
  assert_int_equal (result.deleted.nr, 0);
  assert_int_equal (result.nr_rewritten, 1);
  assert_true (has_name (t, "files/", ".0.root.nbi"));
  assert_true (has_name (t, "files/", ".1.nbi"));
  both = vault_trial_bytes (t, "files/");
  assert_true (both > before);
  assert_int_equal (vault_trial_check (t), 1);
  vault_trial_verify (t);

  /* Not before a day has gone by, and not once more. */
  store_model_advance (t->model, LEASE_DAY - 100);
  vault_trial_prune_well (t, &keep_one, &result);
  assert_int_equal (result.deleted.nr, 0);
  assert_int_equal (result.nr_rewritten, 0);
  store_model_advance (t->model, 200);
  vault_trial_prune_well (t, &keep_one, &result);
  assert_int_equal (result.deleted.nr, 1);
  assert_int_equal (result.nr_rewritten, 0);
  assert_int_equal (vault_trial_bytes (t, "files/"),
                    both - result.deleted.bytes);
  assert_true (vault_trial_bytes (t, "files/") < before);
  assert_int_equal (vault_trial_check (t), 1);
  vault_trial_verify (t);

  /* What builds on it, and when nothing needs it any more. */
  vault_trial_back_up_well (t, 0, NULL);
  assert_int_equal (vault_trial_check (t), 2);
  memset (t->disks[0], 1, TRIAL_DISK_SIZE);
  vault_trial_back_up_well (t, 0, NULL);
  vault_trial_prune_well (t, &keep_one, NULL);
  assert_int_equal (vault_trial_check (t), 1);
  vault_trial_check_clean (t);
  assert_false (has_name (t, "files/", ".1.nbi"));
  vault_trial_free (t);
}

/* Of a file with the root of a generation that stays, of which some records are
 * dead nevertheless; usually there are none.
 */
static void
test_edition_with_root (void **state)
{
  struct vault_trial *t = new_trial (34);
  struct store *store = vault_trial_store (t, 0);
  const struct prune_plan plan = { .nr_dropped = 0 };
  struct prune_result result = { .nr_rewritten = 0 };
  struct generation_caches caches;
  struct prune p = {
    .store = store, .caches = &caches, .plan = &plan, .result = &result,
  };
  struct live_file *live;
  struct vault_opened opened;
  char name[STORE_PATH_SIZE];
  static uint8_t buf[TRIAL_CHUNK_SIZE];

  (void) state;
  t->file_limit = TRIAL_ONE_FILE;
  vault_trial_back_up_well (t, 0, NULL);
  assert_int_equal (generation_caches_init (&caches, 0, NULL), 0);
  caches.keys = t->keys;
  assert_int_equal (vault_open (store, VAULT_WRITE, &p.vault, NULL, NULL), 0);
  p.hold = hold_lease (store, VAULT_NAME_PRUNE, NULL);
  assert_int_equal (prune_list (p.vault, &p.listing, NULL, NULL, NULL), 0);
  assert_int_equal (prune_list_files (&p.listing, &p.live, NULL), 0);
  assert_int_equal (vault_view_of (p.vault, &caches, &p.listing.runs, &p.view,
                                   NULL), 0);
  assert_int_equal (vault_view_open (p.view, 0, false, &opened, NULL, NULL), 0);
  assert_int_equal (liveness_mark (&p.live, p.view, &opened, NULL, NULL), 0);
  vault_opened_close (&opened);
  assert_int_equal (p.live.files.len, 1);
  live = p.live.files.ptr;
  assert_int_equal (live->nr_live, live->nr_ordinals);
  live->live[0] &= 0xc0;        /* the first six chunks */
  live->nr_live -= 6;

  assert_int_equal (prune_write_editions (&p, NULL), 0);
  assert_int_equal (result.nr_rewritten, 1);
  assert_int_equal (prune_drop_editions (&p, NULL), 0);
  find_name (t, ".0.root.nbi", name, sizeof name);
  assert_int_equal (store_delete (store, name, NULL), 0);
  assert_true (has_name (t, "files/", ".1.root.nbi"));
  assert_int_equal (vault_view_open (p.view, 0, false, &opened, NULL, NULL), 0);
  assert_int_equal (generation_pread (opened.gen, buf, sizeof buf, 0, NULL),
                    -EIO);
  assert_int_equal (generation_pread (opened.gen, buf, sizeof buf,
                                      6 * TRIAL_CHUNK_SIZE, NULL), 0);
  assert_memory_equal (buf, t->disks[0] + 6 * TRIAL_CHUNK_SIZE, sizeof buf);
  vault_opened_close (&opened);
  assert_int_equal (lease_leave (p.hold, NULL), 0);
  lease_free (p.hold);
  vault_view_free (p.view);
  liveness_destroy (&p.live);
  prune_listing_free (&p.listing);
  vault_close (p.vault);
  generation_caches_destroy (&caches);
  store_close (store);
  vault_trial_free (t);
}

static void
test_editions_encrypted (void **state)
{
  is_encrypted = true;
  test_edition (state);
  test_edition_with_root (state);
  is_encrypted = false;
}

static void
test_edition_without_room (void **state)
{
  struct vault_trial *t = trial_with_rest (31);
  struct prune_result result;

  (void) state;
  store_model_set_space (t->model, 60 * 1024);
  vault_trial_prune_well (t, &keep_one, &result);
  assert_int_equal (result.nr_rewritten, 0);
  assert_int_equal (vault_trial_check (t), 1);
  vault_trial_free (t);
}

/* Of a file with a record that is damaged nothing is thrown away: neither by
 * writing it anew, nor when the new one is what is damaged.
 */
static void
test_edition_damaged (void **state)
{
  for (int old = 0; old < 2; ++old) {
    struct vault_trial *t = trial_with_rest (32);
    char first[STORE_PATH_SIZE], name[STORE_PATH_SIZE];
    struct prune_result result;

    (void) state;
    if (old) {
      /* The seventh chunk, which is still needed. */
      find_of_run (t, t->versions[0].run, ".0.root.nbi", first, sizeof first);
      damage (t, first, 4096 + 6 * (64 + TRIAL_CHUNK_SIZE) + 200);
      vault_trial_prune_well (t, &keep_one, &result);
      assert_int_equal (result.nr_rewritten, 0);
      assert_false (has_name (t, "files/", ".1.nbi"));
    }
    else {
      vault_trial_prune_well (t, &keep_one, &result);
      assert_int_equal (result.nr_rewritten, 1);
      find_name (t, ".1.nbi", name, sizeof name);
      damage (t, name, 4096 + 200);
      store_model_advance (t->model, LEASE_DAY + 100);
      vault_trial_prune_well (t, &keep_one, &result);
      assert_int_equal (result.deleted.nr, 0);
      assert_true (has_name (t, "files/", ".0.root.nbi"));
      /* And is read from there. */
      assert_int_equal (vault_trial_check (t), 1);
    }
    vault_trial_free (t);
  }
}

/* A reader that had opened nothing but the end of the generation when all of
 * that happened.
 */
static void
test_edition_under_reader (void **state)
{
  struct vault_trial *t = trial_with_rest (33);
  struct store *store = vault_trial_store (t, 0);
  static uint8_t buf[TRIAL_DISK_SIZE];
  struct generation_caches caches;
  struct vault *vault;
  struct vault_view *view;
  struct vault_opened opened;
  size_t i;

  (void) state;
  assert_int_equal (generation_caches_init (&caches, 0, NULL), 0);
  assert_int_equal (vault_open (store, 0, &vault, NULL, NULL), 0);
  assert_int_equal (vault_view_new (vault, &caches, &view, NULL), 0);
  assert_int_equal (vault_view_newest (view, vault_trial_disk (0), &i, NULL,
                                       NULL), 0);
  assert_int_equal (vault_view_open (view, i, false, &opened, NULL, NULL), 0);
  vault_trial_prune_well (t, &keep_one, NULL);
  store_model_advance (t->model, LEASE_DAY + 100);
  vault_trial_prune_well (t, &keep_one, NULL);
  assert_int_equal (generation_pread (opened.gen, buf, TRIAL_DISK_SIZE, 0,
                                      NULL), 0);
  assert_memory_equal (buf, t->versions[1].bytes, TRIAL_DISK_SIZE);
  vault_opened_close (&opened);
  vault_view_free (view);
  vault_close (vault);
  generation_caches_destroy (&caches);
  store_close (store);
  vault_trial_free (t);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_edition),
    cmocka_unit_test (test_edition_with_root),
    cmocka_unit_test (test_editions_encrypted),
    cmocka_unit_test (test_edition_without_room),
    cmocka_unit_test (test_edition_damaged),
    cmocka_unit_test (test_edition_under_reader),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
