/* SPDX-License-Identifier: GPL-2.0-or-later */

/* commit into an image, and rebase of one: in most of these somebody else's
 * disk lies in a file beside the leaf, which nobody changes.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/format/check.h"
#include "lib/format/commit.h"
#include "lib/format/create.h"
#include "lib/format/rebase.h"
#include "tests/model/offline-workloads.h"

static char *
beside (const struct subject_files *f, const char *name)
{
  char *path;

  if (asprintf (&path, "%s/%s.%s", f->folder, name, f->subject->format) < 0)
    abort ();
  return path;
}

/* A new one under that name, with something written; of the disk that it is
 * over, if options has a parent.
 */
static void
make_beside (struct powercut *pc, const char *name,
             struct image_create_options *options)
{
  static const struct image_options to_write = { .writable = true };
  CLEANUP_FREE char *path = beside (pc->files, name);
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;
  uint64_t size;

  unlink (path);
  options->format = pc->files->subject->format;
  if (image_create (path, options, &size, NULL, &err) < 0 ||
      image_open (path, &to_write, &img, NULL, &err) < 0)
    powercut_die (pc, path, &err);
  for (unsigned n = 0; n < 12; ++n) {
    struct disk_op op = disk_op_random (&pc->rng, pc->files->nr_sectors,
                                        pc->files->per_block, &pc->next_id);

    op.flags = 0;
    if (disk_op_run (&op, img, &err) < 0)
      powercut_die (pc, path, &err);
  }
}

static int
read_all (struct image *img, const struct subject_files *f, uint8_t **out,
          struct err *err)
{
  size_t len = f->nr_sectors * (size_t) DISK_SECTOR;
  CLEANUP_FREE uint8_t *disk = malloc (len);
  int r;

  if (disk == NULL)
    abort ();
  if (image_size (img) != len)
    return err_set (err, -EBADMSG, "the size of the disk has changed");
  r = image_pread (img, disk, len, 0, err);
  if (r == 0)
    *out = steal_ptr (&disk);
  return r;
}

/*--- Commit -----------------------------------------------------------------*/

/* The subject's leaf is the parent.  The child lies over the file of it, which
 * stays what it was; the one that changes is in memory.
 */
static int
open_child (const struct subject_files *f, struct image **out,
            struct err *err)
{
  struct image_options options = { .parent_path = f->folder };
  CLEANUP_FREE char *path = beside (f, "child");

  return image_open (path, &options, out, NULL, err);
}

static void
run_commit (struct powercut *pc)
{
  struct image_create_options options = { .parent = pc->files->leaf };
  CLEANUP_IMAGE struct image *child = NULL;
  struct err err = ERR_INIT;
  uint64_t written;

  make_beside (pc, "child", &options);
  if (open_child (pc->files, &child, &err) < 0 ||
      image_commit_data (child, pc->img, &written, NULL, &err) < 0)
    powercut_die (pc, "commit", &err);
  powercut_done (pc);
}

/* Only the same format is written by commit. */
static bool
can_commit (const struct subject *s)
{
  return offline_ops_of (s)->own_extents != NULL;
}

/* Each sector is the parent's as it was, or the child's; done: the child's.
 * What the child does not have is the same in both.
 */
static int
check_sectors (const struct powercut_state *st, struct image *child,
               bool done, struct err *err)
{
  CLEANUP_FREE uint8_t *want = NULL, *now = NULL;
  CLEANUP_IMAGE struct image *img = NULL;
  int r = read_all (child, st->files, &want, err);

  if (r == 0)
    r = subject_open (st->files, st->block, false, &img, err);
  if (r == 0)
    r = read_all (img, st->files, &now, err);
  for (unsigned s = 0; r == 0 && s < st->files->nr_sectors; ++s) {
    size_t at = s * (size_t) DISK_SECTOR;

    if (memcmp (now + at, want + at, DISK_SECTOR) != 0 &&
        (done || memcmp (now + at, st->files->disk + at, DISK_SECTOR) != 0))
      r = err_set (err, -EBADMSG, "sector %u is neither the parent's nor the "
                   "child's", s);
  }
  return r;
}

static int
commit_again (const struct powercut_state *st, struct image *child,
              struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;
  uint64_t written;
  int r = subject_open (st->files, st->block, true, &img, err);

  return r < 0 ? r : image_commit_data (child, img, &written, NULL, err);
}

static int
check_committed (struct powercut_state *st, struct err *err)
{
  CLEANUP_IMAGE struct image *child = NULL;
  struct powercut_found found;
  int r = open_child (st->files, &child, err);

  if (r == 0)
    r = check_sectors (st, child, st->is_done, err);
  if (r == 0)
    r = powercut_check_whole (st, &found, err);
  if (r < 0)
    return r;
  st->result->nr_leaks += found.leaks;
  st->result->nr_torn += found.torn;
  r = commit_again (st, child, err);
  if (r < 0)
    return err_in (err, "again");
  r = check_sectors (st, child, true, err);
  if (r == 0)
    r = powercut_check_whole (st, &found, err);
  if (r == 0 && (found.torn || found.behind))
    r = err_set (err, -EBADMSG, "it was committed to, and a footer is "
                 "damaged");
  return r;
}

/*--- Commit, into a parent that grows ---------------------------------------*/

/* Both files change: the parent, which is the subject's leaf, and the child,
 * file 1 of the history, which has a larger disk, kept in a file beside it.
 */
static void
save (const char *path, const void *data, size_t len)
{
  FILE *out = fopen (path, "w");

  if (out == NULL || fwrite (data, 1, len, out) != len || fclose (out) != 0)
    abort ();
}

static uint8_t *
load (const char *path, size_t *len)
{
  FILE *in = fopen (path, "r");
  uint8_t *data;

  if (in == NULL || fseek (in, 0, SEEK_END) < 0)
    abort ();
  *len = (size_t) ftell (in);
  rewind (in);
  data = malloc (*len + 1);
  if (data == NULL || fread (data, 1, *len, in) != *len)
    abort ();
  fclose (in);
  return data;
}

static void
save_block (const char *path, struct block *block)
{
  size_t len = block_size (block);
  CLEANUP_FREE uint8_t *data = malloc (len + 1);
  struct err err = ERR_INIT;

  if (data == NULL || block_pread (block, data, len, 0, &err) < 0)
    abort ();
  save (path, data, len);
}

/* The whole disk of the image there. */
static int
read_image (const char *path, uint8_t **out, size_t *len, struct err *err)
{
  const struct image_options options = { .format = NULL };
  CLEANUP_IMAGE struct image *img = NULL;
  CLEANUP_FREE uint8_t *disk = NULL;
  int r = image_open (path, &options, &img, NULL, err);

  if (r < 0)
    return r;
  *len = image_size (img);
  disk = malloc (*len + 1);
  if (disk == NULL)
    abort ();
  r = image_pread (img, disk, *len, 0, err);
  if (r == 0)
    *out = steal_ptr (&disk);
  return r;
}

static void
make_larger_child (struct powercut *pc, const char *path)
{
  const struct subject *s = pc->files->subject;
  static const struct image_options to_write = { .writable = true };
  struct image_create_options options = {
    .parent = pc->files->leaf,
    .size = s->size + s->block_size + 512 *
      (uint64_t) (1 + rng_below (&pc->rng, pc->files->per_block)),
  };
  CLEANUP_FREE char *expected = beside (pc->files, "expected");
  CLEANUP_FREE uint8_t *disk = NULL;
  struct err err = ERR_INIT;
  uint8_t bytes[3 * 512];
  struct image *img;
  size_t len;

  make_beside (pc, "child", &options);
  memset (bytes, 0x5A, sizeof bytes);
  if (image_open (path, &to_write, &img, NULL, &err) < 0 ||
      image_pwrite (img, bytes, sizeof bytes, s->size - 512, 0, &err) < 0 ||
      image_pwrite (img, bytes, 512, options.size - 512, 0, &err) < 0)
    powercut_die (pc, path, &err);
  image_unref (img);
  if (read_image (path, &disk, &len, &err) < 0)
    powercut_die (pc, path, &err);
  save (expected, disk, len);
  pc->new_size = options.size;
}

static void
run_commit_growing (struct powercut *pc)
{
  struct image_options options = { .parent_path = pc->files->folder,
                                   .format = pc->files->subject->format };
  CLEANUP_FREE char *path = beside (pc->files, "child");
  CLEANUP_OFFLINE struct offline *child = NULL, *parent = NULL;
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_FREE uint8_t *data = NULL;
  struct err err = ERR_INIT;
  uint64_t written;
  size_t len;

  powercut_close (pc);
  make_larger_child (pc, path);
  data = load (path, &len);
  block = history_file (pc->history, path, data, len);
  if (offline_open_block (block, &options, &child, &err) < 0 ||
      offline_open_block (pc->block, &options, &parent, &err) < 0 ||
      image_commit_files (child, parent, pc->files->leaf, &written, NULL,
                          &err) < 0)
    powercut_die (pc, "commit", &err);
  powercut_done (pc);
}

static bool
can_commit_growing (const struct subject *s)
{
  return can_commit (s) && offline_ops_of (s)->resize != NULL;
}

static int
is_expected (const struct powercut_state *st, const char *path,
             struct err *err)
{
  CLEANUP_FREE char *name = beside (st->files, "expected");
  CLEANUP_FREE uint8_t *disk = NULL, *expected = NULL;
  size_t len, expected_len;
  int r = read_image (path, &disk, &len, err);

  if (r < 0)
    return r;
  expected = load (name, &expected_len);
  if (len != expected_len)
    return err_set (err, -EBADMSG, "%s has %zu bytes, expected %zu", path, len,
                    expected_len);
  for (size_t i = 0; i < len; ++i)
    if (disk[i] != expected[i])
      return err_set (err, -EBADMSG, "%s differs at offset %zu", path, i);
  return 0;
}

/* The chain: footers may be on their way until all is done. */
static int
check_chain (const char *path, bool strict, struct powercut_result *result,
             struct err *err)
{
  const struct image_options options = { .format = NULL };
  CLEANUP_CHECK struct check check = CHECK_INIT;
  int r = image_check (path, &options, 0, &check, NULL, err);

  for (size_t i = 0; r == 0 && i < check.findings.len; ++i) {
    const struct finding *f = &check.findings.ptr[i];
    bool footer = f->severity == FINDING_REPAIRABLE &&
      strncmp (f->kind, "vhd-footer-", strlen ("vhd-footer-")) == 0;

    if (f->severity > FINDING_LEAK && (strict || !footer))
      r = err_set (err, -EBADMSG, "check finds %s", f->sentence);
  }
  result->nr_leaks += !strict && check.nr[FINDING_LEAK] > 0;
  return r;
}

static int
commit_by_name (const char *path, struct err *err)
{
  const struct image_options options = { .format = NULL };
  struct image_commit_plan plan;
  uint64_t written;
  int r = image_commit_plan (path, &options, &plan, NULL, err);

  if (r == 0)
    r = image_commit (&plan, &written, NULL, err);
  image_commit_plan_free (&plan);
  return r;
}

/* The child's disk is the same all the time; the same again finishes it, and
 * the parent's is the same then.
 */
static int
check_chain_of (struct powercut_state *st, const char *path, struct err *err)
{
  int r = is_expected (st, path, err);

  if (r == 0)
    r = check_chain (path, st->is_done, st->result, err);
  if (r == 0 && st->is_done)
    r = is_expected (st, st->files->leaf, err);
  if (r < 0)
    return r;
  r = commit_by_name (path, err);
  if (r < 0)
    return err_in (err, "again");
  r = is_expected (st, path, err);
  if (r == 0)
    r = is_expected (st, st->files->leaf, err);
  return r < 0 ? r : check_chain (path, true, st->result, err);
}

static int
check_committed_growing (struct powercut_state *st, struct err *err)
{
  CLEANUP_FREE char *path = beside (st->files, "child");
  struct block *child = replay_crash (st->replay, 1, st->how, st->seed);
  int r;

  save_block (path, child);
  block_unref (child);
  save_block (st->files->leaf, st->block);
  r = check_chain_of (st, path, err);
  save (st->files->leaf, st->files->data, st->files->len);
  return r;
}

/*--- Rebase -----------------------------------------------------------------*/

/* name NULL: none.  *was_done: there was nothing to do. */
static int
rebase (const struct subject_files *f, struct block *block, const char *name,
        bool is_unsafe, bool *was_done, struct err *err)
{
  CLEANUP_FREE char *path = name ? beside (f, name) : NULL;
  const struct image_rebase_options o = {
    .parent = path, .is_unsafe = is_unsafe, .no_parent = name == NULL,
  };
  struct image_options options = { .parent_path = f->folder,
                                   .format = f->subject->format };
  struct image_rebase_plan plan = { .old_parent = NULL };
  CLEANUP_OFFLINE struct offline *offline = NULL;
  int r = offline_open_block (block, &options, &offline, err);

  if (r == 0)
    r = image_rebase_plan (offline, &o, &plan, NULL, NULL, err);
  *was_done = r == 0 && plan.is_done;
  if (r == 0 && !plan.is_done)
    r = image_rebase (offline, &plan, NULL, err);
  image_rebase_plan_free (&plan);
  return r;
}

static void
rebase_onto (struct powercut *pc, const char *name, bool is_unsafe)
{
  struct err err = ERR_INIT;
  bool was_done;

  offline_use_and_close (pc);
  if (rebase (pc->files, pc->block, name, is_unsafe, &was_done, &err) < 0)
    powercut_die (pc, "rebase", &err);
  if (was_done)
    powercut_die (pc, "rebase had nothing to do", &err);
  powercut_done (pc);
}

/* Onto a disk that has nothing in common with the one below. */
static void
run_rebase (struct powercut *pc)
{
  struct image_create_options options = { .size = pc->files->subject->size };

  make_beside (pc, "other", &options);
  rebase_onto (pc, "other", false);
}

static void
run_alone (struct powercut *pc)
{
  rebase_onto (pc, NULL, false);
}

/* Where the subject has its parent: subject.c. */
static char *
path_of_parent (const struct subject_files *f)
{
  char name[16];

  snprintf (name, sizeof name, "%u", f->subject->depth - 2);
  return beside (f, name);
}

static void
copy_file (const char *from, const char *to)
{
  FILE *in = fopen (from, "r"), *out = fopen (to, "w");
  CLEANUP_FREE char *buf = malloc (1 << 20);
  size_t n;

  if (in == NULL || out == NULL || buf == NULL)
    abort ();
  while ((n = fread (buf, 1, 1 << 20, in)) > 0)
    if (fwrite (buf, 1, n, out) != n)
      abort ();
  if (ferror (in) || fclose (out) != 0)
    abort ();
  fclose (in);
}

/* The parent is somewhere else now. */
static void
run_relink (struct powercut *pc)
{
  CLEANUP_FREE char *from = path_of_parent (pc->files);
  CLEANUP_FREE char *to = beside (pc->files, "a-longer-name-of-the-parent");

  copy_file (from, to);
  rebase_onto (pc, "a-longer-name-of-the-parent", true);
}

static bool
can_rebase (const struct subject *s)
{
  return s->depth > 1 && offline_ops_of (s)->relink != NULL;
}

static bool
can_relink (const struct subject *s)
{
  return can_rebase (s) && s->make == NULL;
}

/* Its disk is the same all the time; the same again finishes it, and a third
 * time there is nothing to do.
 */
static int
check_onto (struct powercut_state *st, const char *name, bool is_unsafe,
            struct err *err)
{
  struct powercut_found found;
  int r = powercut_check_contents (st, &found, err);
  bool was_done = false;

  if (r < 0)
    return r;
  st->result->nr_leaks += found.leaks;
  for (unsigned n = st->is_done; r == 0 && n < 2; ++n)
    r = rebase (st->files, st->block, name, is_unsafe, &was_done, err);
  if (r < 0)
    return err_in (err, "again");
  if (!was_done)
    return err_set (err, -EBADMSG, "it has another parent than it was given");
  r = powercut_check_contents (st, &found, err);
  if (r == 0 && (found.torn || found.behind))
    r = err_set (err, -EBADMSG, "it was rebased, and a footer is damaged");
  return r;
}

static int
check_rebased (struct powercut_state *st, struct err *err)
{
  return check_onto (st, "other", false, err);
}

static int
check_relinked (struct powercut_state *st, struct err *err)
{
  return check_onto (st, "a-longer-name-of-the-parent", true, err);
}

static int
check_alone (struct powercut_state *st, struct err *err)
{
  return check_onto (st, NULL, false, err);
}

const struct powercut_workload chain_workloads[] = {
  { .name = "commit", .run = run_commit, .applies = can_commit,
    .check = check_committed },
  { .name = "commit, larger", .run = run_commit_growing,
    .applies = can_commit_growing, .ordered_appends = true,
    .check = check_committed_growing },
  { .name = "rebase", .run = run_rebase, .applies = can_rebase,
    .check = check_rebased },
  { .name = "rebase, unsafe", .run = run_relink, .applies = can_relink,
    .check = check_relinked },
  { .name = "rebase, no parent", .run = run_alone, .applies = can_rebase,
    .check = check_alone },
  { .name = NULL },
};
