/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Blocks and the tags that the descriptors in them begin with.  For UDF. */

#ifndef NBDIMAGE_FORMAT_ISO_UDF_TAG_H
#define NBDIMAGE_FORMAT_ISO_UDF_TAG_H

#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/report.h"
#include "lib/block/block.h"
#include "lib/format/iso/udf.h"

#define UDF_BLOCK 2048

enum { TAG_PRIMARY = 1, TAG_ANCHOR = 2, TAG_POINTER = 3, TAG_PARTITION = 5,
       TAG_LOGICAL = 6, TAG_UNALLOCATED = 7, TAG_TERMINATOR = 8,
       TAG_INTEGRITY = 9, TAG_FILE = 261, TAG_EXTENDED_FILE = 266 };

/* Block n of the file.  -EBADMSG if it is not inside. */
int udf_read_block (struct block *block, uint64_t n, uint8_t d[UDF_BLOCK],
                    struct err *err);

/* Are both sums of the descriptor right, and does it say that it is at that
 * block?  -EBADMSG if not.
 */
int udf_check_tag (const uint8_t d[UDF_BLOCK], uint32_t block,
                   struct err *err);

/* Read the descriptors that an anchor names, from whichever copy is good.
 * What is wrong goes to the report, and found is then false; an error is
 * only -ENOMEM.
 */
int udf_read_descriptors (struct block *block,
                          const uint8_t anchor[UDF_BLOCK], struct udf *udf,
                          struct report *report, struct err *err);

#endif /* NBDIMAGE_FORMAT_ISO_UDF_TAG_H */
