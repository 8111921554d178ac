/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The options that say how an image is opened: for the library, and as
 * parameters for a server of ours.
 */

#ifndef NBDIMAGE_TOOLS_IMAGE_OPTIONS_H
#define NBDIMAGE_TOOLS_IMAGE_OPTIONS_H

#include "lib/format/image.h"
#include "tools/command.h"

/* *options gets what was typed, and reading only.  What opens what is encrypted
 * is read, for the process.  -EINVAL; errors of keys_use.
 */
int image_options_from_values (const struct image_option_values *values,
                               struct image_options *options,
                               struct err *err);

/* Are the folders of --parent-path there?  Only a differencing disk needs
 * them, but a mistake in a name should not wait for one.  The errno of stat,
 * or -ENOTDIR for a file.
 */
int image_options_check_folders (const struct image_option_values *values,
                                 struct err *err);

/* --overlay for a server that runs in another folder.  The file need not be
 * there, its folder must be.  The caller frees it.
 */
int overlay_make_absolute (const char *path, char **out, struct err *err);

/* The name of an image, which is no URI, for a server that runs in another
 * folder: as realpath with NULL, but of what is named in a backup of Windows,
 * or in a vault, the last part need not be a file.  NULL and errno.
 */
char *image_name_absolute (const char *name);

/* Parameters of the plugin, for struct server_config. */
struct image_parameters {
  char *strings[8];             /* ends with NULL */
};

int image_parameters_new (const struct image_option_values *values,
                          struct image_parameters *parameters,
                          struct err *err);
void image_parameters_free (struct image_parameters *parameters);

#define CLEANUP_IMAGE_PARAMETERS \
  __attribute__ ((__cleanup__ (image_parameters_free)))

#endif /* NBDIMAGE_TOOLS_IMAGE_OPTIONS_H */
