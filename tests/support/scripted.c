/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "tests/support/scripted.h"

#define CHUNK (16 * 1024)

static struct scripted *
of (struct block *b)
{
  return (struct scripted *) b;
}

static void
scripted_close (struct block *b)
{
  struct scripted *s = of (b);

  pthread_mutex_destroy (&s->lock);
  pthread_rwlock_destroy (&s->flushing);
  vector_free (&s->extents);
  free (s->writers);
  free (s->stable);
  free (s->data);
}

static bool
touches (uint64_t off, uint64_t len, uint64_t from, uint64_t to)
{
  return off < to && off + len > from;
}

static bool
touches_hole (const struct scripted *s, uint64_t off, uint64_t len)
{
  for (size_t i = 0; i < s->extents.len; ++i) {
    const struct extent *e = &s->extents.ptr[i];

    if ((e->kind == EXTENT_HOLE || e->kind == EXTENT_ZERO) &&
        touches (off, len, e->off, e->off + e->len))
      return true;
  }
  return false;
}

static int
begin_read (struct scripted *s, size_t len, uint64_t off, struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);

  s->reads++;
  s->bytes_read += len;
  s->longest_read = max_u64 (s->longest_read, len);
  if (!s->base.writable && touches_hole (s, off, len))
    s->bad_calls++;
  if (s->reads == s->cancel_at)
    job_cancel (s->cancel);
  if (s->reads == s->fail_read)
    return err_set (err, -EIO, "read %u", s->reads);
  if (touches (off, len, s->bad_from, s->bad_to))
    return err_set (err, -EIO, "bad sector");
  s->being_read += len;
  s->most_read = max_u64 (s->most_read, s->being_read);
  return 0;
}

static int
scripted_pread (struct block *b, void *buf, size_t len, uint64_t off,
                struct err *err)
{
  struct scripted *s = of (b);
  int r = begin_read (s, len, off, err);

  if (r < 0)
    return r;
  memcpy (buf, s->data + off, len);
  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
    s->being_read -= len;
  }
  return 0;
}

/* Under the lock. */
static void
check_write (struct scripted *s, uint64_t len, uint64_t off)
{
  if (off % s->base.sizes.minimum != 0 || len % s->base.sizes.minimum != 0)
    s->bad_calls++;
}

static int
scripted_pwrite (struct block *b, const void *buf, size_t len, uint64_t off,
                 unsigned flags, struct err *err)
{
  struct scripted *s = of (b);
  pthread_t self = pthread_self ();

  (void) flags;
  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
    check_write (s, len, off);
    s->bytes_written += len;
    for (uint64_t u = off / SCRIPTED_UNIT;
         u <= (off + len - 1) / SCRIPTED_UNIT; ++u) {
      if (s->writers[u] != 0 && !pthread_equal (s->writers[u], self))
        s->bad_calls++;
      s->writers[u] = self;
    }
    if (++s->writes == s->fail_write)
      return err_set (err, -ENOSPC, "write %u", s->writes);
  }
  pthread_rwlock_rdlock (&s->flushing);
  memcpy (s->data + off, buf, len);
  pthread_rwlock_unlock (&s->flushing);
  return 0;
}

static int
scripted_zero (struct block *b, uint64_t len, uint64_t off, unsigned flags,
               struct err *err)
{
  struct scripted *s = of (b);

  (void) flags;
  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
    check_write (s, len, off);
    if (++s->zeros == s->fail_zero)
      return err_set (err, -EIO, "zero %u", s->zeros);
  }
  pthread_rwlock_rdlock (&s->flushing);
  memset (s->data + off, 0, len);
  pthread_rwlock_unlock (&s->flushing);
  return 0;
}

/* What is written meanwhile may be in the copy or not, as on a disk. */
static int
scripted_flush (struct block *b, struct err *err)
{
  struct scripted *s = of (b);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);

  if (++s->flushes == s->fail_flush)
    return err_set (err, -EIO, "flush %u", s->flushes);
  if (s->stable == NULL)
    s->stable = malloc (block_size (b) + 1);
  if (s->stable == NULL)
    abort ();
  pthread_rwlock_wrlock (&s->flushing);
  memcpy (s->stable, s->data, block_size (b));
  pthread_rwlock_unlock (&s->flushing);
  return 0;
}

static int
scripted_extents (struct block *b, uint64_t len, uint64_t off,
                  struct extent_list *list, struct err *err)
{
  struct scripted *s = of (b);
  int r = 0;

  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
    if (++s->asked == s->fail_extents)
      return err_set (err, -EIO, "extents %u", s->asked);
  }
  for (size_t i = 0; r == 0 && i < s->extents.len; ++i) {
    const struct extent *e = &s->extents.ptr[i];
    uint64_t from = max_u64 (e->off, off);
    uint64_t to = min_u64 (e->off + e->len, off + len);

    if (from < to)
      r = extent_list_add (list, from, to - from, e->kind, e->layer, err);
  }
  return r;
}

static const struct block_ops scripted_ops = {
  .close = scripted_close,
  .pread = scripted_pread,
  .pwrite = scripted_pwrite,
  .zero = scripted_zero,
  .flush = scripted_flush,
  .extents = scripted_extents,
};

struct scripted *
scripted_new (const char *name, uint64_t size, uint32_t minimum)
{
  struct scripted *s = calloc (1, sizeof *s);
  struct extent all = { 0, size, EXTENT_DATA, 0 };

  if (s == NULL ||
      block_init (&s->base, &scripted_ops, name, size, true, NULL) < 0)
    abort ();
  s->base.sizes.minimum = minimum;
  s->data = calloc (1, size + 1);
  s->writers = calloc (size / SCRIPTED_UNIT + 1, sizeof *s->writers);
  if (s->data == NULL || s->writers == NULL ||
      vector_append (&s->extents, &all) < 0)
    abort ();
  pthread_mutex_init (&s->lock, NULL);
  pthread_rwlock_init (&s->flushing, NULL);
  return s;
}

static void
fill (struct scripted *s, uint64_t off, uint64_t end, unsigned *seed)
{
  while (off < end) {
    uint64_t n = min_u64 (round_down (off, CHUNK) + CHUNK, end) - off;
    bool zero = rand_r (seed) % 2;

    for (uint64_t i = 0; i < n; ++i)
      s->data[off + i] = zero ? 0 : (uint8_t) (rand_r (seed) >> 3);
    off += n;
  }
}

void
scripted_extent (struct scripted *s, uint64_t len, enum extent_kind kind,
                 unsigned *seed)
{
  struct extent_vector *v = &s->extents;
  struct extent e = { 0, len, kind, kind == EXTENT_DATA ?
                      (unsigned) rand_r (seed) % 2 : 0 };

  if (v->len == 1 && v->ptr[0].len == block_size (&s->base))
    v->len = 0;
  if (v->len > 0)
    e.off = v->ptr[v->len - 1].off + v->ptr[v->len - 1].len;
  e.len = min_u64 (len, block_size (&s->base) - e.off);
  if (e.len == 0)
    return;
  if (vector_append (v, &e) < 0)
    abort ();
  if (kind == EXTENT_HOLE || kind == EXTENT_ZERO)
    memset (s->data + e.off, 0, e.len);
  else
    fill (s, e.off, e.off + e.len, seed);
}
