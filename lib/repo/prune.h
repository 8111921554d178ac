/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Thinning out a vault: docs/NBI.md §15, "Prune".
 *
 *   prune_plan (vault, &caches, &options, &plan, ...);     changes nothing
 *   ... show it, ask ...
 *   prune_run (vault, &caches, &plan, &result, ...);       P1 to P10
 *   prune_plan_free (&plan);
 *
 * Whatever is not understood keeps all that it might refer to: a generation
 * that is to stay and can't be read as a whole, a lease or a name that nobody
 * knows, a listing that ends with an error refuse all of it (NBI-131 to
 * NBI-137).
 */

#ifndef NBDIMAGE_REPO_PRUNE_H
#define NBDIMAGE_REPO_PRUNE_H

#include "lib/base/job.h"
#include "lib/repo/keep.h"
#include "lib/repo/retention.h"
#include "lib/repo/vault-read.h"

struct prune_options {
  struct retention retention;
  const char *const *disks;     /* only of these, by name; NULL: of all */
  size_t nr_disks;

  /* Mark what is damaged (-EBADMSG) too, so that it is not in the way
   * (NBI-133).
   */
  bool drop_damaged;

  /* Also what is left of backups that did not end, with which their next one
   * would go on.
   */
  bool drop_interrupted;

  /* Also if the newest generation of a disk is later than now by more than
   * VAULT_AHEAD (§13, "Time").
   */
  bool trust_times;

  int64_t now;                  /* seconds since 1970; 0: ask the store */
};

enum prune_fate {
  PRUNE_NOT_ASKED,              /* stays: of a disk that was not named */
  PRUNE_KEPT,                   /* stays, by the rules in `why' */
  PRUNE_DROPPED,                /* no rule keeps it */
  PRUNE_DAMAGED,                /* dropped for that (drop_damaged) */
  PRUNE_MARKED,                 /* was dropped before, and is still there */
};

struct prune_generation {
  struct vault_run run;
  char disk[NBI_NAME_SIZE];     /* its name; "": it can't be read */
  uint64_t size;                /* of the disk, bytes; 0: the same */
  enum prune_fate fate;
  unsigned why;                 /* bits 1 << enum retention_rule */

  /* It has so many keeps (keep.h), and this is what the first one says; it
   * stays whatever the rules say, and also if it was dropped before, unless
   * there is nothing of it any more, which is told.
   */
  size_t nr_keeps;
  char kept_for[KEEP_STRING_SIZE];
};

DEFINE_VECTOR (prune_generations, struct prune_generation);

/* Files and their bytes. */
struct prune_amount {
  uint64_t nr, bytes;
};

/* What is in broken/ of backups that did not end: runs, and bytes of files. */
struct prune_left {
  struct prune_amount goes;     /* a month old, of a disk that was saved since,
                                   or drop_interrupted */
  struct prune_amount stays;    /* the disk's next backup goes on with it */
};

struct prune_plan {
  struct prune_generations generations; /* by time */
  size_t nr_dropped;            /* DROPPED and DAMAGED */
  size_t nr_marked;

  /* What can go if nobody uses what is dropped: files as a whole, and what of
   * the rest nothing refers to.
   */
  struct prune_amount all;      /* files there are */
  struct prune_amount dead;     /* of which nothing is live */

  /* Files that are mostly dead: they are written anew, where there is room,
   * and so many bytes become free when the old ones go, a day later or more.
   */
  struct prune_amount mostly_dead;

  bool drop_interrupted;        /* as the options say */
  struct prune_left left;
};

/* What there is to do; looks, and changes nothing.  *plan is to be freed also
 * after a failure.  -ENOENT: there is no generation of a disk that was named;
 * -EINVAL: times are not to be trusted; -EACCES: the vault is
 * encrypted, and caches have no key, or another; or the other way round.
 */
int prune_plan (struct vault *vault, const struct generation_caches *caches,
                const struct prune_options *options, struct prune_plan *plan,
                struct report *report, struct job *job, struct err *err);

void prune_plan_free (struct prune_plan *plan);

struct prune_result {
  size_t nr_generations;        /* whose folders went */
  size_t nr_in_use;             /* that stay for now: somebody uses or keeps
                                   them, or something in their folders */
  struct prune_amount deleted;
  struct prune_amount cleared;  /* of what others left: files */
  uint64_t nr_rewritten;        /* files, as a new edition */
};

/* P1 to P10, of a vault that was opened with VAULT_WRITE.  Drops what the plan
 * says, and nothing else, whatever came since; also with a plan that drops
 * nothing, as an earlier prune may not have finished.
 *
 * -EBUSY: another prune is at work, or somebody whose lease is not understood;
 * -EAGAIN: what the plan keeps is not all there any more.  After a failure, a
 * crash, or -ECANCELED each generation that stays is whole; what was marked
 * stays so, and goes with the next prune.  *result says in any case what was
 * done.
 */
int prune_run (struct vault *vault, const struct generation_caches *caches,
               const struct prune_plan *plan, struct prune_result *result,
               struct report *report, struct job *job, struct err *err);

/* What is left of backups in a vault, all of it as what stays: for who finds
 * the store full.
 */
int prune_look_for_left (struct store *store, struct prune_left *left,
                         struct err *err);

#endif /* NBDIMAGE_REPO_PRUNE_H */
