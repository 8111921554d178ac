/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Where file systems keep what names them. */

#ifndef NBDIMAGE_FSMAP_PLACES_H
#define NBDIMAGE_FSMAP_PLACES_H

#include "lib/fsmap/sparse-copy.h"

/* Copy all places that libblkid looks at: fixed ones, and those that a boot
 * sector or volume descriptor names.  What the numbers there say is checked
 * and bounded: a damaged file system gets less copied, not an error; only a
 * block that can't be read is one.
 */
int places_copy (struct sparse_copy *copy, struct err *err);

#endif /* NBDIMAGE_FSMAP_PLACES_H */
