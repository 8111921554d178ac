/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/cleanup.h"
#include "tests/support/prune-trial.h"

const struct prune_options keep_two = {
  .retention = { { [RETENTION_LAST] = 2 } },
};

const struct prune_options keep_one = {
  .retention = { { [RETENTION_LAST] = 1 } },
};

struct vault_trial *
trial_with (uint64_t seed, int n)
{
  struct vault_trial *t = vault_trial_new (seed);

  vault_trial_back_up_well (t, 1, NULL);
  for (int i = 0; i < n; ++i) {
    vault_trial_change (t, 0, 2);
    vault_trial_back_up_well (t, 0, NULL);
  }
  return t;
}

int
try_prune (struct vault_trial *t, const struct prune_options *options,
           struct err *err)
{
  struct store *store = vault_trial_store (t, 0);
  struct prune_result result;
  int r = vault_trial_prune (t, store, options, NULL, &result, err);

  assert_true (r == 0 || result.deleted.nr == 0);
  store_close (store);
  return r;
}

void
assert_prune_refused (struct vault_trial *t,
                      const struct prune_options *options, int code,
                      const char *why)
{
  uint64_t before = vault_trial_bytes (t, "files/");
  struct err err = ERR_INIT;
  int r = try_prune (t, options, &err);

  if (r != code || strstr (err.msg, why) == NULL)
    fail_msg ("expected %d and “%s”, got %d: %s", code, why, r, err.msg);
  assert_int_equal (vault_trial_bytes (t, "files/"), before);
}

void
find_name (struct vault_trial *t, const char *part, char *found, size_t size)
{
  CLEANUP_FREE char *names = store_model_names (t->model);
  char *rest = NULL;

  found[0] = '\0';
  for (char *name = strtok_r (names, "\n", &rest); name != NULL;
       name = strtok_r (NULL, "\n", &rest))
    if (strstr (name, part) != NULL)
      snprintf (found, size, "%s", name);
  assert_int_not_equal (found[0], '\0');
}

bool
has_name (struct vault_trial *t, const char *front, const char *part)
{
  CLEANUP_FREE char *names = store_model_names (t->model);
  char *rest = NULL;

  for (char *name = strtok_r (names, "\n", &rest); name != NULL;
       name = strtok_r (NULL, "\n", &rest))
    if (strncmp (name, front, strlen (front)) == 0 &&
        strstr (name, part) != NULL)
      return true;
  return false;
}

void
damage (struct vault_trial *t, const char *name, size_t off)
{
  struct store *store = vault_trial_store (t, 0);
  CLEANUP_FREE char *bytes = NULL;
  size_t len;

  assert_int_equal (store_read_all (store, name, 1 << 20, &bytes, &len, NULL),
                    0);
  bytes[off < len ? off : len - off % len - 1] ^= 1;
  assert_int_equal (store_delete (store, name, NULL), 0);
  assert_int_equal (store_put (store, name, bytes, len, NULL), 0);
  store_close (store);
}

struct lease_hold *
hold_lease (struct store *store, enum vault_name_kind kind,
            const uint8_t *generation)
{
  CLEANUP_LEASE struct lease lease = LEASE_INIT;
  struct lease_hold *hold;
  uint8_t uuid[UUID_SIZE];

  assert_int_equal (uuid_new (uuid, NULL), 0);
  assert_int_equal (lease_init (store, kind, uuid, NULL, &lease, NULL), 0);
  if (generation != NULL)
    assert_int_equal (lease_add (&lease, generation, NULL), 0);
  assert_int_equal (lease_take (store, &lease, 0, &hold, NULL), 0);
  return hold;
}

void
find_run (struct vault *vault, const uint8_t run[UUID_SIZE],
          struct vault_run *found)
{
  struct vault_runs runs;

  assert_int_equal (vault_list (vault, 0, &runs, NULL), 0);
  for (size_t i = 0; i < runs.len; ++i)
    if (memcmp (runs.ptr[i].run, run, UUID_SIZE) == 0)
      *found = runs.ptr[i];
  vector_free (&runs);
}
