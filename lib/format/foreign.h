/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Containers of disks that others write and we do not read. */

#ifndef NBDIMAGE_FORMAT_FOREIGN_H
#define NBDIMAGE_FORMAT_FOREIGN_H

#include "lib/format/image-ops.h"

/* The name of the format, "qcow2", by the signature at its head or end; NULL
 * if there is none that we know.  *advice, unless advice is NULL, becomes
 * what to do with it, as "convert it (qemu-img convert -O raw)", or NULL.
 */
const char *foreign_format (const struct probe *probe, const char **advice);

#endif /* NBDIMAGE_FORMAT_FOREIGN_H */
