/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which records of a vault's files are live: what the generations refer to
 * that stay (docs/NBI.md §15, P5).
 *
 * A file is its UUID, whatever folder it lies in: what is live in one of two
 * that have the same is so in both.  Two bits are kept for each record of a
 * file that anything refers to, and nothing for others.  By one thread.
 */

#ifndef NBDIMAGE_REPO_LIVENESS_H
#define NBDIMAGE_REPO_LIVENESS_H

#include "lib/base/job.h"
#include "lib/base/vector.h"
#include "lib/repo/vault-read.h"

struct live_file {
  uint8_t uuid[UUID_SIZE];
  bool root;                    /* a generation that stays ends in it */
  uint32_t nr_ordinals;         /* if anything is live */
  uint32_t nr_live;             /* of them */
  uint8_t *live;                /* bits by ordinal; NULL: none is */
  uint8_t *visited;             /* pages of maps that were looked into */
};

DEFINE_VECTOR (live_files, struct live_file);

struct liveness {
  struct live_files files;      /* by UUID, once they are sorted */
};

#define LIVENESS_INIT { VECTOR_INIT }

void liveness_destroy (struct liveness *l);

#define CLEANUP_LIVENESS __attribute__ ((__cleanup__ (liveness_destroy)))

/* A file there is; it may be added several times.  -ENOMEM. */
int liveness_add (struct liveness *l, const uint8_t uuid[UUID_SIZE],
                  struct err *err);

/* All were added; from now on they can be found. */
void liveness_sort (struct liveness *l);

/* NULL: there is none. */
struct live_file *liveness_find (const struct liveness *l,
                                 const uint8_t uuid[UUID_SIZE]);

/* All that this generation refers to is live, and its root.  Opens each of its
 * files (NBI-131), and reads the pages of its map that were not read for
 * another one.  -EBADMSG, -ENOTSUP, -EIO where any of that is refused; -ENOENT
 * if it goes meanwhile.  After a failure not all that is live is known to be:
 * there is nothing to do but to destroy it.  job: advances by the size of the
 * disk.
 */
int liveness_mark (struct liveness *l, struct vault_view *view,
                   const struct vault_opened *opened, struct job *job,
                   struct err *err);

static inline bool
live_file_is_dead (const struct live_file *file)
{
  return !file->root && file->nr_live == 0;
}

static inline bool
live_file_has (const struct live_file *file, uint32_t ordinal)
{
  return file->live != NULL && ordinal < file->nr_ordinals &&
    (file->live[ordinal / 8] >> ordinal % 8 & 1) != 0;
}

#endif /* NBDIMAGE_REPO_LIVENESS_H */
