/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A differencing VHDX becomes a dynamic one, which has no parent.  All that it
 * had from its parents is in its own file by then, on stable storage, and its
 * blocks are there as a whole or read as zeros.
 *
 *   1. BAT entries, in the order of their indexes: those of blocks that are
 *      partially present say fully present, and those of bitmap blocks, which
 *      come behind the blocks of their chunk, say nothing.  Any number of
 *      commits.
 *   2. In one commit: the file parameters (§2.6.2.1) say that there is no
 *      parent, and the parent locator is gone.
 *
 * A crash within 1: of a block with all of its bits set, partially and fully
 * present mean the same, and no block asks for a bitmap that is gone.  The
 * disk is differencing until 2 and not after.  What bitmaps took in the file
 * is nobody's, and cut off if it is at the end.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/vhdx/vhdx-rebase.h"

#define PARAMETERS_SIZE 8
#define PARAMETERS_FLAGS 4              /* u32 */

static uint64_t
entry_of (const struct vhdx_edit *e, uint64_t index)
{
  return e->layer->bat.entries[index];
}

/* In the file, where nothing but us changes anything: the bits are those of
 * its chunk's bitmap block.
 */
static int
read_bits (struct vhdx_edit *e, uint64_t block, uint8_t **bits, size_t *nr,
           struct err *err)
{
  const struct vhdx_metadata *m = &e->layer->metadata;
  uint64_t first = block * (m->block_size / m->logical);
  uint64_t chunk = block / e->layer->bat.chunk_ratio, off;
  uint64_t in_chunk = first % VHDX_CHUNK_SECTORS;
  int r = vhdx_bat_lookup_bitmap (e->layer, chunk, &off, err);

  if (r < 0)
    return r;
  *nr = (size_t) (min_u64 (m->block_size, m->size - block * m->block_size) /
                  m->logical);
  *bits = malloc (div_round_up (*nr, 8) + 1);
  return *bits == NULL ? err_nomem (err)
    : block_pread (e->block, *bits, div_round_up (*nr, 8), off + in_chunk / 8,
                   err);
}

static int
check_whole (struct vhdx_edit *e, uint64_t block, struct err *err)
{
  CLEANUP_FREE uint8_t *bits = NULL;
  size_t nr;
  bool bit;
  int r = read_bits (e, block, &bits, &nr, err);

  if (r < 0)
    return r;
  if (vhdx_bits_run (bits, 0, (unsigned) nr, &bit) < nr || !bit)
    return err_set (err, -EIO, "block %" PRIu64 " still lacks sectors that "
                    "are its parent's", block);
  return 0;
}

static int
put_one (struct vhdx_edit *e, uint64_t index, struct err *err)
{
  const struct vhdx_bat *bat = &e->layer->bat;
  uint64_t entry = entry_of (e, index);
  int r;

  if (vhdx_bat_is_bitmap (bat, index))
    return entry == 0 ? 0 : vhdx_edit_put_entry_alone (e, index, 0, err);
  if (VHDX_BAT_STATE (entry) != VHDX_PARTIALLY_PRESENT ||
      vhdx_bat_block_of (bat, index) >= bat->nr_blocks)
    return 0;
  r = check_whole (e, vhdx_bat_block_of (bat, index), err);
  return r < 0 ? r
    : vhdx_edit_put_entry_alone (e, index, VHDX_BAT_OFFSET (entry) |
                                 VHDX_PRESENT, err);
}

/* Step 1. */
static int
put_entries (struct vhdx_edit *e, struct err *err)
{
  int r = 0;

  for (uint64_t i = 0; r == 0 && i < e->layer->bat.nr_entries; ++i)
    r = put_one (e, i, err);
  return r < 0 ? r : vhdx_edit_commit (e, err);
}

/* Step 2. */
static int
put_parameters (struct vhdx_edit *e, struct err *err)
{
  static const uint8_t parameters[UUID_SIZE] = VHDX_GUID_FILE_PARAMETERS;
  static const uint8_t locator[UUID_SIZE] = VHDX_GUID_LOCATOR;
  CLEANUP_FREE uint8_t *item = NULL;
  size_t len;
  int r = vhdx_edit_get_item (e, parameters, &item, &len, err);

  if (r < 0)
    return r;
  if (len < PARAMETERS_SIZE)
    return err_set (err, -EBADMSG, "the file parameters have %zu bytes", len);
  put_le32 (item + PARAMETERS_FLAGS,
            get_le32 (item + PARAMETERS_FLAGS) &
            ~(VHDX_HAS_PARENT | VHDX_LEAVE_ALLOCATED));
  r = vhdx_edit_put_item (e, parameters, item, len, err);
  if (r == 0)
    r = vhdx_edit_remove_item (e, locator, err);
  return r < 0 ? r : vhdx_edit_commit (e, err);
}

int
vhdx_make_alone (struct vhdx_edit *e, struct err *err)
{
  int r = put_entries (e, err);

  return r < 0 ? r : put_parameters (e, err);
}
