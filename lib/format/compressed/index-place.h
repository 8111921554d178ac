/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Where indexes are kept: a folder of files named after the fingerprints of
 * what they are of, "0123…cdef.idx".
 *
 *   $XDG_CACHE_HOME/nbdimage       if that is set
 *   /var/cache/nbdimage            otherwise, of root
 *   $HOME/.cache/nbdimage          and of others
 *
 * All of it may be deleted at any time.  A file is made under another name,
 * and renamed when it is whole; what a crash leaves of it is deleted after a
 * day, and an index that nobody used for 90 days too.
 */

#ifndef NBDIMAGE_FORMAT_COMPRESSED_INDEX_PLACE_H
#define NBDIMAGE_FORMAT_COMPRESSED_INDEX_PLACE_H

#include "lib/format/compressed/index.h"

/* The index of that file if there is one, it is whole, and ours: 0; -ENOENT
 * for whatever reason else.
 */
int index_find (const struct fingerprint *fp, struct index **out);

struct index_file {
  int fd;                       /* for reading and writing, empty */
  int folder;                   /* -1: the file has no name, and is gone when
                                   it is closed */
  char *name, *partial;         /* in the folder; what it is until then */
};

#define INDEX_FILE_INIT { -1, -1, NULL, NULL }

/* A new file for an index.  Where it can't be kept (why is in *why, unless the
 * fingerprint is not a file's), it is one without a name.
 */
int index_file_new (const struct fingerprint *fp, struct index_file *out,
                    struct err *why, struct err *err);

/* It is whole: it gets its name.  A failure does not matter. */
void index_file_keep (struct index_file *f);

/* What has no name then is removed.  fd is closed unless it is -1. */
void index_file_close (struct index_file *f);

#define CLEANUP_INDEX_FILE __attribute__ ((__cleanup__ (index_file_close)))

#endif /* NBDIMAGE_FORMAT_COMPRESSED_INDEX_PLACE_H */
