/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/format/check.h"
#include "tests/support/change.h"
#include "tests/support/history.h"
#include "tests/support/recorder.h"
#include "tests/support/share.h"

static void
must_run (const struct change *c, struct block *block)
{
  struct err err = ERR_INIT;

  if (c->run (c, block, NULL, &err) < 0)
    fail_msg ("%s: %s", c->name, err.msg);
}

static int
examine (const struct change *c, struct block *block, bool done,
         struct err *err)
{
  CLEANUP_CHECK struct check check = CHECK_INIT;
  enum finding_severity worst = !done ? FINDING_REPAIRABLE
    : c->leaks_nothing ? FINDING_NOTE : FINDING_LEAK;
  int r = image_check_block (block, c->options, 0, &check, err);

  for (size_t i = 0; r == 0 && i < check.findings.len; ++i)
    if (check.findings.ptr[i].severity > worst)
      r = err_set (err, -EBADMSG, "check: %s", check.findings.ptr[i].sentence);
  return r;
}

static int
is_good (const struct change *c, struct block *block, bool done,
         struct err *err)
{
  int r = c->check (c, block, done, err);

  return r < 0 ? r : examine (c, block, done, err);
}

static void
must_be_good (const struct change *c, struct block *block, bool done)
{
  struct err err = ERR_INIT;

  if (is_good (c, block, done, &err) < 0)
    fail_msg ("%s: %s", c->name, err.msg);
}

void
change_once (const struct change *c)
{
  struct block *block = recorder_new (c->data, c->len);

  must_be_good (c, block, false);
  must_run (c, block);
  must_be_good (c, block, true);
  /* Twice is no harm. */
  must_run (c, block);
  must_be_good (c, block, true);
  block_unref (block);
}

/*--- Power cuts -------------------------------------------------------------*/

struct tally {
  unsigned nr, bad;
  char *first;
};

static int
try_state (const struct change *c, struct block *block, struct err *err)
{
  int r = is_good (c, block, false, err);

  if (r < 0)
    return r;
  r = c->run (c, block, NULL, err);
  if (r < 0)
    return err_in (err, "again");
  r = is_good (c, block, true, err);
  return r < 0 ? err_in (err, "after it was done again") : 0;
}

static void
try_moment (const struct change *c, struct replay *replay, unsigned seeds,
            unsigned moment, struct tally *tally)
{
  for (unsigned how = 0; how < HISTORY_NR_CRASHES; ++how)
    for (unsigned seed = 0; seed < (how < 2 ? 1 : seeds); ++seed) {
      struct block *block = replay_crash (replay, 0, how,
                                          seed * 7919 + moment +
                                          share_seed ());
      struct err err = ERR_INIT;

      tally->nr++;
      if (try_state (c, block, &err) < 0 && tally->bad++ == 0)
        snprintf (tally->first, 256, "%s, change %u, kind %u: %.180s",
                  c->name, moment, how, err.msg);
      block_unref (block);
    }
}

unsigned
change_power_cuts (const struct change *c, unsigned seeds, bool drop_flushes,
                   unsigned *nr, char first[256])
{
  struct history *history = history_new ();
  struct block *block = history_file (history, "recorded", c->data, c->len);
  struct tally tally = { 0, 0, first };
  struct replay *replay;
  unsigned moment = 0;

  first[0] = '\0';
  history_drop_flushes (history, drop_flushes);
  must_run (c, block);
  block_unref (block);
  replay = replay_new (history);
  do {
    /* The test of the test needs one that is bad: it looks at all. */
    if (drop_flushes || is_in_share (moment))
      try_moment (c, replay, seeds, moment, &tally);
    moment++;
  } while (replay_step (replay) != NULL && !(drop_flushes && tally.bad > 0));
  replay_free (replay);
  history_free (history);
  *nr += tally.nr;
  return tally.bad;
}

/*--- Faults -----------------------------------------------------------------*/

/* Returns whether the n-th change came. */
static bool
fault (const struct change *c, unsigned nth, unsigned count)
{
  struct block *block = recorder_new (c->data, c->len);
  bool failed;

  recorder_fail (block, nth, count);
  failed = c->run (c, block, NULL, NULL) < 0;
  if (recorder_changes (block) >= nth) {
    must_be_good (c, block, !failed);
    recorder_fail (block, 0, 0);
    must_run (c, block);
    must_be_good (c, block, true);
    block_unref (block);
    return true;
  }
  assert_false (failed);
  block_unref (block);
  return false;
}

unsigned
change_faults (const struct change *c)
{
  unsigned n = 1, nr = 0;

  for (; !is_in_share (n) || (fault (c, n, 1) && fault (c, n, 1000000)); ++n)
    nr += is_in_share (n);
  return nr;
}

void
change_canceled (const struct change *c)
{
  struct block *block = recorder_new (c->data, c->len);
  struct job job = JOB_INIT;
  int r;

  job_cancel (&job);
  r = c->run (c, block, &job, NULL);
  assert_true (r == 0 || r == -ECANCELED);
  must_be_good (c, block, r == 0);
  must_run (c, block);
  must_be_good (c, block, true);
  block_unref (block);
}
