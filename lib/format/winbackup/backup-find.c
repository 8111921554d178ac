/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which folder is it?  By what is in it, not by its own name, because people
 * rename WindowsImageBackup and move parts of it:
 *
 *   a backup      has BackupSpecs.xml or GUID_Components.xml
 *   a computer    has a folder "Backup YYYY-MM-DD HHMMSS" that is a backup,
 *                 and MediaId; without MediaId, no files at all
 *   all of it     has a folder that is a computer, and no files
 *
 * so that a folder of images among which a backup was put stays one.
 */

#include <config.h>

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/beneath.h"
#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/base/utf8.h"
#include "lib/format/folder.h"
#include "lib/format/winbackup/backup.h"

/* Folders with more in them are not looked through. */
#define MAX_ENTRIES 4096

/* What is in a folder. */
struct listing {
  struct name_list folders;
  bool has_files, has_media_id, has_backup_xml;
  bool is_too_long;
};

void
backup_place_free (struct backup_place *place)
{
  if (place->fd >= 0)
    close (place->fd);
  free (place->path);
  free (place->computer);
  *place = (struct backup_place) BACKUP_PLACE_INIT;
}

/*--- names -----------------------------------------------------------------*/

/* Each 9 of the pattern is a digit. */
static bool
looks_like (const char *name, const char *pattern)
{
  for (; *pattern; ++pattern, ++name)
    if (*pattern == '9' ? !isdigit ((unsigned char) *name)
                        : toupper ((unsigned char) *pattern) !=
                          toupper ((unsigned char) *name))
      return false;
  return *name == '\0';
}

static bool
is_backup_name (const char *name)
{
  return looks_like (name, "Backup 9999-99-99 999999");
}

const char *
backup_after_guid (const char *name, uint8_t guid[UUID_SIZE])
{
  char str[UUID_STRING_SIZE] = "";

  if (strlen (name) < sizeof str - 1)
    return NULL;
  memcpy (str, name, sizeof str - 1);
  return guid_from_string (str, guid) ? name + strlen (str) : NULL;
}

static bool
is_backup_xml (const char *name)
{
  uint8_t guid[UUID_SIZE];
  const char *rest = backup_after_guid (name, guid);

  return strcasecmp (name, "BackupSpecs.xml") == 0 ||
    (rest && strcasecmp (rest, "_Components.xml") == 0);
}

/*--- looking into one folder -----------------------------------------------*/

static int
add_entry (struct listing *l, const char *name, mode_t mode, struct err *err)
{
  int r = 0;

  if (S_ISDIR (mode))
    r = name_list_add (&l->folders, name, err);
  else if (S_ISREG (mode)) {
    l->has_files = true;
    l->has_media_id |= strcasecmp (name, "MediaId") == 0;
    l->has_backup_xml |= is_backup_xml (name);
  }
  return r < 0 ? r : 0;
}

/* What is it?  Nothing that is mounted there is asked, because a server that is
 * gone would not answer, and nobody may have meant that folder: 0.
 */
static mode_t
mode_of (DIR *dir, const char *name)
{
  struct statx st;

  if (statx (dirfd (dir), name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT |
             AT_STATX_DONT_SYNC, STATX_TYPE, &st) < 0 ||
      (st.stx_attributes & STATX_ATTR_MOUNT_ROOT))
    return 0;
  return st.stx_mode;
}

/* A folder that is too long is none of ours. */
static int
read_entries (DIR *dir, struct listing *l, struct err *err)
{
  struct dirent *d;
  size_t nr = 0;
  int r = 0;

  while (r == 0 && (errno = 0, d = readdir (dir)) != NULL) {
    if (d->d_name[0] == '.')
      continue;
    if (++nr > MAX_ENTRIES) {
      l->is_too_long = true;
      return 0;
    }
    r = add_entry (l, d->d_name, mode_of (dir, d->d_name), err);
  }
  if (r == 0 && errno != 0)
    return err_sys (err, "the folder can't be read");
  return r;
}

static void
listing_free (struct listing *l)
{
  name_list_free (&l->folders);
}

static int
list (int fd, struct listing *l, struct err *err)
{
  int copy = openat (fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;
  DIR *dir = copy >= 0 ? fdopendir (copy) : NULL;

  if (dir == NULL) {
    r = err_sys (err, "the folder can't be read");
    if (copy >= 0)
      close (copy);
    return r;
  }
  r = read_entries (dir, l, err);
  closedir (dir);
  return r;
}

/*--- a computer, and all of them -------------------------------------------*/

/* List a sub-folder, which the caller closes.  1; 0 if it can't be read, and is
 * none of ours then; -ENOMEM.
 */
static int
list_sub (int fd, const char *name, int *sub, struct listing *l,
          struct err *err)
{
  struct err why = ERR_INIT;
  int r = beneath_open_folder (fd, name, sub, &why);

  if (r == 0)
    r = list (*sub, l, &why);
  if (r == -ENOMEM)
    return err_nomem (err);
  return r == 0;
}

/* Is the folder in fd a backup? */
static int
is_backup (int fd, const char *name, struct err *err)
{
  CLEANUP_CLOSE int sub = -1;
  struct listing l = { .folders = VECTOR_INIT };
  int r = list_sub (fd, name, &sub, &l, err);

  if (r > 0)
    r = l.has_backup_xml;
  listing_free (&l);
  return r;
}

/* The newest backup of the computer whose folder is fd in *newest, one of the
 * list; NULL: it is none.
 */
static int
newest_backup (int fd, const struct listing *l, const char **newest,
               struct err *err)
{
  *newest = NULL;
  if (l->is_too_long || (l->has_files && !l->has_media_id))
    return 0;
  for (size_t i = 0; i < l->folders.len; ++i) {
    const char *name = l->folders.ptr[i];
    int r;

    if (!is_backup_name (name) || (*newest && strcmp (name, *newest) < 0))
      continue;
    r = is_backup (fd, name, err);
    if (r < 0)
      return r;
    if (r > 0)
      *newest = name;
  }
  return 0;
}

/* *backup is a copy, "COMPUTER/BACKUP", or NULL. */
static int
look_for_computer (int fd, const char *name, char **backup, struct err *err)
{
  CLEANUP_CLOSE int sub = -1;
  struct listing l = { .folders = VECTOR_INIT };
  const char *newest = NULL;
  int r = list_sub (fd, name, &sub, &l, err);

  *backup = NULL;
  if (r > 0)
    r = newest_backup (sub, &l, &newest, err);
  if (r == 0 && newest && asprintf (backup, "%s/%s", name, newest) < 0) {
    *backup = NULL;
    r = err_nomem (err);
  }
  listing_free (&l);
  return r;
}

static int
several_computers (const char *one, const char *other, struct err *err)
{
  char clean[2][64];

  return err_set (err, -EINVAL, "holds the backups of several computers: name "
                  "the folder of one, as ‘%s’ or ‘%s’",
                  text_clean (one, clean[0], sizeof clean[0]),
                  text_clean (other, clean[1], sizeof clean[1]));
}

static int
find_computer (int fd, const struct listing *l, char **backup,
               struct err *err)
{
  CLEANUP_FREE char *found = NULL;
  const char *computer = NULL;

  *backup = NULL;
  if (l->is_too_long || l->has_files)
    return 0;
  for (size_t i = 0; i < l->folders.len; ++i) {
    CLEANUP_FREE char *path = NULL;
    int r = look_for_computer (fd, l->folders.ptr[i], &path, err);

    if (r < 0)
      return r;
    if (path && found)
      return several_computers (computer, l->folders.ptr[i], err);
    if (path) {
      found = steal_ptr (&path);
      computer = l->folders.ptr[i];
    }
  }
  *backup = steal_ptr (&found);
  return 0;
}

/*--- all together ----------------------------------------------------------*/

/* The name of the folder that the backup's folder lies in. */
static char *
name_of_computer (const char *path)
{
  CLEANUP_FREE char *real = realpath (path, NULL);
  char *slash = real ? strrchr (real, '/') : NULL;

  if (slash == NULL || slash == real || !is_backup_name (slash + 1))
    return NULL;
  *slash = '\0';
  slash = strrchr (real, '/');
  return slash[1] ? utf8_repair (slash + 1, strlen (slash + 1)) : NULL;
}

static int
fill_place (int fd, const char *path, const char *sub,
            struct backup_place *place, struct err *err)
{
  struct backup_place p = BACKUP_PLACE_INIT;
  size_t len = strlen (path);
  int r = beneath_open_folder (fd, sub, &p.fd, err);

  if (r < 0)
    return r;
  while (len > 1 && path[len - 1] == '/')
    len--;
  if (asprintf (&p.path, "%.*s%s%s", (int) len, path, *sub ? "/" : "",
                sub) < 0) {
    p.path = NULL;
    backup_place_free (&p);
    return err_nomem (err);
  }
  p.computer = name_of_computer (p.path);
  *place = p;
  return 1;
}

int
backup_find (const char *path, struct backup_place *place, struct err *err)
{
  struct listing l = { .folders = VECTOR_INIT };
  CLEANUP_FREE char *below = NULL;
  CLEANUP_CLOSE int fd = -1;
  const char *sub = NULL;
  int r;

  fd = open (path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0)
    return 0;
  r = list (fd, &l, err);
  if (r == 0 && l.has_backup_xml)
    sub = "";
  if (r == 0 && sub == NULL)
    r = newest_backup (fd, &l, &sub, err);
  if (r == 0 && sub == NULL) {
    r = find_computer (fd, &l, &below, err);
    sub = below;
  }
  if (r == 0 && sub)
    r = fill_place (fd, path, sub, place, err);
  listing_free (&l);
  return r;
}
