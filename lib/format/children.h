/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Who is differencing over this disk?  A parent does not know its children;
 * but they often lie beside it.
 */

#ifndef NBDIMAGE_FORMAT_CHILDREN_H
#define NBDIMAGE_FORMAT_CHILDREN_H

#include "lib/format/folder.h"
#include "lib/format/image.h"

/* Paths of the files in the image's own folder that say that it is their
 * parent.  Files that can't be read or are no images say nothing.  Fails if
 * the folder can't be listed; an image that is no file has no children.
 */
int image_find_children (struct image *img, struct name_list *out,
                         struct err *err);

#endif /* NBDIMAGE_FORMAT_CHILDREN_H */
