/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Folders that are images: the system image backups of Windows, in a folder
 * WindowsImageBackup.  A name FOLDER or FOLDER/MEMBER is opened by image_open
 * like any other; FOLDER alone is its disk.
 */

#ifndef NBDIMAGE_FORMAT_BACKUP_FOLDER_H
#define NBDIMAGE_FORMAT_BACKUP_FOLDER_H

#include "lib/base/err.h"
#include "lib/base/report.h"
#include "lib/base/vector.h"
#include "lib/format/image.h"

/* 1: the folder is a backup, a computer's backups, of which the newest
 * counts, or all of them; 0: it is no such folder, or none; -EINVAL: it has
 * backups of several computers.  Errors do not name it.
 */
int backup_folder_is_one (const char *path, struct err *err);

/* What can be opened in it: its disks first.  Names are clean UTF-8 without
 * slash, and not empty.
 */
struct backup_member {
  char *name;                   /* "disk", "C", a label or a GUID */
  bool is_disk;
};

DEFINE_VECTOR (backup_member_vector, struct backup_member);

int backup_folder_members (const char *path, struct backup_member_vector *out,
                           struct report *report, struct err *err);
void backup_members_free (struct backup_member_vector *members);

/* Open a member: by its name or, a volume, by its drive letter with or without
 * colon, label or GUID, letters of either case; NULL: the only disk.  The
 * image has the name `name`.  -EROFS when options ask for writing.
 */
int backup_folder_open (const char *path, const char *member,
                        const char *name, const struct image_options *options,
                        struct image **out, struct report *report,
                        struct err *err);

/* What image_open does with a name.  1: *out is it; 0: it names no such
 * folder and nothing in one.
 */
int backup_folder_open_name (const char *name,
                             const struct image_options *options,
                             struct image **out, struct report *report,
                             struct err *err);

/* As realpath with NULL, but what is named in the last part of the name need
 * not exist: it may be a member.
 */
char *backup_folder_absolute (const char *name);

#endif /* NBDIMAGE_FORMAT_BACKUP_FOLDER_H */
