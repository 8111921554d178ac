/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What lies below a differencing disk and is of another format than that.
 *
 * We make such disks, and no other program reads them: the parent that they
 * name is none to it.  In the chain the disk below is one more layer, which
 * has all bytes.  The child has its identity (identity.c) where it has that
 * of a parent; a file that looks like it is not it, unless that is right.
 * When it is not handed over by who opens the child, it is looked for as other
 * parents are; so whoever writes a child gets nothing through it that he does
 * not know already.
 */

#ifndef NBDIMAGE_FORMAT_BELOW_H
#define NBDIMAGE_FORMAT_BELOW_H

#include "lib/format/image.h"

/* Is this the disk that a child knows by `expected'?  -ENOENT if not. */
int below_check (struct image *base, const uint8_t expected[UUID_SIZE],
                 struct err *err);

/* Open a block that was found where a child says that its parent is, with the
 * options of the child.  -ENOTSUP when too many images lie over each other.
 */
int below_open (struct block *block, const struct image_options *options,
                struct image **out, struct report *report, struct err *err);

/* Is it of a kind that never changes (a backup), so that nothing can be written
 * into it, and neither time nor place of its file tell anything?
 */
bool below_never_changes (const struct image *base);

/* The same of a format, by its name. */
bool below_format_never_changes (const char *format);

#endif /* NBDIMAGE_FORMAT_BELOW_H */
