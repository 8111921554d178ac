/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What of a file is named by something: a bit for each unit (a sector, a
 * MiB), in windows that are looked at one after the other, so that memory is
 * bounded however large the file is.
 *
 *   struct space_map map = SPACE_MAP_INIT;
 *
 *   space_map_open (&map, nr_units, err);
 *   while (space_map_next (&map)) {
 *     ... space_map_claim (&map, unit, nr) for everything that there is ...
 *     while (space_map_free_run (&map, &run)) ...
 *   }
 *   if (space_map_last_run (&map, &run)) ...
 *   space_map_close (&map);
 */

#ifndef NBDIMAGE_FORMAT_SPACE_MAP_H
#define NBDIMAGE_FORMAT_SPACE_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"

struct space_run {
  uint64_t first, nr;           /* units */
};

struct space_map {
  uint64_t *words;
  uint64_t nr_units;            /* of the file */
  uint64_t first, end;          /* of the window; end 0: none yet */
  uint64_t looked;              /* free runs were looked for up to here */
  struct space_run pending;     /* may go on in the next window */
};

#define SPACE_MAP_INIT { NULL, 0, 0, 0, 0, { 0, 0 } }

/* 32 MiB of memory at most.  -ENOMEM. */
int space_map_open (struct space_map *map, uint64_t nr_units,
                    struct err *err);
void space_map_close (struct space_map *map);

/* How many windows there are; at least 1. */
uint64_t space_map_nr_windows (const struct space_map *map);

/* Go to the next window, in which nothing is claimed; false behind the last.
 */
bool space_map_next (struct space_map *map);

/* Claim nr units, as far as they are in the window.  False if one of them
 * was claimed before; the others are claimed all the same.
 */
bool space_map_claim (struct space_map *map, uint64_t first, uint64_t nr);

/* The next run of units that nobody claimed, once everybody did; one that
 * reaches the end of the window is found with the next one.
 */
bool space_map_free_run (struct space_map *map, struct space_run *run);

/* The run at the end of the file, after the last window. */
bool space_map_last_run (const struct space_map *map, struct space_run *run);

#endif /* NBDIMAGE_FORMAT_SPACE_MAP_H */
