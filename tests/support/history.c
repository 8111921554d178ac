/* SPDX-License-Identifier: GPL-2.0-or-later */

/* One lock for everything: what is tested runs in parallel above it.
 *
 * A sector is remembered as a whole, as it was after it was written in part:
 * that is what a page cache writes.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/block/block-ops.h"
#include "tests/support/history-private.h"

#define LARGEST (UINT64_C (1) << 30)

struct history_block {
  struct block base;
  struct history *history;
  unsigned file;
};

static struct history *
history_of (const struct block *b)
{
  return ((const struct history_block *) b)->history;
}

static struct history_bytes *
bytes_of (const struct block *b)
{
  const struct history_block *hb = (const struct history_block *) b;

  return &hb->history->files.ptr[hb->file].now;
}

void
history_must (bool ok)
{
  if (!ok)
    abort ();
}

void
history_bytes_resize (struct history_bytes *b, uint64_t size)
{
  uint64_t room = round_up (size, HISTORY_SECTOR);

  history_must (size <= LARGEST);
  if (room > b->allocated) {
    room = max_u64 (room, b->allocated * 2);
    b->ptr = realloc (b->ptr, room);
    history_must (b->ptr != NULL);
    memset (b->ptr + b->allocated, 0, room - b->allocated);
    b->allocated = room;
  }
  if (size < b->size)
    memset (b->ptr + size, 0, b->size - size);
  b->size = size;
}

/*--- Recording --------------------------------------------------------------*/

/* Under the lock. */
static void
add_item (struct history *h, const struct history_item *item)
{
  if (h->stopped)
    free (item->data);
  else
    history_must (vector_append (&h->items, item) == 0);
}

/* buf NULL: zeros.  kind: HISTORY_WRITE, _APPEND or _THROUGH. */
static void
change_bytes (const struct block *b, enum history_kind kind, const void *buf,
              uint64_t len, uint64_t off)
{
  struct history_bytes *bytes = bytes_of (b);
  uint64_t first = round_down (off, HISTORY_SECTOR);
  struct history_item item = {
    .kind = kind,
    .file = ((const struct history_block *) b)->file,
    .off = first,
    .len = round_up (off + len, HISTORY_SECTOR) - first,
    .size = off + len,
  };

  if (kind == HISTORY_THROUGH)
    item.size = bytes->size;
  if (buf)
    memcpy (bytes->ptr + off, buf, len);
  else
    memset (bytes->ptr + off, 0, len);
  if (buf == NULL && item.len == len)
    item.kind = HISTORY_ZERO;
  else if (!history_of (b)->stopped) {
    item.data = malloc (item.len);
    history_must (item.data != NULL);
    memcpy (item.data, bytes->ptr + first, item.len);
  }
  add_item (history_of (b), &item);
}

static void
change_size (const struct block *b, uint64_t size)
{
  struct history_item item = {
    .kind = HISTORY_SIZE,
    .file = ((const struct history_block *) b)->file,
    .size = size,
  };

  history_bytes_resize (bytes_of (b), size);
  add_item (history_of (b), &item);
}

static void
flush (const struct block *b)
{
  struct history_item item = {
    .kind = HISTORY_FLUSH,
    .file = ((const struct history_block *) b)->file,
  };

  if (!history_of (b)->drop_flushes)
    add_item (history_of (b), &item);
}

static int
history_pread (struct block *b, void *buf, size_t len, uint64_t off,
               struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&history_of (b)->lock);

  (void) err;
  memcpy (buf, bytes_of (b)->ptr + off, len);
  return 0;
}

static int
history_pwrite (struct block *b, const void *buf, size_t len, uint64_t off,
                unsigned flags, struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&history_of (b)->lock);

  (void) err;
  change_bytes (b, HISTORY_WRITE, buf, len, off);
  if (flags & BLOCK_FUA)
    flush (b);
  return 0;
}

static int
history_pwrite_through (struct block *b, const void *buf, size_t len,
                        uint64_t off, struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&history_of (b)->lock);

  (void) err;
  change_bytes (b, history_of (b)->drop_flushes ? HISTORY_WRITE
                : HISTORY_THROUGH, buf, len, off);
  return 0;
}

static int
history_zero (struct block *b, uint64_t len, uint64_t off, unsigned flags,
              struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&history_of (b)->lock);

  (void) err;
  change_bytes (b, HISTORY_WRITE, NULL, len, off);
  if (flags & BLOCK_FUA)
    flush (b);
  return 0;
}

static int
history_flush (struct block *b, struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&history_of (b)->lock);

  (void) err;
  flush (b);
  return 0;
}

static int
history_append (struct block *b, const void *buf, size_t len, uint64_t off,
                struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&history_of (b)->lock);

  (void) err;
  if (off + len > bytes_of (b)->size) {
    history_bytes_resize (bytes_of (b), off + len);
    change_bytes (b, HISTORY_APPEND, buf, len, off);
  }
  else
    change_bytes (b, HISTORY_WRITE, buf, len, off);
  return 0;
}

static int
history_resize (struct block *b, uint64_t size, struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&history_of (b)->lock);

  (void) err;
  change_size (b, size);
  return 0;
}

static const struct block_ops history_ops = {
  .pread = history_pread,
  .pwrite = history_pwrite,
  .pwrite_through = history_pwrite_through,
  .zero = history_zero,
  .trim = history_zero,
  .flush = history_flush,
  .append = history_append,
  .resize = history_resize,
};

/*--- The history ------------------------------------------------------------*/

struct history *
history_new (void)
{
  struct history *h = calloc (1, sizeof *h);

  history_must (h != NULL);
  pthread_mutex_init (&h->lock, NULL);
  return h;
}

void
history_free (struct history *h)
{
  if (h == NULL)
    return;
  for (size_t i = 0; i < h->items.len; ++i)
    free (h->items.ptr[i].data);
  for (size_t i = 0; i < h->files.len; ++i) {
    free (h->files.ptr[i].first.ptr);
    free (h->files.ptr[i].now.ptr);
  }
  vector_free (&h->items);
  vector_free (&h->files);
  pthread_mutex_destroy (&h->lock);
  free (h);
}

struct block *
history_file (struct history *h, const char *name, const void *data,
              size_t len)
{
  struct history_block *b = calloc (1, sizeof *b);
  struct history_file file = { .first = { .ptr = NULL } };

  history_must (b != NULL &&
                block_init (&b->base, &history_ops, name, len, true,
                            NULL) == 0);
  b->base.can_resize = true;
  b->history = h;
  b->file = (unsigned) h->files.len;
  history_bytes_resize (&file.first, len);
  history_bytes_resize (&file.now, len);
  if (len > 0) {
    memcpy (file.first.ptr, data, len);
    memcpy (file.now.ptr, data, len);
  }
  history_must (vector_append (&h->files, &file) == 0);
  return &b->base;
}

void
history_note (struct history *h, void *note)
{
  struct history_item item = { .kind = HISTORY_NOTE, .note = note };
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&h->lock);

  add_item (h, &item);
}

void
history_drop_flushes (struct history *h, bool drop)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&h->lock);

  h->drop_flushes = drop;
}

void
history_order_appends (struct history *h, bool ordered)
{
  h->ordered_appends = ordered;
}

void
history_stop (struct history *h)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&h->lock);

  h->stopped = true;
}

const uint8_t *
history_now (const struct history *h, unsigned n, size_t *len)
{
  *len = h->files.ptr[n].now.size;
  return h->files.ptr[n].now.ptr;
}
