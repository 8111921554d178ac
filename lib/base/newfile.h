/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A new file that has its name only once it is complete.
 *
 *   struct new_file f = NEW_FILE_INIT;
 *
 *   r = new_file_open ("disk.vhd", &f, err);
 *   ... write to f.fd ...
 *   r = new_file_commit (&f, err);
 *   new_file_close (&f);
 *
 * Until the commit there is nothing under the name, and after a crash or
 * Ctrl-C nothing is left (or, where the file system has no files without a
 * name, one that begins with a dot and ends in ".partial").  A file that is
 * there already is never replaced.
 */

#ifndef NBDIMAGE_BASE_NEWFILE_H
#define NBDIMAGE_BASE_NEWFILE_H

#include <stdbool.h>

#include "lib/base/err.h"

struct new_file {
  int fd;                       /* for reading and writing */
  int folder;                   /* descriptor of the folder */
  char *name;                   /* in the folder */
  char *partial;                /* its name until then; NULL: none */
  bool kept;                    /* without a commit it stays as partial */
};

#define NEW_FILE_INIT { -1, -1, NULL, NULL, false }

/* Could it be made, as far as that can be known without making it?  -EEXIST if
 * there is anything of that name, or why not.
 */
int new_file_check (const char *path, struct err *err);

/* -EEXIST if there is anything of that name, or why it can't be made. */
int new_file_open (const char *path, struct new_file *out, struct err *err);

/* The same for a file that takes long to make: it is ".NAME.partial" in the
 * folder meanwhile, and stays there when it is closed without a commit, or the
 * process ends, to go on with it later.  One that is there already is opened,
 * and *found says so: what is in it, who made it, and that nobody else works
 * on it, the caller finds out.  -EEXIST as above; -ENOTSUP when that name
 * is not a file's.
 */
int new_file_open_kept (const char *path, struct new_file *out, bool *found,
                        struct err *err);

/* Everything that was written, and the name, are on stable storage when this
 * returns 0.  -EEXIST if somebody else took the name meanwhile.
 */
int new_file_commit (struct new_file *f, struct err *err);

/* Close it; without a commit before, the file is gone unless it is kept. */
void new_file_close (struct new_file *f);

#define CLEANUP_NEW_FILE __attribute__ ((__cleanup__ (new_file_close)))

#endif /* NBDIMAGE_BASE_NEWFILE_H */
