/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The boot catalogue of a bootable CD (El Torito 1.0, and UEFI's use of
 * it).
 */

#ifndef NBDIMAGE_FORMAT_EL_TORITO_H
#define NBDIMAGE_FORMAT_EL_TORITO_H

#include "lib/format/image.h"

/* Append its entries to *boot, which the caller frees with el_torito_free.
 * volume_size: bytes, what an image without a size of its own extends to.  A
 * damaged catalogue is reported and gives no entries, a damaged entry is
 * left out; an error is only -ENOMEM.
 */
int el_torito_read (struct block *block, uint32_t catalog_sector,
                    uint64_t volume_size, struct image_boot_vector *boot,
                    struct report *report, struct err *err);

void el_torito_free (struct image_boot_vector *boot);

/* Append a copy of one entry. */
int el_torito_add (struct image_boot_vector *boot,
                   const struct image_boot_entry *entry, struct err *err);

#endif /* NBDIMAGE_FORMAT_EL_TORITO_H */
