/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The good VHDs that the tests of damage damage. */

#ifndef NBDIMAGE_TESTS_BAD_VHD_H
#define NBDIMAGE_TESTS_BAD_VHD_H

#include "tests/damage/damage.h"
#include "tests/support/vhd-maker.h"

#define VHD_BLOCK (16 * 1024)
#define VHD_DISK (4 * VHD_BLOCK)
#define VHD_FIXED_DISK 8192
#define VHD_VPC_DISK (10 * 4 * 3 * 512)

/* bad-vhd.c tells how they lie in their files. */
enum vhd_base { DYN, FIX, DIFF, XEN, VPC };

/* The caller frees it.  DIFF needs its parent as base.vhd beside it. */
struct vhd_maker *bad_vhd_make_good (enum vhd_base base);
struct vhd_maker *bad_vhd_make_parent (void);

/* Its disk; the caller frees the bytes. */
struct damage_file bad_vhd_good_disk (enum vhd_base base);

/*--- The table, in bad-vhd-rows.c -------------------------------------------*/

enum bad_vhd_place {
  NOWHERE,
  FOOTERS,                      /* at the end, and the copy */
  END, COPY,                    /* one of them */
  HEADER, BAT,
  BATMAP,                       /* its header */
  BITS,                         /* the bitmap of the first block */
  LOCATOR,                      /* the text of the first */
  PARENT = 0x100,               /* with one of the above */
};

struct bad_vhd_patch {
  unsigned place;
  size_t off;
  unsigned width;               /* bytes: 1, 2, 4, 8; 0: all zeros, `value'
                                   many */
  uint64_t value;
};

enum {
  BAD_SUM = 1,                  /* checksums stay as they were */
  AS_RAW = 2,                   /* its disk is the file, as a raw one's */
  NO_PARENT = 4,                /* there is no base.vhd */
};

struct bad_vhd_row {
  const char *name;
  enum vhd_base base;
  struct bad_vhd_patch patches[3];
  unsigned flags;
  long cut;                     /* bytes off the end; < 0: appended */
  struct damage_verdict verdict;
  size_t size;                  /* of the disk if it opens; 0: as it was */
  size_t zero_off, zero_len;    /* and what of it must be zeros now */
  size_t parent_off, parent_len;        /* ... or the parent's */
};

#define DAMAGED(words) { -EBADMSG, words }
#define BEYOND_US(words) { -ENOTSUP, words }
#define OPENS { 0, NULL }
#define WARNS(words) { 0, words }

extern const struct bad_vhd_row bad_vhd_rows[];
extern const size_t bad_vhd_nr_rows;

#endif /* NBDIMAGE_TESTS_BAD_VHD_H */
