/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A vault: its folders, what it says of itself, and which generations its names
 * show (docs/NBI.md §13).  What is in files is for others.
 *
 * All functions may be called by many threads, but vault_close.
 */

#ifndef NBDIMAGE_REPO_VAULT_H
#define NBDIMAGE_REPO_VAULT_H

#include "lib/base/vector.h"
#include "lib/repo/nbi-header.h"
#include "lib/repo/store.h"
#include "lib/repo/vault-names.h"

#define VAULT_JSON_MAX (64 * 1024)      /* bytes: NBI-135 */
#define VAULT_FOLDERS_MAX 1024          /* in partial/: NBI-136 */
#define VAULT_WORM_MAX 36525            /* days */

struct vault;

/* vault.json. */
struct vault_about {
  uint8_t uuid[UUID_SIZE];
  uint64_t created;             /* seconds since 1970 */
  unsigned worm_days;           /* 0: prune may write files anew */
  uint8_t encryption;           /* 0 or 1, as in headers */
  uint8_t key_id[UUID_SIZE];    /* zeros: not encrypted */
};

/* The text of vault.json, which is the caller's to free. */
int vault_about_encode (const struct vault_about *about, char **json,
                        size_t *len, struct err *err);

/* NBI-130 and NBI-135. */
int vault_about_decode (const char *json, size_t len,
                        struct vault_about *about, struct err *err);

/* Make a vault in a store where there is nothing, or take the one that is
 * there, whoever made it: *made says which.  uuid and created of what is asked
 * for are made here, the rest is the caller's; slots has nr_slots key slots of
 * NBI_SLOT_SIZE bytes.  What else is in the store's folder is not touched:
 * -ENOTEMPTY.
 */
int vault_make (struct store *store, const struct vault_about *about,
                const uint8_t *slots, unsigned nr_slots, bool *made,
                struct err *err);

#define VAULT_WRITE 1U          /* to back up or prune: make the folders that
                                   are missing, and try the store (§13);
                                   NBI-136 */

/* The store stays the caller's.  -ENOENT: there is no vault here.  A vault that
 * has lost vault/ opens, with a warning.
 */
int vault_open (struct store *store, unsigned flags, struct vault **out,
                struct report *report, struct err *err);

void vault_close (struct vault *vault);         /* NULL is fine */

struct store *vault_store (const struct vault *vault);

/* NULL: it is lost. */
const struct vault_about *vault_about (const struct vault *vault);

/* The key slots in vault/, of which the first 8 by their UUIDs count, and how
 * many there are.  A file that is no slot's length is left out, with a warning.
 */
int vault_slots (struct vault *vault,
                 uint8_t slots[NBI_MAX_SLOTS * NBI_SLOT_SIZE],
                 unsigned *nr_slots, struct report *report, struct err *err);

/* A folder in files/, as its name says. */
struct vault_run {
  char folder[VAULT_NAME_SIZE];
  char disk[VAULT_NAME_SIZE];   /* DISK */
  uint64_t time;
  uint8_t run[UUID_SIZE];
};

DEFINE_VECTOR (vault_runs, struct vault_run);

#define VAULT_TWICE 1U          /* list twice, and join: for a prune */
#define VAULT_MORE 2U           /* join with what *runs has already */

/* All of them, in the order of their times, then UUIDs: *runs, to be freed with
 * vector_free also after a failure.  Their marks and headers are not looked at.
 */
int vault_list (struct vault *vault, unsigned flags, struct vault_runs *runs,
                struct err *err);

struct vault_file {
  uint8_t uuid[UUID_SIZE];
  uint32_t edition;
  bool root;
};

struct vault_lock {
  uint8_t uuid[UUID_SIZE];
  uint64_t until;
};

/* A keep (keep.h). */
struct vault_keep {
  uint8_t uuid[UUID_SIZE];
};

DEFINE_VECTOR (vault_files, struct vault_file);
DEFINE_VECTOR (vault_locks, struct vault_lock);
DEFINE_VECTOR (vault_keeps, struct vault_keep);

/* What is in a run's folder, by names. */
struct vault_folder {
  bool dropped;                 /* it has the mark */
  struct vault_files files;     /* by UUID; of one UUID the highest edition
                                   first */
  struct vault_locks locks;
  struct vault_keeps keeps;     /* by UUID */
  unsigned nr_others;           /* names that mean nothing there */
};

/* where: "files/DISK.TIME.RUN", "partial/backup-RUN", ...; flags: VAULT_TWICE.
 * *folder is to be freed also after a failure.  -ENOENT.
 */
int vault_look_in (struct vault *vault, const char *where, unsigned flags,
                   struct vault_folder *folder, struct err *err);

/* Can it not be had by name any more?  It has the mark, and no keep. */
bool vault_folder_is_hidden (const struct vault_folder *folder);

void vault_folder_free (struct vault_folder *folder);

#define CLEANUP_VAULT_FOLDER __attribute__ ((__cleanup__ (vault_folder_free)))

/* Put the mark `dropped' on a run, and have it on stable storage; it may be
 * there already.  folder: in files/.
 */
int vault_drop (struct vault *vault, const char *folder, struct err *err);

/* Which of the runs is the newest generation of a disk: the first one from the
 * end that has the name's DISK, no mark, and of whose files with a root is_it
 * says yes: 1, no: 0, or fails.  It is asked for each file with a root, the
 * highest edition first, until one says yes; a file that is damaged is a no.
 * *newest: index in runs.  -ENOENT: there is none.
 */
int vault_newest (struct vault *vault, const struct vault_runs *runs,
                  const char *disk_name,
                  int (*is_it) (void *opaque, const struct vault_run *run,
                                const char *path, struct err *err),
                  void *opaque, size_t *newest, struct err *err);

#endif /* NBDIMAGE_REPO_VAULT_H */
