/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/fsmap/identify.h"
#include "tools/change/cut.h"

#define PIECE (1024 * 1024)
#define EXTENTS_AT_ONCE 1024

/* The second copy of a GPT: a header in the last sector, and 128 entries of
 * 128 bytes in front of it.
 */
#define GPT_ENTRIES_SIZE 16384

static int
look_at_table (struct image *img, struct cut *cut, struct err *err)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_BLOCK struct block *disk = NULL;
  CLEANUP_FS_IDENTITY struct fs_identity fs = { NULL };
  struct block_sizes sizes;
  int r = image_to_block (img, &disk, err);

  if (r < 0)
    return r;
  block_get_sizes (disk, &sizes);
  r = part_read (disk, sizes.logical, &cut->table, &report, err);
  if (r < 0)
    return r;
  if (report.lines.len > 0) {
    cut->doubt = steal_ptr (&report.lines.ptr[0]);
    return 0;
  }
  if (cut->table.scheme != PART_NONE)
    return 0;
  /* Whoever can't look knows of none. */
  if (fs_identify (disk, &fs, NULL) == 0)
    cut->file_system = steal_ptr (&fs.type);
  return 0;
}

/* Where the first byte of buf is that is not 0, or len. */
static size_t
find_data (const uint8_t *buf, size_t len)
{
  size_t i = 0;

  if (len > 0 && buf[0] == 0 && memcmp (buf, buf + 1, len - 1) == 0)
    return len;
  while (i < len && buf[i] == 0)
    i++;
  return i;
}

static int
look_at_data (struct image *img, uint64_t len, uint64_t off, struct cut *cut,
              struct job *job, struct err *err)
{
  CLEANUP_FREE uint8_t *buf = malloc (PIECE);

  if (buf == NULL)
    return err_nomem (err);
  while (len > 0 && cut->is_zero) {
    size_t n = (size_t) min_u64 (len, PIECE), i;
    int r = image_pread (img, buf, n, off, err);

    if (r == 0)
      r = job_advance (job, n, err);
    if (r < 0)
      return r;
    i = find_data (buf, n);
    if (i < n) {
      cut->is_zero = false;
      cut->first = off + i;
    }
    off += n;
    len -= n;
  }
  return 0;
}

static int
look_at_rest (struct image *img, uint64_t off, uint64_t end, struct cut *cut,
              struct job *job, struct err *err)
{
  int r = 0;

  job_start (job, "checking", end - off);
  while (r == 0 && off < end && cut->is_zero) {
    CLEANUP_EXTENT_LIST struct extent_list list = {
      .limit = EXTENTS_AT_ONCE
    };

    r = image_extents (img, end - off, off, &list, err);
    for (size_t i = 0; r == 0 && i < list.v.len && cut->is_zero; ++i) {
      const struct extent *e = &list.v.ptr[i];

      if (e->kind == EXTENT_ZERO || e->kind == EXTENT_HOLE)
        r = job_advance (job, e->len, err);
      else
        r = look_at_data (img, e->len, e->off, cut, job, err);
    }
    off = extent_list_end (&list, off);
  }
  return r;
}

int
cut_look (struct image *img, uint64_t size, struct cut *cut, struct job *job,
          struct err *err)
{
  uint64_t end = image_size (img);
  int r;

  *cut = (struct cut) { .is_zero = true };
  r = look_at_table (img, cut, err);
  if (r < 0 || size == end)
    return r;
  if (cut->table.scheme == PART_GPT)
    end -= min_u64 (end - size, cut->table.sector_size + GPT_ENTRIES_SIZE);
  return look_at_rest (img, size, end, cut, job, err);
}

void
cut_free (struct cut *cut)
{
  part_table_free (&cut->table);
  free (cut->file_system);
  free (cut->doubt);
}

static int
check_partitions (const struct cut *cut, uint64_t size, struct err *err)
{
  for (size_t i = 0; i < cut->table.parts.len; ++i) {
    const struct partition *p = &cut->table.parts.ptr[i];

    if (p->off + p->len > size)
      return err_set (err, -EINVAL, "partition %u ends at offset %" PRIu64
                      ", behind the new end of the disk at %" PRIu64 ": make "
                      "it smaller first, with what is in it", p->number,
                      p->off + p->len, size);
  }
  return 0;
}

int
cut_check (const struct cut *cut, uint64_t size, bool force, struct err *err)
{
  int r = check_partitions (cut, size, err);

  if (r < 0)
    return r;
  if (cut->table.scheme == PART_NONE && cut->doubt)
    return err_set (err, -EINVAL, "where its partitions are can't be known, so "
                    "that it is not made smaller: %.300s", cut->doubt);
  if (cut->table.scheme == PART_NONE && !cut->is_zero)
    return err_set (err, -EINVAL, "there is something at offset %" PRIu64
                    ", behind the new end of the disk at %" PRIu64 ", and no "
                    "partition table says that it is free", cut->first, size);
  if (force)
    return 0;
  if (cut->doubt)
    return err_set (err, -EINVAL, "its partition table may not be what it was: "
                    "%.300s; --shrink makes the disk smaller all the same",
                    cut->doubt);
  if (cut->file_system)
    return err_set (err, -EINVAL, "the disk is a file system (%s), which may "
                    "need all of it; --shrink says that it was made smaller "
                    "before", cut->file_system);
  if (!cut->is_zero)
    return err_set (err, -EINVAL, "there is something at offset %" PRIu64
                    ", behind the last partition and behind the new end of "
                    "the disk at %" PRIu64 "; --shrink cuts it off all the "
                    "same", cut->first, size);
  if (cut->table.scheme == PART_GPT)
    return err_set (err, -EINVAL, "the second copy of its GPT, at the end of "
                    "the disk, would be cut off; --shrink does that, and "
                    "sgdisk -e writes it anew");
  return 0;
}
