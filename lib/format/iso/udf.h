/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The volume descriptors of UDF (ECMA-167, OSTA UDF 2.60), in blocks of 2048
 * bytes as on CD, DVD and Blu-ray: what names and describes the volume.
 */

#ifndef NBDIMAGE_FORMAT_UDF_H
#define NBDIMAGE_FORMAT_UDF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/report.h"
#include "lib/block/block.h"

/* What kinds of partition maps the volume has (OSTA UDF 2.2.8 to 2.2.10). */
enum {
  UDF_PHYSICAL = 1,
  UDF_VIRTUAL = 2,              /* of a disc that is written bit by bit */
  UDF_SPARABLE = 4,             /* of a rewritable disc */
  UDF_METADATA = 8,
};

/* Strings are UTF-8, owned, and NULL when empty. */
struct udf {
  bool announced;               /* a recognition sequence says that it is UDF */
  bool found;                   /* its descriptors were found and are good */
  uint16_t revision;            /* 0x0201 is 2.01; 0: not said */
  char *label;                  /* of the logical volume */
  char *volume_id;              /* of the primary volume */
  char *creator;
  int64_t created;              /* seconds since 1970, -1: not said */
  unsigned maps;                /* UDF_PHYSICAL and so on */
  bool is_open;                 /* was not closed when it was written last */
  uint32_t partition_start;     /* block */
  uint64_t partition_end;       /* bytes */
  uint64_t size;                /* bytes, to the end of what must be there */
};

/* Does the head of the block announce UDF, and has the block an anchor?  For
 * a probe: nothing is read unless UDF is announced.
 */
bool udf_probe (struct block *block, const uint8_t *head, size_t head_len);

/* Read them.  What is wrong goes to the report, and found is then false; an
 * error is only -ENOMEM.
 */
int udf_read (struct block *block, struct udf *udf, struct report *report,
              struct err *err);

void udf_free (struct udf *udf);

/* The size of the blocks of a UDF volume of a hard disk: 512, 1024 or 4096;
 * 0: there is none.
 */
uint32_t udf_disk_block_size (struct block *block);

#endif /* NBDIMAGE_FORMAT_UDF_H */
