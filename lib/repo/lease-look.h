/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Others' leases: who is at work in a vault, and who is not any more
 * (docs/NBI.md §14 B3, §15 P4).  All of it guesses; who is taken for dead by
 * mistake fails, and nothing is lost.
 */

#ifndef NBDIMAGE_REPO_LEASE_LOOK_H
#define NBDIMAGE_REPO_LEASE_LOOK_H

#include "lib/repo/lease-hold.h"

#define LEASE_FOLDERS_MAX 1024  /* in partial/: NBI-136 */

enum lease_state {
  LEASE_AT_WORK,
  LEASE_EXPIRED,
  LEASE_UNCLEAR,                /* not understood, and its folder is not a day
                                   old (NBI-134): a prune deletes nothing */
  LEASE_GONE,                   /* the folder went while it was looked at */
};

struct lease_seen {
  char name[VAULT_NAME_SIZE];   /* of the folder in partial/ */
  enum vault_name_kind kind;
  uint8_t uuid[UUID_SIZE];
  enum lease_state state;
  bool understood;
  struct lease lease;           /* if understood */
  char why[200];                /* if not: a sentence */
};

DEFINE_VECTOR (lease_list, struct lease_seen);

void lease_list_free (struct lease_list *list);

#define CLEANUP_LEASE_LIST __attribute__ ((__cleanup__ (lease_list_free)))

/* All leases in partial/ but one's own, each of which is judged: *list, to be
 * freed also after a failure.  `.new' folders and what is no lease's folder are
 * not in it.
 *
 * partial/ is listed twice, and joined (§13).  If a lease looks expired, this
 * watches it for two minutes and the lag, all such leases at once; meanwhile
 * the own lease is renewed, by whose time they are judged.
 *
 * -ENOTSUP: too many folders (NBI-136).  -ECANCELED by the job.
 */
int lease_look (struct lease_hold *own, struct store *store, struct job *job,
                struct lease_list *list, struct err *err);

/* Rename partial/NAME to broken/NAME: whoever it is can't seal any more.
 * -ENOENT: it was gone already, broken, sealed or adopted.
 */
int lease_break (struct store *store, const char *name, struct err *err);

#endif /* NBDIMAGE_REPO_LEASE_LOOK_H */
