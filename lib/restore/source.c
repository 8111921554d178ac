/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A range of the block is cut where a patch, or the image, begins or ends:
 *
 *   | image | patch | image | patch | image | behind it     | zeros | patch |
 *   0                                       len                          size
 *
 * With allow_unreadable what fails is halved until it is a sector: that one is
 * zeros, and the rest is not lost with it.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/block/block-ops.h"
#include "lib/restore/source.h"

#define SECTOR 512
#define MAX_LOST (UINT32_C (1) << 20)   /* ranges that are noted */

struct source {
  struct block base;
  struct restore_part part;
  pthread_mutex_t lock;         /* guards lost */
  struct restore_ranges lost;   /* in any order */
};

static struct source *
source_of (struct block *b)
{
  return (struct source *) b;
}

static void
source_close (struct block *b)
{
  struct source *s = source_of (b);

  block_unref (s->part.disk);
  vector_free (&s->lost);
  pthread_mutex_destroy (&s->lock);
}

/*--- What lies where --------------------------------------------------------*/

enum segment_kind { FROM_IMAGE, FROM_PATCH, BEHIND_IMAGE, TAIL };

struct segment {
  enum segment_kind kind;
  uint64_t end;                 /* in the block */
  const struct part_patch *patch;
};

/* Where what lies behind the image becomes zeros. */
static uint64_t
tail_start (const struct source *s)
{
  uint64_t size = s->part.size;

  return max_u64 (s->part.len, size > RESTORE_TAIL ? size - RESTORE_TAIL : 0);
}

static struct segment
segment_at (const struct source *s, uint64_t off)
{
  const struct part_patches *patches = s->part.patches;
  struct segment seg = { FROM_IMAGE, s->part.len, NULL };

  if (off >= tail_start (s))
    seg = (struct segment) { TAIL, s->part.size, NULL };
  else if (off >= s->part.len)
    seg = (struct segment) { BEHIND_IMAGE, tail_start (s), NULL };
  for (size_t i = 0; patches != NULL && i < patches->len; ++i) {
    const struct part_patch *p = &patches->ptr[i];

    if (off >= p->off && off < p->off + p->len)
      return (struct segment) { FROM_PATCH, p->off + p->len, p };
    if (p->off > off)
      seg.end = min_u64 (seg.end, p->off);
  }
  return seg;
}

/*--- Reading ----------------------------------------------------------------*/

static int
note_lost (struct source *s, uint64_t off, uint64_t len, struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
  struct restore_range *last = s->lost.len > 0
    ? &s->lost.ptr[s->lost.len - 1] : NULL;
  const struct restore_range range = { off, len };

  if (last != NULL && last->off + last->len == off) {
    last->len += len;
    return 0;
  }
  if (s->lost.len == MAX_LOST)
    return err_set (err, -EIO, "more than %" PRIu32 " places can't be read",
                    MAX_LOST);
  return vector_append (&s->lost, &range) < 0 ? err_nomem (err) : 0;
}

static bool
is_unreadable (int code)
{
  return code == -EIO || code == -EBADMSG;
}

static int read_or_lose (struct source *s, uint8_t *buf, uint64_t len,
                         uint64_t off, struct err *err);

/* The two halves of what can't be read as one; off is on the image's disk. */
static int
read_halves (struct source *s, uint8_t *buf, uint64_t len, uint64_t off,
             struct err *err)
{
  uint64_t middle = round_up (off + len / 2, SECTOR), half = middle - off;
  int r;

  if (half >= len) {
    memset (buf, 0, (size_t) len);
    return note_lost (s, off, len, err);
  }
  r = read_or_lose (s, buf, half, off, err);
  return r < 0 ? r : read_or_lose (s, buf + half, len - half, middle, err);
}

static int
read_or_lose (struct source *s, uint8_t *buf, uint64_t len, uint64_t off,
              struct err *err)
{
  int r = block_pread (s->part.disk, buf, (size_t) len, off, err);

  return is_unreadable (r) && s->part.allow_unreadable
    ? read_halves (s, buf, len, off, err) : r;
}

static int
source_pread (struct block *b, void *buf, size_t len, uint64_t off,
              struct err *err)
{
  struct source *s = source_of (b);
  uint8_t *p = buf;
  int r = 0;

  while (r == 0 && len > 0) {
    struct segment seg = segment_at (s, off);
    size_t n = (size_t) min_u64 (len, seg.end - off);

    if (seg.kind == FROM_IMAGE)
      r = read_or_lose (s, p, n, s->part.off + off, err);
    else if (seg.kind == FROM_PATCH && seg.patch->bytes != NULL)
      memcpy (p, seg.patch->bytes + (off - seg.patch->off), n);
    else
      memset (p, 0, n);
    p += n;
    off += n;
    len -= n;
  }
  return r;
}

/*--- Extents ----------------------------------------------------------------*/

static int
image_extents_at (const struct source *s, uint64_t len, uint64_t off,
                  struct extent_list *list, struct err *err)
{
  CLEANUP_EXTENT_LIST struct extent_list inner = {
    .limit = list->limit, .unallocated = list->unallocated,
  };
  int r = block_extents (s->part.disk, len, s->part.off + off, &inner, err);

  for (size_t i = 0; r == 0 && i < inner.v.len; ++i) {
    const struct extent *e = &inner.v.ptr[i];
    uint64_t at = e->off - s->part.off;

    if (at >= off + len)
      break;
    r = extent_list_add (list, at, min_u64 (e->len, off + len - at), e->kind,
                         0, err);
  }
  return r;
}

static enum extent_kind
kind_of (const struct segment *seg, const struct extent_list *list)
{
  if (seg->kind == FROM_PATCH && seg->patch->bytes != NULL)
    return EXTENT_DATA;
  return seg->kind == BEHIND_IMAGE && list->unallocated ? EXTENT_UNALLOCATED
    : EXTENT_ZERO;
}

static int
source_extents (struct block *b, uint64_t len, uint64_t off,
                struct extent_list *list, struct err *err)
{
  struct source *s = source_of (b);
  uint64_t end = off + len;
  int r = 0;

  while (r == 0 && off < end && !extent_list_full (list)) {
    struct segment seg = segment_at (s, off);
    uint64_t n = min_u64 (seg.end, end) - off, next;

    if (seg.kind != FROM_IMAGE)
      r = extent_list_add (list, off, n, kind_of (&seg, list), 0, err);
    else
      r = image_extents_at (s, n, off, list, err);
    next = extent_list_end (list, off);
    if (r == 0 && next < off + n)
      break;                    /* its limit, or the image's */
    off += n;
  }
  return r;
}

static const struct block_ops source_ops = {
  .close = source_close,
  .pread = source_pread,
  .extents = source_extents,
};

int
restore_source_new (const struct restore_part *part, struct block **out,
                    struct err *err)
{
  struct source *s;
  int r;

  if (!range_fits (part->off, part->len, block_size (part->disk)) ||
      part->size < part->len)
    return err_set (err, -EINVAL, "%" PRIu64 " bytes at offset %" PRIu64
                    " are not on the disk, or do not fit into %" PRIu64,
                    part->len, part->off, part->size);
  s = calloc (1, sizeof *s);
  if (s == NULL)
    return err_nomem (err);
  r = block_init (&s->base, &source_ops, block_name (part->disk), part->size,
                  false, err);
  if (r < 0) {
    free (s);
    return r;
  }
  pthread_mutex_init (&s->lock, NULL);
  block_get_sizes (part->disk, &s->base.sizes);
  s->base.sizes.minimum = 1;
  s->part = *part;
  block_ref (part->disk);
  *out = &s->base;
  return 0;
}

/*--- What was lost ----------------------------------------------------------*/

static int
compare_ranges (const void *a, const void *b)
{
  const struct restore_range *x = a, *y = b;

  return (x->off > y->off) - (x->off < y->off);
}

int
restore_source_lost (struct block *source, struct restore_ranges *ranges,
                     struct err *err)
{
  struct source *s = source_of (source);
  struct restore_ranges merged = VECTOR_INIT;

  if (s->lost.len > 0)
    qsort (s->lost.ptr, s->lost.len, sizeof s->lost.ptr[0], compare_ranges);
  for (size_t i = 0; i < s->lost.len; ++i) {
    const struct restore_range *range = &s->lost.ptr[i];
    struct restore_range *last = merged.len > 0
      ? &merged.ptr[merged.len - 1] : NULL;

    if (last != NULL && range->off <= last->off + last->len)
      last->len = max_u64 (last->off + last->len, range->off + range->len)
        - last->off;
    else if (vector_append (&merged, range) < 0) {
      vector_free (&merged);
      return err_nomem (err);
    }
  }
  *ranges = merged;
  return 0;
}
