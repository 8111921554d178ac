/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a person who can't have a device can do instead. */

#ifndef NBDIMAGE_TOOLS_NBDFUSE_HINT_H
#define NBDIMAGE_TOOLS_NBDFUSE_HINT_H

#include <stdbool.h>

#include "tools/command.h"

/* The command, quoted for a shell, that shows the image or export as a file
 * with nbdfuse; NULL when out of memory.  The caller frees it.
 */
char *nbdfuse_command (const char *name,
                       const struct image_option_values *image, bool write);

/* Print it. */
void nbdfuse_hint (const char *name, const struct image_option_values *image,
                   bool write);

#endif /* NBDIMAGE_TOOLS_NBDFUSE_HINT_H */
