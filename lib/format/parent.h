/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Finding the parents of differencing disks, for all formats that have them.
 *
 * What a child says about where its parent is comes as a list of paths, none
 * of them trusted.  Each is tried in the child's own folder and then in each
 * folder of the parent-path option.  Paths never lead out of the folder they
 * are tried in (lib/base/beneath.h); one with ".." in it, or an absolute one,
 * counts when the place it means is in a folder that is allowed.  If nothing
 * is found this way, the same again with names that differ in case.
 *
 * A file that is found is shown to the format, which says whether it is the
 * parent.  What is not is passed over, and the best reason remembered.
 */

#ifndef NBDIMAGE_FORMAT_PARENT_H
#define NBDIMAGE_FORMAT_PARENT_H

#include <stdbool.h>

#include "lib/block/block.h"
#include "lib/format/folder.h"

/* Files in a chain, the image itself included. */
#define PARENT_MAX_LAYERS 64

/*--- parent-names.c ---------------------------------------------------------*/

/* Windows paths become POSIX ones: '\' to '/', without drive letter.  Changes
 * the string and returns a part of it.  *leaf_only is set where only the last
 * part of the path can mean anything here.
 */
char *parent_path_from_windows (char *path, bool *leaf_only);

/* Append a path and, because a child that was moved together with its parent
 * finds it beside itself, its last part.  What can't be a file is left out.
 */
int parent_names_add (struct name_list *names, const char *path,
                      bool leaf_only, struct err *err);

/* The same with a Windows path, which is changed. */
int parent_names_add_windows (struct name_list *names, char *path,
                              struct err *err);

/*--- parent-place.c ---------------------------------------------------------*/

/* Where a parent is, for a new child: POSIX paths. */
struct parent_place {
  char *absolute;               /* without symbolic links */
  char *relative;               /* from the child's folder, "./x" or "../x";
                                   NULL: it can't be said in Windows' way, as
                                   there is a backslash in the path */
};

/* Warns when a child would not find its parent without the parent-path
 * option.
 */
int parent_place_find (const char *child, const char *parent,
                       struct parent_place *out, struct report *report,
                       struct err *err);
void parent_place_free (struct parent_place *place);

/* '/' to '\', in place. */
void parent_path_to_windows (char *path);

/*--- parent.c ---------------------------------------------------------------*/

/* The folder of the image itself, by the name it was opened with: none, with
 * a warning, where it may not be opened or is not there any more, and none
 * where the block is no file.
 */
int parent_leaf_folder (const struct block *leaf, struct folder *out,
                        struct report *report, struct err *err);

/* The folders in a parent-path option; NULL: none.  After a failure, too,
 * the caller frees them.
 */
int parent_path_folders (const char *parent_path, struct folder_vector *out,
                         struct err *err);
void parent_folders_free (struct folder_vector *folders);

/* Are both the same file, under whatever names? */
bool parent_is_same_file (const struct block *a, const struct block *b);

struct image;

/* Which of the files that the image is made of has this path, by whatever name:
 * 0 the image itself, 1 its parent and so on; -1 if none has, or that can't be
 * known.
 */
int parent_layer_with_path (struct image *img, const char *path);

/* One search. */
struct parent_search {
  const struct folder *leaf_folder;     /* of the image: allowed to all */
  const struct folder *child_folder;
  const struct folder_vector *path_folders;
  const struct name_list *names;
  const char *identity;         /* that is looked for, for messages */
  bool lock;                    /* hold the files against writers */

  /* Is what lies on the block the parent?  0: it is, and kept.  Otherwise a
   * negative errno and the reason; -ENOMEM ends the search.
   */
  int (*accept) (void *opaque, struct block *block, struct report *report,
                 struct err *err);
  void *opaque;
};

/* Returns 0 when a file was accepted; *own is then the folder it lies in.
 * May fail after a file was accepted.
 */
int parent_find (const struct parent_search *search, struct folder *own,
                 struct report *report, struct err *err);

#endif /* NBDIMAGE_FORMAT_PARENT_H */
