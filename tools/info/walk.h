/* SPDX-License-Identifier: GPL-2.0-or-later */

/* All extents of a disk, in bounded memory. */

#ifndef NBDIMAGE_TOOLS_INFO_WALK_H
#define NBDIMAGE_TOOLS_INFO_WALK_H

#include "lib/format/image.h"

/* Gets each extent, front to back, neighbours of one kind and layer merged.
 * Not 0 ends the walk with that result.
 */
typedef int (*walk_fn) (void *opaque, const struct extent *e);

int walk_extents (struct image *img, walk_fn fn, void *opaque,
                  struct err *err);

#endif /* NBDIMAGE_TOOLS_INFO_WALK_H */
