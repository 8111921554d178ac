/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The images in a folder (dir=).
 *
 * Served are regular files whose name is text and does not begin with a dot
 * and whose contents are those of an image.  VHD and ISO have signatures;
 * a raw disk has none, so that a file of no other format is served when its
 * size is a multiple of 512 bytes and there is a boot sector, a partition
 * table or a file system on it, or when its name ends in .img or .raw.
 * Sub-folders are not entered, symbolic links not followed.
 *
 * If the folder is a backup of Windows (lib/format/backup-folder.h), its disk
 * and volumes are served instead.
 */

#ifndef NBDIMAGE_PLUGIN_FOLDER_H
#define NBDIMAGE_PLUGIN_FOLDER_H

#include <stdbool.h>

#include "lib/base/err.h"
#include "lib/format/image.h"

/* May this be an image in a folder, going by its name?  No other name is
 * looked for, so no name leads out of the folder.
 */
bool folder_name_ok (const char *name);

/* Does the name say what is in a compressed file ("disk.img.xz")?  All of
 * others would have to be decoded to find out, which is not done for each
 * archive that lies in a folder.
 */
bool folder_name_says_image (const char *name);

/* Is this open image, found under that name, one to serve? */
bool folder_serves (struct image *img, const char *name);

struct folder_item {
  const char *name;
  const char *description;
  bool is_bad;                  /* recognised, but opening it fails; the
                                   description says why.  Not listed. */
  bool is_left_out;             /* no image, or one that is not served from
                                   a folder; the description says why.  Not
                                   listed. */
  bool is_link;                 /* a symbolic link, which is left out */
};

/* Look through config.folder and call fn for each file in the order of
 * their names; fn stops it by returning something else than 0, which is
 * returned.  Images that did not change since the last time are not opened
 * again.  May be called from many threads, which wait for each other.
 */
typedef int (*folder_fn) (void *opaque, const struct folder_item *item);
int folder_list (folder_fn fn, void *opaque, struct err *err);

void folder_free (void);

#endif /* NBDIMAGE_PLUGIN_FOLDER_H */
