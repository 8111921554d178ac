/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The replay has of each file what it is at this moment and what was flushed.
 * A crash is one of the two, and the sectors that differ from it as pages of
 * their own, so that a state of a large file costs what changed in it.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/block/block-ops.h"
#include "tests/support/history-private.h"
#include "tests/support/rng.h"

#define PAGE 4096U

DEFINE_VECTOR (indices, size_t);

struct replay_file {
  struct history_bytes now, stable;
  struct indices pending;       /* items since the last flush */
};

struct replay {
  const struct history *history;
  size_t next;                  /* item */
  struct replay_file *files;
};

/*--- A file after a crash ---------------------------------------------------*/

/* What is below is borrowed, as it is up to below_len; pages lie over it. */
struct crash {
  struct block base;
  const uint8_t *below;
  uint64_t below_len;
  uint8_t **pages;              /* NULL: what is below */
  size_t nr_pages;
};

static struct crash *
crash (struct block *b)
{
  return (struct crash *) b;
}

static void
read_below (const struct crash *c, uint8_t *buf, size_t len, uint64_t off)
{
  size_t n = off < c->below_len
    ? (size_t) min_u64 (len, c->below_len - off) : 0;

  if (n > 0)
    memcpy (buf, c->below + off, n);
  memset (buf + n, 0, len - n);
}

static uint8_t *
own_page (struct crash *c, size_t i)
{
  if (i >= c->nr_pages) {
    size_t nr = i + 1 + i / 2;

    c->pages = realloc (c->pages, nr * sizeof c->pages[0]);
    history_must (c->pages != NULL);
    memset (c->pages + c->nr_pages, 0,
            (nr - c->nr_pages) * sizeof c->pages[0]);
    c->nr_pages = nr;
  }
  if (c->pages[i] == NULL) {
    c->pages[i] = malloc (PAGE);
    history_must (c->pages[i] != NULL);
    read_below (c, c->pages[i], PAGE, i * (uint64_t) PAGE);
  }
  return c->pages[i];
}

/* buf NULL: zeros. */
static void
put_bytes (struct crash *c, const uint8_t *buf, uint64_t len, uint64_t off)
{
  while (len > 0) {
    size_t in_page = off % PAGE, n = (size_t) min_u64 (len, PAGE - in_page);
    uint8_t *page = own_page (c, off / PAGE);

    if (buf)
      memcpy (page + in_page, buf, n);
    else
      memset (page + in_page, 0, n);
    buf = buf ? buf + n : NULL;
    off += n;
    len -= n;
  }
}

/* What is behind the end is zero when the file grows again. */
static void
cut_off (struct crash *c, uint64_t size)
{
  size_t first = div_round_up (size, PAGE);

  if (size % PAGE != 0 && size / PAGE < c->nr_pages &&
      c->pages[size / PAGE])
    memset (c->pages[size / PAGE] + size % PAGE, 0, PAGE - size % PAGE);
  for (size_t i = first; i < c->nr_pages; ++i) {
    free (c->pages[i]);
    c->pages[i] = NULL;
  }
  c->below_len = min_u64 (c->below_len, size);
}

static void
crash_close (struct block *b)
{
  struct crash *c = crash (b);

  for (size_t i = 0; i < c->nr_pages; ++i)
    free (c->pages[i]);
  free (c->pages);
}

static int
crash_pread (struct block *b, void *buf, size_t len, uint64_t off,
             struct err *err)
{
  struct crash *c = crash (b);
  uint8_t *p = buf;

  (void) err;
  while (len > 0) {
    size_t in_page = off % PAGE, n = (size_t) min_u64 (len, PAGE - in_page);
    size_t i = off / PAGE;

    if (i < c->nr_pages && c->pages[i])
      memcpy (p, c->pages[i] + in_page, n);
    else
      read_below (c, p, n, off);
    p += n;
    off += n;
    len -= n;
  }
  return 0;
}

static int
crash_pwrite (struct block *b, const void *buf, size_t len, uint64_t off,
              unsigned flags, struct err *err)
{
  (void) flags;
  (void) err;
  put_bytes (crash (b), buf, len, off);
  return 0;
}

static int
crash_zero (struct block *b, uint64_t len, uint64_t off, unsigned flags,
            struct err *err)
{
  (void) flags;
  (void) err;
  put_bytes (crash (b), NULL, len, off);
  return 0;
}

static int
crash_resize (struct block *b, uint64_t size, struct err *err)
{
  (void) err;
  if (size < block_size (b))
    cut_off (crash (b), size);
  return 0;
}

static int
crash_append (struct block *b, const void *buf, size_t len, uint64_t off,
              struct err *err)
{
  (void) err;
  put_bytes (crash (b), buf, len, off);
  return 0;
}

static const struct block_ops crash_ops = {
  .close = crash_close,
  .pread = crash_pread,
  .pwrite = crash_pwrite,
  .zero = crash_zero,
  .trim = crash_zero,
  .append = crash_append,
  .resize = crash_resize,
};

static struct crash *
crash_new (const struct history_bytes *below, const char *name)
{
  struct crash *c = calloc (1, sizeof *c);

  history_must (c != NULL && block_init (&c->base, &crash_ops, name,
                                         below->size, true, NULL) == 0);
  c->base.can_resize = true;
  c->below = below->ptr;
  c->below_len = below->size;
  return c;
}

/*--- Replaying --------------------------------------------------------------*/

static void
copy_bytes (struct history_bytes *to, const struct history_bytes *from)
{
  history_bytes_resize (to, from->size);
  if (from->size > 0)
    memcpy (to->ptr, from->ptr, from->size);
}

struct replay *
replay_new (const struct history *h)
{
  struct replay *r = calloc (1, sizeof *r);

  history_must (r != NULL);
  r->history = h;
  r->files = calloc (h->files.len, sizeof r->files[0]);
  history_must (r->files != NULL);
  for (size_t i = 0; i < h->files.len; ++i) {
    copy_bytes (&r->files[i].now, &h->files.ptr[i].first);
    copy_bytes (&r->files[i].stable, &h->files.ptr[i].first);
  }
  return r;
}

void
replay_free (struct replay *r)
{
  if (r == NULL)
    return;
  for (size_t i = 0; i < r->history->files.len; ++i) {
    free (r->files[i].now.ptr);
    free (r->files[i].stable.ptr);
    vector_free (&r->files[i].pending);
  }
  free (r->files);
  free (r);
}

static void
apply (struct history_bytes *b, const struct history_item *item)
{
  switch (item->kind) {
  case HISTORY_APPEND:
    history_bytes_resize (b, item->size);
    /* fall through */
  case HISTORY_WRITE:
  case HISTORY_THROUGH:
    memcpy (b->ptr + item->off, item->data, item->len);
    break;
  case HISTORY_ZERO:
    memset (b->ptr + item->off, 0, item->len);
    break;
  case HISTORY_SIZE:
    history_bytes_resize (b, item->size);
    break;
  case HISTORY_FLUSH:
  case HISTORY_NOTE:
    break;
  }
}

static void
flush (struct replay *r, struct replay_file *f)
{
  for (size_t i = 0; i < f->pending.len; ++i)
    apply (&f->stable, &r->history->items.ptr[f->pending.ptr[i]]);
  f->pending.len = 0;
}

const struct history_item *
replay_step (struct replay *r)
{
  const struct history_item *item;

  if (r->next == r->history->items.len)
    return NULL;
  item = &r->history->items.ptr[r->next];
  if (item->kind == HISTORY_FLUSH)
    flush (r, &r->files[item->file]);
  else if (item->kind != HISTORY_NOTE) {
    struct replay_file *f = &r->files[item->file];

    apply (&f->now, item);
    history_must (vector_append (&f->pending, &r->next) == 0);
  }
  r->next++;
  return item;
}

size_t
replay_nr_pending (const struct replay *r)
{
  size_t nr = 0;

  for (size_t i = 0; i < r->history->files.len; ++i)
    nr += r->files[i].pending.len;
  return nr;
}

/*--- Choosing ---------------------------------------------------------------*/

/* The choice goes by the number of an item in the history, so that the files
 * of one crash fit each other.
 */
struct choice {
  enum history_crash how;
  uint64_t seed;
  size_t special;               /* item: the last, the missing, the only one */
};

/* Of the pending items of all files one. */
static size_t
choose_item (const struct replay *r, struct rng *rng)
{
  size_t nr = replay_nr_pending (r), n;

  if (nr == 0)
    return 0;
  n = rng_next (rng) % nr;
  for (size_t i = 0;; ++i) {
    const struct indices *pending = &r->files[i].pending;

    if (n < pending->len)
      return pending->ptr[n];
    n -= pending->len;
  }
}

/* Sectors in eight that are there. */
static unsigned
density (const struct choice *c, size_t item)
{
  switch (c->how) {
  case HISTORY_PREFIX:
    return item < c->special ? 8 : item == c->special ? 4 : 0;
  case HISTORY_FEW:
    return 1;
  case HISTORY_HALF:
    return 4;
  case HISTORY_MOST:
    return 7;
  case HISTORY_ALL_BUT_ONE:
    return item == c->special ? 0 : 8;
  case HISTORY_ONE:
    return item == c->special ? 8 : 0;
  default:
    return 0;
  }
}

/* Whole runs of sectors, half of the time, and each for itself otherwise. */
static void
put_item (struct crash *b, const struct history_item *item, unsigned eighths,
          struct rng *rng)
{
  uint64_t nr = item->len / HISTORY_SECTOR, n;
  bool whole = rng_below (rng, 2);

  for (uint64_t s = 0; s < nr; s += n) {
    n = eighths == 8 ? nr - s : whole ? 1 + rng_next (rng) % (nr - s) : 1;
    if (rng_below (rng, 8) >= eighths)
      continue;
    put_bytes (b, item->data ? item->data + s * HISTORY_SECTOR : NULL,
               n * HISTORY_SECTOR, item->off + s * HISTORY_SECTOR);
  }
}

static void
put_choice (const struct replay *r, const struct replay_file *f,
            const struct choice *c, struct crash *b)
{
  uint64_t size = f->stable.size;

  for (size_t i = 0; i < f->pending.len; ++i) {
    size_t n = f->pending.ptr[i];
    const struct history_item *item = &r->history->items.ptr[n];
    struct rng rng = { c->seed ^ n * UINT64_C (0x100000001B3) };
    unsigned eighths = density (c, n);

    if (item->kind == HISTORY_THROUGH) {
      eighths = 8;
      size = item->size;
    }
    if (item->kind == HISTORY_SIZE || item->kind == HISTORY_APPEND) {
      bool taken = rng_below (&rng, 8) < eighths;

      size = taken ? item->size : size;
      if (taken && r->history->ordered_appends)
        eighths = 8;
    }
    if (eighths > 0 && item->kind != HISTORY_SIZE)
      put_item (b, item, eighths, &rng);
  }
  b->base.size = size;
  cut_off (b, size);
}

struct block *
replay_crash (struct replay *r, unsigned n, enum history_crash how,
              uint64_t seed)
{
  const struct replay_file *f = &r->files[n];
  struct rng rng = { seed };
  struct choice choice = { how, rng_next (&rng), choose_item (r, &rng) };
  struct crash *b;

  if (how == HISTORY_ALL)
    return &crash_new (&f->now, "crash")->base;
  b = crash_new (&f->stable, "crash");
  put_choice (r, f, &choice, b);
  return &b->base;
}
