/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which parts of a disk does no file system use? */

#ifndef NBDIMAGE_TOOLS_CHANGE_FREE_SPACE_H
#define NBDIMAGE_TOOLS_CHANGE_FREE_SPACE_H

#include "lib/base/job.h"
#include "lib/base/report.h"
#include "lib/format/image.h"
#include "lib/fsmap/used-map.h"

/* What is used of the disk in img: partition tables, gaps, and of each
 * partition what its file system says; all of one whose file system can't
 * tell, with a warning that says why.  A disk without a table is one file
 * system.  The caller frees the map when this succeeded.
 */
int free_space_find (struct image *img, struct used_map *used,
                     struct report *report, struct job *job,
                     struct err *err);

#endif /* NBDIMAGE_TOOLS_CHANGE_FREE_SPACE_H */
