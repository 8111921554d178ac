/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Where a vault is: what docs/NBI.md §13 ("The store") needs of the place, and
 * nothing more.  A local folder (store-local.h) is one; a server may be.
 *
 * Names are relative to the vault, with slashes, "" is the vault itself:
 * "files", "partial/backup-1f…/lease.json".  A part is never empty, "." or
 * "..", nor longer than STORE_NAME_MAX; a symbolic link is never followed, and
 * what is no regular file, or no folder where one belongs, is refused
 * (NBI-132).
 *
 * All functions but store_close may be called by many threads at once, but
 * those of one store_file by one at a time.  Errors: -ENOENT there is no such
 * name, or a folder on the way to it; -EEXIST there is one already; -ENOTEMPTY;
 * -ENOSPC, -EIO, ... as the store has them.  A call that failed may have been
 * done nevertheless where the answer was lost (-EIO); whoever has to know
 * looks.
 */

#ifndef NBDIMAGE_REPO_STORE_H
#define NBDIMAGE_REPO_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/job.h"
#include "lib/base/report.h"
#include "lib/block/block.h"
#include "lib/repo/clock.h"

#define STORE_NAME_MAX 255      /* bytes of a part of a name */
#define STORE_PATH_SIZE 1024    /* bytes of a name, with the final zero */
#define STORE_LAG_UNKNOWN 120   /* seconds, where nothing else is known */
#define STORE_LAG_MAX 86400

struct store;
struct store_file;

enum store_kind {
  STORE_FILE,                   /* a regular file */
  STORE_FOLDER,
  STORE_OTHER,                  /* a link, a device, ...: never opened */
};

void store_close (struct store *store);         /* NULL is fine */

#define CLEANUP_STORE __attribute__ ((__cleanup__ (store_cleanup)))
void store_cleanup (struct store **store);

/* For messages: the folder's path, the URI.  Lives as long as the store. */
const char *store_name (const struct store *store);

/* Is it on this machine, so that a process that isn't there has ended? */
bool store_is_local (const struct store *store);

/* A new file, to be written front to back.  -EEXIST if there is anything of
 * that name.
 */
int store_make (struct store *store, const char *name,
                struct store_file **out, struct err *err);

/* Append all of it.  After a failed write or flush nothing of the file is
 * known to be there, and all that follows fails with the same number: what was
 * lost can't be flushed by trying again.
 */
int store_write (struct store_file *file, const void *buf, size_t len,
                 struct err *err);

/* All that was written is on stable storage when this returns 0. */
int store_flush (struct store_file *file, struct err *err);

/* Bytes that were written. */
uint64_t store_file_size (const struct store_file *file);

/* Close it, flushed or not; some stores say only now that a write failed.  The
 * file is gone in any case.  NULL is fine: 0.
 */
int store_end (struct store_file *file, struct err *err);

/* A whole small file: make, write, flush, end. */
int store_put (struct store *store, const char *name, const void *buf,
               size_t len, struct err *err);

/* Write a small file that is there anew, in place, and learn what time it is
 * for the store (seconds since 1970).  A crash in the middle may leave any
 * mixture.  Not flushed.
 */
int store_rewrite (struct store *store, const char *name, const void *buf,
                   size_t len, int64_t *time, struct err *err);

/* A file for reading, of the size that it has now. */
int store_open (struct store *store, const char *name, struct block **out,
                struct err *err);

/* All of a file that has at most max bytes, in *buf, which is the caller's to
 * free and has a zero behind it.  -EFBIG if it has more.
 */
int store_read_all (struct store *store, const char *name, size_t max,
                    char **buf, size_t *len, struct err *err);

struct store_stat {
  enum store_kind kind;
  uint64_t size;                /* bytes, of a file */
  int64_t time;                 /* of modification: seconds since 1970 */
};

/* What has this name; a link is STORE_OTHER.  "" is the vault. */
int store_stat (struct store *store, const char *name,
                struct store_stat *out, struct err *err);

/* The store's time now, in seconds since 1970: that which a new file gets that
 * is made in this folder, and deleted.
 */
int store_time (struct store *store, const char *folder, int64_t *time,
                struct err *err);

struct store_entry {
  const char *name;             /* in the folder; valid during the call */
  enum store_kind kind;
};

#define STORE_STOP 1            /* from a callback: enough, without an error */

/* Each name in a folder, in any order, without "." and "..".  fn returns 0 to
 * go on, STORE_STOP, or an error, which is then that of the listing.  An error
 * in the middle of the listing is one of it, whatever fn saw (NBI-137).  Names
 * that come or go meanwhile are in it or not.
 */
int store_list (struct store *store, const char *folder,
                int (*fn) (void *opaque, const struct store_entry *entry,
                           struct err *err),
                void *opaque, struct err *err);

int store_make_folder (struct store *store, const char *name,
                       struct err *err);

/* -ENOTEMPTY unless there is nothing in it. */
int store_delete_folder (struct store *store, const char *name,
                         struct err *err);

/* A file, or what is neither a file nor a folder. */
int store_delete (struct store *store, const char *name, struct err *err);

/* A file in its folder, or into another one, or a folder with all that is in
 * it; atomic.  -EEXIST if there is anything called `to': it is not replaced.
 * -ENOENT if `from' is not there (any more), whatever `to' is, or if the folder
 * that `to' is in is not.
 */
int store_rename (struct store *store, const char *from, const char *to,
                  struct err *err);

/* Bytes that may still be written.  -ENOTSUP: it is not known. */
int store_space (struct store *store, uint64_t *bytes, struct err *err);

/* The names in a folder, as they are, are on stable storage when this returns
 * 0, where the store can say so; "" is the vault.
 */
int store_flush_folder (struct store *store, const char *name,
                        struct err *err);

/* How old a listing may be, or the answer that a name is not there: seconds. */
unsigned store_lag (const struct store *store);

/* What the user knows of it.  -EINVAL above STORE_LAG_MAX.  Before threads. */
int store_set_lag (struct store *store, unsigned seconds, struct err *err);

/* Let that much time go by, and more. */
int store_wait (struct store *store, struct job *job, struct err *err);

/* Once the job is cancelled, a server that is silent is not waited for, nor
 * connected to again: -ECANCELED, -EIO.  One that answers is used as before, so
 * that what was begun can be cleared up.  NULL: none.  The job stays the
 * caller's, who takes it away before its end.
 */
void store_set_job (struct store *store, struct job *job);

/* How many connections to the server there have been so far; 1 where there is
 * no server.  If it is another number than before, the server may have been
 * down meanwhile, and may have lost what was not flushed (docs/NBI.md §13).
 */
unsigned store_connections (struct store *store);

/* The clock that store_wait goes by; stays the caller's. */
void store_set_clock (struct store *store, const struct repo_clock *clock);
const struct repo_clock *store_clock (const struct store *store);

/* Does each operation that a vault needs hold here?  Tried with a folder that
 * begins with a dot, between the folders partial/, broken/ and files/, and
 * cleaned up.  -ENOTSUP names what the store does otherwise; what failed fails
 * this with its own number.  report: what is missing and can be done without.
 */
int store_try (struct store *store, struct report *report, struct err *err);

#endif /* NBDIMAGE_REPO_STORE_H */
