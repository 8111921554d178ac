/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Reading an undo file, and putting everything back.  docs/UNDO.md tells the
 * order, and that a crash at any point leaves an image that can be reverted
 * again.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/crc32c.h"
#include "lib/block/file.h"
#include "lib/format/undo-disk.h"
#include "lib/format/undo.h"

#define SECTOR 512

struct undo {
  struct block *file;
  struct job *job;
  uint64_t old_size, new_size;
  uint8_t *regions, *records;   /* their tables */
  uint64_t nr_regions, nr_records;
  uint8_t *old, *new, *now;     /* pieces */
};

struct record {
  uint64_t off, len;
  uint32_t step, flags;
  uint64_t old, new;
  uint32_t old_sum, new_sum;
};

static void
close_undo (struct undo *u)
{
  block_unref (u->file);
  free (u->regions);
  free (u->records);
  free (u->old);
  free (u->new);
  free (u->now);
}

static void
get_record (const struct undo *u, uint64_t i, struct record *record)
{
  const uint8_t *p = u->records + i * UNDO_RECORD_SIZE;

  record->off = get_le64 (p + UNDO_RECORD_OFF);
  record->len = get_le64 (p + UNDO_RECORD_LEN);
  record->step = get_le32 (p + UNDO_RECORD_STEP);
  record->flags = get_le32 (p + UNDO_RECORD_FLAGS);
  record->old = get_le64 (p + UNDO_RECORD_OLD);
  record->new = get_le64 (p + UNDO_RECORD_NEW);
  record->old_sum = get_le32 (p + UNDO_RECORD_OLD_SUM);
  record->new_sum = get_le32 (p + UNDO_RECORD_NEW_SUM);
}

static bool
has_old (const struct record *record)
{
  return (record->flags & (UNDO_OLD_ZERO | UNDO_OLD_ABSENT)) == 0;
}

static bool
has_new (const struct record *record)
{
  return (record->flags & (UNDO_NEW_ZERO | UNDO_NEW_ABSENT)) == 0;
}

/*--- The undo file ----------------------------------------------------------*/

static int
damaged (struct err *err, const char *what)
{
  return err_set (err, -EBADMSG, "the undo file is damaged: %s", what);
}

static int
check_header (struct undo *u, uint8_t h[UNDO_HEADER_SIZE], struct err *err)
{
  uint32_t stored = get_le32 (h + UNDO_AT_SUM);

  if (memcmp (h, UNDO_MAGIC, UNDO_MAGIC_SIZE) != 0)
    return err_set (err, -EBADMSG, "it is no undo file");
  if (get_le32 (h + UNDO_AT_VERSION) != UNDO_VERSION)
    return err_set (err, -ENOTSUP, "the undo file has version %" PRIu32 ", "
                    "expected %d", get_le32 (h + UNDO_AT_VERSION),
                    UNDO_VERSION);
  put_le32 (h + UNDO_AT_SUM, 0);
  if (crc32c_update (0, h, UNDO_HEADER_SIZE) != stored)
    return damaged (err, "the checksum of its header is wrong");
  if (get_le64 (h + UNDO_AT_FILE_SIZE) != block_size (u->file))
    return damaged (err, "its size is another");
  u->old_size = get_le64 (h + UNDO_AT_OLD_SIZE);
  u->new_size = get_le64 (h + UNDO_AT_NEW_SIZE);
  u->nr_regions = get_le64 (h + UNDO_AT_NR_REGIONS);
  u->nr_records = get_le64 (h + UNDO_AT_NR_RECORDS);
  return 0;
}

static int
read_table (struct undo *u, uint64_t off, uint64_t nr, size_t size,
            uint32_t sum, uint8_t **out, struct err *err)
{
  uint64_t len;
  int r;

  if (!checked_mul (nr, (uint64_t) size, &len) ||
      !range_fits (off, len, block_size (u->file)))
    return damaged (err, "a table is not in it");
  *out = malloc (len + 1);
  if (*out == NULL)
    return err_nomem (err);
  r = block_pread (u->file, *out, len, off, err);
  if (r == 0 && crc32c_update (0, *out, len) != sum)
    return damaged (err, "the checksum of a table is wrong");
  return r;
}

/* Bytes before or after, with their checksum. */
static int
read_bytes (struct undo *u, uint8_t *buf, uint64_t len, uint64_t off,
            uint32_t sum, struct err *err)
{
  int r = block_pread (u->file, buf, len, off, err);

  if (r == 0 && crc32c_update (0, buf, len) != sum)
    return damaged (err, "the checksum of bytes in it is wrong");
  return r;
}

static int
check_record (struct undo *u, const struct record *record, struct err *err)
{
  uint64_t size = block_size (u->file);
  int r = 0;

  if ((record->flags & ~UNDO_FLAGS) != 0 ||
      !range_fits (record->off, record->len, INT64_MAX) || record->len == 0)
    return damaged (err, "a record can't be");
  if ((has_old (record) || has_new (record)) && record->len > UNDO_PIECE)
    return damaged (err, "a record is too large");
  if ((has_old (record) && !range_fits (record->old, record->len, size)) ||
      (has_new (record) && !range_fits (record->new, record->len, size)))
    return damaged (err, "the bytes of a record are not in it");
  if (has_old (record))
    r = read_bytes (u, u->old, record->len, record->old, record->old_sum,
                    err);
  if (r == 0 && has_new (record))
    r = read_bytes (u, u->new, record->len, record->new, record->new_sum,
                    err);
  return r;
}

static int
open_undo (struct undo *u, const char *path, struct err *err)
{
  uint8_t h[UNDO_HEADER_SIZE];
  struct record record;
  int r = block_file_open (path, 0, &u->file, NULL, err);

  if (r < 0)
    return r;
  if (block_size (u->file) < sizeof h)
    return err_set (err, -EBADMSG, "it is no undo file");
  u->old = malloc (UNDO_PIECE);
  u->new = malloc (UNDO_PIECE);
  u->now = malloc (UNDO_PIECE);
  if (u->old == NULL || u->new == NULL || u->now == NULL)
    return err_nomem (err);
  r = block_pread (u->file, h, sizeof h, 0, err);
  if (r == 0)
    r = check_header (u, h, err);
  if (r == 0)
    r = read_table (u, get_le64 (h + UNDO_AT_REGIONS), u->nr_regions,
                    UNDO_REGION_SIZE, get_le32 (h + UNDO_AT_REGIONS_SUM),
                    &u->regions, err);
  if (r == 0)
    r = read_table (u, get_le64 (h + UNDO_AT_RECORDS), u->nr_records,
                    UNDO_RECORD_SIZE, get_le32 (h + UNDO_AT_RECORDS_SUM),
                    &u->records, err);
  job_start (u->job, "checking the undo file", 0);
  for (uint64_t i = 0; r == 0 && i < u->nr_records; ++i) {
    get_record (u, i, &record);
    r = check_record (u, &record, err);
    if (r == 0)
      r = job_check (u->job, err);
  }
  return r;
}

/*--- Is it the image? -------------------------------------------------------*/

static int
changed (struct err *err, uint64_t off)
{
  return err_set (err, -ESTALE, "what is at offset %" PRIu64 " is neither as "
                  "before the repair nor as after it: the image was changed "
                  "since, or is another one", off);
}

static int
check_region (struct undo *u, struct block *block, uint64_t i,
              struct err *err)
{
  const uint8_t *p = u->regions + i * UNDO_REGION_SIZE;
  uint64_t off = get_le64 (p + UNDO_REGION_OFF);
  uint64_t len = get_le64 (p + UNDO_REGION_LEN);
  uint32_t sum = 0;
  int r = 0;

  if (!range_fits (off, len, block_size (block)))
    return changed (err, off);
  for (uint64_t done = 0; r == 0 && done < len; done += UNDO_PIECE) {
    size_t n = (size_t) min_u64 (UNDO_PIECE, len - done);

    r = block_pread (block, u->now, n, off + done, err);
    if (r == 0)
      sum = crc32c_update (sum, u->now, n);
    if (r == 0)
      r = job_check (u->job, err);
  }
  if (r == 0 && sum != get_le32 (p + UNDO_REGION_SUM))
    return changed (err, off);
  return r;
}

/* Zeros are as good as nothing, and what a crash may leave of it. */
static bool
zeros_will_do (const struct record *record)
{
  return !has_old (record) || !has_new (record);
}

static bool
is_zero (const uint8_t *p, size_t len)
{
  return p[0] == 0 && memcmp (p, p + 1, len - 1) == 0;
}

/* u->old and u->new have the bytes of the record, as far as there are some;
 * u->now has those of the image, n of them from skip on.
 */
static int
compare_piece (struct undo *u, const struct record *record, uint64_t skip,
               size_t n, struct err *err)
{
  for (size_t done = 0; done < n;) {
    uint64_t off = record->off + skip + done;
    size_t len = (size_t) min_u64 (SECTOR - off % SECTOR, n - done);
    const uint8_t *now = u->now + done;

    if (!(has_old (record) && memcmp (now, u->old + skip + done, len) == 0) &&
        !(has_new (record) && memcmp (now, u->new + skip + done, len) == 0) &&
        !(zeros_will_do (record) && is_zero (now, len)))
      return changed (err, off);
    done += len;
  }
  return 0;
}

static int
compare_range (struct undo *u, struct block *block,
               const struct record *record, uint64_t skip, uint64_t len,
               struct err *err)
{
  int r = 0;

  for (uint64_t done = 0; r == 0 && done < len; done += UNDO_PIECE) {
    size_t n = (size_t) min_u64 (UNDO_PIECE, len - done);

    r = block_pread (block, u->now, n, record->off + skip + done, err);
    if (r == 0)
      r = compare_piece (u, record, skip + done, n, err);
    if (r == 0)
      r = job_check (u->job, err);
  }
  return r;
}

/* As far as the image has it now.  Holes are not read where zeros will do. */
static int
compare_record (struct undo *u, struct block *block,
                const struct record *record, struct err *err)
{
  uint64_t size = block_size (block), off = record->off;
  uint64_t end = min_u64 (record->off + record->len, size);
  int r = check_record (u, record, err);

  while (r == 0 && off < end) {
    CLEANUP_EXTENT_LIST struct extent_list list = { .limit = 1000 };

    if (!zeros_will_do (record))
      return compare_range (u, block, record, 0, end - off, err);
    r = block_extents (block, end - off, off, &list, err);
    for (size_t i = 0; r == 0 && i < list.v.len; ++i)
      if (list.v.ptr[i].kind != EXTENT_HOLE)
        r = compare_range (u, block, record,
                           list.v.ptr[i].off - record->off,
                           list.v.ptr[i].len, err);
    off = extent_list_end (&list, off);
  }
  return r;
}

static int
check_image (struct undo *u, struct block *block, struct err *err)
{
  uint64_t size = block_size (block);
  struct record record;
  int r = 0;

  if (size < min_u64 (u->old_size, u->new_size) ||
      size > max_u64 (u->old_size, u->new_size))
    return err_set (err, -ESTALE, "the image has %" PRIu64 " bytes, expected "
                    "%" PRIu64 " or %" PRIu64 " as before or after the "
                    "repair: it was changed since, or is another one", size,
                    u->old_size, u->new_size);
  if (u->old_size != u->new_size && !block_can_resize (block))
    return err_set (err, -ENOTSUP, "the size of the image can't be changed");
  job_start (u->job, "comparing", 0);
  for (uint64_t i = 0; r == 0 && i < u->nr_regions; ++i)
    r = check_region (u, block, i, err);
  for (uint64_t i = 0; r == 0 && i < u->nr_records; ++i) {
    get_record (u, i, &record);
    r = compare_record (u, block, &record, err);
  }
  return r;
}

/*--- Putting it back --------------------------------------------------------*/

static int
put_back (struct undo *u, struct block *block, const struct record *record,
          struct err *err)
{
  int r = 0;

  if (record->flags & UNDO_OLD_ABSENT)
    return 0;                   /* the file becomes shorter in the end */
  if (!range_fits (record->off, record->len, block_size (block)))
    r = block_resize (block, u->old_size, err);
  if (r < 0)
    return r;
  if (record->flags & UNDO_OLD_ZERO)
    return block_zero (block, record->len, record->off, 0, err);
  r = check_record (u, record, err);
  return r < 0 ? r : block_pwrite (block, u->old, record->len, record->off, 0,
                                   err);
}

/* Of the records that are cut off, or of the others, the last first. */
static int
put_some_back (struct undo *u, struct block *block, bool cut_off,
               struct err *err)
{
  bool is_first = true;
  uint32_t step = 0;
  int r = 0;

  for (uint64_t i = u->nr_records; r == 0 && i > 0; --i) {
    struct record record;

    get_record (u, i - 1, &record);
    if (((record.flags & UNDO_NEW_ABSENT) != 0) != cut_off)
      continue;
    if (!is_first && record.step != step)
      r = block_flush (block, err);
    if (r == 0)
      r = put_back (u, block, &record, err);
    is_first = false;
    step = record.step;
  }
  return r < 0 ? r : block_flush (block, err);
}

/* While the end is put back that is cut off, what is at the old end may be
 * nothing, and must not be needed: what was mended elsewhere still is.
 */
static int
put_all_back (struct undo *u, struct block *block, struct err *err)
{
  int r;

  job_start (u->job, "reverting", 0);
  r = put_some_back (u, block, true, err);
  if (r == 0)
    r = put_some_back (u, block, false, err);
  if (r == 0 && block_size (block) != u->old_size)
    r = block_resize (block, u->old_size, err);
  return r < 0 ? r : block_flush (block, err);
}

int
undo_revert (struct block *block, const char *path, struct job *job,
             struct err *err)
{
  struct undo u = { .job = job };
  int r = open_undo (&u, path, err);

  if (r < 0)
    err_in (err, "%s", path);
  if (r == 0)
    r = check_image (&u, block, err);
  if (r == 0)
    r = put_all_back (&u, block, err);
  close_undo (&u);
  return r;
}
