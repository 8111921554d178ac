/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What `nbdimage info` knows about an image, and the ways to show it. */

#ifndef NBDIMAGE_TOOLS_INFO_INFO_H
#define NBDIMAGE_TOOLS_INFO_INFO_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "lib/format/image.h"
#include "lib/fsmap/identify.h"
#include "lib/part/part.h"

#define PICTURE_CELLS_MAX 1000U

/* In how many partitions, from the first, file systems and loaders are looked
 * for: a GPT may have thousands, and each costs a look at a dozen places.
 */
#define IDENTIFIED_MAX 256U

/* What can be told about a partition besides its entry. */
struct info_partition {
  struct fs_identity fs;
  char *efi_loaders;            /* "BOOTX64.EFI BOOTIA32.EFI"; NULL: none */
};

struct info {
  struct image *img;
  struct block *disk;
  struct image_info image;
  struct part_table table;
  struct info_partition *parts; /* as many as table.parts.len */
  size_t nr_identified;         /* of them; the others are empty */
  struct info_partition whole;  /* of a disk without partitions, or a CD */

  bool has_boot_code;           /* a BIOS would run sector 0 */
  const char *boot_loader;      /* whose code that is; NULL: not known */

  uint64_t data;                /* bytes of extents that hold data ... */
  uint64_t data_end;            /* ... in front of this byte of the disk */
  unsigned nr_cells;            /* 0: no picture */
  double cells[PICTURE_CELLS_MAX]; /* the share that is data, 0 to 1 */

  struct report report;
};

/* Find everything out.  img is kept.  How much is data is counted for about
 * `seconds`, or to the end if that is 0.  What could not be found out because
 * of an error is reported, and the worst of them is returned as a negative
 * errno with everything else in place; info->img is NULL when there is
 * nothing to show at all.  The caller frees *info with info_free.
 */
int info_collect (struct info *info, struct image *img, unsigned nr_cells,
                  unsigned seconds, struct report *report, struct err *err);
void info_free (struct info *info);

/* Was all of the disk counted? */
bool info_has_all_data (const struct info *info);

/* Sector 0. */
int info_find_boot_code (struct info *info, struct err *err);

/* For people. */
void info_show (const struct info *info);
void info_show_picture (const struct info *info);
int info_show_map (struct image *img, struct err *err);

/* For programs; NULL when out of memory. */
json_t *info_to_json (const struct info *info);
json_t *info_map_to_json (struct image *img, struct err *err);

#endif /* NBDIMAGE_TOOLS_INFO_INFO_H */
