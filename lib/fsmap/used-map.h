/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which bytes of something are used: a list of runs that takes bounded memory
 * whatever the size, and that errs on one side only: when it would become too
 * long, the shortest gaps in it are counted as used.
 */

#ifndef NBDIMAGE_FSMAP_USED_MAP_H
#define NBDIMAGE_FSMAP_USED_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/vector.h"

/* So many runs take 32 MiB. */
#define USED_MAP_LIMIT ((size_t) 2 * 1024 * 1024)

struct used_run {
  uint64_t off, len;            /* bytes; len is not 0 */
};

DEFINE_VECTOR (used_runs, struct used_run);

struct used_map {
  struct used_runs runs;        /* once finished: ascending, with a gap
                                   between neighbours */
  uint64_t size;                /* bytes that the map is about */
  uint64_t filled;              /* gaps shorter than this were filled to save
                                   memory, those that were there when it was;
                                   0: none was */
  size_t limit;                 /* of runs; at least 2 */
};

/* A map of nothing used.  limit is USED_MAP_LIMIT but in tests. */
void used_map_init (struct used_map *map, uint64_t size, size_t limit);

/* [off, off+len) is used.  In any order and any number of times; what lies
 * outside the map is left out.  0 or -ENOMEM.
 */
int used_map_add (struct used_map *map, uint64_t off, uint64_t len,
                  struct err *err);

/* Of nr bits, the lowest of a byte first, each that is 1 is a unit that is
 * used; the first is at off.  *nr_set gets how many.  0 or -ENOMEM.
 */
int used_map_add_bits (struct used_map *map, const uint8_t *bits, uint64_t nr,
                       uint64_t unit, uint64_t off, uint64_t *nr_set,
                       struct err *err);

/* Put the runs in order.  Everything below needs that; adding more undoes
 * it.
 */
void used_map_finish (struct used_map *map);

/* How many bytes are used. */
uint64_t used_map_bytes (const struct used_map *map);

/* Is all, or is any, of [off, off+len) used?  len is not 0.  What is outside
 * the map is not.
 */
bool used_map_covers (const struct used_map *map, uint64_t off, uint64_t len);
bool used_map_touches (const struct used_map *map, uint64_t off,
                       uint64_t len);

/* From off on, how far does it stay what it is there?  *used says what that
 * is, *end where it ends.  off is less than the size.
 */
void used_map_find (const struct used_map *map, uint64_t off, bool *used,
                    uint64_t *end);

void used_map_free (struct used_map *map);

#define CLEANUP_USED_MAP __attribute__ ((__cleanup__ (used_map_free)))

#endif /* NBDIMAGE_FSMAP_USED_MAP_H */
