/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the tests of leases share: a store in memory with the folders of a
 * vault, anew for each test by setup and teardown, and a lease in it.
 */

#ifndef NBDIMAGE_TESTS_LEASE_TRIAL_H
#define NBDIMAGE_TESTS_LEASE_TRIAL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/repo/lease-hold.h"
#include "tests/support/store-model.h"

#define A "00112233445566778899aabbccddeeff"
#define A_DASHES "00112233-4455-6677-8899-aabbccddeeff"
#define LEASE_A "partial/backup-" A

/* What its lease.json begins with. */
#define HEAD "{\"nbi-lease\": 1, \"kind\": \"backup\", \"uuid\": \"" A_DASHES  \
  "\", \"name\": \"d\", \"generations\": []"

static const uint8_t uuid[UUID_SIZE] = {
  0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
  0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
};
static const uint8_t base[UUID_SIZE] = { 1, 2, 3 };

static struct store_model *model;
static struct store *store;     /* not on this machine */
static struct err err;

static inline void
make_folders (void)
{
  assert_int_equal (store_make_folder (store, "partial", &err), 0);
  assert_int_equal (store_make_folder (store, "broken", &err), 0);
  assert_int_equal (store_make_folder (store, "files", &err), 0);
  assert_int_equal (store_flush_folder (store, "", &err), 0);
}

static inline int
setup (void **state)
{
  (void) state;
  model = store_model_new (1);
  store = store_model_client (model, 0, false);
  make_folders ();
  return 0;
}

static inline int
teardown (void **state)
{
  (void) state;
  store_close (store);
  store_model_free (model);
  return 0;
}

static inline void
assert_names (const char *expected)
{
  char *names = store_model_names (model);

  assert_string_equal (names, expected);
  free (names);
}

static inline struct lease
new_lease (struct store *s, enum vault_name_kind kind)
{
  struct lease lease;

  assert_int_equal (lease_init (s, kind, uuid, "disk", &lease, &err), 0);
  assert_int_equal (lease_add (&lease, base, &err), 0);
  return lease;
}

static inline int
take (struct store *s, unsigned flags, struct lease_hold **hold)
{
  struct lease lease = new_lease (s, VAULT_NAME_BACKUP);
  int r = lease_take (s, &lease, flags, hold, &err);

  lease_destroy (&lease);
  return r;
}

#endif /* NBDIMAGE_TESTS_LEASE_TRIAL_H */
