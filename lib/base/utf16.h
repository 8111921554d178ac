/* SPDX-License-Identifier: GPL-2.0-or-later */

/* UTF-16 strings in disk structures, and UTF-8. */

#ifndef NBDIMAGE_BASE_UTF16_H
#define NBDIMAGE_BASE_UTF16_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

enum utf16_order { UTF16_BE, UTF16_LE };

/* Converts up to len bytes (an odd last byte is ignored) or up to the first
 * NUL.  An unpaired surrogate becomes U+FFFD: such a name never matches a
 * file by accident.  Returns a string the caller frees, or NULL when out of
 * memory.
 */
char *utf16_to_utf8 (const void *buf, size_t len, enum utf16_order order);

/* The other way round, without a NUL at the end: *out, which the caller
 * frees, is of *len bytes.  -EINVAL if str is not well-formed UTF-8 (RFC
 * 3629), -ENOMEM.
 */
int utf16_from_utf8 (const char *str, enum utf16_order order, uint8_t **out,
                     size_t *len, struct err *err);

#endif /* NBDIMAGE_BASE_UTF16_H */
