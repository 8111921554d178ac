/* SPDX-License-Identifier: GPL-2.0-or-later */

/* UTF-16 strings out of disk structures, as UTF-8. */

#ifndef NBDIMAGE_BASE_UTF16_H
#define NBDIMAGE_BASE_UTF16_H

#include <stddef.h>

enum utf16_order { UTF16_BE, UTF16_LE };

/* Converts up to len bytes (an odd last byte is ignored) or up to the first
 * NUL.  An unpaired surrogate becomes U+FFFD: such a name never matches a
 * file by accident.  Returns a string the caller frees, or NULL when out of
 * memory.
 */
char *utf16_to_utf8 (const void *buf, size_t len, enum utf16_order order);

#endif /* NBDIMAGE_BASE_UTF16_H */
