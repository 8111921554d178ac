/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What changed from one generation to another, by their maps and tables: no
 * data is read.  Chunks of the same identity are the same, wherever they lie
 * (docs/NBI.md §5, §8), and so are pages of the same hash, which are not even
 * looked into.
 */

#ifndef NBDIMAGE_REPO_GENERATION_DIFF_H
#define NBDIMAGE_REPO_GENERATION_DIFF_H

#include "lib/repo/generation.h"

/* Can the two be compared so?  -EINVAL: their chunks have different sizes, or
 * other partitions were left out of one than of the other; -EACCES: their
 * identities have different keys; -EBADMSG: a manifest is damaged.
 */
int generation_diff_check (struct generation *before,
                           struct generation *after, struct err *err);

/* What is in the range, which is inside the disk of `after':
 *
 *   EXTENT_UNALLOCATED   what reads as it did before, or could be read neither
 *                        then nor now
 *   EXTENT_ZERO          other bytes before, zeros now
 *   EXTENT_DATA          other bytes, or perhaps the same: of chunks that can't
 *                        be compared
 *   EXTENT_UNREADABLE    can't be read now, and could before
 *
 * in whole chunks, but at the end of either disk: what lies behind the end of
 * `before' is changed.  May end early at the limit of the list.  Damage of maps
 * or tables is an error, as when reading.  From many threads.
 */
int generation_diff_extents (struct generation *before,
                             struct generation *after, uint64_t len,
                             uint64_t off, struct extent_list *list,
                             struct err *err);

#endif /* NBDIMAGE_REPO_GENERATION_DIFF_H */
