/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Images that partclone made, of both versions of its format. */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/crc32.h"
#include "tests/fuzz/fuzz.h"

#define HEADER 110
#define MAP_V1 4160
#define MAX_BLOCKS 100000       /* whose checksums are made right, and whose map
                                   is read */
#define MAX_STRIP (1024 * 1024) /* bytes */
#define MAX_DATA (2048 * 1024)  /* bytes that get right checksums */

struct fields {
  bool is_v1;
  uint64_t nr_blocks, nr_used;
  uint32_t block_size, per_sum;
  unsigned sum_kind, sum_size;
  bool goes_on;
  uint64_t data_off;
};

static void
read_fields (const struct sparse *s, struct fields *f)
{
  uint8_t h[HEADER] = "";

  sparse_read (s, h, (size_t) min_u64 (sizeof h, s->size), 0);
  f->is_v1 = memcmp (h + 30, "0001", 4) == 0;
  f->nr_blocks = get_le64 (h + (f->is_v1 ? 48 : 60));
  f->nr_used = get_le64 (h + 76);
  f->block_size = get_le32 (h + (f->is_v1 ? 36 : 84));
  f->sum_kind = f->is_v1 ? 0x20 : get_le16 (h + 96);
  f->sum_size = f->is_v1 ? 4 : get_le16 (h + 98);
  f->per_sum = f->is_v1 ? 1 : get_le32 (h + 100);
  f->goes_on = f->is_v1 || h[104] == 0;
  f->data_off = f->is_v1 ? MAP_V1 + f->nr_blocks + 8
    : h[105] == 0 ? HEADER : HEADER + div_round_up (f->nr_blocks, 8) + 4;
}

/*--- Making it right --------------------------------------------------------*/

static uint64_t
fix_map_v1 (const struct sparse *s, const struct fields *f)
{
  CLEANUP_FREE uint8_t *map = malloc ((size_t) f->nr_blocks + 1);
  uint64_t nr = 0;

  must (map != NULL);
  sparse_read (s, map, (size_t) f->nr_blocks, MAP_V1);
  for (uint64_t i = 0; i < f->nr_blocks; ++i)
    nr += map[i] == 1;
  return nr;
}

/* Its checksum, and how many blocks there are. */
static uint64_t
fix_map (struct sparse *s, const struct fields *f)
{
  size_t len = (size_t) div_round_up (f->nr_blocks, 8);
  CLEANUP_FREE uint8_t *map = malloc (len + 1);
  uint8_t p[8];
  uint64_t nr = 0;

  must (map != NULL);
  sparse_read (s, map, len, HEADER);
  put_le32 (p, ~crc32_update (0, map, len));
  sparse_write (s, p, 4, HEADER + len);
  for (uint64_t i = 0; i < f->nr_blocks; ++i)
    nr += map[i / 8] >> i % 8 & 1;
  put_le64 (p, nr);
  sparse_write (s, p, 8, 76);
  return nr;
}

static uint64_t
sum_of (const struct fields *f, const uint8_t *strip, size_t len,
        uint32_t *crc)
{
  if (f->sum_kind == 0x30)
    return XXH64 (strip, len, 0);
  if (!f->goes_on)
    *crc = 0;
  if (f->is_v1)
    for (size_t i = 0; i < len; ++i)
      *crc = crc32_update (*crc, strip, 1);
  else
    *crc = crc32_update (*crc, strip, len);
  return (uint32_t) ~*crc;
}

static void
fix_data (struct sparse *s, const struct fields *f, uint64_t nr_used)
{
  size_t strip = (size_t) f->block_size * f->per_sum;
  CLEANUP_FREE uint8_t *buf = malloc (strip + 1);
  uint64_t off = f->data_off;
  uint32_t crc = 0;
  uint8_t sum[8];

  must (buf != NULL);
  for (uint64_t done = 0; nr_used > 0 && done < MAX_DATA; done += strip) {
    uint64_t n = min_u64 (nr_used, f->per_sum);
    size_t len = (size_t) (n * f->block_size);

    if (!range_fits (off, len + f->sum_size, s->size))
      return;
    sparse_read (s, buf, len, off);
    put_le64 (sum, sum_of (f, buf, len, &crc));
    sparse_write (s, sum, f->sum_size, off + len);
    off += len + f->sum_size;
    nr_used -= n;
  }
}

static bool
is_small (const struct fields *f)
{
  return f->nr_blocks > 0 && f->nr_blocks <= MAX_BLOCKS &&
    (f->sum_kind == 0x20 || f->sum_kind == 0x30) && f->sum_size <= 8 &&
    f->block_size >= 512 && f->per_sum > 0 &&
    (uint64_t) f->block_size * f->per_sum <= MAX_STRIP;
}

void
fuzz_fix (struct sparse *s)
{
  uint64_t nr_used;
  struct fields f;
  uint8_t h[HEADER];

  read_fields (s, &f);
  nr_used = f.nr_used;
  if (f.nr_blocks <= MAX_BLOCKS && f.data_off <= s->size) {
    if (f.is_v1)
      nr_used = fix_map_v1 (s, &f);
    else if (f.data_off > HEADER)
      nr_used = fix_map (s, &f);
  }
  if (is_small (&f))
    fix_data (s, &f, nr_used);
  if (f.is_v1 || s->size < HEADER)
    return;
  sparse_read (s, h, sizeof h, 0);
  put_le32 (h, ~crc32_update (0, h, HEADER - 4));
  sparse_write (s, h, 4, HEADER - 4);
}

/* One that is right takes as long as its map, and as what one checksum covers,
 * which are only larger.
 */
static bool
takes_long (const struct sparse *s)
{
  struct fields f;

  read_fields (s, &f);
  return (f.nr_blocks > MAX_BLOCKS && f.data_off <= s->size) ||
    (f.sum_kind != 0 && (uint64_t) f.block_size * f.per_sum > MAX_STRIP);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t len)
{
  struct sparse s;

  fuzz_reads_verify = true;
  sparse_decode (data, len, &s);
  if (s.options & SPARSE_FIX)
    fuzz_fix (&s);
  if (!takes_long (&s))
    fuzz_image (&s, "partclone", NULL);
  sparse_free (&s);
  return 0;
}
