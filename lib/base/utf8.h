/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Text that should be UTF-8, from places where nothing makes sure of it. */

#ifndef NBDIMAGE_BASE_UTF8_H
#define NBDIMAGE_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The character at str, which is not the end, in *c; returns how many bytes
 * it has, or 0 if they are not well-formed (RFC 3629).
 */
size_t utf8_decode (const char *str, uint32_t *c);

/* A copy of len bytes, or up to the first NUL, in which each byte that does
 * not belong to a well-formed sequence (RFC 3629) became U+FFFD.  The caller
 * frees it; NULL when out of memory.
 */
char *utf8_repair (const void *buf, size_t len);

/* Are the strings the same but for the case of letters, of all alphabets
 * that have it?  Letter by letter as NTFS compares names: "Ä" is "ä", but "ß"
 * is not "SS", and a letter with an accent is not the two characters that
 * look like it.  Bytes that are not well-formed are only like themselves.
 */
bool utf8_same_but_case (const char *a, const char *b);

#endif /* NBDIMAGE_BASE_UTF8_H */
