/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The volume descriptors of ISO 9660 (ECMA-119), with Joliet and Rock Ridge:
 * what names and describes a CD or DVD.  Its files are not our business.
 *
 * Nothing here keeps an image from being served; what is wrong with it goes
 * to the report.
 */

#ifndef NBDIMAGE_FORMAT_ISO9660_H
#define NBDIMAGE_FORMAT_ISO9660_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/report.h"
#include "lib/block/block.h"

#define ISO_SECTOR 2048
#define ISO_FIRST_SECTOR 16     /* of the volume descriptors */

/* Strings are UTF-8, trimmed, owned, and NULL when empty. */
struct iso9660 {
  bool has_primary, has_joliet, has_enhanced, has_rock_ridge;
  char *system_id, *volume_id, *volume_set, *publisher, *preparer,
    *application;
  char *joliet_id;              /* volume id in the Joliet descriptor */
  char *md5sum;                 /* implanted for checkisomd5: 32 hex digits */
  int64_t created;              /* seconds since 1970, -1: not said */
  uint64_t size;                /* bytes that the volume says it has */
  uint32_t block_size;          /* bytes */
  uint32_t root_block, root_len;        /* root directory: block, bytes */
  bool has_boot_catalog;
  uint32_t boot_catalog;        /* sector */
  uint32_t end_sector;          /* behind the last volume descriptor */
};

/* Read the descriptors from sector 16 on.  None at all is not an error:
 * has_primary is false.  -EIO when they can't be read.
 */
int iso9660_read (struct block *block, struct iso9660 *iso,
                  struct report *report, struct err *err);

void iso9660_free (struct iso9660 *iso);

/* A field of a descriptor, as UTF-8 without its padding, for the caller to
 * free; NULL when out of memory.
 */
char *iso9660_text (const uint8_t *field, size_t len);

/* Does the root directory have Rock Ridge (IEEE P1282) entries?  For
 * iso9660.c.
 */
int rock_ridge_detect (struct block *block, const struct iso9660 *iso,
                       bool *found, struct err *err);

#endif /* NBDIMAGE_FORMAT_ISO9660_H */
