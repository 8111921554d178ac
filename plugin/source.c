/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/base/uri.h"
#include "lib/block/file.h"
#include "lib/block/nbd.h"
#include "lib/format/backup-folder.h"
#include "plugin/config.h"
#include "plugin/folder.h"
#include "plugin/source.h"
#include "plugin/vault.h"

/*--- names -----------------------------------------------------------------*/

/* In place: %41 becomes A. */
static void
decode_percent (char *str)
{
  char *to = str;
  unsigned byte;

  for (; *str; ++str)
    if (*str == '%' && isxdigit ((unsigned char) str[1]) &&
        isxdigit ((unsigned char) str[2]) &&
        sscanf (str + 1, "%2x", &byte) == 1) {
      *to++ = (char) byte;
      str += 2;
    }
    else
      *to++ = *str;
  *to = '\0';
}

/* An export of a URI is named by the last component of its export name. */
static char *
name_of_uri (const char *uri)
{
  const char *path = strstr (uri, "://");
  CLEANUP_FREE char *name = NULL;
  const char *slash;

  path = path ? strchr (path + 3, '/') : NULL;
  name = path ? strndup (path, strcspn (path, "?#")) : strdup ("");
  if (name == NULL)
    return NULL;
  decode_percent (name);
  slash = strrchr (name, '/');
  return strdup (slash && slash[1] ? slash + 1 : "nbd");
}

/* Slashes at the end are not part of it. */
static char *
name_of_path (const char *path)
{
  size_t len = strlen (path), start;

  while (len > 0 && path[len - 1] == '/')
    len--;
  for (start = len; start > 0 && path[start - 1] != '/'; --start)
    ;
  return strndup (path + start, len - start);
}

/* Symbolic links are resolved, so that parents of a differencing disk are
 * looked for beside the file itself.  A file that is not there keeps its
 * name, and so does what looks like a URI: opening it says what is wrong.
 */
static char *
absolute (const char *path)
{
  char *real = realpath (path, NULL);

  if (real)
    return real;
  return uri_has_scheme (path) ? strdup (path) : nbdkit_absolute_path (path);
}

static int
check_name (const struct source *source, struct err *err)
{
  if (source->name[0] == '\0')
    return err_set (err, -EINVAL, "is no name of a file");
  if (!text_is_clean (source->name))
    return err_set (err, -EINVAL, "the name of the export must be UTF-8 "
                    "without control characters");
  return 0;
}

int
source_new (const char *file, struct source *source, struct err *err)
{
  bool is_uri = block_nbd_is_uri (file);
  struct source s = { NULL };
  int r;

  if (file[0] == '\0')
    return err_set (err, -EINVAL, "is empty, expected the name of a file");
  s.name = is_uri ? name_of_uri (file) : name_of_path (file);
  s.shown = strdup (file);
  s.path = is_uri ? strdup (file) : absolute (file);
  if (s.name == NULL || s.shown == NULL || s.path == NULL)
    r = err_nomem (err);
  else
    r = check_name (&s, err);
  if (r < 0) {
    source_free (&s);
    return r;
  }
  *source = s;
  return 0;
}

int
source_in_folder (const char *folder, const char *name,
                  struct source *source, struct err *err)
{
  struct source s = {
    .name = strdup (name),
    .shown = strdup (name),
    .in_folder = true,
  };

  if (asprintf (&s.path, "%s/%s", folder, name) < 0)
    s.path = NULL;
  if (s.name == NULL || s.shown == NULL || s.path == NULL) {
    source_free (&s);
    return err_nomem (err);
  }
  *source = s;
  return 0;
}

int
source_in_vault (const char *name, struct source *source, struct err *err)
{
  struct source s = { NULL };
  int r = source_in_folder (config.vault, name, &s, err);

  if (r < 0)
    return r;
  s.in_folder = false;
  s.in_vault = true;
  *source = s;
  return 0;
}

void
source_free (struct source *source)
{
  free (source->name);
  free (source->shown);
  free (source->path);
  free (source->overlay);
  memset (source, 0, sizeof *source);
}

/*--- opening ---------------------------------------------------------------*/

static int
open_in_folder (const struct source *source,
                const struct image_options *options, struct image **out,
                struct report *report, struct err *err)
{
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_IMAGE struct image *img = NULL;
  unsigned flags = BLOCK_FILE_NOFOLLOW;
  struct identity id;
  int r;

  if (options->writable)
    flags |= BLOCK_FILE_WRITE;
  if (options->lock)
    flags |= BLOCK_FILE_LOCK;
  r = block_file_open (source->path, flags, &block, report, err);
  if (r == -ELOOP)
    return err_set (err, r, "is a symbolic link, which a folder's images "
                    "may not be");
  if (r < 0)
    return r;
  if (block_size (block) == 0)
    return err_set (err, SOURCE_NOT_AN_IMAGE, "is empty");
  if (image_is_compressed (block, options) &&
      !folder_name_says_image (source->name))
    return err_set (err, SOURCE_NOT_AN_IMAGE, "is compressed, and its name "
                    "does not end in .img.xz or the like");
  r = image_open_block (block, options, &img, report, err);
  if (r < 0)
    return r;
  /* What nobody recognised and has the name of another format. */
  r = image_check_recognised (img, err);
  if (r < 0)
    return r;
  identity_of_image (img, &id);
  if (!id.is_file || !folder_serves (img, source->name))
    return err_set (err, SOURCE_NOT_AN_IMAGE, "is not recognised as an image");
  *out = image_ref (img);
  return 0;
}

static int
open_as (const struct source *source, bool writable, bool lock,
         struct image **out, struct report *report, struct err *err)
{
  struct image_options options = config.options;

  if (source->in_vault)
    return vault_open_export (source->name, out, report, err);
  options.writable = writable;
  options.lock = lock;
  if (source->overlay)
    options.overlay = source->overlay;
  if (source->in_folder && config.is_backup)
    return backup_folder_open (config.folder, source->name, source->path,
                               &options, out, report, err);
  if (source->in_folder)
    return open_in_folder (source, &options, out, report, err);
  return image_open (source->path, &options, out, report, err);
}

/* Does this failure mean that the image is there but can't be written?  Who
 * only reads it is still served.  Another process that has it open is no
 * such reason: when it ends, the image could be written.
 */
static bool
means_readonly (int code)
{
  return code == -EROFS || code == -EACCES || code == -EPERM ||
    code == -ENOTSUP || code == -ETXTBSY;
}

/* For reading first, because a lock for writing must not be asked for in
 * vain: it would fail beside other readers of an image that nobody can
 * write.  The two locks exclude each other, hence three steps.
 */
int
source_open (const struct source *source, bool readonly, bool lock,
             struct image **out, char reason[SOURCE_REASON_SIZE],
             struct report *report, struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;
  const char *why;
  int r;

  reason[0] = '\0';
  /* What lies below the overlays stays as it is. */
  if (config.overlay_folder && source->overlay == NULL)
    readonly = true;
  r = open_as (source, false, lock, &img, report, err);
  if (r < 0)
    return r;
  why = image_readonly_reason (img);
  if (why)
    snprintf (reason, SOURCE_REASON_SIZE, "%s", why);
  if (readonly || why) {
    *out = image_ref (img);
    return 0;
  }
  image_unref (img);
  img = NULL;

  r = open_as (source, true, lock, &img, report, err);
  if (r < 0 && means_readonly (r)) {
    snprintf (reason, SOURCE_REASON_SIZE, "%s", err->msg);
    r = open_as (source, false, lock, &img, report, err);
  }
  if (r < 0)
    return r;
  *out = image_ref (img);
  return 0;
}

/*--- identity --------------------------------------------------------------*/

void
identity_of_stat (const struct stat *st, struct identity *id)
{
  memset (id, 0, sizeof *id);
  if (!S_ISREG (st->st_mode))
    return;
  id->is_file = true;
  id->dev = st->st_dev;
  id->ino = st->st_ino;
  id->size = (uint64_t) st->st_size;
  id->mtime = st->st_mtim;
}

void
identity_of_image (const struct image *img, struct identity *id)
{
  int fd = block_file_fd (image_file (img));
  struct stat st;

  memset (id, 0, sizeof *id);
  if (fd >= 0 && fstat (fd, &st) == 0)
    identity_of_stat (&st, id);
}

bool
identity_same_file (const struct identity *a, const struct identity *b)
{
  return a->is_file && b->is_file && a->dev == b->dev && a->ino == b->ino;
}

bool
identity_same_state (const struct identity *a, const struct identity *b)
{
  return identity_same_file (a, b) && a->size == b->size &&
    a->mtime.tv_sec == b->mtime.tv_sec &&
    a->mtime.tv_nsec == b->mtime.tv_nsec;
}
