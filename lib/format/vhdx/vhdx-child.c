/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is written into one block of a differencing disk.
 *
 * Where the parents have nothing in a block, or all of it is written, it is
 * fully present or zero and has no bits: vhdx-alloc.c.  Otherwise it is
 * partially present, and a bit tells of each sector whether it is here.
 *
 * Sectors whose bits are 1 are written in place, and nobody waits.  Others
 * are the parent's so far:
 *
 *   1. Data is written to their place, where nobody reads yet.  Of a sector
 *      that is not written as a whole the rest comes from the parents.
 *   2. Their bits become pending (vhdx-pending.c), and count from then on.
 *
 * A block that is not present (state 0, no other) gets a place first:
 *
 *   a. The bitmap block of its chunk, if there is none: a place that is zero,
 *      on stable storage; then its BAT entry.
 *   b. Bits that others left in there become 0 (vhdx-bits.c).
 *   c. A place for the block; 1.
 *   d. The BAT entry: partially present; 2.
 *
 * The BAT changes through the log, whose entries count in their order; so the
 * block is never partially present without its bitmap, or with bits that
 * are not its own.  Neither has to be on stable storage at any time: as long
 * as all bits are 0, all of the block is the parent's.
 *
 * A crash before 2: it is all the parent's, as it was.  After 2: a power cut
 * may lose what was not flushed, sector by sector; a killed process loses
 * nothing.
 *
 * Who does this has made the block busy.  Those who write whole sectors share
 * it with each other: where they write to the same sector either may win.
 * Whoever fills up a sector must have it alone, as he writes bytes that he
 * has only read; and so must who adds or removes the block.
 *
 * Zeros hide what parents have: they are written, or a hole punched, and the
 * bits set; of a whole block the state becomes zero, and its place is given
 * up.  A whole block that is trimmed becomes zero too.  What is trimmed
 * otherwise becomes zeros where the bits are 1; where they are 0 nothing
 * happens.  So no bit ever becomes 0 over data of the parents, and a block
 * that was in the file is never the parent's again.
 */

#include <config.h>

#include "lib/base/checked.h"
#include "lib/format/over-parents.h"
#include "lib/format/vhdx/vhdx-write.h"

/*--- Bits -------------------------------------------------------------------*/

static uint64_t
sectors_per_block (const struct vhdx_layer *layer)
{
  return layer->metadata.block_size / layer->metadata.logical;
}

static int
bits_run (const struct over_parents *b, uint32_t first, uint32_t max,
          uint32_t *nr, bool *here, struct err *err)
{
  struct vhdx_writer *w = b->opaque;
  uint64_t n;
  int r = vhdx_bitmap_run (w->layer, b->index * sectors_per_block (w->layer) +
                           first, max, &n, here, err);

  if (r == 0)
    *nr = (uint32_t) n;
  return r;
}

static int
read_disk (const struct over_parents *b, void *buf, size_t len, uint64_t off,
           struct err *err)
{
  struct vhdx_writer *w = b->opaque;

  return vhdx_layer_pread (w->layer, buf, len, off, err);
}

static const struct over_parents_ops ops = { bits_run, read_disk };

/* The block at this place. */
static struct over_parents
block_at (struct vhdx_writer *w, uint64_t block, uint64_t place)
{
  const struct vhdx_metadata *m = &w->layer->metadata;

  return (struct over_parents) {
    .ops = &ops,
    .opaque = w,
    .file = w->layer->block,
    .sector_size = m->logical,
    .index = block,
    .place = place,
    .disk_off = block * m->block_size,
    .data_off = place,
  };
}

static bool
is_of_whole_sectors (const struct vhdx_writer *w, const struct vhdx_part *part)
{
  return over_parents_is_whole (w->layer->metadata.logical, part->in_block,
                                part->len);
}

static int
bits_are_set (struct vhdx_writer *w, const struct vhdx_part *part,
              uint64_t place, bool *set, struct err *err)
{
  const struct over_parents b = block_at (w, part->block, place);

  return over_parents_are_set (&b, part->in_block, part->len, set, err);
}

static int
set_bits (struct vhdx_writer *w, const struct vhdx_part *part, uint64_t place,
          struct err *err)
{
  uint32_t size = w->layer->metadata.logical;
  uint32_t first = part->in_block / size;
  uint32_t end = (uint32_t) div_round_up (part->in_block + part->len, size);

  return vhdx_pending_set (w->pending, part->block, place, first, end - first,
                           err);
}

/*--- A block that is changed ------------------------------------------------*/

/* What was found of it. */
struct found {
  enum vhdx_state state;
  uint64_t place;
};

static int
look_up (struct vhdx_writer *w, const struct vhdx_part *part,
         struct found *found, struct err *err)
{
  return vhdx_bat_lookup (w->layer, part->block, &found->state, &found->place,
                          err);
}

static bool
is_in_file (const struct found *found)
{
  return found->state == VHDX_PRESENT ||
    found->state == VHDX_PARTIALLY_PRESENT;
}

static bool
is_still_so (struct vhdx_writer *w, const struct vhdx_part *part,
             const struct found *found)
{
  struct found now;

  return look_up (w, part, &now, NULL) == 0 && now.state == found->state &&
    now.place == found->place;
}

/* Alone with a block that is not there, and where a sector is written in
 * part.
 */
static void
make_busy (struct vhdx_writer *w, const struct vhdx_part *part,
           const struct found *found, struct busy *busy)
{
  if (is_in_file (found) && is_of_whole_sectors (w, part))
    busy_share (&w->busy, part->block, busy);
  else
    busy_begin (&w->busy, part->block, busy);
}

/* Step 1.  buf NULL: zeros, in whole sectors. */
static int
write_data (struct vhdx_writer *w, const struct vhdx_part *part,
            uint64_t place, const void *buf, unsigned flags, struct err *err)
{
  const struct over_parents b = block_at (w, part->block, place);

  return buf ? over_parents_write (&b, part->in_block, buf, part->len, err)
    : block_zero (w->layer->block, part->len, place + part->in_block, flags,
                  err);
}

/* By whoever has the block, which is not present, to itself.  buf NULL: zeros,
 * which are in the place already.
 */
static int
add_partial (struct vhdx_writer *w, const struct vhdx_part *part,
             const void *buf, struct err *err)
{
  uint64_t place;
  int r = vhdx_bitmap_add (w, part->block, err);

  if (r == 0)
    r = vhdx_bits_clear (&w->bits, part->block, err);
  if (r == 0)
    r = vhdx_space_take (w->space, &place, err);
  if (r < 0)
    return r;
  r = buf ? write_data (w, part, place, buf, 0, err) : 0;
  if (r < 0) {
    vhdx_space_soil (w->space, place);
    return r;
  }
  r = vhdx_block_publish (w, part->block, place, VHDX_PARTIALLY_PRESENT, err);
  return r < 0 ? r : set_bits (w, part, place, err);
}

/* A block that is partially present, or gets to be.  Returns 1 when it was
 * changed meanwhile.
 */
static int
change_sectors (struct vhdx_writer *w, const struct vhdx_part *part,
                const struct found *found, const void *buf, unsigned flags,
                struct err *err)
{
  struct busy busy;
  int r = vhdx_writer_begin (w, err);

  if (r < 0)
    return r;
  make_busy (w, part, found, &busy);
  if (!is_still_so (w, part, found))
    r = 1;
  else if (!is_in_file (found))
    r = add_partial (w, part, buf, err);
  else {
    r = write_data (w, part, found->place, buf, flags, err);
    if (r == 0)
      r = set_bits (w, part, found->place, err);
  }
  busy_end (&w->busy, &busy);
  return r;
}

/* Of a block that is in the file: can the part be written in place? */
static int
is_here (struct vhdx_writer *w, const struct vhdx_part *part,
         const struct found *found, bool *here, struct err *err)
{
  *here = found->state == VHDX_PRESENT;
  return *here ? 0 : bits_are_set (w, part, found->place, here, err);
}

/* Of one that is not: do the parents have anything in it that would have to be
 * kept?
 */
static int
must_be_partial (struct vhdx_writer *w, const struct vhdx_part *part,
                 const struct found *found, bool *partial, struct err *err)
{
  const struct vhdx_metadata *m = &w->layer->metadata;
  uint64_t off = part->block * m->block_size;
  bool zero = true;
  int r = 0;

  if (found->state == VHDX_NOT_PRESENT && !vhdx_is_whole_block (w, part))
    r = vhdx_parent_is_zero (w->layer, min_u64 (m->block_size, m->size - off),
                             off, &zero, err);
  *partial = !zero;
  return r;
}

/*--- Data -------------------------------------------------------------------*/

int
vhdx_child_write (struct vhdx_writer *w, const struct vhdx_part *part,
                  const void *buf, struct err *err)
{
  bool here = false, partial = true;
  struct found found;
  int r = look_up (w, part, &found, err);

  if (r == 0 && is_in_file (&found))
    r = is_here (w, part, &found, &here, err);
  else if (r == 0)
    r = must_be_partial (w, part, &found, &partial, err);
  if (r < 0)
    return r;
  if (!partial)
    return vhdx_block_add (w, part->block, part->in_block, buf, part->len,
                           err);
  if (!here)
    return change_sectors (w, part, &found, buf, 0, err);
  r = vhdx_writer_begin (w, err);
  return r < 0 ? r
    : block_pwrite (w->layer->block, buf, part->len,
                    found.place + part->in_block, 0, err);
}

/*--- Zeros ------------------------------------------------------------------*/

static int
parents_are_zero (struct vhdx_writer *w, const struct vhdx_part *part,
                  bool *zero, struct err *err)
{
  return vhdx_parent_is_zero (w->layer, part->len,
                              part->block * w->layer->metadata.block_size +
                              part->in_block, zero, err);
}

/* Does it read as zeros without a place, or can it be made so: *done.  Other
 * programs may read states that may be anything otherwise than we do.
 */
static int
zero_without_place (struct vhdx_writer *w, const struct vhdx_part *part,
                    const struct found *found, bool *done, struct err *err)
{
  int r = 0;

  *done = found->state == VHDX_ZERO;
  if (*done)
    return 0;
  if (found->state == VHDX_NOT_PRESENT)
    r = parents_are_zero (w, part, done, err);
  if (r < 0 || *done)
    return r;
  if (found->state == VHDX_NOT_PRESENT && !vhdx_is_whole_block (w, part))
    return 0;
  r = vhdx_block_hide (w, part->block, err);
  *done = r == 0;
  return r;
}

/* Whole sectors. */
static int
zero_sectors (struct vhdx_writer *w, const struct vhdx_part *part,
              unsigned flags, struct err *err)
{
  bool done = false, here = false;
  struct found found;
  int r = look_up (w, part, &found, err);

  if (r < 0)
    return r;
  if (!is_in_file (&found))
    r = zero_without_place (w, part, &found, &done, err);
  else if (vhdx_is_whole_block (w, part) && !(flags & BLOCK_NO_HOLE))
    r = vhdx_block_remove (w, part->block, &done, err);
  if (r != 0 || done)
    return r;
  if (is_in_file (&found))
    r = is_here (w, part, &found, &here, err);
  if (r == 0 && !here)
    return change_sectors (w, part, &found, NULL, flags, err);
  if (r == 0)
    r = vhdx_writer_begin (w, err);
  return r < 0 ? r
    : block_zero (w->layer->block, part->len, found.place + part->in_block,
                  flags, err);
}

/* A part of a sector. */
static int
zero_in_sector (struct vhdx_writer *w, const struct vhdx_part *part,
                struct err *err)
{
  static const uint8_t zeros[OVER_PARENTS_MAX_SECTOR];
  struct found found;
  bool done = false;
  int r = look_up (w, part, &found, err);

  if (r == 0 && !is_in_file (&found))
    r = zero_without_place (w, part, &found, &done, err);
  return r != 0 || done ? r : vhdx_child_write (w, part, zeros, err);
}

int
vhdx_child_zero (struct vhdx_writer *w, const struct vhdx_part *part,
                 unsigned flags, struct err *err)
{
  struct vhdx_part rest = *part;
  int r = 0;

  while (r == 0 && rest.len > 0) {
    struct vhdx_part now = rest;

    now.len = over_parents_piece (w->layer->metadata.logical, rest.in_block,
                                  rest.len);
    r = is_of_whole_sectors (w, &now) ? zero_sectors (w, &now, flags, err)
      : zero_in_sector (w, &now, err);
    rest.in_block += (uint32_t) now.len;
    rest.len -= now.len;
  }
  return r;
}

/*--- Trim -------------------------------------------------------------------*/

/* Only what is the parent's is hidden: the other states are zero to us. */
static int
discard_absent (struct vhdx_writer *w, const struct vhdx_part *part,
                const struct found *found, struct err *err)
{
  bool zero = true;
  int r = 0;

  if (found->state == VHDX_NOT_PRESENT && vhdx_is_whole_block (w, part))
    r = parents_are_zero (w, part, &zero, err);
  return r < 0 || zero ? r : vhdx_block_remove (w, part->block, &zero, err);
}

int
vhdx_child_discard (struct vhdx_writer *w, const struct vhdx_part *part,
                    struct err *err)
{
  struct over_parents b;
  struct found found;
  bool done = false;
  int r = look_up (w, part, &found, err);

  if (r < 0)
    return r;
  if (!is_in_file (&found))
    return discard_absent (w, part, &found, err);
  if (vhdx_is_whole_block (w, part))
    r = vhdx_block_remove (w, part->block, &done, err);
  if (r == 0 && !done)
    r = vhdx_writer_begin (w, err);
  if (r < 0 || done)
    return r;
  if (found.state == VHDX_PRESENT)
    return block_trim (w->layer->block, part->len,
                       found.place + part->in_block, 0, err);
  b = block_at (w, part->block, found.place);
  return over_parents_trim (&b, part->in_block, part->len, err);
}
