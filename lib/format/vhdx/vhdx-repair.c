/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Mending a VHDX.
 *
 * The headers and the region tables are there twice: a damaged one is written
 * anew from the other.  What a log holds is written to where it belongs; one
 * that can't be replayed is given up if that was asked for.  The identifier at
 * offset 0 is a constant: a whole header proves that it belongs there.  Space
 * that nothing names is cut off at the end and punched elsewhere.
 *
 * What is not mended: two damaged ones, metadata, entries of the BAT.
 *
 *   1. The identifier.  A crash leaves it, or a part of it.
 *   2. The file gets the size that the log says, and then its pages.  A crash
 *      leaves the log, which is replayed again.
 *   3. The older header is written with a higher number than the newer one,
 *      and without a log.  A crash leaves it damaged, when the newer one
 *      counts, or whole.
 *   4. After a log, the same with the other header: it would replay an old
 *      log, if the first one were damaged later.
 *   5. The damaged region table: the other one counts until it is whole.
 *   6. Leaks, as they are once the log was replayed.  What the log would
 *      write there is not written in step 2, nor does the file grow for it;
 *      a crash before step 4 leaves the log, a later one leaves leaks.
 *
 * Undoing goes by ranges of which each is changed by one step.  So what the
 * log holds for a place that steps 5 and 6 change is left out as well.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/repair.h"
#include "lib/format/vhdx/vhdx-check.h"

/*--- The log ----------------------------------------------------------------*/

/* What later steps change, in order: the log does not. */
struct later {
  struct file_ranges ranges;
  size_t next;                  /* those in front of it end before the piece */
  uint64_t end;                 /* nothing is needed from here on */
};

static int
plan_range (enum repair_kind kind, uint64_t off, uint64_t end,
            struct repair_plan *plan, struct err *err)
{
  int r;

  if (off >= end)
    return 0;
  r = repair_add (plan, kind, end - off, off, err, "what the log holds");
  if (r == 0)
    repair_join_next (plan);
  return r;
}

static int
plan_piece (const struct vhdx_piece *piece, struct later *later,
            struct repair_plan *plan, struct err *err)
{
  enum repair_kind kind =
    piece->data == VHDX_PIECE_ZERO ? REPAIR_ZERO : REPAIR_COPY;
  uint64_t off = piece->page * VHDX_PAGE;
  uint64_t end = min_u64 (off + piece->nr_pages * VHDX_PAGE, later->end);
  int r = 0;

  for (; r == 0 && later->next < later->ranges.len; later->next++) {
    const struct file_range *range = &later->ranges.ptr[later->next];

    if (range->off >= end)
      break;
    r = plan_range (kind, off, min_u64 (range->off, end), plan, err);
    off = max_u64 (off, range->off + range->len);
    if (off >= end)             /* and it may go on behind the piece */
      return r;
  }
  return r < 0 ? r : plan_range (kind, off, end, plan, err);
}

/* Pieces are in order and do not overlap. */
static int
plan_log (struct block *block, const struct vhdx_examined *s,
          struct later *later, struct repair_plan *plan, struct err *err)
{
  struct vhdx_log log = VHDX_LOG_INIT;
  int r = vhdx_log_read (block, &s->layer->header, &log, err);
  uint64_t size = min_u64 (log.file_size, later->end);

  if (r < 0)
    return r;
  plan->source = block_ref (s->layer->file);
  if (size > plan->old_size)
    r = repair_add (plan, REPAIR_RESIZE, 0, size, err, "the size that the log "
                    "says");
  if (r == 0)
    repair_join_next (plan);
  for (size_t i = 0; r == 0 && i < log.pieces.len; ++i)
    r = plan_piece (&log.pieces.ptr[i], later, plan, err);
  /* All of it is on the medium before the header forgets the log. */
  if (r == 0 && plan->steps.len > 0)
    plan->steps.ptr[plan->steps.len - 1].with_next = false;
  vector_free (&log.pieces);
  return r;
}

/* Entries in the log that have its GUID, valid or not, and how many changes
 * they say that they hold.
 */
static int
count_entries (struct block *block, const struct vhdx_header *h,
               uint64_t *nr_entries, uint64_t *nr_changes, struct err *err)
{
  uint8_t p[VHDX_LOG_HEADER_SIZE];
  int r = 0;

  *nr_entries = *nr_changes = 0;
  for (uint64_t off = 0; r == 0 && off < h->log_len; off += VHDX_PAGE) {
    r = block_pread (block, p, sizeof p, h->log_off + off, err);
    if (r == 0 && memcmp (p, VHDX_LOG_SIGNATURE, 4) == 0 &&
        memcmp (p + VHDX_LOG_GUID, h->log_guid, UUID_SIZE) == 0) {
      ++*nr_entries;
      *nr_changes += min_u64 (get_le32 (p + VHDX_LOG_COUNT),
                              h->log_len / VHDX_DESC_SIZE);
    }
  }
  return r;
}

static int
refuse_log (struct block *block, const struct vhdx_header *h,
            struct repair_plan *plan, struct err *err)
{
  uint64_t nr_entries, nr_changes;
  int r = count_entries (block, h, &nr_entries, &nr_changes, err);

  return r < 0 ? r
    : repair_refuse (plan, err, "its log can't be replayed; giving it up, with "
                     "%sdiscard-log, loses what is in there: entries: %" PRIu64
                     ", changes of 4 KiB or more: %" PRIu64,
                     image_option_dashes, nr_entries, nr_changes);
}

/*--- Headers ----------------------------------------------------------------*/

static int
plan_header (uint8_t bytes[VHDX_HEADER_SIZE], uint64_t sequence, uint64_t off,
             const char *why, struct repair_plan *plan, struct err *err)
{
  put_le64 (bytes + VHDX_HEADER_SEQUENCE, sequence);
  put_le32 (bytes + VHDX_CHECKSUM, 0);
  put_le32 (bytes + VHDX_CHECKSUM, vhdx_checksum (bytes, VHDX_HEADER_SIZE));
  return repair_add_write (plan, bytes, VHDX_HEADER_SIZE, off, err, "%s", why);
}

/* Who changes a file gives it a new identity of what was written; that of its
 * data, which children know it by, stays, for the disk is the same.
 */
static int
plan_headers (struct block *block, const struct vhdx_examined *s,
              struct repair_plan *plan, struct err *err)
{
  const struct vhdx_header *h = &s->layer->header;
  bool had_log = s->log_state != VHDX_LOG_EMPTY;
  unsigned active = h->number - 1;
  const char *why = s->log_state == VHDX_LOG_DAMAGED
    ? "a VHDX header that gives the log up"
    : had_log ? "a VHDX header without a log to replay"
    : "the VHDX header, from the other one";
  uint8_t bytes[VHDX_HEADER_SIZE];
  int r;

  if (!had_log && s->headers[0].is_valid && s->headers[1].is_valid)
    return 0;
  r = block_pread (block, bytes, sizeof bytes, s->headers[active].off, err);
  if (r == 0 && had_log)
    r = uuid_new (bytes + VHDX_HEADER_FILE_WRITE_GUID, err);
  if (r < 0)
    return r;
  if (h->sequence > UINT64_MAX - 2)
    return repair_refuse (plan, err, "its header has the highest number that "
                          "there is");
  memset (bytes + VHDX_HEADER_LOG_GUID, 0, UUID_SIZE);
  r = plan_header (bytes, h->sequence + 1, s->headers[1 - active].off, why,
                   plan, err);
  return r < 0 || !had_log ? r
    : plan_header (bytes, h->sequence + 2, s->headers[active].off, why, plan,
                   err);
}

/*--- The rest ---------------------------------------------------------------*/

/* The table that is damaged; NULL: none, or both. */
static const struct vhdx_twin *
damaged_regions (const struct vhdx_examined *s)
{
  return s->regions[0].is_valid == s->regions[1].is_valid ? NULL
    : &s->regions[s->regions[0].is_valid ? 1 : 0];
}

static int
plan_regions (const struct vhdx_examined *s, struct repair_plan *plan,
              struct err *err)
{
  CLEANUP_FREE uint8_t *bytes = malloc (VHDX_REGIONS_SIZE);
  const struct vhdx_twin *bad = damaged_regions (s);
  const struct vhdx_twin *good = bad == s->regions ? bad + 1 : s->regions;
  int r;

  if (bad == NULL)
    return 0;
  if (bytes == NULL)
    return err_nomem (err);
  r = block_pread (s->layer->file, bytes, VHDX_REGIONS_SIZE,
                   good->off, err);
  return r < 0 ? r
    : repair_add_write (plan, bytes, VHDX_REGIONS_SIZE, bad->off, err,
                        "the region table, from the other one");
}

/* Where the leak at the end begins, as the file is once the log was replayed;
 * UINT64_MAX: there is none.
 */
static uint64_t
find_tail (const struct vhdx_examined *s)
{
  const struct file_ranges *leaks = &s->leaks;
  uint64_t size = block_size (s->layer->file);

  if (size > block_size (s->layer->block)) /* by what nobody has looked at */
    return s->named_end < size ? s->named_end : UINT64_MAX;
  return leaks->len > 0 && leaks->ptr[leaks->len - 1].off +
    leaks->ptr[leaks->len - 1].len == size
    ? leaks->ptr[leaks->len - 1].off : UINT64_MAX;
}

static int
plan_leaks (const struct vhdx_examined *s, uint64_t tail_off,
            struct repair_plan *plan, struct err *err)
{
  int r = repair_add_punches (plan, &s->leaks, tail_off, err);

  if (r < 0 || tail_off >= plan->old_size)
    return r;
  return repair_add (plan, REPAIR_RESIZE, 0, tail_off, err, "nothing names the "
                     "%" PRIu64 " bytes behind the last block",
                     plan->old_size - tail_off);
}

/* The region tables lie in front of all that can leak. */
static int
find_later (const struct vhdx_examined *s, bool with_leaks, struct later *later,
            struct err *err)
{
  const struct vhdx_twin *bad = damaged_regions (s);

  if (bad) {
    const struct file_range table = { bad->off, VHDX_REGIONS_SIZE };

    if (vector_append (&later->ranges, &table) < 0)
      return err_nomem (err);
  }
  for (size_t i = 0; with_leaks && i < s->leaks.len; ++i)
    if (vector_append (&later->ranges, &s->leaks.ptr[i]) < 0)
      return err_nomem (err);
  return 0;
}

static int
add_identity (const struct vhdx_examined *s, struct repair_plan *plan,
              struct err *err)
{
  const struct vhdx_region_vector *all = &s->layer->regions.all;
  int r = repair_add_identity (plan, 0, VHDX_UNIT, err);

  for (size_t i = 0; r == 0 && s->has_regions && i < all->len; ++i)
    r = repair_add_identity (plan, all->ptr[i].off, all->ptr[i].len, err);
  return r;
}

static int
plan_all (struct block *block, const struct vhdx_examined *s, unsigned flags,
          struct repair_plan *plan, struct err *err)
{
  bool with_leaks = s->has_bat && !(flags & REPAIR_KEEP_LEAKS);
  struct later later = { VECTOR_INIT, 0, UINT64_MAX };
  int r;

  if (with_leaks)
    later.end = find_tail (s);
  r = find_later (s, with_leaks, &later, err);
  if (r == 0 && s->no_identifier)
    r = repair_add_write (plan, VHDX_IDENTIFIER, VHDX_IDENTIFIER_SIZE, 0, err,
                          "the file identifier");
  if (r == 0 && s->log_state == VHDX_LOG_WHOLE)
    r = plan_log (block, s, &later, plan, err);
  if (r == 0)
    r = plan_headers (block, s, plan, err);
  if (r == 0)
    r = plan_regions (s, plan, err);
  if (r == 0 && with_leaks)
    r = plan_leaks (s, later.end, plan, err);
  vector_free (&later.ranges);
  return r < 0 ? r : add_identity (s, plan, err);
}

int
vhdx_plan_repair (struct block *block, const struct image_options *options,
                  unsigned flags, struct check *check,
                  struct repair_plan *plan, struct err *err)
{
  struct vhdx_examined s = VHDX_EXAMINED_INIT;
  int r = vhdx_examine (block, check, &s, err);
  bool bad_log = s.log_state == VHDX_LOG_DAMAGED;
  bool discard = bad_log && (flags & REPAIR_DISCARD_LOG);

  (void) options;
  if (r < 0)
    ;
  else if (check->nr[FINDING_DAMAGE] > (bad_log ? 1 : 0))
    r = repair_refuse (plan, err, "something is damaged of which there is no "
                       "second one to mend it from");
  else if (check->nr[FINDING_UNEXAMINED] > 0 || s.layer == NULL)
    r = repair_refuse (plan, err, "there is something in it that is not "
                       "known");
  else if (bad_log && !discard)
    r = refuse_log (block, &s.layer->header, plan, err);
  else
    r = plan_all (block, &s, flags, plan, err);
  vhdx_examined_free (&s);
  return r;
}
