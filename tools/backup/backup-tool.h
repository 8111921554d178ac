/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The parts of nbdimage backup. */

#ifndef NBDIMAGE_TOOLS_BACKUP_BACKUP_TOOL_H
#define NBDIMAGE_TOOLS_BACKUP_BACKUP_TOOL_H

#include <stdbool.h>

#include "lib/base/report.h"
#include "lib/format/image.h"
#include "lib/repo/backup.h"
#include "lib/repo/keyring.h"
#include "lib/repo/vault-backup.h"
#include "tools/backup/freeze.h"

/*--- source.c: what is backed up --------------------------------------------*/

struct backup_source {
  struct image *img;
  struct block *disk;
};

/* Open what is to be backed up, reading only, and say in m what it is.  A
 * device that is mounted for writing, or has a partition that is, is refused
 * (-EBUSY) unless live, or about to be frozen: what changes while it is read is
 * a backup of no moment.  path: what is read; name: what it is called, which is
 * another where it is a snapshot.
 */
enum backup_stillness {
  BACKUP_OFFLINE, BACKUP_LIVE, BACKUP_FROZEN, BACKUP_LVM,
};

int backup_source_open (const char *path, const char *name,
                        const struct image_options *options,
                        enum backup_stillness how,
                        struct backup_source *source,
                        struct manifest *m, struct report *report,
                        struct err *err);
/* What of the export was written since the bitmap began: *changes, whose bitmap
 * is NULL if the server has none of that name, which report is told then.
 * Before the disk is read, so that what is written meanwhile is in the next
 * bitmap.
 */
int backup_source_changes (const char *uri, const char *bitmap,
                           struct changes *changes, struct report *report,
                           struct err *err);
void backup_source_close (struct backup_source *source);

/* The name that the disk has in backups unless another is given: of a device
 * the host's and its serial number, and which partition it is, if it is one;
 * of an export of an NBD server that of the export, and of anything else that
 * of its file, without its ending.  For free().
 */
int backup_source_disk_name (const char *name,
                             const struct backup_source *source,
                             const struct manifest *m, char **out,
                             struct err *err);

/*--- device.c: disks of this machine ----------------------------------------*/

bool backup_is_device (struct block *disk);

/* What the kernel knows about the device, if it is one. */
int backup_device_describe (struct block *disk, struct manifest *m,
                            struct err *err);

/* The number of the partition that it is; 0: it is none. */
unsigned backup_device_partition (struct block *disk);

/* Is it, a part of it, or what is made of these (LVM, encryption, RAID),
 * mounted for writing, or in use otherwise, or claimed by something that is not
 * known?  -EBUSY.  A file is asked for loop devices.
 */
int backup_device_check_still (struct block *disk, struct err *err);

/* The same, but that it may be mounted for writing where that is known. */
int backup_device_check_known (struct block *disk, struct err *err);

/* The same of a file (loops.c), which is below a loop device: -EBUSY if what
 * is on that is mounted for writing.
 */
int backup_file_check_still (struct block *disk, struct err *err);

/* The file systems of it that are mounted for writing. */
int backup_device_mounts (struct block *disk, struct mount_vector *mounts,
                          struct err *err);

/*--- hold.c: a disk that is mounted -----------------------------------------*/

struct backup_held {
  struct mount_vector mounts;
  bool listed;                  /* these are all that there were */
  struct freeze *freeze;        /* NULL: it is no device */
};

/* Make ready for it: before there are threads.  Nothing can be frozen where the
 * target (a path, or "-"), our own messages, or the root of the system lie:
 * -EBUSY.  In each case *held is the caller's to free.
 */
int backup_hold_new (struct block *disk, const char *target,
                     struct backup_held *held, struct err *err);

/* Freeze what of the disk is mounted for writing now, for at most so many
 * seconds, and see to it that what is read from now on is what is there.
 * -EBUSY as above.  Are they thawed too early, then the job is canceled, and
 * backup_hold_end says why.
 */
int backup_hold (struct block *disk, const char *target, unsigned seconds,
                 struct backup_held *held, struct job *job, struct err *err);

/* All was read, or will not be: let it go.  -ETIMEDOUT: it was not held all the
 * time.  -EBUSY: something of the disk has been mounted for writing since
 * backup_hold, or is swapped to, or claimed.
 */
int backup_hold_end (struct block *disk, struct backup_held *held,
                     struct err *err);
void backup_hold_free (struct backup_held *held);

/*--- single.c: a backup in one file -----------------------------------------*/

/* Into a new file of that name, or ("-") to stdout, which is not a terminal.
 * The header of options is complete.  keys: the file is encrypted, with a new
 * key that they open; NULL: it is not, or as options say.  Messages name the
 * disk or the file.  Until all of it is on stable storage there is no file of
 * that name.
 */
int backup_to_file (struct block *disk, struct backup_options *options,
                    const char *path, struct keyring *keys,
                    struct backup_result *result, struct job *job,
                    struct err *err);

/*--- show.c: what is said ---------------------------------------------------*/

/* After Ctrl-C: what is left of it, in a vault or (NULL) in a file, and how to
 * go on.
 */
void backup_tell_interrupted (const char *vault, const char *file);

/* The vault's file system is full: what is left there of backups that did not
 * end, if anything, and how to be rid of it.
 */
void backup_tell_full (const char *vault, struct job *job);

/*--- into-vault.c: a generation more in a vault -----------------------------*/

/* The vault in the folder `path', or at that URI (store-at.h).  init: make it,
 * if there is none; a folder that holds something else is refused.  encrypt: it
 * is to be encrypted, with a new key that keys open, or the key and slots of
 * `like'; -EACCES if it is there and is not.  The caller closes vault and
 * store, before the end of the job.
 */
struct backup_vault {
  const char *path;
  bool init, encrypt;
  struct keyring *keys;         /* NULL: there is no key */
  const struct nbi_header *like;        /* or NULL */
};

int backup_open_vault (const struct backup_vault *what, struct store **store,
                       struct vault **vault, struct report *report,
                       struct job *job, struct err *err);

int backup_to_vault (struct block *disk, struct backup_options *options,
                     const struct backup_vault *what,
                     struct vault_backup_result *result,
                     struct report *report, struct job *job,
                     struct err *err);

#endif /* NBDIMAGE_TOOLS_BACKUP_BACKUP_TOOL_H */
