/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The checksums of partclone's blocks. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/crc32.h"
#include "lib/format/partclone/partclone.h"

int
partclone_sum_begin (struct partclone_summing *s,
                     const struct partclone_header *h, const uint8_t *before,
                     struct err *err)
{
  s->kind = h->sum;
  s->crc = before ? ~get_le32 (before) : 0;
  s->hash = NULL;
  if (s->kind != PARTCLONE_SUM_XXH64)
    return 0;
  s->hash = XXH64_createState ();
  if (s->hash == NULL)
    return err_nomem (err);
  XXH64_reset (s->hash, 0);
  return 0;
}

/* partclone 0.2 forgot to go on to the next byte. */
static uint32_t
crc_of_first_byte (uint32_t crc, uint8_t byte, size_t len)
{
  uint8_t same[512];

  memset (same, byte, sizeof same);
  for (size_t done = 0; done < len; done += sizeof same)
    crc = crc32_update (crc, same, (size_t) min_u64 (sizeof same,
                                                     len - done));
  return crc;
}

void
partclone_sum_add (struct partclone_summing *s, const uint8_t *p, size_t len)
{
  if (s->kind == PARTCLONE_SUM_XXH64)
    XXH64_update (s->hash, p, len);
  else if (s->kind == PARTCLONE_SUM_FIRST_BYTE)
    s->crc = crc_of_first_byte (s->crc, p[0], len);
  else
    s->crc = crc32_update (s->crc, p, len);
}

uint64_t
partclone_sum_end (struct partclone_summing *s)
{
  uint64_t sum = s->hash ? XXH64_digest (s->hash) : (uint32_t) ~s->crc;

  XXH64_freeState (s->hash);
  s->hash = NULL;
  return sum;
}

int
partclone_sum_check (const struct partclone_header *h, uint64_t sum,
                     const uint8_t *stored, uint64_t len, uint64_t off,
                     struct err *err)
{
  bool is_hash = h->sum == PARTCLONE_SUM_XXH64;
  uint64_t expected = is_hash ? get_le64 (stored) : get_le32 (stored);
  int digits = is_hash ? 16 : 8;

  if (sum == expected)
    return 0;
  return err_set (err, -EIO, "the %s of the %" PRIu64 " bytes of blocks at "
                  "offset %" PRIu64 " is %0*" PRIx64 ", expected %0*" PRIx64,
                  partclone_sum_name (h->sum), len, off, digits, sum, digits,
                  expected);
}
