/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/format/check.h"
#include "tests/support/powercut.h"

/* What is told to the replay. */
struct powercut_note {
  enum { OP_BEGINS, OP_ENDED, FLUSH_BEGINS, FLUSH_ENDED, NAMED,
         DONE } kind;
  struct disk_op op;
  uint8_t *bytes;               /* after a trim */
  struct powercut_note *begin;  /* of what ended */
  uint64_t number;              /* set in the replay */
  struct powercut_note *next;
};

void
powercut_die (const struct powercut *pc, const char *what,
              const struct err *err)
{
  fprintf (stderr, "%s: %s: %s\n", pc->files->subject->name, what, err->msg);
  abort ();
}

/*--- Recording --------------------------------------------------------------*/

static struct powercut_note *
note (struct powercut *pc, const struct powercut_note *what)
{
  struct powercut_note *n = malloc (sizeof *n);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&pc->lock);

  if (n == NULL)
    abort ();
  *n = *what;
  n->next = pc->notes;
  pc->notes = n;
  history_note (pc->history, n);
  return n;
}

/* What sectors hold after a trim. */
static uint8_t *
read_back (struct powercut *pc, const struct disk_op *op)
{
  size_t len = op->nr * (size_t) DISK_SECTOR;
  uint8_t *bytes = malloc (len);
  struct err err = ERR_INIT;

  if (bytes == NULL)
    abort ();
  if (image_pread (pc->img, bytes, len, op->first * (uint64_t) DISK_SECTOR,
                   &err) < 0)
    powercut_die (pc, "read", &err);
  return bytes;
}

void
powercut_do (struct powercut *pc, const struct disk_op *op)
{
  struct powercut_note begins = { .kind = OP_BEGINS, .op = *op };
  struct powercut_note ended = { .kind = OP_ENDED };
  struct err err = ERR_INIT;

  if (pc->drop == POWERCUT_DROP_INNER)
    begins.op.flags &= ~BLOCK_FUA;
  ended.begin = note (pc, &begins);
  if (disk_op_run (&begins.op, pc->img, &err) < 0)
    powercut_die (pc, "operation", &err);
  if (op->kind == DISK_TRIM)
    ended.bytes = read_back (pc, op);
  note (pc, &ended);
}

void
powercut_write (struct powercut *pc, unsigned first, unsigned nr,
                unsigned flags)
{
  struct disk_op op = { .kind = DISK_WRITE, .first = first, .nr = nr,
                        .flags = flags };

  op.id = __atomic_fetch_add (&pc->next_id, nr, __ATOMIC_RELAXED);
  powercut_do (pc, &op);
}

void
powercut_zero (struct powercut *pc, unsigned first, unsigned nr,
               unsigned flags)
{
  struct disk_op op = { .kind = DISK_ZERO, .first = first, .nr = nr,
                        .flags = flags };

  powercut_do (pc, &op);
}

void
powercut_flush (struct powercut *pc)
{
  struct powercut_note begins = { .kind = FLUSH_BEGINS };
  struct powercut_note ended = { .kind = FLUSH_ENDED };
  struct err err = ERR_INIT;

  ended.begin = note (pc, &begins);
  history_drop_flushes (pc->history, pc->drop == POWERCUT_DROP_ALL);
  if (image_flush (pc->img, &err) < 0)
    powercut_die (pc, "flush", &err);
  history_drop_flushes (pc->history, pc->drop != POWERCUT_DROP_NONE);
  note (pc, &ended);
}

void
powercut_named (struct powercut *pc)
{
  struct powercut_note named = { .kind = NAMED };

  note (pc, &named);
}

void
powercut_done (struct powercut *pc)
{
  struct powercut_note done = { .kind = DONE };

  note (pc, &done);
}

void
powercut_open (struct powercut *pc)
{
  struct err err = ERR_INIT;

  if (subject_open (pc->files, pc->block, true, &pc->img, &err) < 0)
    powercut_die (pc, "opening", &err);
}

void
powercut_close (struct powercut *pc)
{
  image_unref (pc->img);
  pc->img = NULL;
}

void
powercut_reopen (struct powercut *pc)
{
  powercut_close (pc);
  powercut_open (pc);
}

static void
make_file (struct powercut *pc, const struct powercut_workload *w)
{
  size_t len = pc->files->len;
  CLEANUP_FREE uint8_t *data = malloc (len);

  if (data == NULL)
    abort ();
  memcpy (data, pc->files->data, len);
  if (w->prepare)
    w->prepare (pc, &data, &len);
  pc->block = history_file (pc->history, "recorded", data, len);
}

static void
record (struct powercut *pc, const struct powercut_workload *w)
{
  pthread_mutex_init (&pc->lock, NULL);
  pc->history = history_new ();
  make_file (pc, w);
  history_drop_flushes (pc->history, pc->drop != POWERCUT_DROP_NONE);
  history_order_appends (pc->history, w->ordered_appends);
  if (w->prepare == NULL)
    powercut_open (pc);
  w->run (pc);
  powercut_close (pc);
  block_unref (pc->block);
}

static void
forget (struct powercut *pc)
{
  struct powercut_note *n, *next;

  for (n = pc->notes; n; n = next) {
    next = n->next;
    free (n->bytes);
    free (n);
  }
  history_free (pc->history);
  pthread_mutex_destroy (&pc->lock);
}

/*--- One state --------------------------------------------------------------*/

static int
read_disk (struct image *img, size_t len, uint8_t **out, struct err *err)
{
  CLEANUP_FREE uint8_t *disk = malloc (len);
  int r;

  if (disk == NULL)
    abort ();
  r = image_pread (img, disk, len, 0, err);
  if (r == 0)
    *out = steal_ptr (&disk);
  return r;
}

/* What it holds, if it may hold that. */
static int
open_and_read (const struct powercut_state *st, uint8_t **out,
               struct err *err)
{
  unsigned nr = disk_model_nr_sectors (st->model);
  CLEANUP_IMAGE struct image *img = NULL;
  int r = subject_open (st->files, st->block, false, &img, err);

  if (r < 0)
    return r;
  if (image_size (img) != nr * (uint64_t) DISK_SECTOR)
    return err_set (err, -EBADMSG, "the size of the disk has changed");
  r = disk_model_check (st->model, img, true, err);
  if (r == 0)
    r = read_disk (img, nr * (size_t) DISK_SECTOR, out, err);
  return r;
}

/* The footer of a VHD at its end may be torn while the file grows, and its
 * copy at the start is good for reading: lib/format/vhd/vhd-space.c.  The copy
 * may be an old one while the footer changes: vhd-edit.c.
 */
static bool
is_footer (const struct finding *f, struct powercut_found *found)
{
  bool torn = strcmp (f->kind, "vhd-footer-end") == 0;
  bool behind = strcmp (f->kind, "vhd-footer-copy") == 0;

  if (f->severity != FINDING_REPAIRABLE || (!torn && !behind))
    return false;
  found->torn |= torn;
  found->behind |= behind;
  return true;
}

int
powercut_check_whole (const struct powercut_state *st,
                      struct powercut_found *found, struct err *err)
{
  struct image_options options = { .parent_path = st->files->folder };
  CLEANUP_CHECK struct check check = CHECK_INIT;
  int r = image_check_block (st->block, &options, 0, &check, err);

  if (r < 0)
    return err_in (err, "check");
  found->torn = found->behind = false;
  found->leaks = check.nr[FINDING_LEAK] > 0;
  for (size_t i = 0; i < check.findings.len; ++i) {
    const struct finding *f = &check.findings.ptr[i];

    if (!is_footer (f, found) && f->severity > FINDING_LEAK)
      return err_set (err, -EBADMSG, "check finds %s: %s",
                      finding_severity_to_string (f->severity), f->sentence);
  }
  return 0;
}

/* disk is changed like the disk. */
static int
write_into (const struct powercut_state *st, uint8_t *disk, struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;
  unsigned nr = disk_model_nr_sectors (st->model), s;
  struct rng rng = { st->seed ^ 77 };
  int r = subject_open (st->files, st->block, true, &img, err);

  for (unsigned i = 0; r == 0 && i < 2; ++i) {
    s = rng_below (&rng, nr);
    disk_fill_sector (disk + s * (size_t) DISK_SECTOR, 0xC0FFEE + i);
    r = image_pwrite (img, disk + s * (size_t) DISK_SECTOR, DISK_SECTOR,
                      s * (uint64_t) DISK_SECTOR, 0, err);
  }
  return r < 0 ? r : image_flush (img, err);
}

/* Where the footer at the end of a file that grew is not yet, there are
 * zeros.  That is mended when it is opened for writing: vhd-shrink.c.
 */
static int
check_torn (const struct powercut_state *st, struct err *err)
{
  static const uint8_t zeros[DISK_SECTOR];
  uint64_t size = block_size (st->block);
  uint8_t end[DISK_SECTOR];
  int r = block_pread (st->block, end, sizeof end, size - sizeof end, err);

  st->result->nr_torn++;
  if (r < 0 || memcmp (end, zeros, sizeof end) == 0)
    return r;
  return err_set (err, -EBADMSG, "at its end there is neither a footer nor "
                  "nothing");
}

static int
is_the_same (const struct powercut_state *st, const uint8_t *disk,
             struct err *err)
{
  size_t len = disk_model_nr_sectors (st->model) * (size_t) DISK_SECTOR;
  CLEANUP_IMAGE struct image *img = NULL;
  CLEANUP_FREE uint8_t *again = NULL;
  int r = subject_open (st->files, st->block, false, &img, err);

  if (r == 0)
    r = read_disk (img, len, &again, err);
  if (r == 0 && memcmp (disk, again, len) != 0)
    r = err_set (err, -EBADMSG, "it is another disk after it was opened "
                 "again and written into");
  return r;
}

int
powercut_check_contents (const struct powercut_state *st,
                         struct powercut_found *found, struct err *err)
{
  CLEANUP_FREE uint8_t *disk = NULL;
  int r = open_and_read (st, &disk, err);

  return r < 0 ? r : powercut_check_whole (st, found, err);
}

int
powercut_check_disk (struct powercut_state *st, struct err *err)
{
  CLEANUP_FREE uint8_t *disk = NULL;
  struct powercut_found found;
  int r = open_and_read (st, &disk, err);

  if (r == 0)
    r = powercut_check_whole (st, &found, err);
  if (r < 0)
    return r;
  st->result->nr_leaks += found.leaks;
  if (found.behind)
    return err_set (err, -EBADMSG, "the copy of its footer is another");
  if (found.torn)
    r = check_torn (st, err);
  if (r < 0)
    return r;
  r = write_into (st, disk, err);
  if (r < 0)
    return err_in (err, "writing");
  r = is_the_same (st, disk, err);
  if (r == 0)
    r = powercut_check_whole (st, &found, err);
  if (r == 0 && (found.torn || found.behind))
    r = err_set (err, -EBADMSG, "it was closed, and a footer is damaged");
  return r;
}

/*--- All states -------------------------------------------------------------*/

static const char *
crash_to_string (enum history_crash how)
{
  static const char *const names[] = {
    [HISTORY_ALL] = "all", [HISTORY_NOTHING] = "nothing",
    [HISTORY_PREFIX] = "prefix", [HISTORY_FEW] = "few",
    [HISTORY_HALF] = "half", [HISTORY_MOST] = "most",
    [HISTORY_ALL_BUT_ONE] = "all but one", [HISTORY_ONE] = "one",
  };

  return names[how];
}

static void
try_state (struct powercut_state *st, const struct powercut_workload *w,
           enum history_crash how, uint64_t seed)
{
  struct powercut_result *result = st->result;
  struct err err = ERR_INIT;
  int r;

  if (!st->is_there)
    return;
  st->how = how;
  st->seed = seed;
  st->block = replay_crash (st->replay, 0, how, seed);
  r = w->check ? w->check (st, &err) : powercut_check_disk (st, &err);
  block_unref (st->block);
  result->nr_states++;
  if (r == 0)
    return;
  if (result->nr_bad++ == 0)
    snprintf (result->first, sizeof result->first,
              "seed %llu, change %u, %s of %zu not flushed: %.150s",
              (unsigned long long) st->life, st->nr_changes,
              crash_to_string (how), replay_nr_pending (st->replay),
              err.msg);
}

static void
hear (struct powercut_state *st, struct disk_model *m,
      struct powercut_note *n)
{
  switch (n->kind) {
  case OP_BEGINS:
    n->number = disk_model_begin (m, &n->op);
    break;
  case OP_ENDED:
    disk_model_end (m, n->begin->number, true, n->bytes);
    break;
  case FLUSH_BEGINS:
    n->number = disk_model_flush_begin (m);
    break;
  case FLUSH_ENDED:
    disk_model_flush_end (m, n->begin->number);
    break;
  case NAMED:
    st->is_there = true;
    break;
  case DONE:
    st->is_done = true;
    break;
  }
}

/* How many states to try after each change, on average: a half of them with
 * all changes, if there are enough; the others with some.
 */
struct share {
  unsigned nr_states, nr_moments;
};

static void
try_moment (struct powercut_state *st, const struct powercut_workload *w,
            const struct share *share, struct rng *rng)
{
  unsigned half = share->nr_states / 2 + 1;

  if (share->nr_moments <= half || rng_below (rng, share->nr_moments) < half)
    try_state (st, w, HISTORY_ALL, rng_next (rng));
  for (unsigned n = share->nr_states / 2;;) {
    /* n / nr_moments of them */
    if (n < share->nr_moments && rng_below (rng, share->nr_moments) >= n)
      return;
    try_state (st, w, 1 + rng_below (rng, HISTORY_NR_CRASHES - 1),
               rng_next (rng));
    if (n < share->nr_moments)
      return;
    n -= share->nr_moments;
  }
}

static bool
is_change (const struct history_item *item)
{
  return item->kind != HISTORY_NOTE;
}

static unsigned
count_moments (const struct history *h)
{
  struct replay *r = replay_new (h);
  const struct history_item *item;
  unsigned nr = 0;

  while ((item = replay_step (r)) != NULL)
    nr += is_change (item);
  replay_free (r);
  return nr;
}

/* As it is at first. */
static struct disk_model *
new_model (const struct subject_files *f, const struct powercut_workload *w)
{
  uint8_t *zeros = calloc (f->nr_sectors, DISK_SECTOR);
  struct disk_model *m;

  if (zeros == NULL)
    abort ();
  m = disk_model_new (w->what == POWERCUT_MAKES ? zeros : f->disk,
                      f->nr_sectors);
  free (zeros);
  return m;
}

static void
try_history (struct powercut *pc, const struct powercut_workload *w,
             uint64_t seed, unsigned nr_states, struct powercut_result *result)
{
  const struct subject_files *f = pc->files;
  struct disk_model *m = new_model (f, w);
  struct share share = { nr_states, count_moments (pc->history) };
  struct powercut_state st = {
    .files = f, .replay = replay_new (pc->history), .model = m,
    .result = result, .life = seed, .new_size = pc->new_size,
    .is_there = w->what == POWERCUT_CHANGES,
  };
  const struct history_item *item;

  while ((item = replay_step (st.replay)) != NULL)
    if (item->kind == HISTORY_NOTE)
      hear (&st, m, item->note);
    else {
      result->nr_changes++;
      st.nr_changes++;
      try_moment (&st, w, &share, &pc->rng);
    }
  try_state (&st, w, HISTORY_NOTHING, 1);
  try_state (&st, w, HISTORY_ALL, 1);
  replay_free (st.replay);
  disk_model_free (m);
}

void
powercut_try (const struct subject_files *files,
              const struct powercut_workload *w, uint64_t seed,
              unsigned nr_states, enum powercut_drop drop,
              struct powercut_result *result)
{
  struct powercut pc = {
    .files = files, .rng = { seed }, .next_id = 1000000, .drop = drop,
  };

  record (&pc, w);
  try_history (&pc, w, seed, nr_states, result);
  forget (&pc);
}
