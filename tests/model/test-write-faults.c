/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A call of the system fails while an image is opened, written and closed:
 * each read, write, flush and allocation once, and each and all after it.
 * Whoever asked for something is told when it was not done, with the reason;
 * nothing else is touched; and what was done is there when the image is opened
 * again, or, after a flush that failed, what was flushed before.
 *
 * NBDIMAGE_TEST_SEED, NBDIMAGE_TEST_SUBJECT: as in test-model.c.  There
 * is one script of random operations, and two for flushes; where one makes
 * more calls than MOST_CALLS of a kind, so many are tried, one in each part of
 * the script.  NBDIMAGE_LONG adds other scripts, in all twenty, with
 * MOST_CALLS_MORE calls of each kind, which are others in each script: every
 * kind with every subject, about 11,000 cases instead of 4,400.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/cleanup.h"
#include "lib/base/fdio.h"
#include "tests/support/counted.h"
#include "tests/support/disk-model.h"
#include "tests/support/fault.h"
#include "tests/support/share.h"
#include "tests/support/subject.h"

#define NR_OPS 14U

#define MOST_CALLS 100U         /* that are tried, in the first script */
#define MOST_CALLS_MORE 4U      /* in those that are only tried for long */

static uint64_t seed;           /* of this script */
static unsigned nr_cases, nr_told, nr_settled;

static const struct fault_row {
  enum fault_kind kind;
  const char *name;
  int code;                     /* that it may be told with; 0: nothing fails */
} rows[] = {
  { FAULT_EIO, "EIO", -EIO },
  { FAULT_EIO_FROM, "EIO from there on", -EIO },
  { FAULT_ENOSPC, "ENOSPC", -ENOSPC },
  { FAULT_ENOSPC_FROM, "ENOSPC from there on", -ENOSPC },
  { FAULT_SYNC, "fdatasync", -EIO },
  { FAULT_SHORT, "a short write", 0 },
  { FAULT_PARTIAL, "a short read", 0 },
  { FAULT_EINTR, "EINTR", 0 },
  { FAULT_MEMORY, "no memory", -ENOMEM },
  { FAULT_MEMORY_FROM, "no memory from there on", -ENOMEM },
};

#define NR_ROWS (sizeof rows / sizeof rows[0])

/* One case: call number n fails. */
struct life {
  const struct subject_files *files;
  const struct fault_row *row;
  unsigned n;
  struct image *img;            /* NULL: could not be opened */
  struct disk_model *model;
  struct rng rng;
  uint32_t next_id;
  bool told, sync_failed;
  unsigned settled;             /* fault_failed_syncs, that the model knows */
};

static void __attribute__ ((__format__ (__printf__, 2, 3)))
wrong (const struct life *l, const char *fmt, ...)
{
  char why[1024];
  va_list ap;

  fault_disarm ();
  va_start (ap, fmt);
  vsnprintf (why, sizeof why, fmt, ap);
  va_end (ap);
  fail_msg ("NBDIMAGE_TEST_SUBJECT=%s NBDIMAGE_TEST_SEED=%llu: %s, call %u: "
            "%s", l->files->subject->name, (unsigned long long) seed,
            l->row->name, l->n, why);
}

/* What failed says so and says why.  What a failure left behind may be told
 * as EIO.
 */
static void
check_told (struct life *l, const char *what, int r, const struct err *err)
{
  l->told = true;
  if (l->row->code == 0)
    wrong (l, "%s: %s", what, err->msg);
  if ((r != l->row->code && r != -EIO) || err->code != r ||
      err->msg[0] == '\0')
    wrong (l, "%s: error %d (%d), ‘%s’", what, r, err->code, err->msg);
}

static void
check_disk (struct life *l, const char *when)
{
  struct err err = ERR_INIT;

  if (disk_model_check (l->model, l->img, false, &err) < 0)
    wrong (l, "%s: %s", when, err.msg);
}

/* It was just opened.  What was not flushed when a flush failed, perhaps that
 * at closing, which tells nobody, may be lost.
 */
static void
settle (struct life *l)
{
  struct err err = ERR_INIT;

  if (l->settled == fault_failed_syncs ())
    return;
  if (disk_model_settle (l->model, l->img, &err) < 0)
    wrong (l, "opened after a flush that failed: %s", err.msg);
  l->settled = fault_failed_syncs ();
  nr_settled++;
}

/*--- While calls fail -------------------------------------------------------*/

static void
open_it (struct life *l)
{
  struct image_options options = { .parent_path = l->files->folder,
                                   .writable = true, .lock = true };
  struct err err = ERR_INIT;
  int r;

  fault_resume ();
  r = image_open (l->files->leaf, &options, &l->img, NULL, &err);
  fault_pause ();
  l->sync_failed = false;
  if (r < 0) {
    l->img = NULL;
    check_told (l, "open", r, &err);
  }
  else
    settle (l);
}

static void
close_it (struct life *l)
{
  fault_resume ();
  image_unref (l->img);
  fault_pause ();
  l->img = NULL;
}

/* A flush of the file that failed may not be forgotten. */
static void
check_synced (struct life *l, const char *what, unsigned before, int r)
{
  if (l->row->kind != FAULT_SYNC)
    return;
  if (fault_count () >= l->n && before < l->n)
    l->sync_failed = true;
  if (l->sync_failed && r == 0)
    wrong (l, "%s succeeds after an fdatasync that failed", what);
}

static void
operate (struct life *l, const struct disk_op *op)
{
  CLEANUP_FREE uint8_t *bytes = disk_op_bytes (op);
  uint64_t number = disk_model_begin (l->model, op);
  unsigned before = fault_count ();
  struct err err = ERR_INIT;
  int r;

  fault_resume ();
  r = disk_op_do (op, bytes, l->img, &err);
  fault_pause ();
  if (r < 0)
    check_told (l, "operation", r, &err);
  else if (op->kind == DISK_TRIM &&
           image_pread (l->img, bytes, op->nr * (size_t) DISK_SECTOR,
                        op->first * (uint64_t) DISK_SECTOR, &err) < 0)
    wrong (l, "reading back: %s", err.msg);
  disk_model_end (l->model, number, r == 0, bytes);
  if (op->flags & BLOCK_FUA)
    check_synced (l, "an operation with FUA", before, r);
  else if (l->row->kind == FAULT_SYNC && fault_count () >= l->n &&
           before < l->n)
    l->sync_failed = true;
}

static void
flush (struct life *l)
{
  uint64_t begun = disk_model_flush_begin (l->model);
  unsigned before = fault_count ();
  struct err err = ERR_INIT;
  int r;

  fault_resume ();
  r = image_flush (l->img, &err);
  fault_pause ();
  if (r < 0)
    check_told (l, "flush", r, &err);
  else
    disk_model_flush_end (l->model, begun);
  check_synced (l, "a flush", before, r);
}

static void
live (struct life *l)
{
  open_it (l);
  for (unsigned n = 0; n < NR_OPS; ++n) {
    struct disk_op op = disk_op_random (&l->rng, l->files->nr_sectors,
                                        l->files->per_block, &l->next_id);

    if (l->img == NULL)
      open_it (l);
    if (l->img == NULL)
      continue;
    operate (l, &op);
    if (n % 4 == 3)
      flush (l);
    if (n == NR_OPS / 2) {
      check_disk (l, "before it was closed");
      close_it (l);
    }
  }
  if (l->img)
    check_disk (l, "in the end");
  close_it (l);
}

/*--- And afterwards ---------------------------------------------------------*/

/* What is truncated to nothing, some file systems flush when it is closed. */
static void
restore_leaf (const struct subject_files *f)
{
  CLEANUP_CLOSE int fd = open (f->leaf, O_WRONLY | O_CLOEXEC);

  assert_true (fd >= 0 && fd_pwrite (fd, f->data, f->len, 0, NULL) == 0);
  assert_int_equal (ftruncate (fd, (off_t) f->len), 0);
}

/* It opens for reading and for writing, and holds the same. */
static void
check_afterwards (struct life *l)
{
  struct image_options options = { .parent_path = l->files->folder };
  struct err err = ERR_INIT;

  for (int i = 0; i < 3; ++i) {
    options.writable = i == 1;
    if (image_open (l->files->leaf, &options, &l->img, NULL, &err) < 0)
      wrong (l, "opened again: %s", err.msg);
    settle (l);
    check_disk (l, "opened again");
    if (i == 1) {
      struct disk_op op = { .kind = DISK_WRITE, .nr = 1, .id = 0xBEEF,
                            .first = l->n * 7919U % l->files->nr_sectors };
      uint64_t number = disk_model_begin (l->model, &op);

      if (disk_op_run (&op, l->img, &err) < 0)
        wrong (l, "written again: %s", err.msg);
      disk_model_end (l->model, number, true, NULL);
    }
    image_unref (l->img);
  }
}

/* Returns how many calls there were that the kind is about. */
static unsigned
one_life (const struct subject_files *f, const struct fault_row *row,
          unsigned n)
{
  struct life l = {
    .files = f, .row = row, .n = n, .rng = { seed }, .next_id = 1000000,
    .model = disk_model_new (f->disk, f->nr_sectors),
    .settled = fault_failed_syncs (),
  };
  unsigned nr, fds = fault_nr_fds ();

  restore_leaf (f);
  fault_arm (row->kind, n);
  fault_pause ();
  live (&l);
  nr = fault_disarm ();
  assert_int_equal (fault_nr_fds (), fds);
  check_afterwards (&l);
  disk_model_free (l.model);
  nr_told += l.told;
  return nr;
}

/* Number i of those that are tried, of nr calls: each lies in a part of its
 * own, at a place that depends on the seed.
 */
static unsigned
call_number (unsigned i, unsigned tried, unsigned nr)
{
  return 1 + (unsigned) ((i * (uint64_t) nr + seed * 7919 % nr) / tried);
}

static void
try_row (const struct subject_files *f, const struct fault_row *row,
         unsigned most)
{
  unsigned nr = one_life (f, row, UINT32_MAX);
  unsigned tried = nr < most ? nr : most;

  for (unsigned i = 0; i < tried; ++i)
    one_life (f, row, call_number (i, tried, nr));
  nr_cases += tried;
  print_message ("%s, seed %llu, %s: %u of %u calls failed\n",
                 f->subject->name, (unsigned long long) seed, row->name, tried,
                 nr);
}

/* How many calls of a kind are tried in script number n, from 0 on. */
static unsigned
most_calls (uint64_t n, enum fault_kind kind)
{
  if (n == 0 || (n == 1 && kind == FAULT_SYNC))
    return share_of (MOST_CALLS);
  return getenv ("NBDIMAGE_LONG") ? MOST_CALLS_MORE : 0;
}

static void
what_fails_is_told_and_harms_nothing_else (void **state)
{
  uint64_t first = seed, nr = getenv ("NBDIMAGE_LONG") ? 20 : 2;

  (void) state;
  for (; seed < first + nr; ++seed)
    FOR_EACH_SUBJECT (s) {
      struct subject_files f;

      subject_make (s, 1, &f);
      for (size_t i = 0; i < NR_ROWS; ++i) {
        unsigned most = most_calls (seed - first, rows[i].kind);

        if (most > 0)
          try_row (&f, &rows[i], most);
      }
      subject_remove (&f);
    }
  print_message ("%u cases, of which %u were told; opened after a flush that "
                 "failed: %u\n", nr_cases, nr_told, nr_settled);
  counted (nr_cases, "faults", 0, first);
  assert_true (nr_told > nr_cases / 4);
  assert_true (nr_settled > 0);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (what_fails_is_told_and_harms_nothing_else),
  };

  seed = subject_number ("NBDIMAGE_TEST_SEED", 1);
  return cmocka_run_group_tests (tests, NULL, NULL);
}
