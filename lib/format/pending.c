/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The table of pending bits: slots in the journal, or in memory where there
 * is none, and beside it, in memory only, a hash table that finds them.
 *
 * One lock guards all of it, for the time that it takes to copy 512 bytes.
 * The process may be killed at any store, inside the lock too; what that
 * leaves in the journal is told at struct pending_slot.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/block/file.h"
#include "lib/format/pending-journal.h"

/* 2 MiB of bits: random writes to 8 GiB of disk between two flushes. */
#define USUAL_PAGES 4096U
#define NONE UINT32_MAX

struct pending {
  struct pending_layout layout;
  uint32_t sectors_per_block;
  uint32_t pages_per_block;
  bool low_bit_first;
  struct block *block;          /* borrowed: see struct pending_image */
  struct pending_journal journal;
  uint8_t *memory;              /* the slots where there is no journal */
  uint8_t *slots;               /* in one of the two */

  pthread_mutex_t lock;         /* guards the slots and what follows */
  uint32_t *heads, *next;       /* a list of slots for each hash; then those
                                   that are free */
  unsigned hash_bits;
  uint32_t first_free;
  uint32_t nr_used;             /* atomic, to be read without the lock */
};

static struct pending_slot *
slot (const struct pending *p, uint32_t i)
{
  return (struct pending_slot *)
    (p->slots + i * pending_slot_size (&p->layout));
}

static uint64_t
make_key (const struct pending *p, uint64_t block, uint32_t page)
{
  return block * p->pages_per_block + page + 1;
}

static uint32_t *
head_of (const struct pending *p, uint64_t key)
{
  return &p->heads[(key * UINT64_C (0x9E3779B97F4A7C15)) >>
                   (64 - p->hash_bits)];
}

static void
count_used (struct pending *p, uint32_t difference)
{
  __atomic_store_n (&p->nr_used, p->nr_used + difference, __ATOMIC_RELEASE);
}

/*--- Slots, under the lock --------------------------------------------------*/

static uint32_t
find (const struct pending *p, uint64_t key)
{
  uint32_t i = *head_of (p, key);

  while (i != NONE && slot (p, i)->key != key)
    i = p->next[i];
  return i;
}

static void
set_key (struct pending_slot *s, uint64_t key)
{
  __atomic_store_n (&s->key, key, __ATOMIC_SEQ_CST);
}

static void
fill (struct pending *p, struct pending_slot *s, uint64_t key, uint64_t place)
{
  memset (s->bits, 0, p->layout.page_bytes);
  s->place = place;
  set_key (s, key);
}

static uint32_t
claim (struct pending *p, uint64_t key, uint64_t place)
{
  uint32_t i = p->first_free, *head = head_of (p, key);

  if (i == NONE)
    return NONE;
  p->first_free = p->next[i];
  p->next[i] = *head;
  *head = i;
  fill (p, slot (p, i), key, place);
  count_used (p, 1);
  return i;
}

static void
release (struct pending *p, uint32_t i)
{
  uint32_t *link = head_of (p, slot (p, i)->key);

  while (*link != i)
    link = &p->next[*link];
  *link = p->next[i];
  p->next[i] = p->first_free;
  p->first_free = i;
  set_key (slot (p, i), 0);
  count_used (p, (uint32_t) -1);
}

/* Every slot of a journal that was left goes where it belongs; of two with
 * the same key, which nothing makes, one is given up.
 */
static void
index_slots (struct pending *p)
{
  p->first_free = NONE;
  for (uint32_t i = p->layout.nr_slots; i-- > 0;) {
    struct pending_slot *s = slot (p, i);

    if (s->key != 0 && find (p, s->key) == NONE) {
      uint32_t *head = head_of (p, s->key);

      p->next[i] = *head;
      *head = i;
      p->nr_used++;
      continue;
    }
    set_key (s, 0);
    p->next[i] = p->first_free;
    p->first_free = i;
  }
}

/*--- Opening and closing ----------------------------------------------------*/

static struct pending *
pending_new (const struct pending_image *image)
{
  struct pending *p = calloc (1, sizeof *p);
  uint32_t most = (uint32_t) min_u64 (image->sectors_per_block,
                                      PENDING_PAGE_SECTORS);

  assert (image->sectors_per_block > 0);
  if (p == NULL)
    return NULL;
  p->journal = (struct pending_journal) PENDING_JOURNAL_INIT;
  p->sectors_per_block = image->sectors_per_block;
  p->pages_per_block = (uint32_t) div_round_up (image->sectors_per_block,
                                                PENDING_PAGE_SECTORS);
  p->low_bit_first = image->low_bit_first;
  p->layout.page_bytes = (uint32_t) round_up (div_round_up (most, 8), 8);
  p->layout.nr_slots = image->max_pages ? image->max_pages : USUAL_PAGES;
  pthread_mutex_init (&p->lock, NULL);
  return p;
}

/* When the layout is known, and perhaps the journal.  copy: slots to begin
 * with, NULL for none.
 */
static int
make_table (struct pending *p, const uint8_t *copy, struct err *err)
{
  size_t size = p->layout.nr_slots * pending_slot_size (&p->layout);
  uint32_t nr = p->layout.nr_slots;

  if (p->journal.map)
    p->slots = p->journal.map + PENDING_HEADER_SIZE;
  else
    p->slots = p->memory = calloc (1, size);
  if (p->slots && copy)
    memcpy (p->slots, copy, size);
  p->hash_bits = 4;
  while (p->hash_bits < 30 && UINT32_C (1) << p->hash_bits < nr)
    p->hash_bits++;
  p->heads = malloc ((sizeof *p->heads) << p->hash_bits);
  p->next = malloc (nr * sizeof *p->next);
  if (p->slots == NULL || p->heads == NULL || p->next == NULL)
    return err_nomem (err);
  memset (p->heads, 0xFF, (sizeof *p->heads) << p->hash_bits);
  index_slots (p);
  return 0;
}

static void
pending_free (struct pending *p)
{
  free (p->memory);
  free (p->heads);
  free (p->next);
  pthread_mutex_destroy (&p->lock);
  free (p);
}

static void
disown (void *opaque)
{
  struct pending *p = opaque;

  pending_journal_disown (&p->journal);
}

int
pending_open (const struct pending_image *image, struct pending **out,
              struct report *report, struct err *err)
{
  struct pending *p = pending_new (image);
  int r = 0;

  if (p == NULL)
    return err_nomem (err);
  if (image->fd >= 0)
    r = pending_journal_open (image, &p->layout, &p->journal, report, err);
  if (r == 0)
    r = make_table (p, NULL, err);
  if (r < 0) {
    /* What is in it stays for the next who opens it. */
    pending_journal_close (&p->journal, false);
    pending_free (p);
    return r;
  }
  p->block = image->block;
  if (p->block)
    block_file_on_loss (p->block, disown, p);
  *out = p;
  return 0;
}

int
pending_peek (const struct pending_image *image, struct pending **out,
              struct err *err)
{
  struct pending_journal j = PENDING_JOURNAL_INIT;
  struct pending *p;
  int r;

  *out = NULL;
  if (image->fd < 0)
    return 0;
  p = pending_new (image);
  if (p == NULL)
    return err_nomem (err);
  r = pending_journal_peek (image, &p->layout, &j, err);
  if (r == 0 && j.map) {
    r = make_table (p, j.map + PENDING_HEADER_SIZE, err);
    if (r == 0)
      *out = steal_ptr (&p);
  }
  pending_journal_close (&j, false);
  if (p)
    pending_free (p);
  return r;
}

void
pending_close (struct pending *p)
{
  if (p == NULL)
    return;
  if (p->block)
    block_file_on_loss (p->block, NULL, NULL);
  pending_journal_close (&p->journal, pending_is_empty (p));
  pending_free (p);
}

/*--- Bits -------------------------------------------------------------------*/

static uint8_t
mask (const struct pending *p, uint32_t i)
{
  return (uint8_t) (p->low_bit_first ? 1 << i % 8 : 0x80 >> i % 8);
}

static void
set_bits (const struct pending *p, uint8_t *bits, uint32_t first, uint32_t nr)
{
  uint32_t i = first, end = first + nr;

  while (i < end)
    if (i % 8 == 0 && end - i >= 8) {
      bits[i / 8] = 0xFF;
      i += 8;
    }
    else {
      bits[i / 8] |= mask (p, i);
      i++;
    }
}

/* Inside one page.  Bits of another place mean nothing for this one. */
static int
set_in_page (struct pending *p, uint64_t key, uint64_t place, uint32_t first,
             uint32_t nr)
{
  uint32_t i = find (p, key);

  if (i == NONE)
    i = claim (p, key, place);
  else if (slot (p, i)->place != place) {
    set_key (slot (p, i), 0);
    fill (p, slot (p, i), key, place);
  }
  if (i == NONE)
    return -ENOSPC;
  set_bits (p, slot (p, i)->bits, first, nr);
  return 0;
}

int
pending_set (struct pending *p, uint64_t block, uint64_t place,
             uint32_t first, uint32_t nr)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&p->lock);
  int r = 0;

  assert (range_fits (first, nr, p->sectors_per_block));
  while (r == 0 && nr > 0) {
    uint32_t in_page = first % PENDING_PAGE_SECTORS;
    uint32_t n = (uint32_t) min_u64 (nr, PENDING_PAGE_SECTORS - in_page);

    r = set_in_page (p, make_key (p, block, first / PENDING_PAGE_SECTORS),
                     place, in_page, n);
    first += n;
    nr -= n;
  }
  return r;
}

void
pending_forget (struct pending *p, uint64_t block)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&p->lock);

  for (uint32_t page = 0; p->nr_used > 0 && page < p->pages_per_block; ++page) {
    uint32_t i = find (p, make_key (p, block, page));

    if (i != NONE)
      release (p, i);
  }
}

bool
pending_is_empty (const struct pending *p)
{
  return __atomic_load_n (&p->nr_used, __ATOMIC_ACQUIRE) == 0;
}

void
pending_merge (struct pending *p, uint64_t block, uint32_t first,
               uint32_t nr, uint8_t *bits)
{
  uint32_t page = first / PENDING_PAGE_SECTORS, i;
  uint32_t start = first % PENDING_PAGE_SECTORS;

  assert (first % 8 == 0 && nr <= PENDING_PAGE_SECTORS - start);
  if (pending_is_empty (p))
    return;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&p->lock);
  i = find (p, make_key (p, block, page));
  if (i == NONE)
    return;
  for (uint32_t n = 0; n < nr / 8; ++n)
    bits[n] |= slot (p, i)->bits[start / 8 + n];
  for (uint32_t n = round_down (nr, 8); n < nr; ++n)
    bits[n / 8] |= slot (p, i)->bits[start / 8 + n / 8] & mask (p, n);
}

uint32_t
pending_run (struct pending *p, uint64_t block, uint32_t first,
             uint32_t max, bool *bit)
{
  uint8_t bits[PENDING_PAGE_SECTORS / 8] = { 0 };
  uint32_t start = (uint32_t) round_down (first, 8), i = first - start;
  uint32_t room = PENDING_PAGE_SECTORS - start % PENDING_PAGE_SECTORS;
  uint32_t end = (uint32_t) min_u64 ((uint64_t) i + max, room);

  pending_merge (p, block, start, end, bits);
  *bit = bits[i / 8] & mask (p, i);
  while (i < end && !(bits[i / 8] & mask (p, i)) == !*bit)
    i++;
  return start + i - first;
}

void
pending_filter (struct pending *p,
                bool (*keep) (void *opaque, uint64_t block, uint64_t place),
                void *opaque)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&p->lock);

  for (uint32_t i = 0; i < p->layout.nr_slots; ++i) {
    const struct pending_slot *s = slot (p, i);

    if (s->key != 0 &&
        !keep (opaque, (s->key - 1) / p->pages_per_block, s->place))
      release (p, i);
  }
}

/*--- Snapshots --------------------------------------------------------------*/

static struct pending_page
describe (const struct pending *p, const struct pending_slot *s,
          const uint8_t *bits)
{
  uint32_t first = (uint32_t) ((s->key - 1) % p->pages_per_block) *
    PENDING_PAGE_SECTORS;

  return (struct pending_page) {
    .block = (s->key - 1) / p->pages_per_block,
    .place = s->place,
    .first = first,
    .nr = (uint32_t) min_u64 (p->sectors_per_block - first,
                              PENDING_PAGE_SECTORS),
    .bits = bits,
  };
}

int
pending_snapshot (struct pending *p, struct pending_snapshot *out,
                  struct err *err)
{
  CLEANUP_PENDING_SNAPSHOT struct pending_snapshot s = PENDING_SNAPSHOT_INIT;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&p->lock);

  s.bits = malloc ((size_t) p->nr_used * p->layout.page_bytes + 1);
  if (s.bits == NULL)
    return err_nomem (err);
  for (uint32_t i = 0; i < p->layout.nr_slots; ++i) {
    uint8_t *bits = s.bits + s.pages.len * p->layout.page_bytes;
    struct pending_page page;

    if (slot (p, i)->key == 0)
      continue;
    memcpy (bits, slot (p, i)->bits, p->layout.page_bytes);
    page = describe (p, slot (p, i), bits);
    if (vector_append (&s.pages, &page) < 0)
      return err_nomem (err);
  }
  *out = s;
  s = (struct pending_snapshot) PENDING_SNAPSHOT_INIT;
  return 0;
}

void
pending_snapshot_free (struct pending_snapshot *s)
{
  vector_free (&s->pages);
  free (steal_ptr (&s->bits));
}

static void
clear_page (struct pending *p, const struct pending_page *page)
{
  uint32_t i = find (p, make_key (p, page->block,
                                  page->first / PENDING_PAGE_SECTORS));
  uint8_t left = 0;

  if (i == NONE || slot (p, i)->place != page->place)
    return;
  for (uint32_t n = 0; n < p->layout.page_bytes; ++n)
    left |= slot (p, i)->bits[n] &= (uint8_t) ~page->bits[n];
  if (left == 0)
    release (p, i);
}

void
pending_clear (struct pending *p, const struct pending_snapshot *s)
{
  for (size_t i = 0; i < s->pages.len; ++i) {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&p->lock);

    clear_page (p, &s->pages.ptr[i]);
  }
}
