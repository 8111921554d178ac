/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The generations of a vault (vault=): each is the export DISK@GENERATION, and
 * DISK the newest one of a disk (docs/NBI.md §13).  DISK@A..B is generation B,
 * of which block status says that just what changed since A is allocated.
 *
 * The vault is looked at anew for each list and each client, so that what is
 * backed up meanwhile is there, and what is dropped is not.  GENERATION in the
 * list is its time, or its UUID where two of a disk have the same time; a
 * client may write it as anything that vault_view_find understands.
 *
 * All functions but vault_prepare and vault_free from many threads.
 */

#ifndef NBDIMAGE_PLUGIN_VAULT_H
#define NBDIMAGE_PLUGIN_VAULT_H

#include <stdbool.h>

#include "lib/base/err.h"
#include "lib/format/image.h"
#include "plugin/export.h"

/* Open config.vault, and warn of generations that can't be served.  0 or -1,
 * spoken.
 */
int vault_prepare (void);

/* May this be an export of a vault: the name of a disk, perhaps with @ and some
 * letters, digits, dots and dashes behind it?  No other name is looked for.
 * Nothing of a name is ever used as a path.
 */
bool vault_name_ok (const char *name);

/* Does the name mean whichever generation is the newest, so that two clients
 * may get different ones?
 */
bool vault_name_follows (const char *name);

/* The image of an export, for reading; what is pruned while it is open can be
 * read to its end, within the limits of vault_images_get.
 */
int vault_open_export (const char *name, struct image **out,
                       struct report *report, struct err *err);

/* For exports_list. */
int vault_list_exports (export_fn fn, void *opaque, struct err *err);

/* The name of the only disk, for the caller to free; NULL when there are none
 * or several.
 */
char *vault_only_disk (void);

void vault_free (void);

#endif /* NBDIMAGE_PLUGIN_VAULT_H */
