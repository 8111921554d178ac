/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/compact.h"
#include "lib/format/image-ops.h"
#include "lib/format/resize.h"
#include "tests/model/offline-workloads.h"

/* The disk as somebody left it, and nothing open. */
void
offline_use_and_close (struct powercut *pc)
{
  for (unsigned n = 0; n < 8; ++n) {
    struct disk_op op = disk_op_random (&pc->rng, pc->files->nr_sectors,
                                        pc->files->per_block, &pc->next_id);

    powercut_do (pc, &op);
  }
  powercut_flush (pc);
  powercut_close (pc);
}

const struct image_ops *
offline_ops_of (const struct subject *s)
{
  const struct image_ops *const *ops = image_formats;

  while (strcmp ((*ops)->name, s->format) != 0)
    ops++;
  return *ops;
}

/*--- Resize -----------------------------------------------------------------*/

static int
resize (const struct subject_files *f, struct block *block, uint64_t size,
        struct err *err)
{
  struct image_options options = { .parent_path = f->folder,
                                   .format = f->subject->format };
  struct image_resize_plan plan = { .size = size };
  CLEANUP_OFFLINE struct offline *o = NULL;
  int r = offline_open_block (block, &options, &o, err);

  if (r == 0)
    r = image_resize_plan (o, &plan, NULL, err);
  if (r == 0)
    r = image_resize (o, &plan, NULL, err);
  return r;
}

static void
run_resize (struct powercut *pc, uint64_t new_size)
{
  struct err err = ERR_INIT;

  pc->new_size = new_size;
  offline_use_and_close (pc);
  if (resize (pc->files, pc->block, new_size, &err) < 0)
    powercut_die (pc, "resize", &err);
  powercut_done (pc);
}

static bool
can_resize (const struct subject *s)
{
  return offline_ops_of (s)->resize != NULL;
}

static void
grow_a_little (struct powercut *pc)
{
  run_resize (pc, pc->files->subject->size +
              512 * (1 + rng_below (&pc->rng, pc->files->per_block)));
}

/* Blocks that lie where the BAT will be have to move. */
static void
grow_much (struct powercut *pc)
{
  run_resize (pc, pc->files->subject->size + pc->files->subject->block_size *
              (UINT64_C (300) + rng_below (&pc->rng, 1000)));
}

static void
shrink (struct powercut *pc)
{
  run_resize (pc, 512 * (UINT64_C (1) +
                         rng_below (&pc->rng, pc->files->nr_sectors - 1)));
}

/* What the disk is longer by, is zeros. */
static int
check_rest (const struct powercut_state *st, struct image *img,
            struct err *err)
{
  uint64_t at = st->files->nr_sectors * (uint64_t) DISK_SECTOR;
  uint8_t buf[8192], zeros[8192] = { 0 };
  int r = 0;

  for (size_t n; r == 0 && at < image_size (img); at += n) {
    n = (size_t) min_u64 (sizeof buf, image_size (img) - at);
    r = image_pread (img, buf, n, at, err);
    if (r == 0 && memcmp (buf, zeros, n) != 0)
      r = err_set (err, -EBADMSG, "the disk has grown by more than zeros");
  }
  return r;
}

static int
check_size (const struct powercut_state *st, bool must_be_new,
            struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;
  int r = subject_open (st->files, st->block, false, &img, err);

  if (r < 0)
    return r;
  if (image_size (img) != st->new_size &&
      (must_be_new || image_size (img) != st->files->subject->size))
    return err_set (err, -EBADMSG, "the disk has %llu bytes",
                    (unsigned long long) image_size (img));
  r = disk_model_check (st->model, img, true, err);
  return r < 0 ? r : check_rest (st, img, err);
}

/* It has one of both sizes, and the same again finishes it. */
static int
check_resized (struct powercut_state *st, struct err *err)
{
  struct powercut_found found;
  int r = check_size (st, st->is_done, err);

  if (r == 0)
    r = powercut_check_whole (st, &found, err);
  if (r < 0)
    return r;
  st->result->nr_leaks += found.leaks;
  r = resize (st->files, st->block, st->new_size, err);
  if (r < 0)
    return err_in (err, "again");
  r = check_size (st, true, err);
  if (r == 0)
    r = powercut_check_whole (st, &found, err);
  if (r == 0 && (found.torn || found.behind))
    r = err_set (err, -EBADMSG, "it was resized, and a footer is damaged");
  return r;
}

/*--- Compact ----------------------------------------------------------------*/

static int
compact (const struct subject_files *f, struct block *block, struct err *err)
{
  struct image_options options = { .parent_path = f->folder,
                                   .format = f->subject->format };
  struct image_compact_plan plan = { .drop = NULL };
  CLEANUP_OFFLINE struct offline *o = NULL;
  int r = offline_open_block (block, &options, &o, err);

  if (r == 0)
    r = image_compact_plan (o, &plan, NULL, NULL, err);
  if (r == 0)
    r = image_compact (o, &plan, NULL, err);
  image_compact_plan_free (&plan);
  return r;
}

/* Of blocks that hold zeros some are dropped, and others fill the gaps. */
static void
run_compact (struct powercut *pc)
{
  unsigned per_block = pc->files->per_block, nr, i;
  struct err err = ERR_INIT;

  nr = pc->files->nr_sectors / per_block;
  for (unsigned n = 0; n < nr; n += 2) {
    powercut_write (pc, n * per_block + n % per_block, 1, 0);
    i = rng_below (&pc->rng, nr);
    powercut_zero (pc, i * per_block, per_block, BLOCK_NO_HOLE);
  }
  offline_use_and_close (pc);
  if (compact (pc->files, pc->block, &err) < 0)
    powercut_die (pc, "compact", &err);
  powercut_done (pc);
}

static bool
can_compact (const struct subject *s)
{
  return offline_ops_of (s)->compact != NULL && !s->is_plain;
}

/* The disk is the same, and the same again finishes it. */
static int
check_compacted (struct powercut_state *st, struct err *err)
{
  struct powercut_found found;
  int r = powercut_check_contents (st, &found, err);

  if (r < 0)
    return r;
  st->result->nr_leaks += found.leaks;
  r = compact (st->files, st->block, err);
  if (r < 0)
    return err_in (err, "again");
  r = powercut_check_contents (st, &found, err);
  if (r == 0 && (found.torn || found.behind))
    r = err_set (err, -EBADMSG, "it was compacted, and a footer is damaged");
  return r;
}

/*--- The table --------------------------------------------------------------*/

/* A fixed VHD has one footer, and needs a file system that appends in order
 * to grow: vhd-resize-fixed.c.
 */
const struct powercut_workload offline_workloads[] = {
  { .name = "resize, a little larger", .run = grow_a_little,
    .applies = can_resize, .ordered_appends = true,
    .check = check_resized },
  { .name = "resize, much larger", .run = grow_much,
    .applies = can_resize, .ordered_appends = true,
    .check = check_resized },
  { .name = "resize, smaller", .run = shrink, .applies = can_resize,
    .check = check_resized },
  { .name = "compact", .run = run_compact, .applies = can_compact,
    .check = check_compacted },
  { .name = NULL },
};
