/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Text that a client, a file or a folder chose, on its way to a
 * terminal, a log or another client.
 */

#ifndef NBDIMAGE_BASE_TEXT_H
#define NBDIMAGE_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Well-formed UTF-8 without control characters? */
bool text_is_clean (const char *str);

/* Copy str to buf, which has size bytes and becomes a string; what is not
 * clean becomes '?', and what does not fit is left out.  Returns buf.
 */
const char *text_clean (const char *str, char *buf, size_t size);

/* "an" if that is how it is in front of this word when it is read aloud, else
 * "a".  It is spelled out (an ISO, an lz4) if it begins with two capitals, or
 * with two letters that are no syllable.
 */
const char *text_article (const char *word);

/* Make a path as /proc has it, in which blanks are as \040 (proc(5)), what it
 * is, in place.  A backslash without three octal digits stays.
 */
void text_unescape_octal (char *text);

/* Enough for a name in a message. */
#define TEXT_NAME_SIZE 256

#endif /* NBDIMAGE_BASE_TEXT_H */
