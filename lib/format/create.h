/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Making new images. */

#ifndef NBDIMAGE_FORMAT_CREATE_H
#define NBDIMAGE_FORMAT_CREATE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/newfile.h"
#include "lib/base/report.h"
#include "lib/format/image.h"

enum image_kind {
  IMAGE_DYNAMIC,                /* grows with what is written */
  IMAGE_FIXED,
};

struct image_create_options {
  const char *format;           /* "raw", "vhd" or "vhdx" */
  enum image_kind kind;         /* not with a parent */
  uint64_t size;                /* bytes of disk; 0 with a parent: as that */
  uint32_t block_size;          /* bytes in a unit of allocation; 0: usual */
  bool preallocate;             /* fixed, raw: take the space at once */
  uint32_t sector_size;         /* VHDX: 512 or 4096; 0: 512, or the parent's */
  uint32_t physical_sector_size;        /* the same; 0: 4096, or the
                                           parent's */
  bool azure;                   /* VHD: what Azure takes: fixed, rounded up to
                                   whole MiB */
  bool chs;                     /* VHD: a geometry for Virtual PC and BIOSes
                                   that go by it; rounds the size up */

  /* The image becomes differencing, over the disk in this file.  The file
   * must not change any more afterwards, nor be lost.
   */
  const char *parent;
  const struct image_options *parent_options;   /* NULL: defaults */

  /* Instead, a disk that is open; not referenced afterwards. */
  struct image *base;
};

/* Make an image in a new file, complete or not at all: lib/base/newfile.h.
 * *size is the size of the disk in bytes, which azure and chs may have made
 * larger than was asked for.  -EINVAL for what can't be, -EEXIST if there is
 * such a file, or why reading the parent or writing failed; the sentence does
 * not name the file.
 */
int image_create (const char *path, const struct image_create_options *options,
                  uint64_t *size, struct report *report, struct err *err);

/* The same in a file that the caller opened, which is empty; the caller
 * commits it when there is more in it.  path is where it will be.
 */
int image_create_in (struct new_file *file, const char *path,
                     const struct image_create_options *options,
                     uint64_t *size, struct report *report, struct err *err);

/* "raw", "vhd" or "vhdx"?  -EINVAL: a format of which images can't be made. */
int image_create_check_format (const char *format, struct err *err);

#endif /* NBDIMAGE_FORMAT_CREATE_H */
