/* SPDX-License-Identifier: GPL-2.0-or-later */

#ifndef NBDIMAGE_FORMAT_PROBE_H
#define NBDIMAGE_FORMAT_PROBE_H

#include "lib/format/image-ops.h"

/* Find the driver: the one named, or the one whose probe is most sure. */
int probe_format (struct block *block, const char *format,
                  const struct image_ops **ops, struct err *err);

/* The driver whose files have names that end like this one, or NULL. */
const struct image_ops *format_by_name_ending (const char *name);

#endif /* NBDIMAGE_FORMAT_PROBE_H */
