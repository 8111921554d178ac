/* SPDX-License-Identifier: GPL-2.0-or-later */

#ifndef NBDIMAGE_FORMAT_PROBE_H
#define NBDIMAGE_FORMAT_PROBE_H

#include "lib/format/image-ops.h"

struct codec;

/* Find the driver: the one named, or the one whose probe is most sure.
 * -ENOTSUP for what is of another program, or compressed.
 */
int probe_format (struct block *block, const char *format,
                  const struct image_ops **ops, struct err *err);

/* The same, but *codec is set if the block is compressed, and what is to be
 * probed is in it (compressed/compressed.h); *ops is not, then.  Otherwise
 * *codec is NULL.  A block said to be raw is raw.
 */
int probe_compressed (struct block *block, const char *format,
                      const struct image_ops **ops,
                      const struct codec **codec, struct err *err);

/* The driver whose files have names that end like this one, or NULL. */
const struct image_ops *format_by_name_ending (const char *name);

#endif /* NBDIMAGE_FORMAT_PROBE_H */
