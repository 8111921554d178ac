/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the parts of the SFTP store share.  Only they include this:
 *
 *   store-sftp.c           the table; folders and names
 *   store-sftp-look.c      what has a name
 *   store-sftp-list.c      listings
 *   store-sftp-file.c      files that are written
 *   store-sftp-read.c      files that are read
 *   store-sftp-promise.c   what must still be there after a broken connection
 */

#ifndef NBDIMAGE_REPO_STORE_SFTP_PRIVATE_H
#define NBDIMAGE_REPO_STORE_SFTP_PRIVATE_H

#include <pthread.h>

#include "lib/base/vector.h"
#include "lib/repo/sftp-ask.h"
#include "lib/repo/sftp-link.h"
#include "lib/repo/store-ops.h"

#define SFTP_DEPTH_MAX 16       /* folders on the way to a name */
#define SFTP_FILE_MODE 0600U
#define SFTP_FOLDER_MODE 0700U
#define SFTP_PATH_SIZE (STORE_PATH_SIZE + 4096)

struct sftp_promise {
  char *name;                   /* owned */
  unsigned number;              /* of the connection it was made on */
};

DEFINE_VECTOR (sftp_promises, struct sftp_promise);

struct sftp_store {
  struct store base;
  struct sftp_link *link;
  char *root;                   /* owned; the folder's path on the server */

  pthread_mutex_t lock;         /* guards what follows */
  struct sftp_promises promises;
  unsigned forgotten;           /* the last connection on which a name could
                                   not be remembered; 0: none */
};

static inline struct sftp_store *
sftp_store_of (struct store *s)
{
  return (struct sftp_store *) s;
}

/* The server's path of a name.  -ENAMETOOLONG */
int sftp_path (const struct sftp_store *s, const char *name,
               char path[SFTP_PATH_SIZE], struct err *err);

/* What has a name now, its folders having been looked at: no link is among
 * them.  "" is the vault.
 */
struct sftp_found {
  bool there;
  struct sftp_attrs attrs;      /* where there is one */
};

/* -ENOENT: there is no such folder; -EBADMSG (NBI-132): a folder is none. */
int sftp_find (struct sftp_store *s, struct sftp *sftp, const char *name,
               struct sftp_found *found, struct err *err);

/* The same in two halves, so that other requests go with it.  The second one
 * has to follow, also if the first one failed.
 */
struct sftp_look {
  struct sftp_call calls[SFTP_DEPTH_MAX];
  size_t n, sent;
};
int sftp_look_send (const struct sftp_store *s, struct sftp *sftp,
                    const char *name, struct sftp_look *look,
                    struct err *err);
int sftp_look_take (struct sftp *sftp, struct sftp_look *look,
                    struct sftp_found *found, struct err *err);

/* -ENOENT; -EBADMSG (NBI-132): it is no folder. */
int sftp_check_folder (const struct sftp_found *found, struct err *err);

/* sftp_find of what has to be there, a folder, or a regular file: -ENOENT,
 * -EBADMSG (NBI-132).
 */
int sftp_find_there (struct sftp_store *s, struct sftp *sftp, const char *name,
                     struct sftp_found *found, struct err *err);
int sftp_find_folder (struct sftp_store *s, struct sftp *sftp,
                      const char *name, struct err *err);
int sftp_find_file (struct sftp_store *s, struct sftp *sftp, const char *name,
                    struct sftp_found *found, struct err *err);

/* What to return for an error of the server that is none of store.h's: where
 * the disk is full, -ENOSPC, else -EIO.  SFTP_LOST and others stay.
 */
int sftp_last_error (struct sftp_store *s, struct sftp *sftp, int r,
                     struct err *err);

int sftp_store_list (struct store *store, const char *folder,
                     int (*fn) (void *opaque, const struct store_entry *entry,
                                struct err *err),
                     void *opaque, struct err *err);

/* Is there something in the folder, as far as can be told? */
bool sftp_has_names (struct sftp_store *s, struct sftp *sftp,
                     const char *name);

int sftp_store_make (struct store *store, const char *name,
                     struct store_file **out, struct err *err);
int sftp_store_write (struct store_file *file, const void *buf, size_t len,
                      struct err *err);
int sftp_store_flush (struct store_file *file, struct err *err);
int sftp_store_end (struct store_file *file, struct err *err);
int sftp_store_read (struct store *store, const char *name,
                     struct block **out, struct err *err);

/* A name is there now, which a flush of its folder has to vouch for. */
void sftp_promise (struct sftp_store *s, const char *name, unsigned number);

/* It is called otherwise, with all that is in it; or, with NULL, gone. */
void sftp_promise_moved (struct sftp_store *s, const char *from,
                         const char *to);

/* Before a flush of a folder on this connection: what was promised on others
 * is looked for.  -EIO: the server lost it.
 */
int sftp_promise_check (struct sftp_store *s, struct sftp *sftp,
                        const char *folder, struct err *err);

/* After it: the names in the folder are safe. */
void sftp_promise_kept (struct sftp_store *s, const char *folder);

void sftp_promise_free (struct sftp_store *s);

#endif /* NBDIMAGE_REPO_STORE_SFTP_PRIVATE_H */
