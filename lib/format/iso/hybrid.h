/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What makes a CD a disk too: partition tables and Apple's file systems in
 * its first 16 sectors, which ISO 9660 leaves to others.
 */

#ifndef NBDIMAGE_FORMAT_ISO_HYBRID_H
#define NBDIMAGE_FORMAT_ISO_HYBRID_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/report.h"
#include "lib/base/vector.h"
#include "lib/block/block.h"

/* An entry of an Apple partition map (Inside Macintosh: Devices, 3-28). */
struct apple_entry {
  uint64_t off, len;            /* bytes */
  uint8_t name[32], type[32];   /* as they are stored */
};

DEFINE_VECTOR (apple_entry_vector, struct apple_entry);

struct iso_hybrid {
  bool has_mbr, has_gpt;
  bool has_hfs, has_hfs_plus;   /* over the whole disc */
  struct apple_entry_vector apple;
};

/* Find them, into a struct that the caller frees with iso_hybrid_free.  What
 * is wrong with the Apple partition map goes to the report; an error is only
 * -ENOMEM.
 */
int iso_hybrid_read (struct block *block, struct iso_hybrid *hybrid,
                     struct report *report, struct err *err);

void iso_hybrid_free (struct iso_hybrid *hybrid);

#endif /* NBDIMAGE_FORMAT_ISO_HYBRID_H */
