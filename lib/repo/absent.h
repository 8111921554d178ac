/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a backup has not: the partitions that were not chosen (docs/NBI.md §8,
 * §9).  Their chunks are of the kind "not allocated", as those that no file
 * system uses, but there is a difference: of a chunk that nobody uses zeros are
 * as good as what it had; of a partition that was left out they would be a lie.
 * So reading it fails.
 */

#ifndef NBDIMAGE_REPO_ABSENT_H
#define NBDIMAGE_REPO_ABSENT_H

#include "lib/repo/generation.h"
#include "lib/repo/manifest.h"

/* A partition.  Of a chunk that it has in common with what was saved it is all
 * there.
 */
struct absent {
  uint64_t number;
  uint64_t off, len;            /* bytes */
};

DEFINE_VECTOR (absent_vector, struct absent);

/* Those of a manifest, in its order; *list is empty.  -ENOMEM.  The caller
 * frees it.
 */
int absent_list (const struct manifest *m, struct absent_vector *list,
                 struct err *err);

/* The same of a generation, whose manifest is read for that. */
int absent_list_generation (struct generation *gen,
                            struct absent_vector *list, struct err *err);

/* Is the partition with that number among them? */
bool absent_has (const struct absent_vector *list, uint64_t number);

/* Do both have the same places? */
bool absent_same (const struct absent_vector *a,
                  const struct absent_vector *b);

/* "partition 2"; "partitions 2, 3 and 5".  Not of an empty list.  For free();
 * NULL: out of memory.
 */
char *absent_to_text (const struct absent_vector *list);

/* -EIO, with the reason, if any of the bytes is not in the generation because
 * of that.  From many threads.
 */
int absent_check (struct generation *gen, const struct absent_vector *list,
                  uint64_t len, uint64_t off, struct err *err);

/* Append an extent that the generation has: EXTENT_UNALLOCATED becomes
 * EXTENT_UNREADABLE in what is absent.
 */
int absent_add_extent (const struct absent_vector *list,
                       const struct extent *e, struct extent_list *out,
                       struct err *err);

#endif /* NBDIMAGE_REPO_ABSENT_H */
