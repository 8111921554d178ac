/* SPDX-License-Identifier: GPL-2.0-or-later */

/* An image that is changed as a whole, by nbdimage resize, compact, rebase
 * and commit, while nobody else uses it: its file is open for writing and
 * held by the lock of lib/block/file.h.
 *
 * The disk in it can be looked at as it was before; its parents are held
 * against writers from then on.
 *
 * One thread at a time.  Sentences do not name the image.
 */

#ifndef NBDIMAGE_FORMAT_OFFLINE_H
#define NBDIMAGE_FORMAT_OFFLINE_H

#include "lib/base/job.h"
#include "lib/format/image.h"

struct offline;

/* Of the options format, parent_path and data_id count; they are borrowed.
 * Nothing but what the format is found by is read.  -EBUSY if somebody else
 * has it.
 */
int offline_open (const char *name, const struct image_options *options,
                  struct offline **out, struct report *report,
                  struct err *err);

/* The same on a block, which gets referenced: for tests. */
int offline_open_block (struct block *block,
                        const struct image_options *options,
                        struct offline **out, struct err *err);

void offline_close (struct offline *o);         /* NULL is fine */

/* The disk, for reading; opened by the first call, with warnings to report.
 * It belongs to o.  After the image was changed it is what it was before and
 * must not be read.
 */
int offline_image (struct offline *o, struct image **out,
                   struct report *report, struct err *err);

/* Its file was changed, and its disk was not: it is opened anew, without
 * warnings.
 */
int offline_reopen_image (struct offline *o, struct image **out,
                          struct err *err);

const char *offline_format (const struct offline *o);   /* "vhd" */
uint64_t offline_file_size (const struct offline *o);   /* bytes, now */

#define CLEANUP_OFFLINE __attribute__ ((__cleanup__ (offline_cleanup)))
void offline_cleanup (struct offline **o);

#endif /* NBDIMAGE_FORMAT_OFFLINE_H */
