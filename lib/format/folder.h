/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The folders in which parents of differencing disks may lie, and lists of
 * names in them.
 */

#ifndef NBDIMAGE_FORMAT_FOLDER_H
#define NBDIMAGE_FORMAT_FOLDER_H

#include <stdbool.h>

#include "lib/base/err.h"
#include "lib/base/vector.h"

struct folder {
  int fd;                       /* -1: none */
  char *path;                   /* as given; for messages */
  char *real_path;              /* absolute, without symbolic links */
};

#define FOLDER_INIT { -1, NULL, NULL }

DEFINE_VECTOR (folder_vector, struct folder);

int folder_open (const char *path, struct folder *out, struct err *err);
void folder_close (struct folder *folder);

/* If path, absolute and without "..", is inside the folder: its rest. */
const char *folder_inside (const struct folder *folder, const char *path);

/* Paths, owned by the list. */
DEFINE_VECTOR (name_list, char *);

/* Append a copy, unless the list has it.  0, 1 if it had it, or -ENOMEM. */
int name_list_add (struct name_list *names, const char *name,
                   struct err *err);
void name_list_free (struct name_list *names);

/* The names in the folder that path (relative) leads to whose last part
 * differs from that of path in the case of letters only, as paths relative
 * to the folder.
 */
int folder_similar (const struct folder *folder, const char *path,
                    struct name_list *out, struct err *err);

/* May the file that is listed so be what was called `wanted', by what a layer
 * above knows of names?  Then folder_similar has it too.
 */
typedef bool folder_renamed (const char *listed, const char *wanted);
void folder_renamed_set (folder_renamed *fn);

#endif /* NBDIMAGE_FORMAT_FOLDER_H */
