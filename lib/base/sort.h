/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Sorting many numbers that a file chose. */

#ifndef NBDIMAGE_BASE_SORT_H
#define NBDIMAGE_BASE_SORT_H

#include <stddef.h>
#include <stdint.h>

/* Ascending, in time and memory in proportion to nr whatever the order they
 * came in.  tmp has room for nr numbers.  0 or -ENOMEM.
 */
int sort_u32 (uint32_t *numbers, uint32_t *tmp, size_t nr);

#endif /* NBDIMAGE_BASE_SORT_H */
