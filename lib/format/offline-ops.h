/* SPDX-License-Identifier: GPL-2.0-or-later */

/* struct offline, for drivers and the entry points. */

#ifndef NBDIMAGE_FORMAT_OFFLINE_OPS_H
#define NBDIMAGE_FORMAT_OFFLINE_OPS_H

#include "lib/format/image-ops.h"
#include "lib/format/offline.h"

struct offline {
  struct image_options options; /* for the disk: reading, parents locked */
  struct block *block;          /* writable; a reference */
  const struct image_ops *ops;
  struct image *img;            /* NULL until somebody asks for it */
};

#endif /* NBDIMAGE_FORMAT_OFFLINE_OPS_H */
