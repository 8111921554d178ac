/* SPDX-License-Identifier: GPL-2.0-or-later */

/* "Did you mean …?" */

#ifndef NBDIMAGE_TOOLS_NEAREST_H
#define NBDIMAGE_TOOLS_NEAREST_H

#include <stddef.h>

/* How many letters must be put in, taken out, changed or swapped with their
 * neighbour to make b of a.  Words longer than 30 letters are as far apart
 * as SIZE_MAX.
 */
size_t nearest_distance (const char *a, const char *b);

/* Is that near enough for a slip of the fingers? */
_Bool nearest_is_near (const char *typed, size_t distance);

#endif /* NBDIMAGE_TOOLS_NEAREST_H */
