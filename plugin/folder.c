/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the last look found is kept, so that a client that lists the exports
 * over and over costs a stat for each file and not an open.
 */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/block/file.h"
#include "lib/format/backup-folder.h"
#include "lib/fsmap/identify.h"
#include "plugin/config.h"
#include "plugin/describe.h"
#include "plugin/folder.h"
#include "plugin/source.h"

/* nbdkit lists no more exports than this. */
#define MAX_LISTED 10000

struct entry {
  char *name;
  struct identity id;
  char *description;            /* or why it is not served */
  bool is_bad;
  bool is_left_out;
  bool is_link;
  bool is_unread;               /* opening it takes long, and nobody has */
};

DEFINE_VECTOR (entry_vector, struct entry);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry_vector known;       /* by name; guarded by lock */

bool
folder_name_ok (const char *name)
{
  return name[0] != '\0' && name[0] != '.' && strchr (name, '/') == NULL &&
    strlen (name) <= NAME_MAX && text_is_clean (name);
}

/*--- what is an image? -----------------------------------------------------*/

/* Does the name say that this is a raw disk? */
static bool
has_raw_name (const char *name)
{
  const char *format = image_format_by_name (name);

  return format && strcmp (format, "raw") == 0;
}

bool
folder_name_says_image (const char *name)
{
  const char *dot = strrchr (name, '.');
  CLEANUP_FREE char *before = dot ? strndup (name, (size_t) (dot - name))
    : NULL;

  return before && image_format_by_name (before) != NULL;
}

/* Boot sectors of PCs and of FAT and NTFS end in 55 AA; a GPT is said by a
 * protective MBR, but 4096-byte sectors leave it at another place.
 */
static bool
has_boot_sector (struct image *img)
{
  uint8_t sector[512];

  return image_pread (img, sector, sizeof sector, 0, NULL) == 0 &&
    get_le16 (sector + 510) == 0xaa55;
}

static bool
has_file_system (struct image *img)
{
  CLEANUP_FS_IDENTITY struct fs_identity identity = { NULL };
  CLEANUP_BLOCK struct block *disk = NULL;

  return image_to_block (img, &disk, NULL) == 0 &&
    fs_identify (disk, &identity, NULL) == 0 && identity.type != NULL;
}

bool
folder_serves (struct image *img, const char *name)
{
  if (strcmp (image_format (img), "raw") != 0)
    return true;
  if (image_size (img) == 0 || image_size (img) % 512 != 0)
    return false;
  /* Of a compressed one the name was asked before. */
  return has_raw_name (name) || image_file (img) != image_block (img) ||
    has_boot_sector (img) || has_file_system (img);
}

/*--- looking ---------------------------------------------------------------*/

static void
entry_free (struct entry *e)
{
  free (e->name);
  free (e->description);
}

static void
entries_free (struct entry_vector *v)
{
  for (size_t i = 0; i < v->len; ++i)
    entry_free (&v->ptr[i]);
  vector_free (v);
}

static int
compare_entries (const void *a, const void *b)
{
  return strcmp (((const struct entry *) a)->name,
                 ((const struct entry *) b)->name);
}

/* From the last look, if it still holds: 1; 0 if it does not; -ENOMEM.  What
 * could not be opened is tried again: its parent may be there now.  Members of
 * a backup are always looked at.
 */
static int
describe_from_known (struct entry *e, struct err *err)
{
  const struct entry *old = known.len == 0 || config.is_backup ? NULL :
    bsearch (e, known.ptr, known.len, sizeof *e, compare_entries);

  if (old == NULL || old->is_bad || old->is_unread ||
      !identity_same_state (&old->id, &e->id))
    return 0;
  e->is_left_out = old->is_left_out;
  e->description = strdup (old->description);
  return e->description ? 1 : err_nomem (err);
}

static char *
describe_failure (const char *what, const char *why)
{
  char line[ERR_MSG_SIZE + 32], clean[DESCRIPTION_SIZE];

  snprintf (line, sizeof line, "%s%s", what, why);
  return strdup (text_clean (line, clean, sizeof clean));
}

/* A file that is no image, or that we may not even read, is left out. */
static int
describe_from_file (struct entry *e, struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;
  struct source source;
  struct err why = ERR_INIT;
  char reason[SOURCE_REASON_SIZE];
  int r = source_in_folder (config.folder, e->name, &source, err);

  if (r < 0)
    return r;
  if (!config.is_backup && folder_name_says_image (e->name) &&
      image_takes_long (source.path, &config.options)) {
    source_free (&source);
    e->is_unread = true;
    e->description = strdup ("compressed; read as a whole when it is first "
                             "opened");
    return e->description ? 0 : err_nomem (err);
  }
  r = source_open (&source, true, false, &img, reason, NULL, &why);
  source_free (&source);
  e->is_left_out = r == SOURCE_NOT_AN_IMAGE || r == -EACCES;
  e->is_bad = r < 0 && !e->is_left_out;
  if (r < 0)
    e->description = describe_failure (e->is_bad ? "can't be served: " :
                                       r == -EACCES ? "is not served: " :
                                       "is not served: it ", why.msg);
  else
    e->description = describe_image (img);
  return e->description ? 0 : err_nomem (err);
}

/* What keeps a file from being served before anybody looked into it. */
static const char *
reason_to_leave_out (const char *name, const struct stat *st)
{
  if (S_ISLNK (st->st_mode))
    return "it is a symbolic link, and these are not followed; move the file "
      "here, or make a hard link";
  if (!S_ISREG (st->st_mode))
    return "it is not a regular file";
  if (name[0] == '.')
    return "its name begins with a dot";
  if (!folder_name_ok (name))
    return "its name is not UTF-8 without control characters";
  return NULL;
}

/* 0, or -ENOMEM. */
static int
add_name (const char *name, const struct stat *st, struct entry_vector *found,
          struct err *err)
{
  const char *why = reason_to_leave_out (name, st);
  struct entry e = {
    .name = strdup (name),
    .description = why ? describe_failure ("is not served: ", why) : NULL,
    .is_left_out = why != NULL,
    .is_link = S_ISLNK (st->st_mode),
  };

  identity_of_stat (st, &e.id);
  if (e.name && (e.description || why == NULL) &&
      vector_append (found, &e) == 0)
    return 0;
  entry_free (&e);
  return err_nomem (err);
}

/* Append all but the sub-folders. */
static int
read_names (DIR *dir, struct entry_vector *found, struct err *err)
{
  struct dirent *d;
  struct stat st;
  int r;

  while (errno = 0, (d = readdir (dir)) != NULL) {
    if (fstatat (dirfd (dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        S_ISDIR (st.st_mode) || found->len >= MAX_LISTED)
      continue;
    r = add_name (d->d_name, &st, found, err);
    if (r < 0)
      return r;
  }
  if (errno != 0)
    return err_sys (err, "reading the folder");
  return 0;
}

/* A backup has other names than those of its files. */
static int
read_members (struct entry_vector *found, struct err *err)
{
  struct backup_member_vector members = VECTOR_INIT;
  int r = backup_folder_members (config.folder, &members, NULL, err);

  for (size_t i = 0; r == 0 && i < members.len; ++i) {
    struct entry e = { .name = members.ptr[i].name };

    if (vector_append (found, &e) < 0)
      r = err_nomem (err);
    else
      members.ptr[i].name = NULL;
  }
  backup_members_free (&members);
  return r;
}

static int
read_folder (struct entry_vector *found, struct err *err)
{
  DIR *dir = opendir (config.folder);
  int r;

  if (dir == NULL)
    return err_sys (err, "the folder can't be opened");
  r = read_names (dir, found, err);
  closedir (dir);
  if (found->len > 0)
    qsort (found->ptr, found->len, sizeof *found->ptr, compare_entries);
  return r;
}

/* 0, or -ENOMEM. */
static int
describe_entry (struct entry *e, struct err *err)
{
  int r;

  if (e->description)           /* left out by its name */
    return 0;
  r = describe_from_known (e, err);
  if (r == 0)
    return describe_from_file (e, err);
  return r == 1 ? 0 : r;
}

/* Make `known` what is in the folder now. */
static int
look (struct err *err)
{
  struct entry_vector found = VECTOR_INIT;
  int r = config.is_backup ? read_members (&found, err)
                           : read_folder (&found, err);

  for (size_t i = 0; r == 0 && i < found.len; ++i)
    r = describe_entry (&found.ptr[i], err);
  if (r < 0) {
    entries_free (&found);
    return r;
  }
  entries_free (&known);
  known = found;
  return 0;
}

int
folder_list (folder_fn fn, void *opaque, struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&lock);
  int r = look (err);

  for (size_t i = 0; r == 0 && i < known.len; ++i) {
    struct folder_item item = {
      .name = known.ptr[i].name,
      .description = known.ptr[i].description,
      .is_bad = known.ptr[i].is_bad,
      .is_left_out = known.ptr[i].is_left_out,
      .is_link = known.ptr[i].is_link,
    };

    r = fn (opaque, &item);
  }
  return r;
}

void
folder_free (void)
{
  entries_free (&known);
}
