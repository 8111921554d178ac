/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a driver that makes images gets.  Only drivers and create.c include
 * this.
 */

#ifndef NBDIMAGE_FORMAT_CREATE_OPS_H
#define NBDIMAGE_FORMAT_CREATE_OPS_H

#include "lib/base/newfile.h"
#include "lib/format/create.h"
#include "lib/format/image-ops.h"

struct creation {
  const struct image_create_options *options;
  const char *path;             /* where the file will be */
  struct image *parent;         /* open for reading; NULL: none */
  struct new_file file;
  uint64_t size;                /* set by the driver: bytes of the disk */
};

/* The file, which is empty at first, gets this size; it reads as zeros. */
int creation_resize (struct creation *c, uint64_t size, struct err *err);

/* Space is taken for the first size bytes of the file. */
int creation_reserve (struct creation *c, uint64_t size, struct err *err);

int creation_write (struct creation *c, const void *buf, size_t len,
                    uint64_t off, struct err *err);

#endif /* NBDIMAGE_FORMAT_CREATE_OPS_H */
