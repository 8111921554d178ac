/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Room in front of the last block of a file, which nothing names: what was
 * freed there when the image was open the last time, or by another program.
 * New blocks go there first, in ascending order.
 *
 * Found once, when an image is opened for writing: what is in a gap is nobody's
 * until it is taken, and who frees places later keeps them himself.
 *
 * One thread at a time.
 */

#ifndef NBDIMAGE_FORMAT_GAPS_H
#define NBDIMAGE_FORMAT_GAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/vector.h"
#include "lib/format/space-map.h"

struct gap {
  uint64_t off, len;            /* bytes */
};

DEFINE_VECTOR (gap_vector, struct gap);

struct gaps {
  struct gap_vector v;          /* ascending */
  size_t first;                 /* those before it are used up */
};

#define GAPS_INIT { VECTOR_INIT, 0 }

/* What claims everything that there is, for each window of the map. */
typedef void (*gaps_claim) (struct space_map *map, void *opaque);

/* All gaps of at least `least` bytes in front of end, in whole units (bytes, a
 * divisor of end).  Out of memory there are none, or not all of them: that
 * costs space, and nothing else.
 */
void gaps_find (struct gaps *gaps, uint64_t end, uint32_t unit,
                uint64_t least, gaps_claim claim, void *opaque);
void gaps_free (struct gaps *gaps);

/* The first gap with at least so many bytes, and what is in front of `end' in
 * it becomes used.  False: none has.
 */
bool gaps_first (struct gaps *gaps, uint64_t len, struct gap *out);
void gaps_use (struct gaps *gaps, uint64_t end);

/* The file ends at `end' now: what was behind it is no gap any more. */
void gaps_cut (struct gaps *gaps, uint64_t end);

#endif /* NBDIMAGE_FORMAT_GAPS_H */
