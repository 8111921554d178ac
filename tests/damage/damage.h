/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Bad images, each with a name and with what must become of it.
 *
 * A format has a file with a table of its bad images and a function that
 * makes one of them in memory; damage.c runs them all: every one is opened,
 * described, read at many places and mapped, and must be refused with the
 * code and the words that the table says, or be the disk that the table says
 * with the warning that the table says.
 */

#ifndef NBDIMAGE_TESTS_DAMAGE_H
#define NBDIMAGE_TESTS_DAMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/format/image.h"

/* What must become of it. */
struct damage_verdict {
  int code;                     /* -EBADMSG…: refused; 0: it opens */
  const char *says;             /* a part of the refusal, or of a warning;
                                   NULL: opens, and there is no warning */
};

/* A file, in memory that damage_free frees. */
struct damage_file {
  uint8_t *bytes;
  size_t len;
};

struct damage_image {
  struct damage_file image;
  struct damage_file parent;    /* beside it; bytes NULL: there is none */
  struct damage_file disk;      /* what must be read, if it opens */
  /* For disks with partition tables. */
  bool has_parts;
  unsigned nr_parts;            /* that must be found */
};

/* All bad images of one format. */
struct damage_family {
  const char *name;             /* "vhd" */
  const char *file;             /* "disk.vhd": the name of each image, */
  const char *parent;           /* of its parent; NULL: none has one */
  size_t (*nr) (void);
  const char *(*name_of) (size_t i);
  struct damage_verdict (*verdict_of) (size_t i);
  void (*make) (size_t i, struct damage_image *out);
};

extern const struct damage_family damage_iso, damage_part, damage_partclone,
  damage_vhd, damage_vhdx;

/* Copies; ends the program when out of memory. */
struct damage_file damage_copy (const void *bytes, size_t len);

void damage_free (struct damage_image *image);

/* Other bytes at an offset: `width' of them, little-endian; 0: as many zeros
 * as value says.
 */
struct damage_patch {
  size_t off;
  unsigned width;
  uint64_t value;
};

/* The list ends with one of which all is 0, or after nr. */
void damage_apply (struct damage_file *file,
                   const struct damage_patch *patches, size_t nr);

/* Fewer bytes at its end, or more zeros if cut is negative. */
void damage_cut (struct damage_file *file, long cut);

/* A folder for this program, made at the first call. */
const char *damage_folder (void);
void damage_remove_folder (void);

/* Write, or write again, a file in a folder, without its zeros where they
 * need no place; without bytes: remove it.
 */
void damage_write (const char *folder, const char *name,
                   const struct damage_file *file);

/* Open img's disk in every way and compare it with what it must be; fails
 * the cmocka test with `what' in front.
 */
void damage_compare (struct image *img, const struct damage_file *disk,
                     const char *what);

/* `check' of a VHD or VHDX agrees with what opening it gave: refused as
 * damaged, it has damage, and by a rule of its own; opened without a warning,
 * it is whole.
 */
void damage_check (struct block *block, const struct image_options *options,
                   int opened, const struct report *report,
                   const char *what);

/* Describe it, read it at many places, map it: only not to crash. */
void damage_use (struct image *img);

/* Peak resident memory of this process in KiB, or 0 where that means nothing:
 * under the sanitizers and valgrind.
 */
long damage_peak_rss (void);

#endif /* NBDIMAGE_TESTS_DAMAGE_H */
