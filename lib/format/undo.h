/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Undo files: what a repair changes, as it was and as it becomes.
 * docs/UNDO.md has the layout to the byte.
 */

#ifndef NBDIMAGE_FORMAT_UNDO_H
#define NBDIMAGE_FORMAT_UNDO_H

#include "lib/format/repair.h"

/* Write the undo file of a plan that was made of the block as it is now.
 * Everything is on stable storage when this returns 0.  -EEXIST if there is
 * such a file.
 */
int undo_write (struct block *block, const struct repair_plan *plan,
                const char *path, struct job *job, struct err *err);

/* Put everything back as it was before the repair that this file was made
 * for, whether it was finished or not.  Nothing is changed unless the undo
 * file is whole (-EBADMSG) and every byte of the image that the repair had to
 * do with, and its tables, are as the repair found or left them (-ESTALE: it
 * changed since, or is another image).
 */
int undo_revert (struct block *block, const char *path, struct job *job,
                 struct err *err);

#endif /* NBDIMAGE_FORMAT_UNDO_H */
