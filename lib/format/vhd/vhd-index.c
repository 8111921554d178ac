/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which parents have what, so that a read in a chain of many files does not
 * ask each of them.
 *
 * The disk is cut into pieces as large as the smallest block of the chain,
 * or larger where there would be too many of them.  A piece has a word with
 * one bit for each layer: 0, nothing of the piece is in that layer's file or
 * can be seen through those above it; 1, some of it may be.  A bit that is 1
 * without need costs time and nothing else.
 *
 * Only the leaf is ever written, and its bit is never looked at, so that the
 * words stay what they were when the chain was opened.
 */

#include <config.h>

#include <stdlib.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/vhd/vhd.h"

#if PARENT_MAX_LAYERS > 64
#error "a layer has one bit of 64"
#endif

/* With fewer files there is nothing to skip that is worth a lookup. */
#define MIN_LAYERS 3

/* 8 MiB at most, and 2 TiB in pieces of 2 MiB. */
#define MAX_PIECES (UINT64_C (1024) * 1024)

struct vhd_index {
  struct vhd_layer *layers[PARENT_MAX_LAYERS];  /* borrowed */
  uint64_t reach[PARENT_MAX_LAYERS];    /* bytes of the disk that this layer
                                           and those above it all have */
  unsigned nr_layers;
  unsigned shift;               /* of a piece's size */
  uint64_t *words;              /* for each piece */
};

static void
find_layers (struct vhd_index *index, struct vhd_layer *leaf)
{
  uint64_t reach = leaf->size;

  for (struct vhd_layer *l = leaf; l; l = l->parent) {
    reach = min_u64 (reach, l->size);
    index->layers[index->nr_layers] = l;
    index->reach[index->nr_layers++] = reach;
  }
}

/* Returns how many pieces there are. */
static uint64_t
choose_pieces (struct vhd_index *index)
{
  uint64_t smallest = UINT64_MAX, nr;

  for (unsigned n = 0; n < index->nr_layers; ++n)
    if (!vhd_layer_is_fixed (index->layers[n]))
      smallest = min_u64 (smallest, index->layers[n]->bat.block_size);
  index->shift = (unsigned) __builtin_ctzll (smallest);
  while ((nr = div_round_up (index->reach[1], UINT64_C (1) << index->shift)) >
         MAX_PIECES)
    index->shift++;
  return nr;
}

/* Set the layer's bit of all pieces that have a byte of [off, end). */
static void
mark (struct vhd_index *index, unsigned n, uint64_t off, uint64_t end)
{
  end = min_u64 (end, index->reach[n]);
  if (off >= end)
    return;
  for (uint64_t i = off >> index->shift; i <= (end - 1) >> index->shift; ++i)
    index->words[i] |= UINT64_C (1) << n;
}

static void
mark_layer (struct vhd_index *index, unsigned n)
{
  const struct vhd_bat *bat = &index->layers[n]->bat;

  if (vhd_layer_is_fixed (index->layers[n]) || bat->entries == NULL) {
    mark (index, n, 0, index->reach[n]);
    return;
  }
  for (uint64_t i = 0; i < bat->nr_entries; ++i)
    if (bat->entries[i] != VHD_BAT_HELD_ABSENT)
      mark (index, n, i * bat->block_size, (i + 1) * bat->block_size);
}

int
vhd_index_new (struct vhd_layer *leaf, struct vhd_index **out,
               struct err *err)
{
  struct vhd_index *index = calloc (1, sizeof *index);
  uint64_t nr;

  if (index == NULL)
    return err_nomem (err);
  find_layers (index, leaf);
  if (index->nr_layers < MIN_LAYERS) {
    vhd_index_free (index);
    return 0;
  }
  nr = choose_pieces (index);
  index->words = calloc (max_u64 (nr, 1), sizeof index->words[0]);
  if (index->words == NULL) {
    vhd_index_free (index);
    return err_nomem (err);
  }
  for (unsigned n = 1; n < index->nr_layers; ++n)
    mark_layer (index, n);
  for (unsigned n = 0; n < index->nr_layers; ++n)
    index->layers[n]->index = index;
  *out = index;
  return 0;
}

void
vhd_index_free (struct vhd_index *index)
{
  if (index == NULL)
    return;
  free (index->words);
  free (index);
}

struct vhd_layer *
vhd_index_next (const struct vhd_index *index, unsigned above, uint64_t off,
                uint64_t *len)
{
  uint64_t below = ~(((UINT64_C (1) << above) << 1) - 1), word = 0, end;
  unsigned n;

  /* From here on the parent has nothing, and what is below it less. */
  if (above + 1 >= index->nr_layers || off >= index->reach[above + 1])
    return NULL;
  end = min_u64 (off + *len, index->reach[above + 1]);
  for (uint64_t i = off >> index->shift; i <= (end - 1) >> index->shift; ++i)
    word |= index->words[i];
  word &= below;
  if (word == 0)
    return NULL;
  n = (unsigned) __builtin_ctzll (word);
  if (off >= index->reach[n])
    return NULL;
  *len = min_u64 (*len, index->reach[n] - off);
  return index->layers[n];
}
