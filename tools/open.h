/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Opening images that may take long to open. */

#ifndef NBDIMAGE_TOOLS_OPEN_H
#define NBDIMAGE_TOOLS_OPEN_H

#include "lib/format/image.h"
#include "tools/progress.h"

/* image_open, which shows how far it is, and can be interrupted (-ECANCELED),
 * where that takes long.
 */
int tool_image_open (const char *name, const struct image_options *options,
                     enum progress_mode mode, struct image **out,
                     struct report *report, struct err *err);

/* The same for one of two that are compared: a key that was given may be that
 * of the other one.  *plain becomes true if this one is not encrypted, and is
 * read without that key: a warning says so.  Once both are open,
 * tool_images_check_key is called.
 */
int tool_image_open_of_two (const char *name,
                            const struct image_options *options,
                            enum progress_mode mode, struct image **out,
                            bool *plain, struct report *report,
                            struct err *err);

/* -EACCES: one of them is read without the key, and the other one has no need
 * of it either (docs/NBI.md, NBI-124).
 */
int tool_images_check_key (struct image *a, struct image *b, bool plain,
                           struct err *err);

/* Have what takes long behind us, so that image_open does not take long, here
 * or in a server of ours.  0 if it does not anyway, or can't be opened.
 */
int tool_image_prepare (const char *name, const struct image_options *options,
                        enum progress_mode mode, struct err *err);

#endif /* NBDIMAGE_TOOLS_OPEN_H */
