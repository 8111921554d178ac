/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/repo/vault-reserve.h"

/* Bytes that no file system makes smaller.  (xorshift64; any will do.) */
static void
fill (uint8_t *buf)
{
  uint64_t x = UINT64_C (0x9e3779b97f4a7c15);

  for (size_t i = 0; i < VAULT_RESERVE_SIZE; i += sizeof x) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    put_le64 (buf + i, x);
  }
}

int
vault_reserve_make (struct store *store, struct err *err)
{
  CLEANUP_FREE uint8_t *buf = NULL;
  struct store_stat st;
  int r = store_stat (store, VAULT_RESERVE, &st, err);

  if (r != -ENOENT)
    return r;
  buf = malloc (VAULT_RESERVE_SIZE);
  if (buf == NULL)
    return err_nomem (err);
  fill (buf);
  r = store_put (store, VAULT_RESERVE, buf, VAULT_RESERVE_SIZE, err);
  if (r == -EEXIST)             /* somebody else was faster */
    return 0;
  if (r < 0)
    store_delete (store, VAULT_RESERVE, NULL);
  return r;
}

/* A file of that name which somebody else put there is left alone. */
static int
is_ours (struct store *store, struct err *err)
{
  CLEANUP_FREE uint8_t *expected = malloc (VAULT_RESERVE_SIZE);
  CLEANUP_FREE char *found = NULL;
  size_t len;
  int r;

  if (expected == NULL)
    return err_nomem (err);
  fill (expected);
  r = store_read_all (store, VAULT_RESERVE, VAULT_RESERVE_SIZE, &found, &len,
                      err);
  return r < 0 ? r : memcmp (expected, found, len) == 0;
}

int
vault_reserve_spend (struct store *store, struct err *err)
{
  int r = is_ours (store, err);

  if (r > 0)
    r = store_delete (store, VAULT_RESERVE, err);
  return r == -ENOENT || r == -EFBIG ? 0 : r;
}
