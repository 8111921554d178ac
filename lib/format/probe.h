/* SPDX-License-Identifier: GPL-2.0-or-later */

#ifndef NBDIMAGE_FORMAT_PROBE_H
#define NBDIMAGE_FORMAT_PROBE_H

#include "lib/format/image-ops.h"

/* Find the driver: the one named, or the one whose probe is most sure. */
int probe_format (struct block *block, const char *format,
                  const struct image_ops **ops, struct err *err);

#endif /* NBDIMAGE_FORMAT_PROBE_H */
