/* SPDX-License-Identifier: GPL-2.0-or-later */

/* BAT entries, and what goes to another place in the file.
 *
 * Blocks move to free places:
 *
 *   1. They are copied.  Flush.
 *   2. Their BAT entries change, in one commit (vhdx-edit.c).
 *   3. Only then may the old places be used for something else.
 *
 * A crash leaves entries that name the old places or the new ones, and both
 * hold the same.  Regions move in the same way, with the region tables in
 * place of the entries, and with the log empty before and after: it may hold
 * pages of the region.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/relocate.h"
#include "lib/format/vhdx/vhdx-edit.h"

/* What moves between two flushes: bytes, and blocks, so that all their
 * entries, in different pages, fit into a commit.
 */
#define BATCH_BYTES (64 * 1024 * 1024)
#define BATCH_BLOCKS (VHDX_LOGGER_MAX_PAGES / 2)

/*--- Entries ----------------------------------------------------------------*/

int
vhdx_edit_put_entry (struct vhdx_edit *e, uint64_t index, uint64_t entry,
                     struct err *err)
{
  uint8_t bytes[VHDX_BAT_ENTRY_SIZE];

  assert (index < e->bat.len / VHDX_BAT_ENTRY_SIZE);
  put_le64 (bytes, entry);
  return vhdx_edit_put (e, bytes, sizeof bytes,
                        e->bat.off + index * VHDX_BAT_ENTRY_SIZE, err);
}

int
vhdx_edit_put_entry_alone (struct vhdx_edit *e, uint64_t index,
                           uint64_t entry, struct err *err)
{
  int r = 0;

  if (e->staged.len == VHDX_LOGGER_MAX_PAGES)
    r = vhdx_edit_commit (e, err);
  return r < 0 ? r : vhdx_edit_put_entry (e, index, entry, err);
}

uint64_t
vhdx_edit_space_of (const struct vhdx_edit *e, uint64_t index)
{
  return vhdx_bat_is_bitmap (&e->layer->bat, index)
    ? VHDX_BITMAP_SIZE : e->layer->metadata.block_size;
}

uint64_t
vhdx_edit_len_of (const struct vhdx_edit *e, uint64_t index)
{
  const struct vhdx_metadata *m = &e->layer->metadata;
  uint64_t off;

  if (vhdx_bat_is_bitmap (&e->layer->bat, index))
    return VHDX_BITMAP_SIZE;
  off = vhdx_bat_block_of (&e->layer->bat, index) * m->block_size;
  return off < m->size ? min_u64 (m->block_size, m->size - off) : 0;
}

/* A differencing disk has entries for the rest of its last chunk, others have
 * entries for bitmaps: both mean nothing.
 */
bool
vhdx_edit_is_in_file (const struct vhdx_edit *e, uint64_t index)
{
  const struct vhdx_bat *bat = &e->layer->bat;
  unsigned state;

  if (index >= bat->nr_entries)
    return false;
  state = VHDX_BAT_STATE (bat->entries[index]);
  if (state != VHDX_PRESENT && state != VHDX_PARTIALLY_PRESENT)
    return false;
  return vhdx_bat_is_bitmap (bat, index)
    ? e->layer->metadata.has_parent
    : vhdx_bat_block_of (bat, index) < bat->nr_blocks;
}

/*--- Blocks -----------------------------------------------------------------*/

static int
copy_block (struct vhdx_edit *e, const struct vhdx_move *m, uint8_t *buf,
            struct job *job, struct err *err)
{
  uint64_t len = vhdx_edit_len_of (e, m->index);
  uint64_t space = vhdx_edit_space_of (e, m->index);
  uint64_t from = VHDX_BAT_OFFSET (e->layer->bat.entries[m->index]);
  int r = relocate_bytes (e->block, from, m->to, len, buf, job, err);

  return r < 0 || len == space ? r
    : block_zero (e->block, space - len, m->to + len, 0, err);
}

static int
put_move (struct vhdx_edit *e, const struct vhdx_move *m, struct err *err)
{
  uint64_t entry = e->layer->bat.entries[m->index];

  return vhdx_edit_put_entry (e, m->index, m->to | VHDX_BAT_STATE (entry),
                              err);
}

static int
move_batch (struct vhdx_edit *e, const struct vhdx_move *moves, size_t nr,
            uint8_t *buf, struct job *job, struct err *err)
{
  int r = 0;

  for (size_t i = 0; r == 0 && i < nr; ++i)
    r = copy_block (e, &moves[i], buf, job, err);
  if (r == 0)
    r = block_flush (e->block, err);
  for (size_t i = 0; r == 0 && i < nr; ++i)
    r = put_move (e, &moves[i], err);
  return r < 0 ? r : vhdx_edit_commit (e, err);
}

static size_t
batch_of (const struct vhdx_edit *e, const struct vhdx_move *moves, size_t nr)
{
  uint64_t bytes = 0;
  size_t n = 0;

  while (n < nr && n < BATCH_BLOCKS && (n == 0 || bytes < BATCH_BYTES))
    bytes += vhdx_edit_space_of (e, moves[n++].index);
  return n;
}

int
vhdx_edit_move (struct vhdx_edit *e, const struct vhdx_move *moves, size_t nr,
                struct job *job, struct err *err)
{
  CLEANUP_FREE uint8_t *buf = malloc (RELOCATE_BUFFER);
  int r = buf ? 0 : err_nomem (err);

  assert (e->staged.len == 0);
  for (size_t i = 0, n; r == 0 && i < nr; i += n) {
    n = batch_of (e, moves + i, nr - i);
    r = move_batch (e, moves + i, n, buf, job, err);
  }
  return r;
}

/*--- Regions ----------------------------------------------------------------*/

int
vhdx_edit_move_region (struct vhdx_edit *e, const uint8_t guid[UUID_SIZE],
                       uint64_t to, struct job *job, struct err *err)
{
  const struct vhdx_region *region = memcmp (guid, e->bat.guid, UUID_SIZE) == 0
    ? &e->layer->regions.bat : &e->layer->regions.metadata;
  CLEANUP_FREE uint8_t *buf = malloc (RELOCATE_BUFFER);
  int r = buf ? 0 : err_nomem (err);

  if (r == 0)
    r = vhdx_edit_settle (e, err);
  if (r == 0)
    r = relocate_bytes (e->block, region->off, to, region->len, buf, job,
                        err);
  if (r == 0)
    r = block_flush (e->block, err);
  if (r == 0)
    r = vhdx_edit_put_region (e, guid, to, region->len, err);
  if (r == 0)
    r = vhdx_edit_commit (e, err);
  return r < 0 ? r : vhdx_edit_settle (e, err);
}
