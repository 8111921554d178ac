/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The log: changes to the file that were decided but may not have been made.
 *
 * It is a ring of entries, each of them whole pages: a header, descriptors
 * of what goes where, and a page of data for each descriptor that is not
 * about zeros.  An entry has the sequence number of the one before it plus 1,
 * and says where the oldest one is (its tail) that was still needed when it
 * was written.  The active sequence is the valid one whose last entry has the
 * highest number; what is between the tail of that entry and it is replayed.
 *
 * Entries are checked page by page as they go by; nothing of them is kept but
 * where the pages of data are, so that a log of any size takes little memory.
 * A page of the file that is written several times has its last bytes: lists
 * of pieces, each without overlaps, are laid one over the other.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/crc32c.h"
#include "lib/format/vhdx/vhdx.h"

/* What is read of the log in one go. */
#define WINDOW (64 * VHDX_PAGE)

/* Real logs have 1 MiB, and so 250 pieces.  These are bounds on time and
 * memory.
 */
#define MAX_LENGTH (1024 * 1024 * 1024)
#define MAX_PIECES (256 * 1024)

/* In the ring of real entries a page is looked at a few times at most: as a
 * part of an old entry, of a sequence that has no tail, of the active one.
 * A file made to waste time could have entries in entries in entries.
 */
#define MAX_VISITS 8

struct reader {
  struct block *block;
  const struct vhdx_header *header;
  uint64_t nr_pages;            /* of the log */
  uint64_t visits;              /* pages looked at so far */

  uint8_t *window;
  uint64_t first, count;        /* pages of the log that are in it */
};

struct entry {
  uint64_t page;                /* in the log, where it begins */
  uint32_t nr_pages;
  uint32_t nr_descs;
  uint32_t nr_desc_pages;
  uint32_t tail;                /* page in the log */
  uint64_t sequence;
  uint64_t flushed, last;       /* sizes of the file, bytes */
  uint32_t checksum;
};

/* A run of valid entries with consecutive numbers. */
struct sequence {
  uint64_t page;                /* where it begins */
  uint64_t nr_pages;
  uint64_t nr_entries;
  struct entry newest;
};

/*--- Pages ------------------------------------------------------------------*/

/* Page n of the log, modulo its size; good until the next call. */
static int
get_page (struct reader *rd, uint64_t n, const uint8_t **page,
          struct err *err)
{
  n %= rd->nr_pages;
  if (++rd->visits > MAX_VISITS * rd->nr_pages)
    return err_set (err, -EBADMSG, "the entries in the log overlap so often "
                    "that they can't be a log");
  if (n < rd->first || n - rd->first >= rd->count) {
    uint64_t first = round_down (n, WINDOW / VHDX_PAGE);
    uint64_t count = min_u64 (WINDOW / VHDX_PAGE, rd->nr_pages - first);
    int r = block_pread (rd->block, rd->window, (size_t) count * VHDX_PAGE,
                         rd->header->log_off + first * VHDX_PAGE, err);

    rd->count = 0;
    if (r < 0)
      return r;
    rd->first = first;
    rd->count = count;
  }
  *page = rd->window + (n - rd->first) * VHDX_PAGE;
  return 0;
}

/*--- Entries ----------------------------------------------------------------*/

/* The header of an entry takes the place of two descriptors. */
static uint32_t
desc_pages (uint64_t nr_descs)
{
  return (uint32_t) div_round_up ((nr_descs + 2) * VHDX_DESC_SIZE, VHDX_PAGE);
}

static bool
decode_header (const struct reader *rd, const uint8_t *p, uint64_t page,
               struct entry *e)
{
  uint32_t len = get_le32 (p + VHDX_LOG_LENGTH);
  uint32_t tail = get_le32 (p + VHDX_LOG_TAIL);

  e->page = page % rd->nr_pages;
  e->nr_pages = len / VHDX_PAGE;
  e->nr_descs = get_le32 (p + VHDX_LOG_COUNT);
  e->nr_desc_pages = desc_pages (e->nr_descs);
  e->tail = tail / VHDX_PAGE;
  e->sequence = get_le64 (p + VHDX_LOG_SEQUENCE);
  e->flushed = get_le64 (p + VHDX_LOG_FLUSHED);
  e->last = get_le64 (p + VHDX_LOG_LAST);
  e->checksum = get_le32 (p + VHDX_CHECKSUM);
  return memcmp (p, VHDX_LOG_SIGNATURE, 4) == 0 &&
    memcmp (p + VHDX_LOG_GUID, rd->header->log_guid, UUID_SIZE) == 0 &&
    e->sequence != 0 &&
    len % VHDX_PAGE == 0 && e->nr_pages <= rd->nr_pages &&
    e->nr_desc_pages <= e->nr_pages &&
    tail % VHDX_PAGE == 0 && e->tail < rd->nr_pages;
}

static bool
is_zero_desc (const uint8_t *p)
{
  return memcmp (p, VHDX_ZERO_SIGNATURE, 4) == 0;
}

static bool
is_valid_desc (const uint8_t *p, uint64_t sequence)
{
  if (get_le64 (p + VHDX_DESC_SEQUENCE) != sequence ||
      get_le64 (p + VHDX_DESC_OFFSET) % VHDX_PAGE != 0)
    return false;
  if (is_zero_desc (p))
    return get_le64 (p + VHDX_ZERO_LENGTH) % VHDX_PAGE == 0;
  return memcmp (p, VHDX_DESC_SIGNATURE, 4) == 0;
}

/* The descriptors of entry e in its n-th page: the first, and how many. */
static uint32_t
descs_in_page (const struct entry *e, uint32_t n, const uint8_t *page,
               const uint8_t **first)
{
  uint32_t skip = n == 0 ? 2 : 0, per_page = VHDX_PAGE / VHDX_DESC_SIZE;
  uint64_t before = (uint64_t) n * per_page - (n == 0 ? 0 : 2);

  *first = page + skip * VHDX_DESC_SIZE;
  return (uint32_t) min_u64 (per_page - skip, e->nr_descs - before);
}

/* Adds the number of pages of data that the descriptors in this page want. */
static bool
check_desc_page (const struct entry *e, uint32_t n, const uint8_t *page,
                 uint32_t *nr_data)
{
  const uint8_t *desc;
  uint32_t count = descs_in_page (e, n, page, &desc);

  for (uint32_t i = 0; i < count; ++i, desc += VHDX_DESC_SIZE) {
    if (!is_valid_desc (desc, e->sequence))
      return false;
    *nr_data += !is_zero_desc (desc);
  }
  return true;
}

static bool
check_data_page (const struct entry *e, const uint8_t *page)
{
  return memcmp (page, VHDX_DATA_SIGNATURE, 4) == 0 &&
    get_le32 (page + VHDX_DATA_HIGH) == e->sequence >> 32 &&
    get_le32 (page + VHDX_DATA_LOW) == (uint32_t) e->sequence;
}

/* Is page n of the entry what it should be? */
static bool
check_page (const struct entry *e, uint32_t n, const uint8_t *page,
            uint32_t *nr_data)
{
  if (n < e->nr_desc_pages)
    return check_desc_page (e, n, page, nr_data) &&
      *nr_data <= e->nr_pages - e->nr_desc_pages;
  return n - e->nr_desc_pages >= *nr_data || check_data_page (e, page);
}

/* Is there a valid entry at this page?  1, 0, or a negative errno. */
static int
read_entry (struct reader *rd, uint64_t page, struct entry *e,
            struct err *err)
{
  uint32_t crc, nr_data = 0;
  const uint8_t *p;
  int r = get_page (rd, page, &p, err);

  if (r < 0)
    return r;
  if (!decode_header (rd, p, page, e) || !check_page (e, 0, p, &nr_data))
    return 0;
  crc = vhdx_checksum (p, VHDX_PAGE);
  for (uint32_t n = 1; n < e->nr_pages; ++n) {
    r = get_page (rd, page + n, &p, err);
    if (r < 0)
      return r;
    if (!check_page (e, n, p, &nr_data))
      return 0;
    crc = crc32c_update (crc, p, VHDX_PAGE);
  }
  return crc == e->checksum;
}

/*--- The active sequence ----------------------------------------------------*/

static int
read_sequence (struct reader *rd, uint64_t page, struct sequence *seq,
               struct err *err)
{
  struct entry e;
  int r;

  *seq = (struct sequence) { .page = page };
  while (seq->nr_pages < rd->nr_pages) {
    r = read_entry (rd, page + seq->nr_pages, &e, err);
    if (r < 0)
      return r;
    if (r == 0 || seq->nr_pages + e.nr_pages > rd->nr_pages ||
        (seq->nr_entries > 0 && e.sequence != seq->newest.sequence + 1))
      return 0;
    seq->newest = e;
    seq->nr_pages += e.nr_pages;
    seq->nr_entries++;
  }
  return 0;
}

/* Is the tail of the newest entry the beginning of one in the sequence?
 * Then what is before it needs no replay, and the sequence begins there.
 */
static int
cut_at_tail (struct reader *rd, struct sequence *seq, bool *found,
             struct err *err)
{
  const uint8_t *p;
  int r;

  *found = false;
  while (seq->nr_entries > 0) {
    uint32_t nr_pages;

    if (seq->page % rd->nr_pages == seq->newest.tail) {
      *found = true;
      return 0;
    }
    r = get_page (rd, seq->page, &p, err);
    if (r < 0)
      return r;
    nr_pages = get_le32 (p + VHDX_LOG_LENGTH) / VHDX_PAGE;
    /* As when it was found to be valid, unless the file changes. */
    if (nr_pages == 0 || nr_pages > seq->nr_pages)
      return err_set (err, -EIO, "the log changed while it was read");
    seq->page += nr_pages;
    seq->nr_pages -= nr_pages;
    seq->nr_entries--;
  }
  return 0;
}

static int
find_active (struct reader *rd, struct sequence *active, struct err *err)
{
  struct sequence seq;
  bool has_tail;
  int r;

  *active = (struct sequence) { .nr_entries = 0 };
  for (uint64_t page = 0, next; page < rd->nr_pages; page = next) {
    r = read_sequence (rd, page, &seq, err);
    if (r < 0)
      return r;
    next = page + max_u64 (seq.nr_pages, 1);
    if (seq.nr_entries == 0 ||
        (active->nr_entries > 0 &&
         seq.newest.sequence <= active->newest.sequence))
      continue;
    r = cut_at_tail (rd, &seq, &has_tail, err);
    if (r < 0)
      return r;
    if (has_tail)
      *active = seq;
  }
  if (active->nr_entries > 0)
    return 0;
  return err_set (err, -EBADMSG, "the log at offset %" PRIu64 " has to be "
                  "replayed, but there is no valid sequence of entries in its "
                  "%" PRIu32 " bytes", rd->header->log_off,
                  rd->header->log_len);
}

/*--- Pieces -----------------------------------------------------------------*/

static uint64_t
end_of (const struct vhdx_piece *piece)
{
  return piece->page + piece->nr_pages;
}

static int
add_piece (struct vhdx_piece_vector *v, struct vhdx_piece piece,
           uint64_t from, uint64_t to)
{
  piece.page = from;
  piece.nr_pages = to - from;
  return vector_append (v, &piece);
}

/* Pieces of data are single pages, so that none is ever cut in two. */
int
vhdx_pieces_merge (const struct vhdx_piece_vector *earlier,
                   const struct vhdx_piece_vector *later,
                   struct vhdx_piece_vector *out)
{
  uint64_t done = 0;            /* up to this page all is said */
  size_t i = 0, j = 0;
  int r = 0;

  while (r == 0 && (i < earlier->len || j < later->len)) {
    const struct vhdx_piece *e = i < earlier->len ? &earlier->ptr[i] : NULL;
    const struct vhdx_piece *l = j < later->len ? &later->ptr[j] : NULL;

    if (e && end_of (e) <= done)
      i++;
    else if (l && (e == NULL || l->page <= max_u64 (e->page, done))) {
      r = add_piece (out, *l, l->page, end_of (l));
      done = end_of (l);
      j++;
    }
    else {
      uint64_t end = l ? min_u64 (end_of (e), l->page) : end_of (e);

      r = add_piece (out, *e, max_u64 (e->page, done), end);
      done = end;
    }
  }
  return r;
}

/* Lists that wait to be merged.  As in a merge sort, each is about twice as
 * long as the one above it, so that no piece is moved more often than there
 * are lists.
 */
struct stack {
  struct vhdx_piece_vector lists[40];
  size_t depth;
  size_t total;                 /* of pieces ever pushed */
};

static int
merge_top (struct stack *s)
{
  struct vhdx_piece_vector *earlier = &s->lists[s->depth - 2];
  struct vhdx_piece_vector *later = &s->lists[s->depth - 1];
  struct vhdx_piece_vector merged = VECTOR_INIT;
  int r = vhdx_pieces_merge (earlier, later, &merged);

  vector_free (earlier);
  vector_free (later);
  *earlier = merged;
  s->depth--;
  return r;
}

static int
push (struct stack *s, const struct vhdx_piece *piece, struct err *err)
{
  struct vhdx_piece_vector *list = &s->lists[s->depth];
  int r;

  if (++s->total > MAX_PIECES)
    return err_set (err, -ENOTSUP, "the log has more than %d changes to be "
                    "replayed", MAX_PIECES);
  *list = (struct vhdx_piece_vector) VECTOR_INIT;
  s->depth++;
  r = vector_append (list, piece);
  /* As many merges as the number of pieces has zero bits at its end. */
  for (size_t n = s->total; r == 0 && n % 2 == 0; n /= 2)
    r = merge_top (s);
  return r < 0 ? err_nomem (err) : 0;
}

static void
free_stack (struct stack *s)
{
  for (size_t i = 0; i < s->depth; ++i)
    vector_free (&s->lists[i]);
}

/*--- Replaying --------------------------------------------------------------*/

/* What the log has no say in: the headers, which are written without it, and
 * the log itself.
 */
static int
check_target (const struct reader *rd, uint64_t off, uint64_t len,
              struct err *err)
{
  const struct vhdx_header *h = rd->header;
  const char *what = NULL;

  if (!range_fits (off, len, INT64_MAX))
    what = "behind the end of any file";
  else if (off < VHDX_REGIONS_1 && off + len > VHDX_HEADER_1)
    what = "into the headers";
  else if (off < h->log_off + h->log_len && off + len > h->log_off)
    what = "into the log itself";
  if (what)
    return err_set (err, -EBADMSG, "the log would write %" PRIu64 " bytes at "
                    "offset %" PRIu64 ", %s", len, off, what);
  return 0;
}

/* *data is the page in the log of the next data, counted on. */
static int
replay_desc (const struct reader *rd, const uint8_t *desc, uint64_t desc_at,
             uint64_t *data, struct stack *s, struct vhdx_log *out,
             struct err *err)
{
  bool zero = is_zero_desc (desc);
  uint64_t off = get_le64 (desc + VHDX_DESC_OFFSET);
  uint64_t len = zero ? get_le64 (desc + VHDX_ZERO_LENGTH) : VHDX_PAGE;
  struct vhdx_piece piece = {
    .page = off / VHDX_PAGE,
    .nr_pages = len / VHDX_PAGE,
    .data = zero ? VHDX_PIECE_ZERO
                 : (uint32_t) ((*data)++ % rd->nr_pages),
    .desc = (uint32_t) desc_at,
  };
  int r;

  if (len == 0)
    return 0;
  r = check_target (rd, off, len, err);
  if (r < 0)
    return r;
  out->file_size = max_u64 (out->file_size, off + len);
  return push (s, &piece, err);
}

static int
replay_entry (struct reader *rd, const struct entry *e, struct stack *s,
              struct vhdx_log *out, struct err *err)
{
  uint64_t data = e->page + e->nr_desc_pages;
  const uint8_t *page, *desc;
  int r = 0;

  for (uint32_t n = 0; r == 0 && n < e->nr_desc_pages; ++n) {
    uint64_t at = (e->page + n) % rd->nr_pages * (VHDX_PAGE / VHDX_DESC_SIZE);
    uint32_t count;

    r = get_page (rd, e->page + n, &page, err);
    if (r < 0)
      return r;
    count = descs_in_page (e, n, page, &desc);
    at += (size_t) (desc - page) / VHDX_DESC_SIZE;
    for (uint32_t i = 0; r == 0 && i < count; ++i)
      r = replay_desc (rd, desc + i * VHDX_DESC_SIZE, at + i, &data, s, out,
                       err);
  }
  return r;
}

static int
replay (struct reader *rd, const struct sequence *seq, struct vhdx_log *out,
        struct err *err)
{
  struct stack s = { .depth = 0 };
  struct entry e = { .page = seq->page };
  int r = 0;

  for (uint64_t i = 0; r == 0 && i < seq->nr_entries; ++i) {
    r = read_entry (rd, e.page + e.nr_pages, &e, err);
    if (r == 0)
      r = err_set (err, -EIO, "the log changed while it was read");
    if (r > 0)
      r = replay_entry (rd, &e, &s, out, err);
  }
  while (r == 0 && s.depth > 1)
    if (merge_top (&s) < 0)
      r = err_nomem (err);
  if (r == 0 && s.depth == 1) {
    out->pieces = s.lists[0];
    s.depth = 0;
  }
  free_stack (&s);
  return r;
}

/* Everything in front of the flushed offset was on the disk before the entry
 * was written.
 */
static int
check_file_size (const struct reader *rd, const struct sequence *seq,
                 struct err *err)
{
  uint64_t size = block_size (rd->block), flushed = seq->newest.flushed;

  if (flushed > size)
    return err_set (err, -EBADMSG, "the file has %" PRIu64 " bytes, but the "
                    "log says that %" PRIu64 " were written: it was cut off",
                    size, flushed);
  if (seq->newest.last > INT64_MAX)
    return err_set (err, -EBADMSG, "the log says that the file has %" PRIu64
                    " bytes", seq->newest.last);
  return 0;
}

int
vhdx_log_read (struct block *block, const struct vhdx_header *header,
               struct vhdx_log *out, struct err *err)
{
  CLEANUP_FREE uint8_t *window = malloc (WINDOW);
  struct reader rd = {
    .block = block,
    .header = header,
    .nr_pages = header->log_len / VHDX_PAGE,
    .window = window,
  };
  struct vhdx_log log = VHDX_LOG_INIT;
  struct sequence active;
  int r;

  if (header->log_len > MAX_LENGTH)
    return err_set (err, -ENOTSUP, "the log has to be replayed, and has %"
                    PRIu32 " bytes, which are more than %d",
                    header->log_len, MAX_LENGTH);
  if (window == NULL)
    return err_nomem (err);
  r = find_active (&rd, &active, err);
  if (r == 0)
    r = check_file_size (&rd, &active, err);
  if (r < 0)
    return r;
  log.nr_entries = active.nr_entries;
  log.file_size = max_u64 (block_size (block), active.newest.last);
  r = replay (&rd, &active, &log, err);
  if (r == 0)
    *out = log;
  return r;
}
