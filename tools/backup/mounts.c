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
  for (size_t i = 0; i < mounts->len; ++i) {
    struct mount_places *places = &mounts->ptr[i].places;

    for (size_t j = 0; j < places->len; ++j)
      free (places->ptr[j].where);
    vector_free (places);
  }
  vector_free (mounts);
}

static struct mount *
find (const struct mount_vector *mounts, unsigned major, unsigned minor)
{
  for (size_t i = 0; i < mounts->len; ++i)
    if (mounts->ptr[i].major == major && mounts->ptr[i].minor == minor)
      return &mounts->ptr[i];
  return NULL;
}

static int
add_place (struct mount *mount, const struct mount_place *place)
{
  struct mount_place copy = { place->id, strdup (place->where) };

  if (copy.where != NULL && vector_append (&mount->places, &copy) == 0)
    return 0;
  free (copy.where);
  return -ENOMEM;
}

int
mounts_add (struct mount_vector *mounts, unsigned major, unsigned minor,
            const struct mount_place *place, struct err *err)
{
  struct mount *mount = find (mounts, major, minor), new = {
    major, minor, VECTOR_INIT,
  };

  if (mount != NULL)
    return add_place (mount, place) < 0 ? err_nomem (err) : 0;
  if (add_place (&new, place) == 0 && vector_append (mounts, &new) == 0)
    return 0;
  if (new.places.len > 0)
    free (new.places.ptr[0].where);
  vector_free (&new.places);
  return err_nomem (err);
}

bool
mounts_have (const struct mount_vector *mounts, const struct mount *mount)
{
  return find (mounts, mount->major, mount->minor) != NULL;
}

const char *
mount_where (const struct mount *mount)
{
  return mount->places.ptr[0].where;
}

/* The number of the mount that fd is in; 0: it is not known. */
static unsigned long long
mount_id (int fd)
{
  struct statx st;

  return statx (fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) < 0 ||
    !(st.stx_mask & STATX_MNT_ID) ? 0 : st.stx_mnt_id;
}

/* Looked at before it is opened: to open a FIFO or a device does something. */
static int
open_place (const struct mount_place *place)
{
  CLEANUP_CLOSE int fd = open (place->where, O_PATH | O_CLOEXEC);
  char path[64];
  struct stat st;

  if (fd < 0 || mount_id (fd) != place->id || fstat (fd, &st) < 0 ||
      !(S_ISDIR (st.st_mode) || S_ISREG (st.st_mode)))
    return -1;
  snprintf (path, sizeof path, "/proc/self/fd/%d", fd);
  return open (path, O_RDONLY | O_CLOEXEC);
}

int
mount_open (const struct mount *mount, struct err *err)
{
  for (size_t i = 0; i < mount->places.len; ++i) {
    int fd = open_place (&mount->places.ptr[i]);

    if (fd >= 0)
      return fd;
  }
  return err_set (err, -EBUSY, "the file system at %s is hidden by another "
                  "mount; have it mounted where it can be seen, too",
                  mount_where (mount));
}

/* st_dev is not what mountinfo has, where a file system makes up numbers for
 * its parts, as btrfs; but the number of the mount is in both.
 */
const struct mount *
mounts_find (const struct mount_vector *mounts, int fd)
{
  CLEANUP_FCLOSE FILE *fp = fopen ("/proc/self/mountinfo", "re");
  CLEANUP_FREE char *line = NULL;
  const unsigned long long wanted = mount_id (fd);
  size_t cap = 0;

  while (wanted != 0 && fp != NULL && getline (&line, &cap, fp) > 0) {
    unsigned long long id;
    unsigned major, minor;

    if (sscanf (line, "%llu %*s %u:%u", &id, &major, &minor) == 3 &&
        id == wanted)
      return find (mounts, major, minor);
  }
  return NULL;
}
