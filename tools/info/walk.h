/* SPDX-License-Identifier: GPL-2.0-or-later */

/* All extents of a disk, in bounded memory and, if need be, bounded time: in
 * a dense dynamic disk each block has a bitmap to be read, and there can be a
 * million of them on a slow medium.
 */

#ifndef NBDIMAGE_TOOLS_INFO_WALK_H
#define NBDIMAGE_TOOLS_INFO_WALK_H

#include "lib/format/image.h"

/* Gets each extent, front to back, neighbours of one kind and layer merged.
 * Not 0 ends the walk with that result.
 */
typedef int (*walk_fn) (void *opaque, const struct extent *e);

/* Walk until the end of the disk or, if seconds is not 0, until about that
 * many have passed.  *end is where it ended, a byte of the disk.
 */
int walk_extents (struct image *img, unsigned seconds, walk_fn fn,
                  void *opaque, uint64_t *end, struct err *err);

#endif /* NBDIMAGE_TOOLS_INFO_WALK_H */
