/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What every image has to keep to, whatever is in it. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/part/part.h"
#include "tests/fuzz/fuzz.h"

/* A disk of terabytes in pieces of 4 KiB is the same again and again: this
 * many extents and reads are enough for one input.
 */
#define MAX_EXTENTS 64
#define MAX_ROUNDS 8
#define PIECE 1536

bool fuzz_reads_verify;

void
fuzz_failed (const char *condition, const char *file, int line)
{
  fprintf (stderr, "%s:%d: does not hold: %s\n", file, line, condition);
  abort ();
}

void
fuzz_check_err (int r, const struct err *err)
{
  must (r < 0);
  must (err->code == r);
  must (err->msg[0] != '\0');
  must (strlen (err->msg) < sizeof err->msg);
  /* What a file says is not the medium's fault. */
  must (r != -EIO && r != -ENOMEM);
}

/*--- Reads ------------------------------------------------------------------*/

static void
check_read_err (int r, const struct err *err)
{
  if (r == -EIO && fuzz_reads_verify)
    must (err->code == r && err->msg[0] != '\0');
  else
    fuzz_check_err (r, err);
}

static bool
is_zero (const uint8_t *p, size_t len)
{
  for (size_t i = 0; i < len; ++i)
    if (p[i] != 0)
      return false;
  return true;
}

/* A sector at a time: no block, bitmap or chunk of any format has its edge
 * inside one.
 */
static int
read_sectors (struct block *disk, uint8_t *buf, size_t len, uint64_t off,
              struct err *err)
{
  int r = 0;

  while (r == 0 && len > 0) {
    size_t n = min_u64 (len, 512 - off % 512);

    r = block_pread (disk, buf, n, off, err);
    buf += n;
    off += n;
    len -= n;
  }
  return r;
}

/* Reads [off, off+len), at most two pieces, in two ways. */
static void
check_read (struct block *disk, uint64_t off, size_t len, bool zeros)
{
  uint8_t whole[2 * PIECE], again[2 * PIECE];
  struct err err1 = ERR_INIT, err2 = ERR_INIT;
  int r1, r2;

  memset (whole, 0x55, sizeof whole);
  memset (again, 0xAA, sizeof again);
  r1 = block_pread (disk, whole, len, off, &err1);
  r2 = read_sectors (disk, again, len, off, &err2);
  must (r1 == r2);
  must (r1 != -EINVAL);
  if (r1 < 0) {
    check_read_err (r1, &err1);
    check_read_err (r2, &err2);
    return;
  }
  must (memcmp (whole, again, len) == 0);
  must (!zeros || is_zero (whole, len));
  /* Nothing beside it was touched. */
  for (size_t i = len; i < sizeof whole; ++i)
    must (whole[i] == 0x55 && again[i] == 0xAA);
}

static void
check_range (struct block *disk)
{
  struct extent_list list = EXTENT_LIST_INIT;
  uint64_t size = block_size (disk);
  struct err err = ERR_INIT;
  uint8_t byte;

  must (size <= INT64_MAX);
  must (block_pread (disk, &byte, 1, size, &err) == -EINVAL);
  must (block_pread (disk, &byte, 2, size - 1, &err) == -EINVAL);
  must (block_pread (disk, &byte, 1, UINT64_MAX, &err) == -EINVAL);
  must (block_pread (disk, &byte, 0, size, &err) == 0);
  must (block_extents (disk, UINT64_MAX, 1, &list, &err) == -EINVAL);
  must (list.v.len == 0);
}

/*--- Extents ----------------------------------------------------------------*/

static bool
reads_as_zeros (const struct extent *e)
{
  return e->kind == EXTENT_ZERO || e->kind == EXTENT_HOLE;
}

/* Ask from the middle of an extent on, up to behind its end: it is what it was
 * and ends where it did.
 */
static void
check_middle (struct block *disk, const struct extent *e, bool is_last)
{
  CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
  struct err err = ERR_INIT;
  uint64_t off = e->off + e->len / 3, end = e->off + e->len;
  uint64_t beyond = is_last ? end : min_u64 (end + PIECE, block_size (disk));
  const struct extent *found;

  list.limit = 1;
  if (block_extents (disk, beyond - off, off, &list, &err) < 0)
    fuzz_failed ("extents of a part", __FILE__, __LINE__);
  must (list.v.len > 0);
  found = list.v.ptr;
  must (found->off == off);
  must (found->kind == e->kind);
  must (found->layer == e->layer);
  must (is_last || found->off + found->len == end);
}

static void
check_extent (struct block *disk, const struct extent *e, bool is_last)
{
  size_t len = (size_t) min_u64 (e->len, PIECE);

  must (e->len > 0);
  must (e->kind <= EXTENT_UNREADABLE);
  must (e->layer < 64);
  must (e->kind != EXTENT_HOLE || e->layer == 0);
  check_read (disk, e->off, len, reads_as_zeros (e));
  check_read (disk, e->off + e->len - len, len, reads_as_zeros (e));
  check_read (disk, e->off + e->len / 2, min_u64 (len, e->len - e->len / 2),
              reads_as_zeros (e));
  check_middle (disk, e, is_last);
}

/* Returns where the answer ends; *broken: at something that can't be read. */
static uint64_t
check_extents (struct block *disk, uint64_t off, bool *broken)
{
  CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
  uint64_t size = block_size (disk), at = off;
  struct err err = ERR_INIT;
  int r;

  list.limit = MAX_EXTENTS;
  r = block_extents (disk, size - off, off, &list, &err);
  if (r < 0) {
    fuzz_check_err (r, &err);
    must (r != -EINVAL);
    *broken = true;
    return size;
  }
  must (list.v.len > 0);
  for (size_t i = 0; i < list.v.len; ++i) {
    const struct extent *e = &list.v.ptr[i];

    must (e->off == at);
    must (range_fits (e->off, e->len, size));
    at = e->off + e->len;
    if (i < MAX_EXTENTS / 4)
      check_extent (disk, e, i + 1 == list.v.len);
    if (i > 0)
      must (e[-1].kind != e->kind || e[-1].layer != e->layer);
  }
  must (at == size || list.v.len >= MAX_EXTENTS);
  return at;
}

void
fuzz_disk (struct block *disk)
{
  uint64_t size = block_size (disk), off = 0;
  bool broken = false;

  if (size == 0)
    return;
  check_range (disk);
  for (unsigned i = 0; i < MAX_ROUNDS && off < size; ++i)
    off = check_extents (disk, off, &broken);
  /* Over the edges of blocks, wherever they are. */
  for (uint64_t edge = 512; edge < size; edge *= 2) {
    off = edge - 300;
    check_read (disk, off, min_u64 (2 * PIECE, size - off), false);
  }
  check_read (disk, size - min_u64 (size, PIECE), min_u64 (size, PIECE),
              false);
  /* Only a hint, but one that must not crash. */
  block_cache (disk, min_u64 (size, 1 << 22), 0, NULL);
}

/*--- Partitions -------------------------------------------------------------*/

void
fuzz_partitions (struct block *disk, uint32_t sector_size)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_PART_TABLE struct part_table table = { .scheme = PART_NONE };
  struct err err = ERR_INIT;
  int r = part_read (disk, sector_size, &table, &report, &err);

  if (r < 0) {
    check_read_err (r, &err);
    return;
  }
  must (table.sector_size >= 512);
  must (table.scheme != PART_NONE || table.parts.len == 0);
  for (size_t i = 0; i < table.parts.len; ++i) {
    const struct partition *p = &table.parts.ptr[i];

    must (p->type != NULL && p->uuid != NULL);
    must (p->len > 0);
    must (range_fits (p->off, p->len, block_size (disk)));
    must (p->number > 0);
    must (i == 0 || p->number > p[-1].number);
    must (p->name == NULL || p->name[0] != '\0');
  }
}

/*--- Images -----------------------------------------------------------------*/

static void
check_info (struct image *img)
{
  struct image_info info;
  struct err err = ERR_INIT;
  int r = image_get_info (img, &info, &err);

  /* Everything that info says is known once the image is open. */
  must (r == 0);
  must (info.layers.len > 0);
  must (info.created >= -1);
  must (info.file_size == block_size (image_block (img)));
  for (size_t i = 0; i < info.properties.len; ++i) {
    const struct image_property *p = &info.properties.ptr[i];

    must (p->key[0] != '\0' && p->label[0] != '\0');
    must (p->value != NULL);
  }
  for (size_t i = 0; i < info.boot.len; ++i)
    must (range_fits (info.boot.ptr[i].off, info.boot.ptr[i].len,
                      info.file_size));
  image_info_free (&info);
}

static void
set_options (const struct sparse *s, struct image_options *options)
{
  options->ignore_checksums = (s->options & SPARSE_IGNORE_CHECKSUMS) != 0;
  options->size_rule = (enum image_size_rule)
    ((s->options >> SPARSE_SIZE_RULE_SHIFT & 3) % 3);
}

void
fuzz_image (const struct sparse *s, const char *format,
            const char *parent_path)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_BLOCK struct block *block = sparse_block ("fuzz", s);
  CLEANUP_BLOCK struct block *disk = NULL;
  CLEANUP_IMAGE struct image *img = NULL;
  struct image_options options = {
    .format = format, .parent_path = parent_path,
  };
  struct err err = ERR_INIT;
  int r;

  set_options (s, &options);
  r = image_open_block (block, &options, &img, &report, &err);
  if (r < 0) {
    must (img == NULL);
    fuzz_check_err (r, &err);
    /* That the geometry is nothing to go by is the only thing that is wrong
     * with what was asked for.
     */
    must (r != -EINVAL || options.size_rule == IMAGE_SIZE_CHS);
    return;
  }
  check_info (img);
  must (image_to_block (img, &disk, &err) == 0);
  fuzz_disk (disk);
  fuzz_partitions (disk, 0);
}
