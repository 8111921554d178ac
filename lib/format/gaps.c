/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>

#include "lib/base/checked.h"
#include "lib/format/gaps.h"

static int
add_run (struct gaps *gaps, const struct space_run *run, uint32_t unit,
         uint64_t least)
{
  struct gap gap = { run->first * unit, run->nr * unit };

  return gap.len < least ? 0 : vector_append (&gaps->v, &gap);
}

void
gaps_find (struct gaps *gaps, uint64_t end, uint32_t unit, uint64_t least,
           gaps_claim claim, void *opaque)
{
  struct space_map map = SPACE_MAP_INIT;
  struct space_run run;
  int r = space_map_open (&map, end / unit, NULL);

  while (r == 0 && space_map_next (&map)) {
    claim (&map, opaque);
    while (r == 0 && space_map_free_run (&map, &run))
      r = add_run (gaps, &run, unit, least);
  }
  if (r == 0 && space_map_last_run (&map, &run))
    add_run (gaps, &run, unit, least);
  space_map_close (&map);
}

void
gaps_free (struct gaps *gaps)
{
  vector_free (&gaps->v);
}

/* Those that are too small stay so. */
bool
gaps_first (struct gaps *gaps, uint64_t len, struct gap *out)
{
  while (gaps->first < gaps->v.len && gaps->v.ptr[gaps->first].len < len)
    gaps->first++;
  if (gaps->first == gaps->v.len)
    return false;
  *out = gaps->v.ptr[gaps->first];
  return true;
}

void
gaps_use (struct gaps *gaps, uint64_t end)
{
  struct gap *gap = &gaps->v.ptr[gaps->first];

  gap->len -= end - gap->off;
  gap->off = end;
}

void
gaps_cut (struct gaps *gaps, uint64_t end)
{
  while (gaps->v.len > gaps->first) {
    struct gap *last = &gaps->v.ptr[gaps->v.len - 1];

    if (last->off < end) {
      last->len = min_u64 (last->len, end - last->off);
      return;
    }
    gaps->v.len--;
  }
}
