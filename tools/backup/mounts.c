/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/cleanup.h"
#include "tools/backup/mounts.h"

void
mounts_free (struct mount_vector *mounts)
{
  for (size_t i = 0; i < mounts->len; ++i)
    free (mounts->ptr[i].where);
  vector_free (mounts);
}

static const struct mount *
find (const struct mount_vector *mounts, unsigned major, unsigned minor)
{
  for (size_t i = 0; i < mounts->len; ++i)
    if (mounts->ptr[i].major == major && mounts->ptr[i].minor == minor)
      return &mounts->ptr[i];
  return NULL;
}

int
mounts_add (struct mount_vector *mounts, unsigned major, unsigned minor,
            const char *where, struct err *err)
{
  struct mount mount = { major, minor, NULL };

  if (find (mounts, major, minor) != NULL)
    return 0;
  mount.where = strdup (where);
  if (mount.where == NULL || vector_append (mounts, &mount) < 0) {
    free (mount.where);
    return err_nomem (err);
  }
  return 0;
}

/* st_dev is not what mountinfo has, where a file system makes up numbers for
 * its parts, as btrfs; but the number of the mount is in both.
 */
const struct mount *
mounts_find (const struct mount_vector *mounts, int fd)
{
  CLEANUP_FCLOSE FILE *fp = fopen ("/proc/self/mountinfo", "re");
  CLEANUP_FREE char *line = NULL;
  size_t cap = 0;
  struct statx st;

  if (fp == NULL || statx (fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) < 0 ||
      !(st.stx_mask & STATX_MNT_ID))
    return NULL;
  while (getline (&line, &cap, fp) > 0) {
    unsigned long long id;
    unsigned major, minor;

    if (sscanf (line, "%llu %*s %u:%u", &id, &major, &minor) == 3 &&
        id == st.stx_mnt_id)
      return find (mounts, major, minor);
  }
  return NULL;
}
