/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Text that should be UTF-8, from places where nothing makes sure of it. */

#ifndef NBDIMAGE_BASE_UTF8_H
#define NBDIMAGE_BASE_UTF8_H

#include <stddef.h>

/* A copy of len bytes, or up to the first NUL, in which each byte that does
 * not belong to a well-formed sequence (RFC 3629) became U+FFFD.  The caller
 * frees it; NULL when out of memory.
 */
char *utf8_repair (const void *buf, size_t len);

#endif /* NBDIMAGE_BASE_UTF8_H */
