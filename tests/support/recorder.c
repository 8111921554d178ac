/* SPDX-License-Identifier: GPL-2.0-or-later */

/* One lock for everything: what is tested runs in parallel above it. */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/block/block-ops.h"
#include "tests/support/recorder.h"

#define SECTOR 512

/* A sector as it was written, or (data NULL) a size that the file got. */
struct change {
  uint64_t sector;
  uint64_t size;
  uint8_t *data;
  bool through;                 /* it is on stable storage */
};

DEFINE_VECTOR (changes, struct change);

struct recorder {
  struct block base;
  pthread_mutex_t lock;
  uint8_t *now, *stable;        /* zeros behind what the file has */
  size_t room;                  /* of each, whole sectors */
  uint64_t size, stable_size;
  uint64_t lowest_size;         /* since the last flush */
  struct changes log;           /* since the last flush */
  bool drop_flushes, drop_next;
  unsigned nr_changes, nr_flushes, fail_nth, fail_count;
};

static struct recorder *
recorder (const struct block *b)
{
  return (struct recorder *) b;
}

static void
must (bool ok)
{
  if (!ok)
    abort ();
}

static void
forget (struct recorder *r)
{
  for (size_t i = 0; i < r->log.len; ++i)
    free (r->log.ptr[i].data);
  r->log.len = 0;
}

static void
recorder_close (struct block *b)
{
  struct recorder *r = recorder (b);

  forget (r);
  vector_free (&r->log);
  free (r->now);
  free (r->stable);
  pthread_mutex_destroy (&r->lock);
}

/* Under the lock. */
static bool
fails (struct recorder *r)
{
  r->nr_changes++;
  return r->fail_nth != 0 && r->nr_changes >= r->fail_nth &&
    r->nr_changes < r->fail_nth + r->fail_count;
}

static void
log_sectors (struct recorder *r, uint64_t off, uint64_t len)
{
  for (uint64_t s = off / SECTOR; s < div_round_up (off + len, SECTOR); ++s) {
    struct change c = { .sector = s, .data = malloc (SECTOR) };

    must (c.data != NULL);
    memcpy (c.data, r->now + s * SECTOR, SECTOR);
    must (vector_append (&r->log, &c) == 0);
  }
}

/* buf NULL: zeros. */
static void
change_bytes (struct recorder *r, const void *buf, uint64_t len, uint64_t off)
{
  if (len == 0)
    return;
  if (buf)
    memcpy (r->now + off, buf, len);
  else
    memset (r->now + off, 0, len);
  log_sectors (r, off, len);
}

static void
grow (uint8_t **bytes, size_t had, size_t room)
{
  uint8_t *more = calloc (1, room);

  must (more != NULL);
  if (had > 0)
    memcpy (more, *bytes, had);
  free (*bytes);
  *bytes = more;
}

/* Not all that a file may ever take: tests make thousands of them, and the
 * thread sanitizer notes of each byte that it was allocated.
 */
static void
make_room (struct recorder *r, uint64_t size)
{
  size_t room = max_u64 (round_up (size, SECTOR), 2 * r->room);

  must (size <= RECORDER_MAX_SIZE);
  if (size <= r->room)
    return;
  grow (&r->now, r->room, room);
  grow (&r->stable, r->room, room);
  r->room = room;
}

static void
change_size (struct recorder *r, uint64_t size)
{
  struct change c = { .size = size };

  make_room (r, size);
  if (size < r->size)
    memset (r->now + size, 0, r->size - size);
  r->size = size;
  r->lowest_size = min_u64 (r->lowest_size, size);
  must (vector_append (&r->log, &c) == 0);
}

static int
recorder_pread (struct block *b, void *buf, size_t len, uint64_t off,
                struct err *err)
{
  struct recorder *r = recorder (b);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&r->lock);

  (void) err;
  memcpy (buf, r->now + off, len);
  return 0;
}

/* What was written since the last flush, and what may have been cut off, is
 * all that differs.
 */
static void
make_stable (struct recorder *r)
{
  uint64_t end = max_u64 (r->size, r->stable_size), off = r->lowest_size;

  for (size_t i = 0; i < r->log.len; ++i)
    if (r->log.ptr[i].data)
      memcpy (r->stable + r->log.ptr[i].sector * SECTOR,
              r->now + r->log.ptr[i].sector * SECTOR, SECTOR);
  if (off < end)
    memcpy (r->stable + off, r->now + off, end - off);
  r->stable_size = r->lowest_size = r->size;
  forget (r);
}

static int
flush (struct recorder *r, struct err *err)
{
  r->nr_flushes++;
  if (fails (r))
    return err_set (err, -EIO, "the flush failed");
  if (r->drop_flushes || r->drop_next) {
    r->drop_next = false;
    return 0;
  }
  make_stable (r);
  return 0;
}

static int
recorder_pwrite (struct block *b, const void *buf, size_t len, uint64_t off,
                 unsigned flags, struct err *err)
{
  struct recorder *r = recorder (b);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&r->lock);

  if (fails (r)) {
    change_bytes (r, buf, round_down (len / 2, SECTOR), off);
    return err_set (err, -ENOSPC, "no space left");
  }
  change_bytes (r, buf, len, off);
  return flags & BLOCK_FUA ? flush (r, err) : 0;
}

/* The sectors come after what was written there before, and of the sizes this
 * one is what is left.
 */
static void
write_through (struct recorder *r, const void *buf, uint64_t len, uint64_t off)
{
  size_t n = 0, first;

  for (size_t i = 0; i < r->log.len; ++i)
    if (r->log.ptr[i].data)
      r->log.ptr[n++] = r->log.ptr[i];
  r->log.len = first = n;
  if (r->size < r->stable_size)
    memset (r->stable + r->size, 0, r->stable_size - r->size);
  r->stable_size = r->size;
  change_bytes (r, buf, len, off);
  for (size_t i = first; i < r->log.len; ++i)
    r->log.ptr[i].through = true;
}

static int
recorder_pwrite_through (struct block *b, const void *buf, size_t len,
                         uint64_t off, struct err *err)
{
  struct recorder *r = recorder (b);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&r->lock);

  r->nr_flushes++;
  if (fails (r)) {
    change_bytes (r, buf, round_down (len / 2, SECTOR), off);
    return err_set (err, -EIO, "the flush failed");
  }
  if (r->drop_flushes || r->drop_next) {
    r->drop_next = false;
    change_bytes (r, buf, len, off);
  }
  else
    write_through (r, buf, len, off);
  return 0;
}

static int
recorder_zero (struct block *b, uint64_t len, uint64_t off, unsigned flags,
               struct err *err)
{
  struct recorder *r = recorder (b);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&r->lock);

  (void) flags;
  if (fails (r)) {
    change_bytes (r, NULL, round_down (len / 2, SECTOR), off);
    return err_set (err, -EIO, "the zeros failed");
  }
  change_bytes (r, NULL, len, off);
  return 0;
}

static int
recorder_flush (struct block *b, struct err *err)
{
  struct recorder *r = recorder (b);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&r->lock);

  return flush (r, err);
}

static int
recorder_append (struct block *b, const void *buf, size_t len, uint64_t off,
                 struct err *err)
{
  struct recorder *r = recorder (b);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&r->lock);

  if (fails (r))
    return err_set (err, -ENOSPC, "no space left");
  change_size (r, off + len);
  change_bytes (r, buf, len, off);
  return 0;
}

static int
recorder_resize (struct block *b, uint64_t size, struct err *err)
{
  struct recorder *r = recorder (b);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&r->lock);

  if (fails (r))
    return err_set (err, -EIO, "the change of size failed");
  change_size (r, size);
  return 0;
}

static const struct block_ops recorder_ops = {
  .close = recorder_close,
  .pread = recorder_pread,
  .pwrite = recorder_pwrite,
  .pwrite_through = recorder_pwrite_through,
  .zero = recorder_zero,
  .trim = recorder_zero,
  .flush = recorder_flush,
  .append = recorder_append,
  .resize = recorder_resize,
};

struct block *
recorder_new (const void *data, size_t len)
{
  struct recorder *r = calloc (1, sizeof *r);

  must (r != NULL);
  must (block_init (&r->base, &recorder_ops, "recorder", len, true,
                    NULL) == 0);
  r->base.can_resize = true;
  make_room (r, max_u64 (len, 1));
  memcpy (r->now, data, len);
  memcpy (r->stable, data, len);
  r->size = r->stable_size = r->lowest_size = len;
  pthread_mutex_init (&r->lock, NULL);
  return &r->base;
}

/* Of 4 sampled files one has all changes up to some moment, and the others
 * any subset of them, with more or fewer of them taken.
 */
static bool
takes (unsigned *state, size_t i, size_t nr, unsigned seed, size_t prefix)
{
  if (seed < 2)
    return seed == 1;
  if (seed % 4 == 0)
    return i < prefix;
  (void) nr;
  return (unsigned) rand_r (state) % 8 < 1 + 3 * (seed % 4 - 1);
}

uint8_t *
recorder_crash (struct block *b, unsigned seed, size_t *len)
{
  struct recorder *r = recorder (b);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&r->lock);
  unsigned state = seed;
  size_t prefix = (size_t) rand_r (&state) % (r->log.len + 1);
  uint64_t size = r->stable_size, most = size;
  uint8_t *data;

  for (size_t i = 0; i < r->log.len; ++i)
    if (r->log.ptr[i].data == NULL)
      most = max_u64 (most, r->log.ptr[i].size);
  data = calloc (1, most + SECTOR);
  must (data != NULL);
  memcpy (data, r->stable, r->stable_size);
  for (size_t i = 0; i < r->log.len; ++i) {
    const struct change *c = &r->log.ptr[i];

    if (!takes (&state, i, r->log.len, seed, prefix) && !c->through)
      continue;
    if (c->data && (c->sector + 1) * SECTOR <= round_up (most, SECTOR))
      memcpy (data + c->sector * SECTOR, c->data, SECTOR);
    else if (c->data == NULL)
      size = c->size;
  }
  *len = size;
  return data;
}

void
recorder_fix_size (struct block *b)
{
  b->can_resize = false;
}

void
recorder_drop_flushes (struct block *b, bool drop)
{
  recorder (b)->drop_flushes = drop;
}

void
recorder_drop_next (struct block *b, bool drop)
{
  recorder (b)->drop_next = drop;
}

size_t
recorder_stable_size (const struct block *b)
{
  return recorder (b)->stable_size;
}

void
recorder_fail (struct block *b, unsigned nth, unsigned count)
{
  struct recorder *r = recorder (b);

  r->nr_changes = 0;
  r->fail_nth = nth;
  r->fail_count = count;
}

unsigned
recorder_changes (const struct block *b)
{
  return recorder (b)->nr_changes;
}

unsigned
recorder_flushes (const struct block *b)
{
  return recorder (b)->nr_flushes;
}

const uint8_t *
recorder_data (const struct block *b, size_t *len)
{
  *len = recorder (b)->size;
  return recorder (b)->now;
}
