/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Folders that Clonezilla made of a disk, as images: the disk, or one of its
 * partitions.  FOLDER is its only disk, FOLDER/sda a disk, FOLDER/sda1 a
 * partition.  They are read only.
 */

#ifndef NBDIMAGE_FORMAT_CLONEZILLA_CLONEZILLA_H
#define NBDIMAGE_FORMAT_CLONEZILLA_CLONEZILLA_H

#include "lib/format/image.h"

/* What image_open does with a name.  1: *out is it; 0: it names no such folder
 * and nothing in one.
 */
int clonezilla_open_name (const char *name,
                          const struct image_options *options,
                          struct image **out, struct report *report,
                          struct err *err);

/* Does the name lead to or into such a folder?  Opening may take long. */
bool clonezilla_is_one (const char *name);

/*--- Only for lib/format/clonezilla -----------------------------------------*/

DEFINE_VECTOR (clonezilla_names, char *);
DEFINE_VECTOR (clonezilla_images, struct image *);

struct clonezilla_folder {
  char *path;
  struct clonezilla_names files;        /* all names in it */
};

/* 1: it is one, and *out is read; 0: it is none.  -ENOTSUP: encrypted. */
int clonezilla_folder_read (const char *path, struct clonezilla_folder *out,
                            struct err *err);
void clonezilla_folder_free (struct clonezilla_folder *folder);

bool clonezilla_has (const struct clonezilla_folder *folder,
                     const char *name);

/* The contents of FOLDER/DISK followed by ending ("-mbr"), at most max bytes
 * of it, with a NUL behind; the caller frees it.  -ENOENT.
 */
int clonezilla_read (const struct clonezilla_folder *folder,
                     const char *disk, const char *ending, size_t max,
                     uint8_t **bytes, size_t *len, struct err *err);

/* The image of a partition ("sda1"); *out is NULL if there is none.  Of options
 * only lock and job count.  -ENOTSUP if it was not made by partclone or dd,
 * -EBADMSG if there are two, or if it is not what its name says; the error
 * names the file.
 */
int clonezilla_open_part (const struct clonezilla_folder *folder,
                          const char *part,
                          const struct image_options *options,
                          struct image **out, struct report *report,
                          struct err *err);

/* Put a disk together.  The images of its partitions are appended to images,
 * with references.
 */
int clonezilla_open_disk (const struct clonezilla_folder *folder,
                          const char *disk, const char *name,
                          const struct image_options *options,
                          struct clonezilla_images *images,
                          struct block **bytes, struct report *report,
                          struct err *err);

#endif /* NBDIMAGE_FORMAT_CLONEZILLA_CLONEZILLA_H */
