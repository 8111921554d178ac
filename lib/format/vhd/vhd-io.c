/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Reading through a chain.
 *
 * Every layer cuts the range that is asked for into runs of one kind: data
 * in its file, or not, because the block is absent or because the sector's
 * bit is 0.  What is not here comes from the parent, or is zero where there
 * is none and where the parent's disk has ended.  Reading, extents and
 * readahead all walk the same runs, so that they can't disagree.
 *
 * Layers recurse into their parents, PARENT_MAX_LAYERS deep at most; the big
 * buffers are in functions that have returned by then.
 */

#include <config.h>

#include <string.h>

#include "lib/base/checked.h"
#include "lib/format/vhd/vhd.h"

enum run_kind {
  RUN_HERE,                     /* data in the file, at file_off */
  RUN_CLEAR,                    /* in the file, but its bit is 0 */
  RUN_ABSENT,                   /* in a block that the file does not have */
};

struct run {
  enum run_kind kind;
  uint64_t len;                 /* bytes, not 0 */
  uint64_t file_off;            /* bytes, for RUN_HERE */
};

/* A run of absent blocks from the block with this index on, if that one is
 * absent.
 */
static int
find_absent_run (struct vhd_layer *layer, uint64_t off, uint64_t len,
                 struct run *run, struct err *err)
{
  uint32_t block_size = layer->bat.block_size;
  uint64_t index = off / block_size, in_block = off % block_size, nr;
  int r;

  r = vhd_bat_absent_run (layer, index,
                          div_round_up (in_block + len, block_size), &nr,
                          err);
  if (r < 0)
    return r;
  /* It is absent, whatever a file that changes meanwhile says now. */
  nr = max_u64 (nr, 1);
  run->kind = RUN_ABSENT;
  run->len = min_u64 (len, nr * block_size - in_block);
  return 0;
}

static int
find_run_in_block (struct vhd_layer *layer, uint32_t block_sector,
                   uint64_t off, uint64_t len, struct run *run,
                   struct err *err)
{
  uint64_t index = off / layer->bat.block_size;
  uint64_t in_block = off % layer->bat.block_size;
  uint64_t in_sector = in_block % VHD_SECTOR_SIZE;
  unsigned nr, max;
  bool here;
  int r;

  len = min_u64 (len, layer->bat.block_size - in_block);
  max = (unsigned) div_round_up (in_sector + len, VHD_SECTOR_SIZE);
  r = vhd_bitmap_run (layer, index, block_sector,
                      (unsigned) (in_block / VHD_SECTOR_SIZE), max, &nr,
                      &here, err);
  if (r < 0)
    return r;
  run->kind = here ? RUN_HERE : RUN_CLEAR;
  run->len = min_u64 (len, (uint64_t) nr * VHD_SECTOR_SIZE - in_sector);
  run->file_off = (uint64_t) block_sector * VHD_SECTOR_SIZE +
    layer->bat.bitmap_size + in_block;
  return 0;
}

/* The run at off, which ends at off+len at the latest.  It may go on as the
 * same kind of run behind its end.
 */
static int
find_run (struct vhd_layer *layer, uint64_t off, uint64_t len,
          struct run *run, struct err *err)
{
  uint32_t sector;
  int r;

  if (vhd_layer_is_fixed (layer)) {
    *run = (struct run) { RUN_HERE, len, off };
    return 0;
  }
  r = vhd_bat_lookup (layer, off / layer->bat.block_size, &sector, err);
  if (r < 0)
    return r;
  if (sector == VHD_BAT_ABSENT)
    return find_absent_run (layer, off, len, run, err);
  return find_run_in_block (layer, sector, off, len, run, err);
}

/* How many of the len bytes at off the parent has. */
static uint64_t
parent_has (const struct vhd_layer *layer, uint64_t off, uint64_t len)
{
  if (layer->parent == NULL || off >= layer->parent->size)
    return 0;
  return min_u64 (len, layer->parent->size - off);
}

/* Who is to be asked for the *len bytes at off, which this layer does not
 * have; *len becomes how many of them it has, the rest being zero.  NULL:
 * all of them are.
 */
static struct vhd_layer *
next_layer (struct vhd_layer *layer, uint64_t off, uint64_t *len)
{
  if (layer->index)
    return vhd_index_next (layer->index, layer->number, off, len);
  *len = parent_has (layer, off, *len);
  return *len > 0 ? layer->parent : NULL;
}

/* A parent's trouble carries its name. */
static int
name_layer (const struct vhd_layer *layer, int r, struct err *err)
{
  if (r < 0 && layer->number > 0)
    err_in (err, "parent %s", block_name (layer->block));
  return r;
}

/*--- Reading ----------------------------------------------------------------*/

static int
read_from_parent (struct vhd_layer *layer, char *buf, uint64_t len,
                  uint64_t off, struct err *err)
{
  uint64_t has = len;
  struct vhd_layer *next = next_layer (layer, off, &has);

  if (next == NULL)
    has = 0;
  memset (buf + has, 0, len - has);
  return next ? vhd_layer_pread (next, buf, has, off, err) : 0;
}

int
vhd_layer_pread (struct vhd_layer *layer, void *buf, size_t len, uint64_t off,
                 struct err *err)
{
  char *p = buf;
  struct run run;
  int r;

  while (len > 0) {
    r = find_run (layer, off, len, &run, err);
    if (r == 0 && run.kind == RUN_HERE)
      r = block_pread (layer->block, p, run.len, run.file_off, err);
    if (r < 0)
      return name_layer (layer, r, err);
    if (run.kind != RUN_HERE)
      r = read_from_parent (layer, p, run.len, off, err);
    if (r < 0)
      return r;
    p += run.len;
    off += run.len;
    len -= run.len;
  }
  return 0;
}

/*--- Extents ----------------------------------------------------------------*/

/* What the file system knows of the file of a fixed layer: its holes. */
static int
fixed_extents (struct vhd_layer *layer, uint64_t len, uint64_t off,
               struct extent_list *list, struct err *err)
{
  CLEANUP_EXTENT_LIST struct extent_list inner = { .limit = list->limit };
  int r;

  r = block_extents (layer->block, len, off, &inner, err);
  for (size_t i = 0; r == 0 && i < inner.v.len; ++i) {
    const struct extent *e = &inner.v.ptr[i];

    r = extent_list_add (list, e->off, e->len, e->kind, layer->number, err);
  }
  return name_layer (layer, r, err);
}

/* What the parent and all below it have of len bytes that the parent's disk
 * has.  Whoever is left out does not have the block.
 */
static int
parent_extents (struct vhd_layer *layer, uint64_t len, uint64_t off,
                struct extent_list *list, struct err *err)
{
  uint64_t has = len;
  struct vhd_layer *next = next_layer (layer, off, &has);
  int r = 0;

  if (next)
    r = vhd_layer_extents (next, has, off, list, err);
  else
    has = 0;
  if (r < 0 || extent_list_full (list))
    return r;
  return extent_list_add (list, off + has, len - has, EXTENT_HOLE, 0, err);
}

/* A run that is not in this layer's file. */
static int
missing_extents (struct vhd_layer *layer, const struct run *run, uint64_t off,
                 struct extent_list *list, struct err *err)
{
  uint64_t has = parent_has (layer, off, run->len);
  int r = 0;

  if (has > 0)
    r = parent_extents (layer, has, off, list, err);
  if (r < 0 || extent_list_full (list))
    return r;
  return extent_list_add (list, off + has, run->len - has,
                          run->kind == RUN_CLEAR ? EXTENT_ZERO : EXTENT_HOLE,
                          layer->number, err);
}

int
vhd_layer_extents (struct vhd_layer *layer, uint64_t len, uint64_t off,
                   struct extent_list *list, struct err *err)
{
  struct run run;
  int r;

  if (vhd_layer_is_fixed (layer))
    return fixed_extents (layer, len, off, list, err);
  while (len > 0 && !extent_list_full (list)) {
    r = find_run (layer, off, len, &run, err);
    if (r < 0)
      return name_layer (layer, r, err);
    if (run.kind == RUN_HERE)
      r = extent_list_add (list, off, run.len, EXTENT_DATA, layer->number,
                           err);
    else
      r = missing_extents (layer, &run, off, list, err);
    if (r < 0)
      return r;
    off += run.len;
    len -= run.len;
  }
  return 0;
}

int
vhd_parents_are_zero (struct vhd_layer *layer, uint64_t len, uint64_t off,
                      bool *zero, struct err *err)
{
  uint64_t end = off + len;

  for (*zero = true; *zero && off < end;) {
    CLEANUP_EXTENT_LIST struct extent_list list = { .limit = 1 };
    uint64_t has = end - off;
    struct vhd_layer *next = next_layer (layer, off, &has);
    int r;

    if (next == NULL)
      return 0;
    r = vhd_layer_extents (next, has, off, &list, err);
    if (r < 0)
      return r;
    for (size_t i = 0; i < list.v.len; ++i)
      *zero = *zero && (list.v.ptr[i].kind == EXTENT_HOLE ||
                        list.v.ptr[i].kind == EXTENT_ZERO);
    off = extent_list_end (&list, off);
  }
  return 0;
}

int
vhd_layer_own_extents (struct vhd_layer *layer, uint64_t len, uint64_t off,
                       struct extent_list *list, struct err *err)
{
  struct run run;
  int r = 0;

  while (r == 0 && len > 0 && !extent_list_full (list)) {
    r = find_run (layer, off, len, &run, err);
    if (r < 0)
      return name_layer (layer, r, err);
    r = extent_list_add (list, off, run.len, run.kind == RUN_HERE
                         ? EXTENT_DATA : EXTENT_HOLE, 0, err);
    off += run.len;
    len -= run.len;
  }
  return r;
}

/*--- Readahead --------------------------------------------------------------*/

int
vhd_layer_cache (struct vhd_layer *layer, uint64_t len, uint64_t off,
                 struct err *err)
{
  struct vhd_layer *next;
  struct run run;
  uint64_t has;
  int r;

  while (len > 0) {
    r = find_run (layer, off, len, &run, err);
    if (r == 0 && run.kind == RUN_HERE)
      r = block_cache (layer->block, run.len, run.file_off, err);
    if (r < 0)
      return name_layer (layer, r, err);
    has = run.len;
    next = run.kind == RUN_HERE ? NULL : next_layer (layer, off, &has);
    r = next ? vhd_layer_cache (next, has, off, err) : 0;
    if (r < 0)
      return r;
    off += run.len;
    len -= run.len;
  }
  return 0;
}
