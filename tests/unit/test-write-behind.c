/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A thread that writes the files of a run: in the order of the run, not too
 * far behind it, and nothing once something has failed.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "lib/base/cleanup.h"
#include "lib/repo/write-behind.h"

#define MOST_BEHIND (16 * SINK_BUFFER)

/* What the place was asked for: what is written must go on counting. */
struct recorder {
  struct sink sink;
  struct run_place place;
  char calls[64];               /* b, e, E (the last); writes are not there */
  size_t nr_calls;
  uint64_t counted;             /* bytes */
  bool wrong;
  char fails;                   /* at this call: b, w, e; 0: at none */

  pthread_mutex_t lock;         /* guards what follows */
  pthread_cond_t changed;
  bool closed;                  /* writes wait */
  bool waiting;                 /* one does */
};

static int
called (struct recorder *r, char what, char name, struct err *err)
{
  if (name != 'w')
    r->calls[r->nr_calls++] = name;
  return r->fails == what ? err_set (err, -ENOSPC, "no space for %c", what)
    : 0;
}

static int
record_begin (void *opaque, const struct nbi_header *header,
              struct sink **sink, struct err *err)
{
  struct recorder *r = opaque;

  r->wrong |= header->number != r->nr_calls / 2;
  *sink = &r->sink;
  return called (r, 'b', 'b', err);
}

static int
record_end (void *opaque, const struct nbi_header *header, bool last,
            struct err *err)
{
  struct recorder *r = opaque;

  r->wrong |= header->number != r->nr_calls / 2;
  return called (r, 'e', last ? 'E' : 'e', err);
}

static int
record_write (struct sink *sink, const void *buf, size_t len, struct err *err)
{
  struct recorder *r = (struct recorder *) sink;
  const uint8_t *p = buf;

  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&r->lock);

    r->waiting = r->closed;
    pthread_cond_broadcast (&r->changed);
    while (r->closed)
      pthread_cond_wait (&r->changed, &r->lock);
  }
  r->wrong |= len == 0;
  for (size_t i = 0; i < len; ++i)
    r->wrong |= p[i] != (r->counted + i) % 251;
  r->counted += len;
  return called (r, 'w', 'w', err);
}

static void
recorder_init (struct recorder *r)
{
  *r = (struct recorder) {
    .sink = { .write = record_write },
    .place = { record_begin, record_end, r },
  };
  pthread_mutex_init (&r->lock, NULL);
  pthread_cond_init (&r->changed, NULL);
}

static void
set_closed (struct recorder *r, bool closed)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&r->lock);

  r->closed = closed;
  pthread_cond_broadcast (&r->changed);
}

static void
wait_until_waiting (struct recorder *r)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&r->lock);

  while (!r->waiting)
    pthread_cond_wait (&r->changed, &r->lock);
}

static struct write_behind *
begin_behind (struct recorder *r)
{
  struct write_behind *behind = NULL;

  assert_int_equal (write_behind_new (&r->place, &behind, NULL), 0);
  return behind;
}

/* One file more, of so many bytes, as file_writer gives them. */
static int
write_file (struct write_behind *behind, uint32_t number, size_t len,
            bool last, uint64_t *counted, struct err *err)
{
  const struct run_place *place = write_behind_place (behind);
  const struct nbi_header header = { .number = number };
  struct sink *sink;
  uint8_t *buf;
  int r = place->begin (place->opaque, &header, &sink, err);

  if (r == 0)
    r = sink->swap (sink, 0, &buf, err);
  while (r == 0 && len > 0) {
    size_t n = len < SINK_BUFFER ? len : SINK_BUFFER;

    for (size_t i = 0; i < n; ++i)
      buf[i] = (uint8_t) ((*counted + i) % 251);
    *counted += n;
    len -= n;
    r = sink->swap (sink, n, &buf, err);
  }
  return r < 0 ? r : place->end (place->opaque, &header, last, err);
}

static void
all_is_done_in_order (void **state)
{
  struct recorder r;
  struct write_behind *behind;
  uint64_t counted = 0;

  (void) state;
  recorder_init (&r);
  behind = begin_behind (&r);
  assert_int_equal (write_file (behind, 0, 20 * SINK_BUFFER + 4096, false,
                                &counted, NULL), 0);
  assert_int_equal (write_file (behind, 1, 4096, false, &counted, NULL), 0);
  assert_int_equal (write_file (behind, 2, 3 * SINK_BUFFER, true, &counted,
                                NULL), 0);
  assert_int_equal (write_behind_wait (behind, NULL), 0);
  assert_false (r.wrong);
  assert_string_equal (r.calls, "bebebE");
  assert_int_equal (r.counted, counted);
  write_behind_free (behind);
}

/* Whichever it is: the next ones say so, and nothing more is done. */
static void
a_failure_ends_it (void **state)
{
  static const struct {
    char fails;
    const char *calls;
  } ways[] = { { 'b', "b" }, { 'w', "b" }, { 'e', "be" } };

  (void) state;
  for (size_t i = 0; i < sizeof ways / sizeof ways[0]; ++i) {
    struct err err = ERR_INIT;
    struct recorder r;
    struct write_behind *behind;
    uint64_t counted = 0;
    char said[32];

    recorder_init (&r);
    r.fails = ways[i].fails;
    snprintf (said, sizeof said, "no space for %c", r.fails);
    behind = begin_behind (&r);
    (void) write_file (behind, 0, 4096, false, &counted, NULL);
    assert_int_equal (write_behind_wait (behind, &err), -ENOSPC);
    assert_string_equal (err.msg, said);
    err = (struct err) ERR_INIT;
    assert_int_equal (write_file (behind, 1, 4096, true, &counted, &err),
                      -ENOSPC);
    assert_string_equal (err.msg, said);
    assert_int_equal (write_behind_wait (behind, NULL), -ENOSPC);
    write_behind_free (behind);
    assert_string_equal (r.calls, ways[i].calls);
  }
}

struct filler {
  struct write_behind *behind;
  uint64_t counted;             /* atomic */
};

static void *
fill (void *opaque)
{
  struct filler *f = opaque;
  const struct run_place *place = write_behind_place (f->behind);
  const struct nbi_header header = { .number = 0 };
  struct sink *sink;
  uint8_t *buf;

  place->begin (place->opaque, &header, &sink, NULL);
  sink->swap (sink, 0, &buf, NULL);
  for (;;) {
    uint64_t counted = __atomic_load_n (&f->counted, __ATOMIC_SEQ_CST);

    for (size_t i = 0; i < SINK_BUFFER; ++i)
      buf[i] = (uint8_t) ((counted + i) % 251);
    __atomic_store_n (&f->counted, counted + SINK_BUFFER, __ATOMIC_SEQ_CST);
    if (sink->swap (sink, SINK_BUFFER, &buf, NULL) < 0)
      return NULL;
  }
}

/* A medium that takes nothing: who writes waits, and goes on when it fails. */
static void
no_more_than_its_buffers_are_under_way (void **state)
{
  struct recorder r;
  struct filler f = { .counted = 0 };
  struct timespec moment = { 0, 1000000 };
  pthread_t thread;
  uint64_t before;

  (void) state;
  recorder_init (&r);
  r.fails = 'w';
  set_closed (&r, true);
  f.behind = begin_behind (&r);
  assert_int_equal (pthread_create (&thread, NULL, fill, &f), 0);
  wait_until_waiting (&r);
  /* However long that takes. */
  while (__atomic_load_n (&f.counted, __ATOMIC_SEQ_CST) < MOST_BEHIND)
    nanosleep (&moment, NULL);
  moment.tv_nsec = 50000000;
  nanosleep (&moment, NULL);
  before = __atomic_load_n (&f.counted, __ATOMIC_SEQ_CST);
  assert_int_equal (before, MOST_BEHIND);
  set_closed (&r, false);
  pthread_join (thread, NULL);
  assert_int_equal (write_behind_wait (f.behind, NULL), -ENOSPC);
  assert_false (r.wrong);
  write_behind_free (f.behind);
}

/* What was not begun is dropped; the write under way is waited for. */
static void
it_can_be_given_up (void **state)
{
  struct recorder r;
  struct write_behind *behind;
  uint64_t counted = 0;

  (void) state;
  recorder_init (&r);
  r.fails = 'w';
  behind = begin_behind (&r);
  set_closed (&r, true);
  assert_int_equal (write_file (behind, 0, SINK_BUFFER, true, &counted, NULL),
                    0);
  wait_until_waiting (&r);
  set_closed (&r, false);
  write_behind_free (behind);
  assert_string_equal (r.calls, "b");
  assert_int_equal (r.counted, SINK_BUFFER);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (all_is_done_in_order),
    cmocka_unit_test (a_failure_ends_it),
    cmocka_unit_test (no_more_than_its_buffers_are_under_way),
    cmocka_unit_test (it_can_be_given_up),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
