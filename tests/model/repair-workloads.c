/* SPDX-License-Identifier: GPL-2.0-or-later */

/* repair of an image in which something is damaged that has one right answer.
 * Whatever a power cut leaves of the changes, another repair finishes, and the
 * disk is the one that it was before the damage.
 *
 * What is damaged is drawn from the seed of the life.  That the undo file
 * takes all of it back is tests/support/mending.h's.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/format/image-ops.h"
#include "lib/format/repair.h"
#include "tests/support/vhdx-maker.h"
#include "tests/model/offline-workloads.h"

struct file {
  struct rng *rng;
  uint8_t **data;
  size_t *len;
};

static size_t
below (const struct file *file, size_t n)
{
  return rng_below (file->rng, (unsigned) n);
}

/* Bytes that nothing names, in front of the last `keep' ones. */
static void
add_junk (const struct file *file, size_t n, size_t keep)
{
  size_t at = *file->len - keep;
  uint8_t *data = realloc (*file->data, *file->len + n);

  if (data == NULL)
    abort ();
  memmove (data + at + n, data + at, keep);
  for (size_t i = 0; i < n; ++i)
    data[at + i] = (uint8_t) (i * 7 + i / 4096 + 1);
  *file->data = data;
  *file->len += n;
}

static void
spoil (const struct file *file, size_t off, size_t len)
{
  if (below (file, 2))
    memset (*file->data + off, 0, len);
  else
    (*file->data)[off + below (file, len)] ^= 0x10;
}

/* Of a fixed one there is one footer: in its place it must be found. */
static void
damage_fixed_vhd (const struct file *file)
{
  switch (below (file, 2)) {
  case 0:
    *file->len -= 1;
    break;
  default:
    add_junk (file, 1 + below (file, PROBE_TAIL_SIZE - 512), 0);
    break;
  }
}

static void
damage_vhd (const struct file *file)
{
  switch (below (file, 5)) {
  case 0:
    spoil (file, *file->len - 512, 512);
    break;
  case 1:
    spoil (file, 0, 512);
    break;
  case 2:
    *file->len -= 1 + below (file, 512);
    break;
  case 3:
    add_junk (file, 512 * (1 + below (file, 200)), 0);
    break;
  default:
    add_junk (file, 512 * (1 + below (file, 200)), 512);
    spoil (file, 0, 512);
    break;
  }
}

static void
damage_vhdx (const struct file *file)
{
  switch (below (file, 4)) {
  case 0:
    spoil (file, below (file, 2) ? VHDX_AT_HEADER_1 : VHDX_AT_HEADER_2, 4096);
    break;
  case 1:
    spoil (file, below (file, 2) ? VHDX_AT_REGIONS_1 : VHDX_AT_REGIONS_2,
           65536);
    break;
  case 2:
    spoil (file, VHDX_AT_HEADER_2, 4096);
    spoil (file, VHDX_AT_REGIONS_1, 65536);
    memset (*file->data, 0, 8);
    break;
  default:
    add_junk (file, VHDX_MIB * (1 + below (file, 2)), 0);
    spoil (file, VHDX_AT_REGIONS_2, 65536);
    break;
  }
}

static void
damage (struct powercut *pc, uint8_t **data, size_t *len)
{
  const struct subject *s = pc->files->subject;
  const struct file file = { &pc->rng, data, len };

  if (strcmp (s->format, "vhdx") == 0)
    damage_vhdx (&file);
  else if (s->kind == IMAGE_FIXED)
    damage_fixed_vhd (&file);
  else
    damage_vhd (&file);
}

/*--- Repair -----------------------------------------------------------------*/

/* A file in memory has no holes, so that a leak which was punched is found
 * again: *nr is how many steps there were besides.
 */
static int
repair (const struct subject_files *f, struct block *block, size_t *nr,
        struct err *err)
{
  CLEANUP_REPAIR_PLAN struct repair_plan plan = REPAIR_PLAN_INIT;
  CLEANUP_CHECK struct check check = CHECK_INIT;
  struct image_options options = { .parent_path = f->folder };
  CLEANUP_FREE char *undo = NULL;
  int r;

  if (asprintf (&undo, "%s/undo", f->folder) < 0)
    abort ();
  unlink (undo);
  r = repair_plan_make (block, &options, 0, &check, &plan, err);
  if (r == 0 && plan.refusal)
    r = err_set (err, -EBADMSG, "%s", plan.refusal);
  if (r < 0)
    return r;
  *nr = 0;
  for (size_t i = 0; i < plan.steps.len; ++i)
    *nr += plan.steps.ptr[i].kind != REPAIR_PUNCH;
  return plan.steps.len == 0 ? 0 : repair_apply (block, &plan, undo, NULL, err);
}

static void
run_repair (struct powercut *pc)
{
  struct err err = ERR_INIT;
  size_t nr;

  if (repair (pc->files, pc->block, &nr, &err) < 0)
    powercut_die (pc, "repair", &err);
  if (nr == 0)
    powercut_die (pc, "repair found nothing to do", &err);
  powercut_done (pc);
}

static bool
can_repair (const struct subject *s)
{
  return offline_ops_of (s)->plan_repair != NULL;
}

/* A leak that is punched stays one, in memory. */
static int
check_repaired (struct powercut_state *st, struct err *err)
{
  struct powercut_found found;
  size_t nr;
  int r = repair (st->files, st->block, &nr, err);

  if (r < 0)
    return err_in (err, "again");
  if (st->is_done && nr > 0)
    return err_set (err, -EBADMSG, "it was repaired, and is to be repaired");
  r = powercut_check_contents (st, &found, err);
  if (r == 0 && (found.torn || found.behind))
    r = err_set (err, -EBADMSG, "it was repaired, and a footer is damaged");
  if (r < 0)
    return r;
  st->result->nr_leaks += found.leaks;
  return powercut_check_disk (st, err);
}

const struct powercut_workload repair_workloads[] = {
  { .name = "repair", .run = run_repair, .prepare = damage,
    .applies = can_repair, .check = check_repaired },
  { .name = NULL },
};
