/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is in a folder of Clonezilla, by name:
 *
 *   parts                          the partitions that were saved: "sda1 sda2"
 *   disk, clonezilla-img           which disks, and how: one of them is there
 *   sda-mbr, sda-gpt-1st           the first 1 and 34 sectors
 *   sda-hidden-data-after-mbr      from the second to the first partition
 *   sda-pt.parted                  the table as text, with the disk's size
 *   sda1.ext4-ptcl-img.gz.aa …     a partition, by partclone or partclone.dd
 *   swappt-sda2.info               UUID and label of swap space
 *   lvm_vg_dev.list                which partitions are of LVM
 *   luks-dev.list                  which were decrypted to be saved
 *   ecryptfs.info                  all other files are encrypted
 */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/block/file.h"
#include "lib/format/clonezilla/clonezilla.h"

void
clonezilla_folder_free (struct clonezilla_folder *folder)
{
  for (size_t i = 0; i < folder->files.len; ++i)
    free (folder->files.ptr[i]);
  vector_free (&folder->files);
  free (folder->path);
  memset (folder, 0, sizeof *folder);
}

bool
clonezilla_has (const struct clonezilla_folder *folder, const char *name)
{
  for (size_t i = 0; i < folder->files.len; ++i)
    if (strcmp (folder->files.ptr[i], name) == 0)
      return true;
  return false;
}

static int
list (DIR *dir, struct clonezilla_folder *folder, struct err *err)
{
  struct dirent *d;

  while (errno = 0, (d = readdir (dir)) != NULL) {
    char *name = strdup (d->d_name);

    if (name == NULL || vector_append (&folder->files, &name) < 0) {
      free (name);
      return err_nomem (err);
    }
  }
  return errno != 0 ? err_sys (err, "the folder can't be read") : 0;
}

int
clonezilla_folder_read (const char *path, struct clonezilla_folder *out,
                        struct err *err)
{
  struct clonezilla_folder folder = { strdup (path), VECTOR_INIT };
  DIR *dir = opendir (path);
  int r = 0;

  if (folder.path == NULL)
    r = err_nomem (err);
  else if (dir)
    r = list (dir, &folder, err);
  if (dir)
    closedir (dir);
  if (r == 0 && clonezilla_has (&folder, "ecryptfs.info"))
    r = err_set (err, -ENOTSUP, "the backup of Clonezilla is encrypted "
                 "(ecryptfs.info): mount it with eCryptfs, and open what is "
                 "mounted");
  if (r == 0 && clonezilla_has (&folder, "parts") &&
      (clonezilla_has (&folder, "disk") ||
       clonezilla_has (&folder, "clonezilla-img"))) {
    *out = folder;
    return 1;
  }
  clonezilla_folder_free (&folder);
  return r;
}

int
clonezilla_read (const struct clonezilla_folder *folder, const char *disk,
                 const char *ending, size_t max, uint8_t **bytes,
                 size_t *len, struct err *err)
{
  CLEANUP_BLOCK struct block *file = NULL;
  CLEANUP_FREE char *path = NULL;
  CLEANUP_FREE uint8_t *buf = NULL;
  size_t n;
  int r;

  if (asprintf (&path, "%s/%s%s", folder->path, disk, ending) < 0) {
    path = NULL;
    return err_nomem (err);
  }
  r = block_file_open (path, 0, &file, NULL, err);
  if (r < 0)
    return err_in (err, "%s%s", disk, ending);
  n = (size_t) min_u64 (block_size (file), max);
  buf = malloc (n + 1);
  r = buf ? block_pread (file, buf, n, 0, err) : err_nomem (err);
  if (r < 0)
    return err_in (err, "%s%s", disk, ending);
  buf[n] = '\0';
  *bytes = steal_ptr (&buf);
  *len = n;
  return 0;
}
