/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/block/window.h"
#include "lib/fsmap/identify.h"
#include "lib/fsmap/used.h"
#include "lib/part/part.h"
#include "lib/repo/bad-sectors.h"
#include "lib/repo/manifest-limits.h"
#include "lib/repo/survey.h"

struct survey {
  struct block *disk;
  const struct survey_options *options;
  struct manifest *m;
  struct report *report;
  struct job *job;
  struct part_table table;
  struct fs_used *used;         /* of each partition */
  struct used_partition *parts;
  size_t nr;                    /* so far */
};

static int
copy_text (char **to, const char *from, struct err *err)
{
  if (from == NULL)
    return 0;
  *to = strdup (from);
  return *to != NULL ? 0 : err_nomem (err);
}

/* For whoever runs it, and in the manifest. */
static int __attribute__ ((__format__ (__printf__, 3, 4)))
warn (struct survey *s, struct err *err, const char *fmt, ...)
{
  char *text;
  va_list ap;
  int n;

  va_start (ap, fmt);
  n = vasprintf (&text, fmt, ap);
  va_end (ap);
  if (n < 0)
    return err_nomem (err);
  report_warn (s->report, "%s", text);
  if (vector_append (&s->m->warnings, &text) < 0) {
    free (text);
    return err_nomem (err);
  }
  return 0;
}

/*--- What is in a partition -------------------------------------------------*/

static int
identify (const struct survey *s, struct block *part, struct manifest_fs *fs,
          struct err *err)
{
  CLEANUP_FS_IDENTITY struct fs_identity id = { NULL };
  struct err why = ERR_INIT;
  int r = s->options->damaged ? fs_identify_damaged (part, &id, &why)
    : fs_identify (part, &id, &why);

  /* What can't be told is not told; the bytes are backed up anyway. */
  if (r == -ENOMEM)
    return err_nomem (err);
  if (r < 0)
    return 0;
  r = copy_text (&fs->type, id.type, err);
  if (r == 0)
    r = copy_text (&fs->uuid, id.uuid, err);
  return r < 0 ? r : copy_text (&fs->label, id.label, err);
}

static bool
is_among (const unsigned *numbers, size_t nr, uint64_t n)
{
  for (size_t i = 0; i < nr; ++i)
    if (numbers[i] == n)
      return true;
  return false;
}

static bool
is_chosen (const struct survey *s, uint64_t number)
{
  return s->options->partitions == NULL ||
    is_among (s->options->partitions, s->options->nr_partitions, number);
}

/* What is in it is told all the same: people see what they left out. */
static int
leave_out (struct survey *s, struct manifest_partition *p, struct err *err)
{
  s->parts[s->nr++] = (struct used_partition) {
    .off = p->off, .len = p->len, .is_left_out = true,
  };
  return copy_text (&p->saved, MANIFEST_SAVED_NONE, err);
}

/* Used bytes of what lies there; p is NULL for a disk without a table. */
static int
look (struct survey *s, struct manifest_partition *p, const char *what,
      uint64_t off, uint64_t len, struct err *err)
{
  CLEANUP_BLOCK struct block *part = NULL;
  struct fs_used *used = &s->used[s->nr];
  int r = block_window_new (s->disk, off, len, &part, err);

  if (r == 0 && p != NULL)
    r = identify (s, part, &p->fs, err);
  if (r < 0)
    return r;
  if (p != NULL && !is_chosen (s, p->number))
    return leave_out (s, p, err);
  if (s->options->everything) {
    s->parts[s->nr++] = (struct used_partition) { .off = off, .len = len };
    return p != NULL ? copy_text (&p->saved, "all", err) : 0;
  }
  r = fs_used (part, used, s->job, err);
  if (r < 0)
    return r;
  s->parts[s->nr++] = (struct used_partition) {
    .off = off, .len = len, .map = &used->map,
  };
  if (used->verdict == FS_USED_WHOLE)
    r = warn (s, err, "%s is backed up as a whole: %s", what, used->reason);
  if (p == NULL || r < 0)
    return r;
  if (used->verdict != FS_USED_WHOLE) {
    p->fs.block_size = used->unit;
    p->fs.used = used->bytes;
  }
  return copy_text (&p->saved,
                    used->verdict == FS_USED_WHOLE ? "all" : "used", err);
}

/* Two hex digits, for MBR; GUIDs as they are. */
static int
copy_type (char **to, const char *type, struct err *err)
{
  return copy_text (to, type != NULL && strncmp (type, "0x", 2) == 0 ? type + 2
                    : type, err);
}

static int
add_partition (struct survey *s, const struct partition *p, struct err *err)
{
  struct manifest_partition entry = {
    .number = p->number, .off = p->off, .len = p->len,
  }, *added;
  char what[32];
  int r;

  if (vector_append (&s->m->partitions, &entry) < 0)
    return err_nomem (err);
  added = &s->m->partitions.ptr[s->m->partitions.len - 1];
  r = copy_type (&added->type, p->type, err);
  if (r == 0)
    r = copy_text (&added->id, p->uuid, err);
  if (r == 0)
    r = copy_text (&added->name, p->name, err);
  snprintf (what, sizeof what, "partition %u", p->number);
  return r < 0 ? r : look (s, added, what, p->off, p->len, err);
}

/*--- The table as it is -----------------------------------------------------*/

/* What the disk can't read is left out: of a disk that is dying that is no
 * reason to save nothing.
 */
static int
read_table (struct survey *s, void *buf, size_t len, uint64_t off, bool *got,
            struct err *err)
{
  struct err why = ERR_INIT;
  int r = block_pread (s->disk, buf, len, off, &why);

  *got = r == 0;
  if (bad_sectors_may_be (r))
    return warn (s, err, "the partition table at %" PRIu64 " can't be read, "
                 "and is not in the manifest: %s", off, why.msg);
  if (r < 0 && err != NULL)
    *err = why;
  return r;
}

/* Bytes of the disk, unless they are more than a manifest takes. */
static int
take_bytes (struct survey *s, uint64_t off, uint64_t len, uint8_t **out,
            size_t *out_len, struct err *err)
{
  CLEANUP_FREE uint8_t *bytes = NULL;
  bool got;
  int r;

  if (len == 0 || len > MANIFEST_TABLE_MAX ||
      !range_fits (off, len, block_size (s->disk)))
    return 0;
  bytes = malloc ((size_t) len);
  if (bytes == NULL)
    return err_nomem (err);
  r = read_table (s, bytes, (size_t) len, off, &got, err);
  if (r < 0 || !got)
    return r;
  *out = steal_ptr (&bytes);
  *out_len = (size_t) len;
  return 0;
}

/* UEFI 2.10 §5.3.2: where a header says that its array of entries is. */
struct gpt_array {
  uint64_t off, len;
};

static int
find_array (struct survey *s, uint64_t header, struct gpt_array *array,
            struct err *err)
{
  uint32_t sector = s->table.sector_size;
  uint8_t bytes[92];
  uint64_t len;
  bool got;
  int r;

  *array = (struct gpt_array) { 0, 0 };
  if (!range_fits (header, sizeof bytes, block_size (s->disk)))
    return 0;
  r = read_table (s, bytes, sizeof bytes, header, &got, err);
  if (r < 0 || !got || memcmp (bytes, "EFI PART", 8) != 0)
    return r;
  len = (uint64_t) get_le32 (bytes + 80) * get_le32 (bytes + 84);
  if (get_le64 (bytes + 72) > block_size (s->disk) / sector ||
      len > MANIFEST_TABLE_MAX)
    return 0;
  array->off = get_le64 (bytes + 72) * sector;
  array->len = round_up (len, sector);
  return 0;
}

static int
take_gpt (struct survey *s, struct err *err)
{
  uint32_t sector = s->table.sector_size;
  uint64_t size = round_down (block_size (s->disk), sector);
  struct manifest *m = s->m;
  struct gpt_array first, last;
  int r;

  r = find_array (s, sector, &first, err);
  if (r == 0)
    r = find_array (s, size - sector, &last, err);
  if (r == 0 && first.len > 0)
    r = take_bytes (s, 0, first.off + first.len, &m->table_first,
                    &m->table_first_len, err);
  if (r == 0 && last.len > 0 && last.off < size)
    r = take_bytes (s, last.off, size - last.off, &m->table_last,
                    &m->table_last_len, err);
  return r;
}

static int
take_table (struct survey *s, struct err *err)
{
  const char *kind = part_scheme_to_string (s->table.scheme);
  int r = copy_text (&s->m->table_kind, kind, err);

  if (r == 0)
    r = copy_text (&s->m->table_id, s->table.id, err);
  if (r < 0 || s->table.scheme == PART_NONE)
    return r;
  if (s->table.scheme == PART_GPT)
    return take_gpt (s, err);
  return take_bytes (s, 0, s->table.sector_size, &s->m->table_first,
                     &s->m->table_first_len, err);
}

/*--- Chosen partitions ------------------------------------------------------*/

static int
check_one (const struct survey *s, unsigned n, struct err *err)
{
  for (size_t i = 0; i < s->table.parts.len; ++i) {
    const struct partition *p = &s->table.parts.ptr[i];

    if (p->number == n && p->is_extended)
      return err_set (err, -EINVAL, "partition %u is an extended one: name "
                      "those in it", n);
    if (p->number == n)
      return 0;
  }
  return err_set (err, -EINVAL, "there is no partition %u", n);
}

/* What two partitions have in common would be there or not by which of them is
 * asked.
 */
static int
check_overlap (const struct survey *s, const struct partition *a,
               const struct partition *b, struct err *err)
{
  if (a->is_extended || b->is_extended || !is_chosen (s, a->number) ||
      is_chosen (s, b->number) || a->off >= b->off + b->len ||
      b->off >= a->off + a->len)
    return 0;
  return err_set (err, -EINVAL, "partitions %u and %u overlap: neither can be "
                  "left out without the other", a->number, b->number);
}

/* Nobody gets another choice than the one that was made: where partitions can't
 * be told, it is not the whole disk that is backed up.
 */
static int
check_choice (const struct survey *s, bool lost, struct err *err)
{
  const struct part_table *t = &s->table;
  int r = 0;

  if (s->options->partitions == NULL)
    return 0;
  if (lost)
    return err_set (err, -EINVAL, "its partition table can't be read, so that "
                    "no partition can be chosen: back up all of it");
  if (t->scheme == PART_NONE)
    return err_set (err, -EINVAL, "it has no partitions to choose from");
  for (size_t i = 0; r == 0 && i < s->options->nr_partitions; ++i)
    r = check_one (s, s->options->partitions[i], err);
  for (size_t i = 0; r == 0 && i < t->parts.len; ++i)
    for (size_t k = 0; r == 0 && k < t->parts.len; ++k)
      r = check_overlap (s, &t->parts.ptr[i], &t->parts.ptr[k], err);
  return r;
}

/*----------------------------------------------------------------------------*/

/* *lost: it can't be had, so that nobody knows what is where; least of all what
 * the disk as a whole looks like, by what was on it before.
 */
static int
find_partitions (struct survey *s, bool *lost, struct err *err)
{
  struct err why = ERR_INIT;
  int r;

  /* A CD is what all of it is: the tables of hybrids are about the same bytes,
   * over which there are checksums.
   */
  *lost = false;
  if (s->options->sector_size == PART_DISC_SECTOR)
    return take_table (s, err);
  r = part_read (s->disk, s->options->sector_size, &s->table, s->report, &why);
  *lost = bad_sectors_may_be (r);
  if (*lost)
    return warn (s, err, "the disk is backed up as a whole: its partition "
                 "table can't be read: %s", why.msg);
  if (r == 0 && s->table.is_lost) {
    *lost = true;
    return warn (s, err, "the disk is backed up as a whole: its MBR names a "
                 "GPT, but there is no usable one");
  }
  if (r < 0 && err != NULL)
    *err = why;
  return r < 0 ? r : take_table (s, err);
}

static int
survey (struct survey *s, struct used_map *used, struct err *err)
{
  const uint64_t size = block_size (s->disk);
  bool lost;
  size_t n;
  int r;

  r = find_partitions (s, &lost, err);
  if (r == 0)
    r = check_choice (s, lost, err);
  if (r < 0)
    return r;
  n = s->table.parts.len;
  s->used = calloc (n + 1, sizeof *s->used);
  s->parts = calloc (n + 1, sizeof *s->parts);
  if (s->used == NULL || s->parts == NULL)
    return err_nomem (err);
  if (lost)
    s->parts[s->nr++] = (struct used_partition) { .len = size };
  else if (s->table.scheme == PART_NONE)
    r = look (s, NULL, "the disk", 0, size, err);
  for (size_t i = 0; r == 0 && i < n; ++i)
    /* An extended one has no data but its tables, which are in gaps. */
    if (!s->table.parts.ptr[i].is_extended)
      r = add_partition (s, &s->table.parts.ptr[i], err);
  return r < 0 ? r
    : used_disk_map (size, s->parts, s->nr, used, err);
}

int
survey_disk (struct block *disk, const struct survey_options *options,
             struct manifest *m, struct used_map *used, struct report *report,
             struct job *job, struct err *err)
{
  struct survey s = {
    .disk = disk, .options = options, .m = m, .report = report, .job = job,
  };
  int r = survey (&s, used, err);

  for (size_t i = 0; i < s.nr; ++i)
    fs_used_free (&s.used[i]);
  free (s.used);
  free (s.parts);
  part_table_free (&s.table);
  return r;
}
