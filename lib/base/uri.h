/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Pieces of URIs. */

#ifndef NBDIMAGE_BASE_URI_H
#define NBDIMAGE_BASE_URI_H

#include <stdbool.h>

/* RFC 3986: everything but the unreserved characters and the slash as %XX.
 * The caller frees it; NULL when out of memory.
 */
char *uri_encode (const char *str);

/* Does it begin with a scheme and "://", like "http://…"?  A file can be named
 * so too, though none is by accident.
 */
bool uri_has_scheme (const char *str);

#endif /* NBDIMAGE_BASE_URI_H */
