/* SPDX-License-Identifier: GPL-2.0-or-later */

/* One image for many, each with an overlay of its own: overlay-dir=FOLDER.
 *
 * Who opens the export IMAGE@NAME gets the disk of IMAGE, and what is written
 * to it goes into the file FOLDER/IMAGE@NAME.vhd, which is made when it is
 * not there, and is there the next time.
 */

#ifndef NBDIMAGE_PLUGIN_CLIENTS_H
#define NBDIMAGE_PLUGIN_CLIENTS_H

#include "plugin/export.h"
#include "plugin/source.h"

/* The NAME in IMAGE@NAME; NULL if the name of the export is none like that.
 * It points into the name.
 */
const char *clients_name (const struct source *image, const char *name);

/* The source of IMAGE@NAME.  -ENOENT for a NAME that can't be one: letters
 * and digits of ASCII, “.”, “_” and “-”, 64 of them at most, and not with
 * “.” or “-” at the beginning.
 */
int clients_source (const struct source *image, const char *client,
                    struct source *out, struct err *err);

/* Call fn for the export of each overlay that is in the folder. */
int clients_list (const struct source *image, export_fn fn, void *opaque,
                  struct err *err);

#endif /* NBDIMAGE_PLUGIN_CLIENTS_H */
