/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The exports: images under names, and who uses them.
 *
 * There is one struct image for each export, shared by all connections to
 * it.  It is opened with its locks when the first client comes.  The image
 * of a FILE stays open when the last client has gone, so that the next need
 * not wait; the image in a folder is closed, because there may be many.
 */

#ifndef NBDIMAGE_PLUGIN_EXPORT_H
#define NBDIMAGE_PLUGIN_EXPORT_H

#include <stdbool.h>

#include "lib/base/err.h"
#include "lib/format/image.h"

/* What a client has: nbdkit's handle. */
struct connection {
  struct export *export;
  struct image *image;          /* the export's, which keeps it as long: when
                                   nbdkit ends, clients that are connected
                                   are not taken leave of, and it must be
                                   closed all the same */
  const char *name;             /* of the export, for messages */
  char *description;            /* NULL: out of memory */
  bool is_one_state;            /* whoever opens this name gets the same disk,
                                   now and later: several connections of one
                                   client too */
};

/* Before nbdkit forks: open all that is to be served once, so that what is
 * missing or damaged is said at once.  0 or -1, spoken.
 */
int exports_prepare (void);

/* After nbdkit has forked: hold what would be taken away otherwise while no
 * client has it.  0, whatever can't be held, which is said.
 */
int exports_hold (void);

/* A name as the client sent it.  Failures are described in err, which names
 * the export.
 */
struct connection *export_connect (const char *name, bool readonly,
                                   struct err *err);
void export_disconnect (struct connection *conn);

/* Call fn for each export in order; fn stops it by returning something else
 * than 0, which is returned.  A negative errno otherwise.
 */
typedef int (*export_fn) (void *opaque, const char *name,
                          const char *description);
int exports_list (export_fn fn, void *opaque, struct err *err);

/* The name of the only export, of a backup's disk, or of the only disk in a
 * vault, for the caller to free; NULL when there are none or several.
 */
char *exports_only_name (void);

void exports_free (void);

#endif /* NBDIMAGE_PLUGIN_EXPORT_H */
