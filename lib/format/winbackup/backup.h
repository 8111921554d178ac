/* SPDX-License-Identifier: GPL-2.0-or-later */

/* One backup in a WindowsImageBackup folder: what is in it, and how its
 * volumes make up disks.  Only lib/format/winbackup includes this.
 */

#ifndef NBDIMAGE_FORMAT_WINBACKUP_BACKUP_H
#define NBDIMAGE_FORMAT_WINBACKUP_BACKUP_H

#include "lib/base/report.h"
#include "lib/format/image.h"
#include "lib/format/winbackup/asr.h"

/* A backup's own folder ("Backup 2019-02-22 124351"). */
struct backup_place {
  int fd;
  char *path;                   /* the path given, and what was chosen */
  char *computer;               /* NULL: not known */
};

#define BACKUP_PLACE_INIT { -1, NULL, NULL }

/* Is the folder a backup's, a computer's or a whole WindowsImageBackup?  1:
 * yes, *place is its newest backup; 0: none of them.  -EINVAL when it has the
 * backups of several computers.  Errors do not name path.
 */
int backup_find (const char *path, struct backup_place *place,
                 struct err *err);
void backup_place_free (struct backup_place *place);

/* What follows the GUID that a file's name begins with; NULL: it does not. */
const char *backup_after_guid (const char *name, uint8_t guid[UUID_SIZE]);

struct backup_volume {
  uint8_t guid[UUID_SIZE];
  char *file;                   /* in the folder */
  char *second_file;            /* of the same GUID; NULL: as it should be */
  char *name;                   /* to be asked for by */
  char *label;                  /* NULL: none known */
  char letter;                  /* 'C'; 0: none known */
  bool placed;                  /* the next two say where */
  size_t disk, part;            /* in asr.disks, and in its parts */
};

struct backup_disk {
  char *name;                   /* "disk", or "disk-N" if there are several */
  size_t disk;                  /* in asr.disks */
};

DEFINE_VECTOR (backup_volume_vector, struct backup_volume);
DEFINE_VECTOR (backup_disk_vector, struct backup_disk);

struct backup {
  unsigned refs;                /* atomic */
  struct backup_place place;
  struct backup_volume_vector volumes;  /* by file name */
  struct backup_disk_vector disks;      /* those of which volumes are here */
  struct asr asr;
  struct err layout;            /* why there is no disk; code 0: there is */
};

/* Read what is in the folder, which is taken over also on failure.  That the
 * layout can't be read or believed is no failure, but in (*out)->layout.
 */
int backup_open (struct backup_place *place, struct backup **out,
                 struct report *report, struct err *err);
struct backup *backup_ref (struct backup *backup);
void backup_unref (struct backup *backup);      /* NULL is fine */

/* The text of a document of the backup, at most BACKUP_DOCUMENT_MAX bytes;
 * the caller frees it.  Errors name the document.
 */
#define BACKUP_DOCUMENT_MAX (4 * 1024 * 1024)
int backup_read_document (const struct backup *backup, const char *name,
                          char **text, size_t *len, struct err *err);

/* Open a volume: the image of its VHD or VHDX, and its own bytes within,
 * which are those of the partition that the file's disk has, or all of it.
 * Errors and warnings name the file.
 */
int backup_open_volume (const struct backup *backup,
                        const struct backup_volume *volume,
                        const struct image_options *options,
                        struct image **image, struct block **bytes,
                        struct report *report, struct err *err);

/* The first len bytes of a volume whose partition has so many.  -EBADMSG when
 * the volume has fewer, or more than rounding explains, or its file system
 * says that it does.
 */
int backup_fit_volume (struct block *bytes, uint64_t len, struct block **out,
                       struct err *err);

DEFINE_VECTOR (image_vector, struct image *);

/* Put a disk together.  The images of its volumes are appended to images,
 * with references.
 */
int backup_open_disk (const struct backup *backup, size_t disk,
                      const char *name, const struct image_options *options,
                      struct image_vector *images, struct block **bytes,
                      struct report *report, struct err *err);

#endif /* NBDIMAGE_FORMAT_WINBACKUP_BACKUP_H */
