/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Sizes as people type and read them: IEC units, bare numbers are bytes. */

#ifndef NBDIMAGE_BASE_SIZE_H
#define NBDIMAGE_BASE_SIZE_H

#include <stdint.h>

#include "lib/base/err.h"

#define SIZE_STRING_SIZE 32

/* "512", "4K", "4KiB", "2T": bytes.  Decimal fractions are not accepted.
 * -EINVAL with a sentence for anything else.
 */
int size_parse (const char *str, uint64_t *bytes, struct err *err);

/* 10485760 → "10 MiB", 136365211648 → "127 GiB": at most four digits, and
 * exact where it can be said exactly in them, rounded down otherwise.
 */
const char *size_to_string (uint64_t bytes, char str[SIZE_STRING_SIZE]);

#endif /* NBDIMAGE_BASE_SIZE_H */
