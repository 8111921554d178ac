/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Writing the log: changes of the BAT, and of other metadata.
 *
 * A change is made in a page that is held in memory, and the page written
 * into the log as a part of an entry; the file's own page changes at a
 * checkpoint, which comes when the log is full, and at the end.
 *
 *   … | tail: the oldest entry that is needed | entries | head | free …
 *
 * One thread at a time writes; those that come meanwhile leave their changes
 * in a queue, and the next one of them writes what has gathered as one entry.
 *
 * The first change of a session:
 *
 *   1. The space of the log is taken, so that writing it can't fail for want
 *      of space; an entry without changes is written, with an identity that no
 *      entry had before.
 *   2. Flush.  It covers the size of the file too, which the entry states.
 *   3. Both headers get this identity.
 *
 * A crash before 3 leaves a file without a log, as it was.  Entries that are
 * written after 3 count; each is acknowledged when it was written, and stable
 * with the next flush.  As they are found one behind the other, what was
 * stable never depends on what was not.
 *
 * An entry that could not be written, or only in part, is written over by
 * one without changes before anything else happens.  Where that fails too,
 * nobody can tell what a reader would find: nothing is written any more.
 *
 * A checkpoint:
 *
 *   a. Flush: all entries are stable.
 *   b. Pages are written to their places, as the entries have them.
 *   c. Flush.
 *   d. An entry without changes, whose tail is itself.
 *   e. Flush.  What was before it is free.
 *
 * A crash up to e: the entries are there from the old tail on, and are
 * replayed over what b may have written in part.
 *
 * The end: a, b, c, then both headers say that there is no log.
 *
 * The file is to become shorter: a, b, c, d, e, where the entry of d states
 * the new size, and leaves out a number.  So it begins a sequence of its own;
 * what was before it states a larger size, and is none of the active one any
 * more for those, too, who look at a whole sequence.
 *
 * An entry states as the size of the file, both flushed and needed, one that
 * it has on stable storage; blocks that the BAT names end in front of it.
 *
 * The lock guards the queue and who writes, and is never held while reading,
 * writing or flushing.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/crc32c.h"
#include "lib/format/vhdx/vhdx-write.h"

/* As many descriptors as the first page of an entry has room for. */
#define MAX_CHANGES VHDX_LOGGER_MAX_PAGES

/* An entry without changes, and one page that is never used, so that the log
 * is never quite full.
 */
#define RESERVE 2

/* Where more is needed, a log that is mostly empty is not worth its time. */
#define MAX_USED 4096           /* pages */
#define MAX_RESERVED (64 * 1024 * 1024)

/* On the stack of who asks for it. */
struct change {
  uint64_t off, value, old;
  bool done;
  struct err why;
  int r;
  struct change *next;
};

struct page {
  uint64_t off;                 /* bytes, in the file */
  bool logged;                  /* an entry has it as it is */
  uint8_t *bytes;               /* owned */
};

DEFINE_VECTOR (page_vector, struct page);

struct vhdx_logger {
  struct vhdx_layer *layer;     /* borrowed */
  uint8_t guid[UUID_SIZE];
  uint64_t stable_size;         /* atomic, bytes */
  bool broken;                  /* atomic */

  /* Who set writing has these.  Places in the log are pages, counted on from
   * round to round.
   */
  bool begun;                   /* step 2 is over */
  bool active;                  /* step 3 is over */
  uint64_t nr_pages;            /* of the log */
  uint64_t head, tail;
  uint64_t kept;                /* the stable tail: from here on nothing is
                                   written over */
  uint64_t sequence;            /* of the next entry */
  struct page_vector pages;
  uint8_t *entry;               /* room for the largest one */

  pthread_mutex_t lock;         /* guards what follows */
  pthread_cond_t written;
  bool writing;
  struct change *first, **end;  /* the queue */
};

int
vhdx_logger_new (struct vhdx_layer *layer, struct vhdx_logger **out,
                 struct err *err)
{
  CLEANUP_FREE struct vhdx_logger *lg = calloc (1, sizeof *lg);
  uint8_t bytes[UUID_SIZE];
  int r;

  if (lg == NULL)
    return err_nomem (err);
  r = vhdx_guid_new (lg->guid, err);
  if (r == 0)
    r = uuid_new (bytes, err);
  if (r < 0)
    return r;
  lg->layer = layer;
  lg->nr_pages = min_u64 (layer->header.log_len / VHDX_PAGE, UINT32_MAX);
  lg->sequence = 1 + get_le32 (bytes);
  lg->end = &lg->first;
  pthread_mutex_init (&lg->lock, NULL);
  pthread_cond_init (&lg->written, NULL);
  *out = steal_ptr (&lg);
  return 0;
}

bool
vhdx_logger_broken (const struct vhdx_logger *lg)
{
  return __atomic_load_n (&lg->broken, __ATOMIC_ACQUIRE);
}

void
vhdx_logger_stable_size (struct vhdx_logger *lg, uint64_t size)
{
  __atomic_store_n (&lg->stable_size, size, __ATOMIC_RELEASE);
}

static int
is_broken (struct err *err)
{
  return err_set (err, -EIO, "the log could not be written; nothing is "
                  "written until the image is opened anew");
}

/*--- Entries ----------------------------------------------------------------*/

static uint8_t *
entry_page (struct vhdx_logger *lg, size_t n)
{
  return lg->entry + n * VHDX_PAGE;
}

static void
put_head (struct vhdx_logger *lg)
{
  uint64_t size = __atomic_load_n (&lg->stable_size, __ATOMIC_ACQUIRE);
  uint8_t *p = lg->entry;

  memset (p, 0, VHDX_PAGE);
  memcpy (p, VHDX_LOG_SIGNATURE, 4);
  put_le32 (p + VHDX_LOG_TAIL,
            (uint32_t) (lg->tail % lg->nr_pages * VHDX_PAGE));
  put_le64 (p + VHDX_LOG_SEQUENCE, lg->sequence);
  memcpy (p + VHDX_LOG_GUID, lg->guid, UUID_SIZE);
  put_le64 (p + VHDX_LOG_FLUSHED, size);
  put_le64 (p + VHDX_LOG_LAST, size);
}

/* Descriptor n and its page of data. */
static void
put_page (struct vhdx_logger *lg, size_t n, uint64_t off,
          const uint8_t bytes[VHDX_PAGE])
{
  uint8_t *desc = lg->entry + VHDX_LOG_HEADER_SIZE + n * VHDX_DESC_SIZE;
  uint8_t *data = entry_page (lg, 1 + n);

  memcpy (desc, VHDX_DESC_SIGNATURE, 4);
  memcpy (desc + VHDX_DESC_TRAILING, bytes + VHDX_DATA_LOW, 4);
  memcpy (desc + VHDX_DESC_LEADING, bytes, VHDX_DATA_BYTES);
  put_le64 (desc + VHDX_DESC_OFFSET, off);
  put_le64 (desc + VHDX_DESC_SEQUENCE, lg->sequence);
  memcpy (data, bytes, VHDX_PAGE);
  memcpy (data, VHDX_DATA_SIGNATURE, 4);
  put_le32 (data + VHDX_DATA_HIGH, (uint32_t) (lg->sequence >> 32));
  put_le32 (data + VHDX_DATA_LOW, (uint32_t) lg->sequence);
}

/* At the head; what does not fit in front of the end goes to the start. */
static int
write_entry (struct vhdx_logger *lg, size_t nr_descs, struct err *err)
{
  uint64_t at = lg->head % lg->nr_pages;
  size_t nr_pages = 1 + nr_descs;
  size_t n = (size_t) min_u64 (nr_pages, lg->nr_pages - at);
  uint64_t log_off = lg->layer->header.log_off;
  int r;

  put_le32 (lg->entry + VHDX_LOG_COUNT, (uint32_t) nr_descs);
  put_le32 (lg->entry + VHDX_LOG_LENGTH, (uint32_t) (nr_pages * VHDX_PAGE));
  put_le32 (lg->entry + VHDX_CHECKSUM,
            vhdx_checksum (lg->entry, nr_pages * VHDX_PAGE));
  r = block_pwrite (lg->layer->block, lg->entry, n * VHDX_PAGE,
                    log_off + at * VHDX_PAGE, 0, err);
  if (r == 0 && n < nr_pages)
    r = block_pwrite (lg->layer->block, entry_page (lg, n),
                      (nr_pages - n) * VHDX_PAGE, log_off, 0, err);
  if (r < 0)
    return err_in (err, "writing the log");
  lg->head += nr_pages;
  lg->sequence++;
  return 0;
}

static int
write_empty (struct vhdx_logger *lg, struct err *err)
{
  put_head (lg);
  return write_entry (lg, 0, err);
}

/* What could not be written must not be found. */
static void
take_back (struct vhdx_logger *lg)
{
  if (write_empty (lg, NULL) < 0)
    __atomic_store_n (&lg->broken, true, __ATOMIC_RELEASE);
}

/*--- Beginning --------------------------------------------------------------*/

/* Steps 1 and 2. */
static int
write_first (struct vhdx_logger *lg, struct err *err)
{
  struct block *block = lg->layer->block;
  const struct vhdx_header *h = &lg->layer->header;
  uint64_t size = block_size (block);
  int r = 0;

  if (lg->entry == NULL)
    lg->entry = malloc ((1 + MAX_CHANGES) * VHDX_PAGE);
  if (lg->entry == NULL)
    return err_nomem (err);
  if (h->log_len <= MAX_RESERVED)
    r = block_zero (block, h->log_len, h->log_off, BLOCK_NO_HOLE, err);
  if (r < 0)
    return r;
  if (size > __atomic_load_n (&lg->stable_size, __ATOMIC_ACQUIRE))
    vhdx_logger_stable_size (lg, size);
  lg->head = lg->tail = lg->kept = 0;
  r = write_empty (lg, err);
  if (r == 0)
    r = block_flush (block, err);
  if (r == 0)
    lg->begun = true;
  return r;
}

static int
begin (struct vhdx_logger *lg, struct err *err)
{
  int r = 0;

  if (lg->active)
    return 0;
  if (!lg->begun)
    r = write_first (lg, err);
  if (r == 0)
    r = vhdx_header_update (lg->layer, &(struct vhdx_header_change) {
        .log_guid = lg->guid }, err);
  if (r == 0)
    lg->active = true;
  return r;
}

/*--- Checkpoints ------------------------------------------------------------*/

/* Steps a to c. */
static int
write_in_place (struct vhdx_logger *lg, struct err *err)
{
  struct block *block = lg->layer->block;
  int r = block_flush (block, err);

  for (size_t i = 0; r == 0 && i < lg->pages.len; ++i) {
    const struct page *page = &lg->pages.ptr[i];

    if (page->logged)
      r = block_pwrite (block, page->bytes, VHDX_PAGE, page->off, 0, err);
  }
  if (r == 0)
    r = block_flush (block, err);
  if (r < 0)
    return err_in (err, "writing BAT and metadata");
  for (size_t i = 0; i < lg->pages.len; ++i)
    free (lg->pages.ptr[i].bytes);
  lg->pages.len = 0;
  return 0;
}

/* Step e, which may have failed before. */
static int
settle (struct vhdx_logger *lg, struct err *err)
{
  int r;

  if (lg->kept == lg->tail)
    return 0;
  r = block_flush (lg->layer->block, err);
  if (r == 0)
    lg->kept = lg->tail;
  return r;
}

/* An entry of step d that fails may be found all the same: nothing is lost by
 * that, as everything is in its place.  skip: how many numbers to leave out,
 * so that it begins a sequence.
 */
static int
checkpoint (struct vhdx_logger *lg, uint64_t skip, struct err *err)
{
  uint64_t old = lg->tail;
  int r = write_in_place (lg, err);

  if (r < 0)
    return r;
  lg->tail = lg->head;
  lg->sequence += skip;
  r = write_empty (lg, err);
  if (r < 0) {
    lg->tail = old;
    lg->sequence -= skip;
    return r;
  }
  return settle (lg, err);
}

static bool
has_room (const struct vhdx_logger *lg, size_t nr_pages)
{
  return lg->head - lg->kept + nr_pages + RESERVE <=
    min_u64 (lg->nr_pages, MAX_USED);
}

/* For an entry of so many pages, and RESERVE behind it. */
static int
make_room (struct vhdx_logger *lg, size_t nr_pages, struct err *err)
{
  int r = 0;

  if (has_room (lg, nr_pages))
    return 0;
  r = settle (lg, err);
  if (r < 0 || has_room (lg, nr_pages))
    return r;
  r = checkpoint (lg, 0, err);
  if (r == 0)
    assert (has_room (lg, nr_pages));
  return r;
}

/*--- Changes ----------------------------------------------------------------*/

static struct page *
find_page (struct vhdx_logger *lg, uint64_t off)
{
  for (size_t i = 0; i < lg->pages.len; ++i)
    if (lg->pages.ptr[i].off == off)
      return &lg->pages.ptr[i];
  return NULL;
}

/* Read it, if it is not there. */
static int
get_page (struct vhdx_logger *lg, uint64_t off, struct page **out,
          struct err *err)
{
  CLEANUP_FREE uint8_t *bytes = NULL;
  struct page page = { .off = off };
  int r;

  *out = find_page (lg, off);
  if (*out)
    return 0;
  page.bytes = bytes = malloc (VHDX_PAGE);
  if (bytes == NULL)
    return err_nomem (err);
  r = block_pread (lg->layer->block, bytes, VHDX_PAGE, off, err);
  if (r < 0)
    return r;
  if (vector_append (&lg->pages, &page) < 0)
    return err_nomem (err);
  steal_ptr (&bytes);
  *out = &lg->pages.ptr[lg->pages.len - 1];
  return 0;
}

static int
apply (struct vhdx_logger *lg, struct change *change, struct err *err)
{
  uint64_t in_page = change->off % VHDX_PAGE;
  struct page *page;
  int r = get_page (lg, change->off - in_page, &page, err);

  if (r < 0)
    return r;
  change->old = get_le64 (page->bytes + in_page);
  put_le64 (page->bytes + in_page, change->value);
  return 0;
}

/* Changes of one list are all to different bytes. */
static void
undo (struct vhdx_logger *lg, struct change *first, const struct change *end)
{
  for (struct change *c = first; c != end; c = c->next) {
    uint64_t in_page = c->off % VHDX_PAGE;

    put_le64 (find_page (lg, c->off - in_page)->bytes + in_page, c->old);
  }
}

/* The pages that were changed, each once; returns how many. */
static size_t
put_pages (struct vhdx_logger *lg, const struct change *first)
{
  size_t nr = 0;

  for (const struct change *c = first; c; c = c->next) {
    uint64_t off = round_down (c->off, VHDX_PAGE);
    bool seen = false;

    for (const struct change *d = first; d != c && !seen; d = d->next)
      seen = round_down (d->off, VHDX_PAGE) == off;
    if (!seen)
      put_page (lg, nr++, off, find_page (lg, off)->bytes);
  }
  return nr;
}

static void
mark_logged (struct vhdx_logger *lg, const struct change *first)
{
  for (const struct change *c = first; c; c = c->next)
    find_page (lg, round_down (c->off, VHDX_PAGE))->logged = true;
}

static int
write_changes (struct vhdx_logger *lg, struct change *first, size_t nr,
               struct err *err)
{
  struct change *c;
  int r = vhdx_logger_broken (lg) ? is_broken (err) : begin (lg, err);

  if (r == 0)
    r = make_room (lg, 1 + nr, err);
  if (r < 0)
    return r;
  for (c = first; r == 0 && c; c = r == 0 ? c->next : c)
    r = apply (lg, c, err);
  if (r < 0) {
    undo (lg, first, c);
    return r;
  }
  put_head (lg);
  r = write_entry (lg, put_pages (lg, first), err);
  if (r < 0) {
    undo (lg, first, NULL);
    take_back (lg);
    return r;
  }
  mark_logged (lg, first);
  return 0;
}

/* Under the lock, which is given up meanwhile: what is in the queue, or as
 * much of it as an entry takes.
 */
static void
write_queue (struct vhdx_logger *lg)
{
  struct change *first = lg->first, *next, **p = &lg->first;
  struct err why = ERR_INIT;
  size_t nr = 0;
  int r;

  while (*p && nr < MAX_CHANGES) {
    p = &(*p)->next;
    nr++;
  }
  lg->first = *p;
  if (lg->first == NULL)
    lg->end = &lg->first;
  *p = NULL;
  lg->writing = true;
  pthread_mutex_unlock (&lg->lock);
  r = write_changes (lg, first, nr, &why);
  pthread_mutex_lock (&lg->lock);
  lg->writing = false;
  for (struct change *c = first; c; c = next) {
    next = c->next;
    c->r = r;
    c->why = why;
    c->done = true;
  }
  pthread_cond_broadcast (&lg->written);
}

int
vhdx_logger_change (struct vhdx_logger *lg, uint64_t off, uint64_t value,
                    struct err *err)
{
  struct change change = { .off = off, .value = value, .why = ERR_INIT };
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&lg->lock);

  *lg->end = &change;
  lg->end = &change.next;
  while (!change.done)
    if (lg->writing)
      pthread_cond_wait (&lg->written, &lg->lock);
    else
      write_queue (lg);
  return change.r < 0 ? err_set (err, change.r, "%s", change.why.msg) : 0;
}

/*--- Whole pages ------------------------------------------------------------*/

/* What they are now is read first, so that nothing can fail once they are in
 * the log.
 */
static int
write_pages (struct vhdx_logger *lg, const struct vhdx_log_page *pages,
             size_t nr, struct err *err)
{
  struct page *page;
  int r = vhdx_logger_broken (lg) ? is_broken (err) : begin (lg, err);

  assert (nr <= VHDX_LOGGER_MAX_PAGES);
  if (r == 0)
    r = make_room (lg, 1 + nr, err);
  for (size_t i = 0; r == 0 && i < nr; ++i)
    r = get_page (lg, pages[i].off, &page, err);
  if (r < 0)
    return r;
  put_head (lg);
  for (size_t i = 0; i < nr; ++i)
    put_page (lg, i, pages[i].off, pages[i].bytes);
  r = write_entry (lg, nr, err);
  if (r < 0) {
    take_back (lg);
    return r;
  }
  for (size_t i = 0; i < nr; ++i) {
    page = find_page (lg, pages[i].off);
    memcpy (page->bytes, pages[i].bytes, VHDX_PAGE);
    page->logged = true;
  }
  return 0;
}

int
vhdx_logger_change_pages (struct vhdx_logger *lg,
                          const struct vhdx_log_page *pages, size_t nr,
                          struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&lg->lock);
  int r;

  while (lg->writing)
    pthread_cond_wait (&lg->written, &lg->lock);
  lg->writing = true;
  pthread_mutex_unlock (&lg->lock);
  r = write_pages (lg, pages, nr, err);
  pthread_mutex_lock (&lg->lock);
  lg->writing = false;
  pthread_cond_broadcast (&lg->written);
  return r;
}

bool
vhdx_logger_get_page (struct vhdx_logger *lg, uint64_t off,
                      uint8_t bytes[VHDX_PAGE])
{
  const struct page *page = find_page (lg, off);

  if (page == NULL)
    return false;
  memcpy (bytes, page->bytes, VHDX_PAGE);
  return true;
}

/*--- A shorter file ---------------------------------------------------------*/

static int
lower_size (struct vhdx_logger *lg, uint64_t size, struct err *err)
{
  uint64_t old = __atomic_load_n (&lg->stable_size, __ATOMIC_ACQUIRE);
  int r = vhdx_logger_broken (lg) ? is_broken (err) : 0;

  if (r == 0 && !lg->active)
    r = err_set (err, -EAGAIN, "there is no log");
  if (r == 0)
    r = make_room (lg, 1, err);
  if (r < 0)
    return r;
  vhdx_logger_stable_size (lg, size);
  r = checkpoint (lg, 1, err);
  if (r < 0)
    vhdx_logger_stable_size (lg, old);
  return r;
}

int
vhdx_logger_lower_size (struct vhdx_logger *lg, uint64_t size,
                        struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&lg->lock);
  int r;

  while (lg->writing)
    pthread_cond_wait (&lg->written, &lg->lock);
  lg->writing = true;
  pthread_mutex_unlock (&lg->lock);
  r = lower_size (lg, size, err);
  pthread_mutex_lock (&lg->lock);
  lg->writing = false;
  pthread_cond_broadcast (&lg->written);
  return r;
}

/*--- The end ----------------------------------------------------------------*/

int
vhdx_logger_finish (struct vhdx_logger *lg, struct err *err)
{
  static const uint8_t no_log[UUID_SIZE];
  int r = vhdx_logger_broken (lg) ? is_broken (err) : 0;

  if (r < 0 || !lg->begun)
    return r;
  r = write_in_place (lg, err);
  if (r == 0)
    r = vhdx_header_update (lg->layer, &(struct vhdx_header_change) {
        .log_guid = no_log }, err);
  if (r == 0)
    lg->begun = lg->active = false;
  return r;
}

bool
vhdx_logger_free (struct vhdx_logger *lg)
{
  bool is_empty;

  if (lg == NULL)
    return true;
  is_empty = vhdx_logger_finish (lg, NULL) == 0;
  for (size_t i = 0; i < lg->pages.len; ++i)
    free (lg->pages.ptr[i].bytes);
  vector_free (&lg->pages);
  free (lg->entry);
  pthread_mutex_destroy (&lg->lock);
  pthread_cond_destroy (&lg->written);
  free (lg);
  return is_empty;
}
