/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/thread.h"
#include "lib/copy/crew.h"

#define LARGEST_PIECE (UINT32_C (4) * 1024 * 1024)
#define BUFFER_ALIGNMENT 4096

/* For finding the sector that can't be read. */
#define SECTOR 512
#define SEARCH_SECONDS 2

uint64_t
crew_piece (uint64_t unit)
{
  return unit > COPY_PIECE ? LARGEST_PIECE : COPY_PIECE;
}

unsigned
crew_threads (const struct copy_options *options)
{
  if (options->threads == 0)
    return COPY_DEFAULT_THREADS;
  return options->threads < COPY_MAX_THREADS ? options->threads
                                             : COPY_MAX_THREADS;
}

bool
crew_is_zero (const uint8_t *buf, uint64_t len)
{
  return buf[0] == 0 && memcmp (buf, buf + 1, (size_t) (len - 1)) == 0;
}

/*--- Reading ----------------------------------------------------------------*/

static time_t
now (void)
{
  struct timespec ts;

  clock_gettime (CLOCK_MONOTONIC, &ts);
  return ts.tv_sec;
}

/* Reading [off, off+len) failed as err says.  Halve it until it is a sector;
 * a medium that takes its time to fail is not asked so often.  *err becomes
 * the error of what is left.
 */
static uint64_t
first_unreadable (struct block *from, uint8_t *buf, uint64_t len,
                  uint64_t off, struct err *err)
{
  time_t start = now ();

  while (len > SECTOR && now () - start < SEARCH_SECONDS) {
    uint64_t half = round_up (len / 2, SECTOR);
    struct err found = ERR_INIT;

    if (half >= len)
      break;
    if (block_pread (from, buf, (size_t) half, off, &found) < 0) {
      len = half;
      *err = found;
      continue;
    }
    if (block_pread (from, buf, (size_t) (len - half), off + half,
                     &found) == 0)
      break;                    /* now it can: the place is not to blame */
    off += half;
    len -= half;
    *err = found;
  }
  return off;
}

int
crew_read (struct block *from, uint8_t *buf, uint64_t len, uint64_t off,
           struct err *err)
{
  struct err found = ERR_INIT;
  int r = block_pread (from, buf, (size_t) len, off, &found);

  if (r == 0)
    return 0;
  off = first_unreadable (from, buf, len, off, &found);
  return err_set (err, found.code, "%s: reading at offset %" PRIu64 ": %s",
                  block_name (from), off, found.msg);
}

/*--- Threads ----------------------------------------------------------------*/

static void
fail (struct crew *crew, const struct err *err)
{
  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&crew->lock);

    if (crew->first.code == 0)
      crew->first = *err;
  }
  copy_ranges_stop (&crew->ranges);
}

static int
get_buffers (struct crew *crew, struct crew_member *me, struct err *err)
{
  for (unsigned i = 0; i < crew->nr_buffers; ++i) {
    me->buffers[i] = aligned_alloc (BUFFER_ALIGNMENT,
                                    (size_t) crew->ranges.piece);
    if (me->buffers[i] == NULL)
      return err_nomem (err);
  }
  return 0;
}

static void
free_member (struct crew_member *me)
{
  for (unsigned i = 0; i < CREW_BUFFERS; ++i)
    free (me->buffers[i]);
  vector_free (&me->range.extents);
}

static void
be_member (struct crew *crew, unsigned slot)
{
  struct crew_member me = { .slot = slot };
  struct err err = ERR_INIT;
  int r = get_buffers (crew, &me, &err);

  while (r == 0) {
    r = copy_ranges_next (&crew->ranges, slot, &me.range, &err);
    if (r <= 0)
      break;
    r = crew->work (crew, &me, &err);
    if (r < 0)
      break;                    /* it stays under way: it is not finished */
    copy_ranges_done (&crew->ranges, slot);
    r = job_advance (crew->ranges.job, me.range.len, &err);
    if (r == 0 && crew->after)
      r = crew->after (crew, &err);
  }
  if (r < 0)
    fail (crew, &err);
  free_member (&me);
}

struct start {
  struct crew *crew;
  unsigned slot;
  pthread_t thread;
};

static void *
begin (void *opaque)
{
  const struct start *start = opaque;

  be_member (start->crew, start->slot);
  return NULL;
}

int
crew_run (struct crew *crew, struct err *err)
{
  struct start others[COPY_MAX_THREADS];
  unsigned nr = 0;

  pthread_mutex_init (&crew->lock, NULL);
  while (nr + 1 < crew->ranges.nr_slots) {
    others[nr] = (struct start) { .crew = crew, .slot = nr + 1 };
    if (thread_start (&others[nr].thread, begin, &others[nr]) != 0)
      break;
    nr++;
  }
  be_member (crew, 0);
  for (unsigned i = 0; i < nr; ++i)
    pthread_join (others[i].thread, NULL);
  pthread_mutex_destroy (&crew->lock);
  return crew->first.code == 0 ? 0
    : err_set (err, crew->first.code, "%s", crew->first.msg);
}
