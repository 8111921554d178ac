/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "lib/restore/plan.h"

#define MAX_NUMBER 100000       /* of a partition */

/*--- What was typed ---------------------------------------------------------*/

static bool
parse_number (const char **p, unsigned *n)
{
  unsigned long value;
  char *end;

  if (**p < '0' || **p > '9')
    return false;
  errno = 0;
  value = strtoul (*p, &end, 10);
  if (errno != 0 || value == 0 || value > MAX_NUMBER)
    return false;
  *n = (unsigned) value;
  *p = end;
  return true;
}

static bool
parse_choice (const char **p, struct restore_choice *choice)
{
  *choice = (struct restore_choice) { .said = false };
  if (!parse_number (p, &choice->from))
    return false;
  choice->to = choice->from;
  if (**p != ':')
    return true;
  ++*p;
  choice->said = true;
  return parse_number (p, &choice->to);
}

static int
check_twice (const struct restore_choices *choices, unsigned to,
             struct err *err)
{
  for (size_t i = 0; i < choices->len; ++i)
    if (choices->ptr[i].to == to)
      return err_set (err, -EINVAL, "two partitions can't go to partition %u",
                      to);
  return 0;
}

int
restore_choices_parse (const char *text, struct restore_choices *choices,
                       struct err *err)
{
  struct restore_choices list = VECTOR_INIT;
  const char *p = text;
  int r = 0;

  do {
    struct restore_choice choice;

    if (!parse_choice (&p, &choice) || (*p != ',' && *p != '\0'))
      r = err_set (err, -EINVAL, "‘%s’ names no partitions; expected 2, or "
                   "2:3 for the image's second onto the target's third, or "
                   "several with commas", text);
    if (r == 0)
      r = check_twice (&list, choice.to, err);
    if (r == 0 && vector_append (&list, &choice) < 0)
      r = err_nomem (err);
  } while (r == 0 && *p++ == ',');
  if (r < 0) {
    vector_free (&list);
    return r;
  }
  *choices = list;
  return 0;
}

/*--- All of the disk --------------------------------------------------------*/

static int
refuse_size (const char *what, uint64_t has, const char *from, uint64_t needs,
             struct err *err)
{
  char a[SIZE_STRING_SIZE], b[SIZE_STRING_SIZE];

  return err_set (err, -ENOSPC, "%s has %s (%" PRIu64 " bytes), and %s of the "
                  "image has %s (%" PRIu64 " bytes): %" PRIu64 " bytes are "
                  "missing", what, size_to_string (has, a), has, from,
                  size_to_string (needs, b), needs, needs - has);
}

static int
check_sectors (const struct restore_disk *from, const struct restore_disk *to,
               struct err *err)
{
  const struct part_table *table = &from->contents->table;
  bool has_table = table->scheme != PART_NONE;
  uint32_t size = has_table ? table->sector_size : from->sector_size;

  if (size == 0 || to->sector_size == 0 || size == to->sector_size)
    return 0;
  /* A file system gets on with sectors that are smaller than its own. */
  if (!has_table && (!to->is_device || to->sector_size < size))
    return 0;
  return err_set (err, -ENOTSUP, "has sectors of %" PRIu32 " bytes, and the "
                  "image is of a disk with sectors of %" PRIu32 ": tables and "
                  "file systems would not be understood", to->sector_size,
                  size);
}

static int
check_whole (const struct restore_disk *from, const struct restore_disk *to,
             struct err *err)
{
  if (to->partition != 0 && from->contents->table.scheme != PART_NONE)
    return err_set (err, -EINVAL, "is partition %u of a disk, and the image is "
                    "of a disk with partitions of its own: name the disk, or "
                    "one of these with --partition", to->partition);
  if (to->size < from->size)
    return refuse_size ("it", to->size, "the disk", from->size, err);
  return check_sectors (from, to, err);
}

static int
plan_whole (const struct restore_disk *from, const struct restore_disk *to,
            struct restore_plan *plan, struct report *report, struct err *err)
{
  const struct part_table *table = &from->contents->table;
  struct restore_step step = { .len = from->size, .size = to->size };
  int r = check_whole (from, to, err);

  if (r < 0)
    return r;
  if (vector_append (&plan->steps, &step) < 0)
    return err_nomem (err);
  if (table->is_lost)
    report_warn (report, "the image has a GPT of which no copy is good: it is "
                 "restored as it is");
  if (table->scheme != PART_GPT || from->is_optical ||
      to->size / table->sector_size == from->size / table->sector_size)
    return 0;
  r = gpt_move_end (from->block, table->sector_size, to->size, &plan->patches,
                    err);
  return r < 0 ? err_in (err, "moving the second copy of the GPT to the end of "
                         "the target") : 0;
}

/*--- Partitions -------------------------------------------------------------*/

static int
find_from (const struct restore_disk *from, unsigned n,
           const struct partition **part, size_t *i, struct err *err)
{
  if (from->contents->table.scheme == PART_NONE)
    return err_set (err, -EINVAL, "the image has no partitions: leave out "
                    "--partition");
  *part = restore_contents_find (from->contents, n, i);
  return *part ? 0 : err_set (err, -EINVAL, "the image has no partition %u",
                              n);
}

/* What a damaged table says of two partitions, or of one and itself: nobody
 * agreed to losing that.
 */
static int
check_place (const struct part_table *table, const struct partition *part,
             struct err *err)
{
  if (part->off < table->sector_size)
    return err_set (err, -EINVAL, "partition %u of it begins where its table "
                    "is", part->number);
  for (size_t i = 0; i < table->parts.len; ++i) {
    const struct partition *other = &table->parts.ptr[i];

    if (other != part && !other->is_extended &&
        part->off < other->off + other->len &&
        other->off < part->off + part->len)
      return err_set (err, -EINVAL, "partitions %u and %u of it overlap",
                      part->number, other->number);
  }
  return 0;
}

/* A place on the target: a partition of it, or all of it if that is what a
 * partition may lie in.
 */
static int
find_to (const struct restore_disk *to, const struct restore_choice *choice,
         size_t nr_choices, struct restore_step *step, struct err *err)
{
  bool table = to->contents && to->contents->table.scheme != PART_NONE;
  const struct partition *part;
  size_t i;

  if (!table && !choice->said && nr_choices == 1 &&
      (to->partition != 0 || !to->is_device)) {
    step->size = to->size;
    return 0;
  }
  if (!table)
    return err_set (err, -EINVAL, "has no partition table, and none is made: "
                    "its partitions have to be there");
  part = restore_contents_find (to->contents, choice->to, &i);
  if (part == NULL)
    return err_set (err, -EINVAL, "has no partition %u", choice->to);
  step->to = choice->to;
  step->to_off = part->off;
  step->size = part->len;
  return check_place (&to->contents->table, part, err);
}

/* What starts from a BIOS says in its boot sector where it lies. */
static void
warn_of_moving (const struct restore_step *step, const struct fs_identity *fs,
                struct report *report)
{
  if (fs->type == NULL || step->from_off == step->to_off ||
      (strcmp (fs->type, "ntfs") != 0 && strcmp (fs->type, "vfat") != 0 &&
       strcmp (fs->type, "exfat") != 0))
    return;
  report_warn (report, "partition %u begins at another place than on the "
               "image's disk, and its %s says where it was: its files can be "
               "read, but nothing may start from it with a BIOS",
               step->to, fs->type);
}

static void
warn_of_type (const struct restore_disk *from, const struct partition *part,
              const struct restore_disk *to, const struct restore_step *step,
              struct report *report)
{
  const struct partition *other;
  size_t i;

  if (step->to == 0 ||
      from->contents->table.scheme != to->contents->table.scheme)
    return;
  other = restore_contents_find (to->contents, step->to, &i);
  if (other->type && part->type && strcmp (other->type, part->type) != 0)
    report_warn (report, "partition %u of the target has another type (%s) "
                 "than that of the image (%s), and keeps it", step->to,
                 other->type_name ? other->type_name : other->type,
                 part->type_name ? part->type_name : part->type);
}

static int
plan_partition (const struct restore_disk *from,
                const struct restore_disk *to,
                const struct restore_choice *choice, size_t nr_choices,
                struct restore_plan *plan, struct report *report,
                struct err *err)
{
  struct restore_step step = { .from = choice->from };
  const struct partition *part;
  char what[32], its[32];
  size_t i;
  int r = find_from (from, choice->from, &part, &i, err);

  if (r == 0)
    r = find_to (to, choice, nr_choices, &step, err);
  if (r < 0)
    return r;
  step.from_off = part->off;
  step.len = part->len;
  snprintf (what, sizeof what, step.to ? "partition %u" : "it", step.to);
  snprintf (its, sizeof its, "partition %u", step.from);
  if (step.size < step.len)
    return refuse_size (what, step.size, its, step.len, err);
  warn_of_moving (&step, &from->contents->fs[i], report);
  warn_of_type (from, part, to, &step, report);
  return vector_append (&plan->steps, &step) < 0 ? err_nomem (err) : 0;
}

/* Two numbers of a damaged table may mean the same place. */
static int
check_overlaps (const struct restore_plan *plan, struct err *err)
{
  for (size_t i = 0; i < plan->steps.len; ++i)
    for (size_t k = 0; k < i; ++k) {
      const struct restore_step *a = &plan->steps.ptr[i];
      const struct restore_step *b = &plan->steps.ptr[k];

      if (a->to_off < b->to_off + b->size && b->to_off < a->to_off + a->size)
        return err_set (err, -EINVAL, "partitions %u and %u of it overlap",
                        b->to, a->to);
    }
  return 0;
}

static int
plan_partitions (const struct restore_disk *from,
                 const struct restore_disk *to,
                 const struct restore_choices *choices,
                 struct restore_plan *plan, struct report *report,
                 struct err *err)
{
  int r = check_sectors (from, to, err);

  for (size_t i = 0; r == 0 && i < choices->len; ++i)
    r = plan_partition (from, to, &choices->ptr[i], choices->len, plan,
                        report, err);
  return r < 0 ? r : check_overlaps (plan, err);
}

/*----------------------------------------------------------------------------*/

int
restore_plan_make (const struct restore_disk *from,
                   const struct restore_disk *to,
                   const struct restore_choices *choices,
                   struct restore_plan *plan, struct report *report,
                   struct err *err)
{
  struct restore_plan p = { .steps = VECTOR_INIT };
  int r;

  if (choices->len == 0)
    r = plan_whole (from, to, &p, report, err);
  else
    r = plan_partitions (from, to, choices, &p, report, err);
  if (r < 0) {
    restore_plan_free (&p);
    return r;
  }
  *plan = p;
  return 0;
}

void
restore_plan_free (struct restore_plan *plan)
{
  vector_free (&plan->steps);
  part_patches_free (&plan->patches);
  vector_free (&plan->unreadable);
}

/*--- What there is to do ----------------------------------------------------*/

static int
count (struct restore_plan *plan, const struct extent *e, struct err *err)
{
  const struct restore_range range = { e->off, e->len };

  switch (e->kind) {
  case EXTENT_DATA:
    plan->totals.data += e->len;
    break;
  case EXTENT_ZERO:
  case EXTENT_HOLE:
    plan->totals.zero += e->len;
    break;
  case EXTENT_UNALLOCATED:
    plan->totals.unallocated += e->len;
    break;
  case EXTENT_UNREADABLE:
    plan->totals.unreadable += e->len;
    if (plan->unreadable.len < RESTORE_LISTED &&
        vector_append (&plan->unreadable, &range) < 0)
      return err_nomem (err);
    break;
  }
  return 0;
}

static int
survey_step (struct restore_plan *plan, const struct restore_step *step,
             struct block *disk, struct job *job, struct err *err)
{
  uint64_t off = step->from_off, end = off + step->len;
  int r = 0;

  while (r == 0 && off < end) {
    CLEANUP_EXTENT_LIST struct extent_list list = {
      .limit = 4096, .unallocated = true,
    };
    uint64_t next;

    r = block_extents (disk, end - off, off, &list, err);
    if (r < 0)
      return err_in (err, "extents at offset %" PRIu64, off);
    for (size_t i = 0; r == 0 && i < list.v.len; ++i) {
      struct extent e = list.v.ptr[i];

      if (e.off >= end)
        break;
      e.len = min_u64 (e.len, end - e.off);
      r = count (plan, &e, err);
    }
    next = extent_list_end (&list, off);
    if (r == 0 && next <= off)
      return err_set (err, -EIO, "nothing is known of it at offset %" PRIu64,
                      off);
    if (r == 0)
      r = job_advance (job, min_u64 (next, end) - off, err);
    off = next;
  }
  return r;
}

int
restore_plan_survey (struct restore_plan *plan, struct block *disk,
                     struct job *job, struct err *err)
{
  uint64_t total = 0;
  int r = 0;

  for (size_t i = 0; i < plan->steps.len; ++i)
    total += plan->steps.ptr[i].len;
  job_start (job, "looking", total);
  for (size_t i = 0; r == 0 && i < plan->steps.len; ++i)
    r = survey_step (plan, &plan->steps.ptr[i], disk, job, err);
  return r;
}
