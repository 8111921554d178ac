/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What would be lost if a disk ended earlier? */

#ifndef NBDIMAGE_TOOLS_CHANGE_CUT_H
#define NBDIMAGE_TOOLS_CHANGE_CUT_H

#include "lib/base/job.h"
#include "lib/format/image.h"
#include "lib/part/part.h"

struct cut {
  struct part_table table;
  char *doubt;                  /* what is wrong with the table, or NULL */
  char *file_system;            /* of a disk without a table; NULL: none */
  bool is_zero;                 /* nothing but the second copy of the GPT is
                                   behind the new end */
  uint64_t first;               /* otherwise the first byte that is not zero */
};

/* Look at the disk from size on, which is less than its size; with size its
 * whole size, at its table only.  The caller frees *cut, after a failure too.
 */
int cut_look (struct image *img, uint64_t size, struct cut *cut,
              struct job *job, struct err *err);
void cut_free (struct cut *cut);

/* May it be cut off there?  -EINVAL and the reason if not.  force: also when
 * that is free space of a partition table, or its second copy, or when a file
 * system may have been made smaller before.
 */
int cut_check (const struct cut *cut, uint64_t size, bool force,
               struct err *err);

#endif /* NBDIMAGE_TOOLS_CHANGE_CUT_H */
