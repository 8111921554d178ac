/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the tests of backup images have in common: a header that is right,
 * bytes that are changed in one place, and refusals by a rule's number.
 */

#ifndef NBDIMAGE_TESTS_NBI_H
#define NBDIMAGE_TESTS_NBI_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/crc32c.h"
#include "lib/repo/nbi-header.h"
#include "tests/support/rng.h"

/* The call returned r and filled err: by this rule ("NBI-17"), and with its
 * number at the end of the sentence.
 */
static inline void
assert_refused (int r, const struct err *err, int code, const char *rule)
{
  char end[24];
  size_t len = strlen (err->msg), n;

  snprintf (end, sizeof end, " (%s)", rule);
  n = strlen (end);
  if (r != code || err->code != code || len < n ||
      strcmp (err->msg + len - n, end) != 0)
    fail_msg ("expected %d by %s, got %d: %s", code, rule, r, err->msg);
}

/* Put the low `len' bytes of v at off, little-endian. */
static inline void
patch (uint8_t *buf, size_t off, size_t len, uint64_t v)
{
  for (size_t i = 0; i < len; ++i)
    buf[off + i] = (uint8_t) (v >> 8 * i);
}

/* The checksum at the end of a header, trailer or record header. */
static inline void
fix_crc (uint8_t *buf, size_t size)
{
  put_le32 (buf + size - 4, crc32c_update (0, buf, size - 4));
}

static inline void
random_bytes (struct rng *rng, void *buf, size_t len)
{
  for (size_t i = 0; i < len; ++i)
    ((uint8_t *) buf)[i] = (uint8_t) rng_next (rng);
}

/* A file of a disk of 1000 chunks of 64 KiB and a short one of 512 bytes, in
 * a vault.
 */
static inline struct nbi_header
example_header (void)
{
  struct nbi_header h = {
    .edition = 2, .number = 1, .disk_size = 1000 * 65536 + 512,
    .chunk_size = 65536, .logical = 512, .physical = 4096,
    .time = 1795449120, .name = "root", .creator = "a test",
  };

  for (unsigned i = 0; i < UUID_SIZE; ++i) {
    h.file[i] = (uint8_t) (0x10 + i);
    h.run[i] = (uint8_t) (0x20 + i);
    h.vault[i] = (uint8_t) (0x30 + i);
    h.nonce[i] = (uint8_t) (0x40 + i);
  }
  assert_int_equal (nbi_salt (h.file, h.edition, &h.salt, NULL), 0);
  return h;
}

/* The same, encrypted, with a slot for a passphrase and one for a key file. */
static inline struct nbi_header
example_encrypted (void)
{
  struct nbi_header h = example_header ();
  struct nbi_slot slot = {
    .kind = NBI_SLOT_PASSPHRASE, .passes = 3, .memory = 65536, .lanes = 4,
    .label = "usual",
  };

  h.need = NBI_NEED_ENCRYPTED;
  h.encryption = 1;
  h.nr_slots = 2;
  memset (h.key_id, 0x50, sizeof h.key_id);
  memset (slot.salt, 0x51, sizeof slot.salt);
  memset (slot.nonce, 0x52, sizeof slot.nonce);
  memset (slot.wrapped, 0x53, sizeof slot.wrapped);
  nbi_slot_encode (&slot, h.slots);
  slot.kind = NBI_SLOT_KEY_FILE;
  slot.passes = slot.memory = slot.lanes = 0;
  nbi_slot_encode (&slot, h.slots + NBI_SLOT_SIZE);
  return h;
}

#endif /* NBDIMAGE_TESTS_NBI_H */
