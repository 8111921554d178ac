/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Writing an undo file, front to back; its header last, and its name after
 * that (lib/base/newfile.h).
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/crc32c.h"
#include "lib/base/fdio.h"
#include "lib/base/newfile.h"
#include "lib/block/file.h"
#include "lib/format/undo-disk.h"
#include "lib/format/undo.h"

struct record {
  uint64_t off, len;
  uint32_t step, flags;
  uint64_t old, new;            /* offsets in the undo file */
  uint32_t old_sum, new_sum;
};

DEFINE_VECTOR (record_vector, struct record);

struct writer {
  struct block *block;
  const struct repair_plan *plan;
  struct job *job;
  struct new_file file;
  uint64_t at;                  /* where the next bytes go */
  struct record_vector records;
  struct file_ranges regions;
  uint8_t *old, *new;           /* a piece */
};

/* The step that is being recorded, and what becomes of its bytes. */
struct change {
  const struct repair_step *step;
  uint32_t number;
  uint32_t flags;               /* UNDO_NEW_*; 0: other bytes */
};

/*--- Records ----------------------------------------------------------------*/

/* Zeros that follow zeros make one record. */
static int
add_record (struct writer *w, const struct record *record, struct err *err)
{
  struct record *last =
    w->records.len > 0 ? &w->records.ptr[w->records.len - 1] : NULL;

  if (last && last->step == record->step && last->flags == record->flags &&
      last->off + last->len == record->off &&
      (record->flags & (UNDO_OLD_ZERO | UNDO_OLD_ABSENT)) != 0 &&
      (record->flags & (UNDO_NEW_ZERO | UNDO_NEW_ABSENT)) != 0) {
    last->len += record->len;
    return 0;
  }
  return vector_append (&w->records, record) < 0 ? err_nomem (err) : 0;
}

static int
put_bytes (struct writer *w, const uint8_t *bytes, size_t len, uint64_t *at,
           uint32_t *sum, struct err *err)
{
  int r = fd_pwrite (w->file.fd, bytes, len, w->at, err);

  *at = w->at;
  *sum = crc32c_update (0, bytes, len);
  w->at += len;
  return r;
}

static bool
is_zero (const uint8_t *p, size_t len)
{
  return p[0] == 0 && memcmp (p, p + 1, len - 1) == 0;
}

static int
read_new (struct writer *w, const struct change *c, size_t len, uint64_t off,
          struct err *err)
{
  if (c->step->kind == REPAIR_COPY)
    return block_pread (w->plan->source, w->new, len, off, err);
  memcpy (w->new, c->step->bytes + (off - c->step->off), len);
  return 0;
}

/* At most UNDO_PIECE bytes, all of them in front of the end of the file or
 * all behind it.
 */
static int
record_piece (struct writer *w, const struct change *c, size_t len,
              uint64_t off, struct err *err)
{
  struct record record = {
    .off = off, .len = len, .step = c->number, .flags = c->flags,
  };
  int r = 0;

  if (off >= w->plan->old_size)
    record.flags |= UNDO_OLD_ABSENT;
  else {
    r = block_pread (w->block, w->old, len, off, err);
    if (r == 0 && is_zero (w->old, len))
      record.flags |= UNDO_OLD_ZERO;
    else if (r == 0)
      r = put_bytes (w, w->old, len, &record.old, &record.old_sum, err);
  }
  if (r == 0 && c->flags == 0)
    r = read_new (w, c, len, off, err);
  if (r == 0 && c->flags == 0)
    r = put_bytes (w, w->new, len, &record.new, &record.new_sum, err);
  if (r == 0)
    r = add_record (w, &record, err);
  return r < 0 ? r : job_advance (w->job, len, err);
}

static int
record_hole (struct writer *w, const struct change *c, uint64_t len,
             uint64_t off, struct err *err)
{
  const struct record record = {
    .off = off, .len = len, .step = c->number,
    .flags = c->flags | UNDO_OLD_ZERO,
  };
  int r = add_record (w, &record, err);

  return r < 0 ? r : job_advance (w->job, len, err);
}

static int
record_pieces (struct writer *w, const struct change *c, uint64_t len,
               uint64_t off, struct err *err)
{
  int r = 0;

  for (uint64_t done = 0; r == 0 && done < len; done += UNDO_PIECE)
    r = record_piece (w, c, (size_t) min_u64 (UNDO_PIECE, len - done),
                      off + done, err);
  return r;
}

/* What becomes zero, or is cut off, may be large and a hole for the most. */
static int
record_sparse (struct writer *w, const struct change *c, uint64_t len,
               uint64_t off, struct err *err)
{
  uint64_t end = off + len;
  int r = 0;

  while (r == 0 && off < end) {
    CLEANUP_EXTENT_LIST struct extent_list list = { .limit = 1000 };

    r = block_extents (w->block, end - off, off, &list, err);
    for (size_t i = 0; r == 0 && i < list.v.len; ++i) {
      const struct extent *e = &list.v.ptr[i];

      r = e->kind == EXTENT_HOLE ? record_hole (w, c, e->len, e->off, err)
                                 : record_pieces (w, c, e->len, e->off, err);
    }
    off = extent_list_end (&list, off);
  }
  return r;
}

static int
record_range (struct writer *w, const struct change *c, uint64_t len,
              uint64_t off, struct err *err)
{
  uint64_t size = w->plan->old_size;
  uint64_t has = off < size ? min_u64 (len, size - off) : 0;
  int r = 0;

  if (has > 0)
    r = c->flags ? record_sparse (w, c, has, off, err)
                 : record_pieces (w, c, has, off, err);
  return r == 0 && has < len ? record_pieces (w, c, len - has, off + has, err)
                             : r;
}

static int
record_step (struct writer *w, uint32_t number, struct err *err)
{
  const struct repair_step *step = &w->plan->steps.ptr[number];
  struct change c = { step, number, 0 };

  switch (step->kind) {
  case REPAIR_WRITE:
  case REPAIR_COPY:
    break;
  case REPAIR_ZERO:
  case REPAIR_PUNCH:
    c.flags = UNDO_NEW_ZERO;
    break;
  case REPAIR_RESIZE:
    c.flags = UNDO_NEW_ABSENT;
    return step->off >= w->plan->old_size ? 0
      : record_range (w, &c, w->plan->old_size - step->off, step->off, err);
  }
  return record_range (w, &c, step->len, step->off, err);
}

/*--- Regions ----------------------------------------------------------------*/

/* What of [off, end) no step from number `from' on changes.  One that is in
 * the midst cuts it in two; steps are mostly in order, so that there is little
 * to do for what is in front of one.
 */
static int
add_untouched (struct writer *w, uint64_t off, uint64_t end, size_t from,
               struct err *err)
{
  struct file_range range;

  if (off >= end)
    return 0;
  for (size_t i = from; i < w->plan->steps.len; ++i) {
    const struct repair_step *s = &w->plan->steps.ptr[i];
    uint64_t s_end = s->kind == REPAIR_RESIZE ? UINT64_MAX : s->off + s->len;
    int r;

    if (s->off >= end || s_end <= off)
      continue;
    r = add_untouched (w, off, max_u64 (s->off, off), i + 1, err);
    if (r < 0 || s_end >= end)
      return r;
    off = s_end;
  }
  range = (struct file_range) { off, end - off };
  return vector_append (&w->regions, &range) < 0 ? err_nomem (err) : 0;
}

static int
sum_region (struct writer *w, const struct file_range *range, uint32_t *sum,
            struct err *err)
{
  int r = 0;

  *sum = 0;
  for (uint64_t done = 0; r == 0 && done < range->len; done += UNDO_PIECE) {
    size_t n = (size_t) min_u64 (UNDO_PIECE, range->len - done);

    r = block_pread (w->block, w->old, n, range->off + done, err);
    if (r == 0)
      *sum = crc32c_update (*sum, w->old, n);
    if (r == 0)
      r = job_check (w->job, err);
  }
  return r;
}

/*--- Tables and header ------------------------------------------------------*/

static int
write_regions (struct writer *w, uint64_t *at, uint32_t *table_sum,
               struct err *err)
{
  size_t len = w->regions.len * UNDO_REGION_SIZE;
  CLEANUP_FREE uint8_t *table = calloc (1, len + 1);
  int r = 0;

  if (table == NULL)
    return err_nomem (err);
  for (size_t i = 0; r == 0 && i < w->regions.len; ++i) {
    const struct file_range *range = &w->regions.ptr[i];
    uint8_t *p = table + i * UNDO_REGION_SIZE;
    uint32_t sum;

    r = sum_region (w, range, &sum, err);
    if (r < 0)
      return r;
    put_le64 (p + UNDO_REGION_OFF, range->off);
    put_le64 (p + UNDO_REGION_LEN, range->len);
    put_le32 (p + UNDO_REGION_SUM, sum);
  }
  return put_bytes (w, table, len, at, table_sum, err);
}

static int
write_records (struct writer *w, uint64_t *at, uint32_t *table_sum,
               struct err *err)
{
  size_t len = w->records.len * UNDO_RECORD_SIZE;
  CLEANUP_FREE uint8_t *table = calloc (1, len + 1);

  if (table == NULL)
    return err_nomem (err);
  for (size_t i = 0; i < w->records.len; ++i) {
    const struct record *record = &w->records.ptr[i];
    uint8_t *p = table + i * UNDO_RECORD_SIZE;

    put_le64 (p + UNDO_RECORD_OFF, record->off);
    put_le64 (p + UNDO_RECORD_LEN, record->len);
    put_le32 (p + UNDO_RECORD_STEP, record->step);
    put_le32 (p + UNDO_RECORD_FLAGS, record->flags);
    put_le64 (p + UNDO_RECORD_OLD, record->old);
    put_le64 (p + UNDO_RECORD_NEW, record->new);
    put_le32 (p + UNDO_RECORD_OLD_SUM, record->old_sum);
    put_le32 (p + UNDO_RECORD_NEW_SUM, record->new_sum);
  }
  return put_bytes (w, table, len, at, table_sum, err);
}

static void
put_name (uint8_t *header, const char *path)
{
  const char *slash = strrchr (path, '/');
  const char *name = slash ? slash + 1 : path;

  memcpy (header + UNDO_AT_NAME, name, strnlen (name, UNDO_NAME_SIZE - 1));
}

static int
write_tables (struct writer *w, const char *format, struct err *err)
{
  uint8_t h[UNDO_HEADER_SIZE] = { 0 };
  uint64_t regions = 0, records = 0;
  uint32_t regions_sum = 0, records_sum = 0;
  int r = write_regions (w, &regions, &regions_sum, err);

  if (r == 0)
    r = write_records (w, &records, &records_sum, err);
  if (r < 0)
    return r;
  memcpy (h, UNDO_MAGIC, UNDO_MAGIC_SIZE);
  put_le32 (h + UNDO_AT_VERSION, UNDO_VERSION);
  put_le64 (h + UNDO_AT_FILE_SIZE, w->at);
  put_le64 (h + UNDO_AT_OLD_SIZE, w->plan->old_size);
  put_le64 (h + UNDO_AT_NEW_SIZE, w->plan->new_size);
  put_le64 (h + UNDO_AT_TIME, (uint64_t) time (NULL));
  put_le64 (h + UNDO_AT_NR_REGIONS, w->regions.len);
  put_le64 (h + UNDO_AT_REGIONS, regions);
  put_le32 (h + UNDO_AT_REGIONS_SUM, regions_sum);
  put_le32 (h + UNDO_AT_RECORDS_SUM, records_sum);
  put_le64 (h + UNDO_AT_NR_RECORDS, w->records.len);
  put_le64 (h + UNDO_AT_RECORDS, records);
  memcpy (h + UNDO_AT_FORMAT, format, strnlen (format, UNDO_FORMAT_SIZE - 1));
  put_name (h, block_name (w->block));
  put_le32 (h + UNDO_AT_SUM, crc32c_update (0, h, sizeof h));
  return fd_pwrite (w->file.fd, h, sizeof h, 0, err);
}

/*--- The file ---------------------------------------------------------------*/

static uint64_t
bytes_to_record (const struct repair_plan *plan)
{
  uint64_t sum = 0;

  for (size_t i = 0; i < plan->steps.len; ++i) {
    const struct repair_step *s = &plan->steps.ptr[i];

    sum += s->kind != REPAIR_RESIZE ? s->len
      : s->off < plan->old_size ? plan->old_size - s->off : 0;
  }
  return sum;
}

static int
write_all (struct writer *w, struct err *err)
{
  const struct repair_plan *plan = w->plan;
  int r = 0;

  job_start (w->job, "saving what will be changed", bytes_to_record (plan));
  for (size_t i = 0; r == 0 && i < plan->steps.len; ++i)
    r = record_step (w, (uint32_t) i, err);
  for (size_t i = 0; r == 0 && i < plan->identity.len; ++i) {
    const struct file_range *range = &plan->identity.ptr[i];

    r = add_untouched (w, range->off, range->off + range->len, 0, err);
  }
  return r < 0 ? r : write_tables (w, plan->format, err);
}

/* Whoever may not read the image may not read what was in it either. */
static int
set_mode (struct writer *w, struct err *err)
{
  int fd = block_file_fd (w->block);
  mode_t mode = S_IRUSR | S_IWUSR;
  struct stat st;

  if (fd >= 0 && fstat (fd, &st) == 0)
    mode |= st.st_mode & (S_IRGRP | S_IROTH);
  return fchmod (w->file.fd, mode) < 0 ? err_sys (err, "can't be protected")
                                       : 0;
}

int
undo_write (struct block *block, const struct repair_plan *plan,
            const char *path, struct job *job, struct err *err)
{
  CLEANUP_FREE uint8_t *old = malloc (UNDO_PIECE), *new = malloc (UNDO_PIECE);
  struct writer w = {
    .block = block,
    .plan = plan,
    .job = job,
    .file = NEW_FILE_INIT,
    .at = UNDO_HEADER_SIZE,
    .old = old,
    .new = new,
  };
  int r;

  if (old == NULL || new == NULL)
    return err_nomem (err);
  r = new_file_open (path, &w.file, err);
  if (r == 0)
    r = set_mode (&w, err);
  if (r == 0)
    r = write_all (&w, err);
  if (r == 0)
    r = new_file_commit (&w.file, err);
  new_file_close (&w.file);
  vector_free (&w.records);
  vector_free (&w.regions);
  return r;
}
