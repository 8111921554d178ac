/* SPDX-License-Identifier: GPL-2.0-or-later */

/* 16-byte identities as text.  They are compared as raw bytes; how to print
 * them depends on who wrote them.
 */

#ifndef NBDIMAGE_BASE_UUID_H
#define NBDIMAGE_BASE_UUID_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"

#define UUID_SIZE 16            /* bytes on disk */
#define UUID_STRING_SIZE 37     /* with the final NUL */

/* RFC 4122: all fields big-endian. */
void uuid_to_string (const uint8_t uuid[UUID_SIZE],
                     char str[UUID_STRING_SIZE]);

/* Microsoft GUID (GPT, VHDX): the first three fields little-endian. */
void guid_to_string (const uint8_t guid[UUID_SIZE],
                     char str[UUID_STRING_SIZE]);

/* The other way round, from "01234567-89ab-..." in either case, with or
 * without braces around it.  False, and guid as it was, for anything else.
 */
bool guid_from_string (const char *str, uint8_t guid[UUID_SIZE]);

bool uuid_is_zero (const uint8_t uuid[UUID_SIZE]);

/* A new one: random, RFC 4122 version 4.  -EIO when the kernel has no
 * randomness to give.
 */
int uuid_new (uint8_t uuid[UUID_SIZE], struct err *err);

#endif /* NBDIMAGE_BASE_UUID_H */
