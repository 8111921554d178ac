/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the driver keeps of a disc.  For iso.c and iso-info.c. */

#ifndef NBDIMAGE_FORMAT_ISO_ISO_H
#define NBDIMAGE_FORMAT_ISO_ISO_H

#include "lib/format/image-ops.h"
#include "lib/format/iso/hybrid.h"
#include "lib/format/iso/iso9660.h"
#include "lib/format/iso/sessions.h"
#include "lib/format/iso/udf.h"

struct iso {
  size_t stride;                /* bytes from CD sector to CD sector; 0: the
                                   file has the disc's bytes as they are */
  unsigned mode;                /* of the CD sectors */
  struct iso9660 iso;
  struct udf udf;
  struct iso_session_vector sessions;   /* empty: one */
  struct image_boot_vector boot;
  struct iso_hybrid hybrid;
};

/* Bytes up to the end of what the disc says that it has. */
uint64_t iso_volume_size (const struct iso *s);

int iso_info (struct image *img, struct image_info *info, struct err *err);

#endif /* NBDIMAGE_FORMAT_ISO_ISO_H */
