/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Reading through a chain.
 *
 * Every layer cuts the range that is asked for into runs of one kind: data
 * in its file, zeros, or the parent's.  Blocks that lie side by side in the
 * file too are one run.  Reading, extents and readahead all walk the same
 * runs, so that they can't disagree.
 *
 * Layers recurse into their parents, PARENT_MAX_LAYERS deep at most; the big
 * buffers are in functions that have returned by then.
 */

#include <config.h>

#include <string.h>

#include "lib/base/checked.h"
#include "lib/format/vhdx/vhdx.h"

enum run_kind {
  RUN_HERE,                     /* data in the file, at file_off */
  RUN_ZERO,                     /* zeros, whatever the parent has */
  RUN_PARENTS,                  /* the parent's, in a block that the file does
                                   not have */
  RUN_CLEAR,                    /* the parent's, in one that it has */
};

struct run {
  enum run_kind kind;
  uint64_t len;                 /* bytes, not 0 */
  uint64_t file_off;            /* bytes, for RUN_HERE */
};

static int
find_absent_run (struct vhdx_layer *layer, enum vhdx_state state,
                 uint64_t off, uint64_t len, struct run *run, struct err *err)
{
  uint32_t size = layer->metadata.block_size;
  uint64_t in_block = off % size, nr;
  bool parents = layer->metadata.has_parent && state == VHDX_NOT_PRESENT;
  int r;

  r = vhdx_bat_absent_run (layer, off / size,
                           div_round_up (in_block + len, size), parents, &nr,
                           err);
  if (r < 0)
    return r;
  run->kind = parents ? RUN_PARENTS : RUN_ZERO;
  run->len = min_u64 (len, nr * size - in_block);
  return 0;
}

/* From a block that is wholly in the file on, as far as its neighbours on the
 * disk are its neighbours in the file.
 */
static int
find_present_run (struct vhdx_layer *layer, uint64_t block_off, uint64_t off,
                  uint64_t len, struct run *run, struct err *err)
{
  uint32_t size = layer->metadata.block_size;
  uint64_t in_block = off % size, next_off;
  enum vhdx_state state;
  int r;

  run->kind = RUN_HERE;
  run->file_off = block_off + in_block;
  run->len = min_u64 (len, size - in_block);
  while (run->len < len) {
    r = vhdx_bat_lookup (layer, (off + run->len) / size, &state, &next_off,
                         err);
    if (r < 0)
      return r;
    if (state != VHDX_PRESENT || next_off != run->file_off + run->len)
      break;
    run->len += min_u64 (len - run->len, size);
  }
  return 0;
}

static int
find_partial_run (struct vhdx_layer *layer, uint64_t block_off, uint64_t off,
                  uint64_t len, struct run *run, struct err *err)
{
  uint32_t sector_size = layer->metadata.logical;
  uint64_t in_block = off % layer->metadata.block_size;
  uint64_t in_sector = off % sector_size, nr;
  bool here;
  int r;

  len = min_u64 (len, layer->metadata.block_size - in_block);
  r = vhdx_bitmap_run (layer, off / sector_size,
                       div_round_up (in_sector + len, sector_size), &nr,
                       &here, err);
  if (r < 0)
    return r;
  run->kind = here ? RUN_HERE : RUN_CLEAR;
  run->len = min_u64 (len, nr * sector_size - in_sector);
  run->file_off = block_off + in_block;
  return 0;
}

/* A block that is given up loses its bits, of which one was 0. */
static bool
was_given_up (struct vhdx_layer *layer, uint64_t block, uint64_t block_off)
{
  enum vhdx_state state;
  uint64_t off;

  return layer->is_written &&
    (vhdx_bat_lookup (layer, block, &state, &off, NULL) < 0 ||
     state != VHDX_PARTIALLY_PRESENT || off != block_off);
}

/* The run at off, which ends at off+len at the latest.  It may go on as the
 * same kind of run behind its end.
 */
static int
find_run (struct vhdx_layer *layer, uint64_t off, uint64_t len,
          struct run *run, struct err *err)
{
  uint64_t block, block_off;
  enum vhdx_state state;
  int r;

  if (!layer->is_vhdx) {
    *run = (struct run) { RUN_HERE, len, off };
    return 0;
  }
  block = off / layer->metadata.block_size;
  do {
    r = vhdx_bat_lookup (layer, block, &state, &block_off, err);
    if (r == 0 && state == VHDX_PARTIALLY_PRESENT)
      r = find_partial_run (layer, block_off, off, len, run, err);
  } while (r == 0 && state == VHDX_PARTIALLY_PRESENT &&
           run->kind == RUN_CLEAR && was_given_up (layer, block, block_off));
  if (r < 0 || state == VHDX_PARTIALLY_PRESENT)
    return r;
  if (state == VHDX_PRESENT)
    return find_present_run (layer, block_off, off, len, run, err);
  return find_absent_run (layer, state, off, len, run, err);
}

/* How many of the len bytes at off the parent answers for. */
static uint64_t
parent_has (const struct vhdx_layer *layer, const struct run *run,
            uint64_t off)
{
  uint64_t size = layer->parent ? layer->parent->metadata.size : 0;

  if (run->kind == RUN_HERE || run->kind == RUN_ZERO || off >= size)
    return 0;
  return min_u64 (run->len, size - off);
}

/* A parent's trouble carries its name. */
static int
name_layer (const struct vhdx_layer *layer, int r, struct err *err)
{
  if (r < 0 && layer->number > 0)
    err_in (err, "parent %s", block_name (layer->block));
  return r;
}

/*--- Reading ----------------------------------------------------------------*/

static int
read_missing (struct vhdx_layer *layer, const struct run *run, char *buf,
              uint64_t off, struct err *err)
{
  uint64_t has = parent_has (layer, run, off);

  memset (buf + has, 0, run->len - has);
  if (has == 0)
    return 0;
  return vhdx_layer_pread (layer->parent, buf, has, off, err);
}

int
vhdx_layer_pread (struct vhdx_layer *layer, void *buf, size_t len,
                  uint64_t off, struct err *err)
{
  char *p = buf;
  struct run run;
  int r;

  while (len > 0) {
    r = find_run (layer, off, len, &run, err);
    if (r == 0 && run.kind == RUN_HERE)
      r = block_pread (layer->file, p, run.len, run.file_off, err);
    if (r < 0)
      return name_layer (layer, r, err);
    if (run.kind != RUN_HERE)
      r = read_missing (layer, &run, p, off, err);
    if (r < 0)
      return r;
    p += run.len;
    off += run.len;
    len -= run.len;
  }
  return 0;
}

/*--- Extents ----------------------------------------------------------------*/

/* All blocks of a fixed disk are in the file; which of them have space there
 * is what the file system knows.
 */
static int
extents_of_file (struct vhdx_layer *layer, const struct run *run,
                 uint64_t off, struct extent_list *list, struct err *err)
{
  CLEANUP_EXTENT_LIST struct extent_list inner = { .limit = list->limit };
  int r;

  if (!layer->metadata.is_fixed)
    return extent_list_add (list, off, run->len, EXTENT_DATA, layer->number,
                            err);
  r = block_extents (layer->file, run->len, run->file_off, &inner, err);
  for (size_t i = 0; r == 0 && i < inner.v.len; ++i) {
    const struct extent *e = &inner.v.ptr[i];

    r = extent_list_add (list, e->off - run->file_off + off, e->len, e->kind,
                         layer->number, err);
  }
  return name_layer (layer, r, err);
}

static int
missing_extents (struct vhdx_layer *layer, const struct run *run,
                 uint64_t off, struct extent_list *list, struct err *err)
{
  uint64_t has = parent_has (layer, run, off);
  int r = 0;

  if (has > 0)
    r = vhdx_layer_extents (layer->parent, has, off, list, err);
  if (r < 0 || extent_list_full (list))
    return r;
  return extent_list_add (list, off + has, run->len - has,
                          run->kind == RUN_CLEAR ? EXTENT_ZERO : EXTENT_HOLE,
                          layer->number, err);
}

int
vhdx_layer_extents (struct vhdx_layer *layer, uint64_t len, uint64_t off,
                    struct extent_list *list, struct err *err)
{
  struct run run;
  int r;

  while (len > 0 && !extent_list_full (list)) {
    r = find_run (layer, off, len, &run, err);
    if (r < 0)
      return name_layer (layer, r, err);
    r = run.kind == RUN_HERE ? extents_of_file (layer, &run, off, list, err)
                             : missing_extents (layer, &run, off, list, err);
    if (r < 0)
      return r;
    off += run.len;
    len -= run.len;
  }
  return 0;
}

int
vhdx_layer_own_extents (struct vhdx_layer *layer, uint64_t len, uint64_t off,
                        struct extent_list *list, struct err *err)
{
  struct run run;
  int r = 0;

  while (r == 0 && len > 0 && !extent_list_full (list)) {
    enum extent_kind kind = EXTENT_HOLE;

    r = find_run (layer, off, len, &run, err);
    if (r < 0)
      return name_layer (layer, r, err);
    if (run.kind == RUN_HERE)
      kind = EXTENT_DATA;
    else if (run.kind == RUN_ZERO && layer->metadata.has_parent)
      kind = EXTENT_ZERO;
    r = extent_list_add (list, off, run.len, kind, 0, err);
    off += run.len;
    len -= run.len;
  }
  return r;
}

/*--- Readahead --------------------------------------------------------------*/

int
vhdx_layer_cache (struct vhdx_layer *layer, uint64_t len, uint64_t off,
                  struct err *err)
{
  struct run run;
  uint64_t has;
  int r;

  while (len > 0) {
    r = find_run (layer, off, len, &run, err);
    if (r == 0 && run.kind == RUN_HERE)
      r = block_cache (layer->file, run.len, run.file_off, err);
    if (r < 0)
      return name_layer (layer, r, err);
    has = parent_has (layer, &run, off);
    r = has > 0 ? vhdx_layer_cache (layer->parent, has, off, err) : 0;
    if (r < 0)
      return r;
    off += run.len;
    len -= run.len;
  }
  return 0;
}
