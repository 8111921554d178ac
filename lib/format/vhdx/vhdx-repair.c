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
 *   6. Leaks.  Of a file with a log they are left for the next repair, when
 *      its size is known.
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

static int
plan_piece (const struct vhdx_piece *piece, struct repair_plan *plan,
            struct err *err)
{
  enum repair_kind kind =
    piece->data == VHDX_PIECE_ZERO ? REPAIR_ZERO : REPAIR_COPY;
  int r = repair_add (plan, kind, piece->nr_pages * VHDX_PAGE,
                      piece->page * VHDX_PAGE, err, "what the log holds");

  if (r == 0)
    repair_join_next (plan);
  return r;
}

/* Pieces are in order and do not overlap. */
static int
plan_log (struct block *block, const struct vhdx_examined *s,
          struct repair_plan *plan, struct err *err)
{
  struct vhdx_log log = VHDX_LOG_INIT;
  int r = vhdx_log_read (block, &s->layer->header, &log, err);

  if (r < 0)
    return r;
  plan->source = block_ref (s->layer->file);
  if (log.file_size > plan->old_size)
    r = repair_add (plan, REPAIR_RESIZE, 0, log.file_size, err, "the size that "
                    "the log says");
  if (r == 0)
    repair_join_next (plan);
  for (size_t i = 0; r == 0 && i < log.pieces.len; ++i)
    r = plan_piece (&log.pieces.ptr[i], plan, err);
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

static int
plan_regions (const struct vhdx_examined *s, struct repair_plan *plan,
              struct err *err)
{
  CLEANUP_FREE uint8_t *bytes = malloc (VHDX_REGIONS_SIZE);
  unsigned good = s->regions[0].is_valid ? 0 : 1;
  int r;

  if (s->regions[0].is_valid == s->regions[1].is_valid)
    return 0;
  if (bytes == NULL)
    return err_nomem (err);
  r = block_pread (s->layer->file, bytes, VHDX_REGIONS_SIZE,
                   s->regions[good].off, err);
  return r < 0 ? r
    : repair_add_write (plan, bytes, VHDX_REGIONS_SIZE,
                        s->regions[1 - good].off, err,
                        "the region table, from the other one");
}

static int
plan_leaks (const struct vhdx_examined *s, struct repair_plan *plan,
            struct err *err)
{
  uint64_t tail_off = UINT64_MAX;
  int r = 0;

  if (!s->has_bat)
    return 0;
  for (size_t i = 0; i < s->leaks.len; ++i)
    if (s->leaks.ptr[i].off + s->leaks.ptr[i].len == plan->old_size)
      tail_off = s->leaks.ptr[i].off;
  r = repair_add_punches (plan, &s->leaks, tail_off, err);
  if (r < 0 || tail_off == UINT64_MAX)
    return r;
  return repair_add (plan, REPAIR_RESIZE, 0, tail_off, err, "nothing names the "
                     "%" PRIu64 " bytes behind the last block",
                     plan->old_size - tail_off);
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
  bool has_log = s->log_state == VHDX_LOG_WHOLE;
  int r = 0;

  if (s->no_identifier)
    r = repair_add_write (plan, VHDX_IDENTIFIER, VHDX_IDENTIFIER_SIZE, 0, err,
                          "the file identifier");
  if (r == 0 && has_log)
    r = plan_log (block, s, plan, err);
  if (r == 0)
    r = plan_headers (block, s, plan, err);
  if (r == 0 && !has_log)
    r = plan_regions (s, plan, err);
  if (r == 0 && !has_log && !(flags & REPAIR_KEEP_LEAKS))
    r = plan_leaks (s, plan, err);
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
