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
  char *description;            /* NULL: not an image */
  bool is_bad;
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

static bool
ends_in (const char *name, const char *ending)
{
  size_t len = strlen (name), n = strlen (ending);

  return len > n && strcmp (name + len - n, ending) == 0;
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
  return ends_in (name, ".img") || ends_in (name, ".raw") ||
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
 * could not be opened is tried again: its parent may be there now.
 */
static int
describe_from_known (struct entry *e, struct err *err)
{
  const struct entry *old = known.len == 0 ? NULL :
    bsearch (e, known.ptr, known.len, sizeof *e, compare_entries);

  if (old == NULL || old->is_bad || !identity_same_state (&old->id, &e->id))
    return 0;
  if (old->description == NULL)
    return 1;
  e->description = strdup (old->description);
  return e->description ? 1 : err_nomem (err);
}

static char *
describe_failure (const char *why)
{
  char line[ERR_MSG_SIZE + 32], clean[DESCRIPTION_SIZE];

  snprintf (line, sizeof line, "can't be served: %s", why);
  return strdup (text_clean (line, clean, sizeof clean));
}

/* A file that is no image, or that we may not even read, gets no
 * description.
 */
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
  r = source_open (&source, true, false, &img, reason, NULL, &why);
  source_free (&source);
  e->is_bad = r < 0 && r != SOURCE_NOT_AN_IMAGE;
  if (r == SOURCE_NOT_AN_IMAGE || r == -EACCES)
    return 0;
  e->description = r < 0 ? describe_failure (why.msg) : describe_image (img);
  return e->description ? 0 : err_nomem (err);
}

/* Append the files that may be images. */
static int
read_names (DIR *dir, struct entry_vector *found, struct err *err)
{
  struct dirent *d;
  struct stat st;

  while (errno = 0, (d = readdir (dir)) != NULL) {
    struct entry e = { NULL };

    if (!folder_name_ok (d->d_name) ||
        fstatat (dirfd (dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        !S_ISREG (st.st_mode) || found->len >= MAX_LISTED)
      continue;
    identity_of_stat (&st, &e.id);
    e.name = strdup (d->d_name);
    if (e.name == NULL || vector_append (found, &e) < 0) {
      free (e.name);
      return err_nomem (err);
    }
  }
  if (errno != 0)
    return err_sys (err, "reading the folder");
  return 0;
}

/* Make `known` what is in the folder now. */
static int
look (struct err *err)
{
  struct entry_vector found = VECTOR_INIT;
  DIR *dir = opendir (config.folder);
  int r;

  if (dir == NULL)
    return err_sys (err, "the folder can't be opened");
  r = read_names (dir, &found, err);
  closedir (dir);
  if (found.len > 0)
    qsort (found.ptr, found.len, sizeof *found.ptr, compare_entries);
  for (size_t i = 0; r == 0 && i < found.len; ++i) {
    r = describe_from_known (&found.ptr[i], err);
    if (r == 0)
      r = describe_from_file (&found.ptr[i], err);
    else if (r == 1)
      r = 0;
  }
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
    };

    if (item.description)
      r = fn (opaque, &item);
  }
  return r;
}

void
folder_free (void)
{
  entries_free (&known);
}
