/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the files of prune.h share. */

#ifndef NBDIMAGE_REPO_PRUNE_PRIVATE_H
#define NBDIMAGE_REPO_PRUNE_PRIVATE_H

#include "lib/repo/lease-look.h"
#include "lib/repo/liveness.h"
#include "lib/repo/prune.h"

#define PRUNE_PATH_SIZE (STORE_PATH_SIZE + VAULT_NAME_SIZE)

/* A run's folder, by names. */
struct prune_folder {
  struct vault_run run;
  struct vault_folder names;
  bool counts;                  /* it has a mark that counts: it is dropped */
  bool gone;                    /* it is not in files/ any more */
};

DEFINE_VECTOR (prune_folders, struct prune_folder);

/* All that names in files/ say at some moment. */
struct prune_listing {
  struct vault_runs runs;
  struct prune_folders folders; /* in the same order */
};

/* List twice, and join with the runs that are in *listing already.  A folder
 * that is listed and can't be opened is looked for again after the lag: only
 * then it is gone.  Refuses names that are not understood (NBI-132), and a
 * folder with neither root nor mark is left to whoever opens it.  *listing is
 * to be freed also after a failure.
 */
int prune_list (struct vault *vault, struct prune_listing *listing,
                struct report *report, struct job *job, struct err *err);

void prune_listing_free (struct prune_listing *listing);

/* Has the folder a file with the root of a map, so that there is a generation
 * to be had of it?
 */
bool prune_has_root (const struct prune_folder *folder);

/* Is it marked or gone by now?  Then what is missing of it is no damage. */
bool prune_was_dropped (struct vault *vault, const struct vault_run *run);

/* All files of the listing, to be found. */
int prune_list_files (const struct prune_listing *listing,
                      struct liveness *live, struct err *err);

/* Is it encrypted, by the header of that generation, or (NULL) by what the
 * vault says of itself, and is there no key?  -EACCES.
 */
int prune_check_key (const struct vault *vault,
                     const struct generation_caches *caches,
                     const struct nbi_header *h, struct err *err);

/* Is any of the folder's files live, or locked at that time? */
bool prune_folder_is_dead (const struct prune_folder *folder,
                           const struct liveness *live);
bool prune_is_locked (const struct prune_folder *folder,
                      const uint8_t uuid[UUID_SIZE], int64_t now);

/* "files/FOLDER", "files/FOLDER/UUID.EDITION.nbi" */
const char *prune_path (char path[PRUNE_PATH_SIZE],
                        const struct prune_folder *folder,
                        const struct vault_file *file);

/* How deep folders lie in each other, in broken/KIND-UUID: runs that were
 * adopted, runs that were dropped.
 */
#define PRUNE_DEPTH 3

/* "FOLDER/NAME".  One that is cut off is too long for the store, which refuses
 * it.
 */
void prune_join (char path[PRUNE_PATH_SIZE], const char *folder,
                 const char *name);

/* Delete a folder with all that is in it, a mark last; at most `depth' folders
 * in it.  What is gone already is fine.  amount: NULL, or to it is added what
 * was deleted, also after a failure.
 */
int prune_delete_tree (struct store *store, const char *folder,
                       unsigned depth, struct prune_amount *amount,
                       struct err *err);

/* The newest generation of a disk that stays. */
struct prune_newest {
  char disk[NBI_NAME_SIZE];
  uint64_t time;
};

DEFINE_VECTOR (prune_newest_list, struct prune_newest);

/* A generation of a disk; the newest counts. */
int prune_note_newest (struct prune_newest_list *list,
                       const char disk[NBI_NAME_SIZE], uint64_t time,
                       struct err *err);

/* A prune at work. */
struct prune {
  struct vault *vault;
  struct store *store;
  const struct generation_caches *caches;
  const struct prune_plan *plan;
  struct prune_result *result;
  struct report *report;
  struct job *job;

  struct lease_hold *hold;      /* NULL: none yet */
  struct prune_listing listing; /* of P2, and then also of P5 */
  struct lease_list others;     /* whose generations are live: P4 */
  struct liveness live;         /* P5 */
  struct vault_view *view;      /* of P5 */
  struct prune_newest_list newest;
};

/* -ECANCELED, or -EBUSY if our folder is known to be gone. */
int prune_go_on (struct prune *p, struct err *err);

/* Something was not there that should be: is it our own folder? */
int prune_look_for_own (struct prune *p, struct err *err);

/* What is gone is fine. */
int prune_delete_file (struct prune *p, const struct prune_folder *folder,
                       const struct vault_file *file, struct err *err);

/* Are there editions at all?  Not in a vault that keeps what was written. */
bool prune_may_rewrite (const struct vault *vault);

/* How large a file would be, about, with nothing in it but what is live. */
int prune_edition_size (const struct live_file *live, struct file_reader *file,
                        uint64_t *bytes, struct job *job, struct err *err);

/* Is a file of that size to be written anew, that then has so many bytes? */
bool prune_is_mostly_dead (uint64_t bytes, uint64_t size);

/* P8, and P9 of editions. */
int prune_write_editions (struct prune *p, struct err *err);
int prune_drop_editions (struct prune *p, struct err *err);

/* By what it is known whether something that others left may go. */
struct prune_leaving {
  struct store *store;
  const struct prune_newest_list *newest;
  int64_t now;                  /* seconds since 1970, of the store */
  bool drop_interrupted;        /* of prune_options */
};

/* May the folder WHERE/TEXT be deleted, of "broken", "partial" or "files"? */
int prune_may_clear (const struct prune_leaving *leaving, const char *where,
                     const char *text, bool *may, struct err *err);

/* Add what is in broken/ of backups. */
int prune_count_left (const struct prune_leaving *leaving,
                      struct prune_left *left, struct err *err);

/* P9, but for editions. */
int prune_clear (struct prune *p, struct err *err);

#endif /* NBDIMAGE_REPO_PRUNE_PRIVATE_H */
