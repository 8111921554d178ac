/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The exports of an NBD server. */

#ifndef NBDIMAGE_TOOLS_EXPORTS_H
#define NBDIMAGE_TOOLS_EXPORTS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/vector.h"

struct export {
  char *name;                   /* "": the default one */
  char *description;            /* NULL: none */
  bool has_size;                /* false: not asked, or the server refused */
  uint64_t size;
  bool read_only;
};

DEFINE_VECTOR (export_vector, struct export);

#define EXPORTS_MAX 100000U     /* a server may say anything */

/* Ask the server at uri (its export name does not matter) for its list, with
 * sizes also for the size of each, which opens each.  -ENOTSUP when the
 * server does not tell.
 */
int exports_list (const char *uri, bool with_sizes,
                  struct export_vector *exports, struct err *err);
void exports_free (struct export_vector *exports);

/* Does an NBD URI name an export? */
bool exports_uri_has_name (const char *uri);

/* Opening the URI failed with *err.  If that is because it names no export,
 * and the server has several, *err becomes a sentence that says which.
 */
void exports_explain (const char *uri, struct err *err);

/* The URI with its export name replaced; the caller frees it; NULL when out
 * of memory.
 */
char *exports_uri (const char *uri, const char *name);

#define CLEANUP_EXPORTS __attribute__ ((__cleanup__ (exports_free)))

#endif /* NBDIMAGE_TOOLS_EXPORTS_H */
