/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "lib/base/bytes.h"
#include "tests/support/partclone-maker.h"

#define HEADER 110

static uint64_t
draw (uint64_t *seed, uint64_t n)
{
  *seed = *seed * UINT64_C (6364136223846793005) + 1442695040888963407;
  return (*seed >> 33) % n;
}

static void *
need (void *p)
{
  if (p == NULL)
    abort ();
  return p;
}

/* As partclone has it: begins with all ones, no inversion at the end. */
static uint32_t
crc (uint32_t c, const uint8_t *p, size_t len)
{
  while (len-- > 0) {
    c ^= *p++;
    for (int bit = 0; bit < 8; ++bit)
      c = c & 1 ? (c >> 1) ^ UINT32_C (0xEDB88320) : c >> 1;
  }
  return c;
}

static void
append (struct partclone_made *m, const void *p, size_t len)
{
  if (m->len + len > m->room) {
    m->room = 2 * (m->len + len);
    m->file = need (realloc (m->file, m->room));
  }
  memcpy (m->file + m->len, p, len);
  m->len += len;
}

static void
choose_blocks (struct partclone_made *m, const struct partclone_shape *s,
               uint64_t *seed)
{
  bool used = true;

  m->used = need (calloc (s->nr_blocks, sizeof *m->used));
  for (uint64_t i = 0; i < s->nr_blocks; ++i) {
    if (draw (seed, 5) == 0)
      used = draw (seed, 8) < s->density;
    m->used[i] = used || s->density == 8;
    m->nr_used += m->used[i];
  }
}

static void
fill_disk (struct partclone_made *m, const struct partclone_shape *s,
           uint64_t *seed)
{
  m->size = s->nr_blocks * s->block_size + s->tail;
  m->disk = need (calloc (1, m->size));
  for (uint64_t i = 0; i < s->nr_blocks; ++i)
    if (m->used[i])
      for (uint32_t j = 0; j < s->block_size; j += 4)
        put_le32 (m->disk + i * s->block_size + j,
                  (uint32_t) draw (seed, UINT64_C (1) << 32));
}

static void
add_header (struct partclone_made *m, const struct partclone_shape *s)
{
  uint8_t h[HEADER] = "partclone-image";

  memcpy (h + 16, "0.3.99", 6);
  memcpy (h + 30, "0002\xDE\xC0", 6);
  memcpy (h + 36, "EXTFS", 5);
  put_le64 (h + 52, m->size);
  put_le64 (h + 60, s->nr_blocks);
  put_le64 (h + 68, m->nr_used);
  put_le64 (h + 76, m->nr_used);
  put_le32 (h + 84, s->block_size);
  put_le32 (h + 88, 18);
  put_le16 (h + 92, 2);
  put_le16 (h + 94, 64);
  put_le16 (h + 96, (uint16_t) s->sum);
  put_le16 (h + 98, s->sum == 0 ? 0 : s->sum == 0x20 ? 4 : 8);
  put_le32 (h + 100, s->per_sum);
  h[104] = !s->chained;
  h[105] = s->no_map ? 0 : 1;
  append (m, h, sizeof h);
  partclone_seal (m);
}

static void
add_map (struct partclone_made *m, const struct partclone_shape *s)
{
  size_t len = (size_t) ((s->nr_blocks + 7) / 8);
  uint8_t *map = need (calloc (len + 4, 1));

  /* What is behind the last block is for nobody to look at. */
  memset (map, 0xFF, len);
  for (uint64_t i = 0; i < s->nr_blocks; ++i)
    if (!m->used[i])
      map[i / 8] &= (uint8_t) ~(1U << i % 8);
  put_le32 (map + len, crc (UINT32_MAX, map, len));
  append (m, map, len + 4);
  free (map);
}

static void
add_v1 (struct partclone_made *m, const struct partclone_shape *s)
{
  uint8_t h[4160] = "partclone-imageEXTFS";
  uint8_t byte;

  memcpy (h + 30, "0001", 4);
  put_le32 (h + 36, s->block_size);
  put_le64 (h + 40, m->size);
  put_le64 (h + 48, s->nr_blocks);
  /* It is wrong where the super block was. */
  put_le64 (h + 56, m->nr_used + 5);
  append (m, h, sizeof h);
  for (uint64_t i = 0; i < s->nr_blocks; ++i) {
    byte = m->used[i] ? 1 : i % 9 == 0 ? 7 : 0;
    append (m, &byte, 1);
  }
  append (m, "BiTmAgIc", 8);
}

static void
add_v1_blocks (struct partclone_made *m, const struct partclone_shape *s)
{
  uint8_t sum[8] = { 0, 0, 0, 0, 'x', 'x', 'x', 'x' };
  uint32_t c = UINT32_MAX;

  for (uint64_t i = 0; i < s->nr_blocks; ++i) {
    const uint8_t *block = m->disk + i * s->block_size;

    if (!m->used[i])
      continue;
    append (m, block, s->block_size);
    for (uint32_t j = 0; j < s->block_size; ++j)
      c = crc (c, block, 1);
    put_le32 (sum, c);
    append (m, sum, s->v1);
  }
}

static void
add_sum (struct partclone_made *m, const struct partclone_shape *s,
         uint32_t *c, size_t from)
{
  uint8_t sum[8];

  if (s->sum == 0x30) {
    put_le64 (sum, XXH64 (m->file + from, m->len - from, 0));
    append (m, sum, 8);
    return;
  }
  *c = crc (s->chained ? *c : UINT32_MAX, m->file + from, m->len - from);
  put_le32 (sum, *c);
  append (m, sum, 4);
}

static void
add_blocks (struct partclone_made *m, const struct partclone_shape *s)
{
  uint32_t n = 0, c = UINT32_MAX;
  size_t from = m->len;

  for (uint64_t i = 0; i < s->nr_blocks; ++i) {
    if (!m->used[i])
      continue;
    append (m, m->disk + i * s->block_size, s->block_size);
    if (s->sum != 0 && ++n == s->per_sum) {
      add_sum (m, s, &c, from);
      from = m->len;
      n = 0;
    }
  }
  if (n > 0)
    add_sum (m, s, &c, from);
}

void
partclone_make (const struct partclone_shape *shape, uint64_t seed,
                struct partclone_made *out)
{
  memset (out, 0, sizeof *out);
  choose_blocks (out, shape, &seed);
  fill_disk (out, shape, &seed);
  if (shape->v1 == 0)
    add_header (out, shape);
  else
    add_v1 (out, shape);
  if (shape->v1 == 0 && !shape->no_map)
    add_map (out, shape);
  out->data_off = out->len;
  if (shape->v1 == 0)
    add_blocks (out, shape);
  else
    add_v1_blocks (out, shape);
}

void
partclone_made_free (struct partclone_made *made)
{
  free (made->file);
  free (made->disk);
  free (made->used);
  memset (made, 0, sizeof *made);
}

void
partclone_seal (struct partclone_made *made)
{
  put_le32 (made->file + HEADER - 4,
            crc (UINT32_MAX, made->file, HEADER - 4));
}

void
partclone_seal_map (struct partclone_made *made)
{
  size_t end = made->data_off - 4;

  put_le32 (made->file + end,
            crc (UINT32_MAX, made->file + HEADER, end - HEADER));
}
