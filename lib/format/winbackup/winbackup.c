/* SPDX-License-Identifier: GPL-2.0-or-later */

/* System image backups of Windows as images: the disk of one, or a volume.
 * See backup-find.c for which folders these are, asr.c for the layout.
 * They are read only.
 */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/base/utf8.h"
#include "lib/block/regions.h"
#include "lib/block/window.h"
#include "lib/format/backup-folder.h"
#include "lib/format/image-ops.h"
#include "lib/format/winbackup/backup.h"

struct winbackup {
  struct backup *backup;
  const struct backup_volume *volume;   /* NULL: a disk */
  struct image_vector images;   /* VHDs, with references */
};

/*--- the image -------------------------------------------------------------*/

static struct winbackup *
state_of (const struct image *img)
{
  return img->state;
}

static void
winbackup_close (struct image *img)
{
  struct winbackup *w = state_of (img);

  for (size_t i = 0; i < w->images.len; ++i)
    image_unref (w->images.ptr[i]);
  vector_free (&w->images);
  backup_unref (w->backup);
}

static int
copy_layer (const struct image *vhd, struct image_info *info,
            struct err *err)
{
  struct image_layer layer = {
    .name = strdup (image_name (vhd)),
    .format = strdup (image_format (vhd)),
  };

  if (layer.name && layer.format &&
      vector_append (&info->layers, &layer) == 0)
    return 0;
  free (layer.name);
  free (layer.format);
  return err_nomem (err);
}

/* The image itself, then the files its extents are in. */
static int
add_layers (struct image *img, struct image_info *info, struct err *err)
{
  const struct winbackup *w = state_of (img);
  int r = copy_layer (img, info, err);

  for (size_t i = 0; r == 0 && i < w->images.len; ++i)
    r = copy_layer (w->images.ptr[i], info, err);
  return r;
}

static int
add_volume_property (const struct backup_volume *v, struct image_info *info,
                     struct err *err)
{
  char key[96], guid[UUID_STRING_SIZE];
  bool has_other_label = v->label && strcmp (v->label, v->name) != 0;

  guid_to_string (v->guid, guid);
  snprintf (key, sizeof key, "volume-%s", guid);
  return image_info_add (info, key, "Volume", err, "%s%s%s%s, %s", v->name,
                         has_other_label ? " ‘" : "",
                         has_other_label ? v->label : "",
                         has_other_label ? "’" : "", v->file);
}

static uint64_t
sum_of_files (const struct winbackup *w)
{
  uint64_t sum = 0;

  for (size_t i = 0; i < w->images.len; ++i)
    sum += block_size (image_block (w->images.ptr[i]));
  return sum;
}

static int
winbackup_info (struct image *img, struct image_info *info, struct err *err)
{
  const struct winbackup *w = state_of (img);
  const struct backup_volume_vector *volumes = &w->backup->volumes;
  int r;

  info->type = strdup (w->volume ? "volume" : "disk");
  if (info->type == NULL)
    return err_nomem (err);
  if (w->volume && w->volume->label &&
      (info->label = strdup (w->volume->label)) == NULL)
    return err_nomem (err);
  info->file_size = sum_of_files (w);
  info->is_assembled = true;
  r = add_layers (img, info, err);
  if (r == 0 && w->backup->place.computer)
    r = image_info_add (info, "computer", "Computer", err, "%s",
                        w->backup->place.computer);
  if (r == 0)
    r = image_info_add (info, "backup", "Backup", err, "%s",
                        w->backup->place.path);
  for (size_t i = 0; r == 0 && i < volumes->len; ++i)
    r = add_volume_property (&volumes->ptr[i], info, err);
  return r;
}

/* Never asked to open or probe a block: images are made below. */
static const struct image_ops winbackup_image_ops = {
  .name = "winbackup",
  .state_size = sizeof (struct winbackup),
  .close = winbackup_close,
  .info = winbackup_info,
};

/* Takes the images over when it succeeds. */
static int
make_image (struct backup *backup, const struct backup_volume *volume,
            struct image_vector *images, struct block *bytes,
            struct image **out, struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;
  struct winbackup *w;
  int r = image_new (&winbackup_image_ops, bytes, &img, err);

  if (r < 0)
    return r;
  w = state_of (img);
  w->backup = backup_ref (backup);
  w->volume = volume;
  w->images = *images;
  *images = (struct image_vector) VECTOR_INIT;
  img->disk = block_ref (bytes);
  img->size = block_size (bytes);
  img->readonly_reason = strdup ("backups of Windows are read-only");
  if (img->readonly_reason == NULL)
    return err_nomem (err);
  *out = steal_ptr (&img);
  return 0;
}

/*--- opening a disk or a volume --------------------------------------------*/

static void
images_free (struct image_vector *images)
{
  for (size_t i = 0; i < images->len; ++i)
    image_unref (images->ptr[i]);
  vector_free (images);
}

static int
open_disk (struct backup *b, size_t disk, const char *name,
           const struct image_options *options, struct image **out,
           struct report *report, struct err *err)
{
  struct image_vector images = VECTOR_INIT;
  CLEANUP_BLOCK struct block *bytes = NULL;
  int r = backup_open_disk (b, disk, name, options, &images, &bytes, report,
                            err);

  if (r == 0)
    r = make_image (b, NULL, &images, bytes, out, err);
  else
    err_in (err, "the disk can't be put together");
  images_free (&images);
  return r;
}

/* Of as many bytes as its partition, if that is known and can be; a block of
 * its own, for the name.
 */
static int
fit_or_all (struct backup *b, const struct backup_volume *v,
            struct block *bytes, struct block **out, struct report *report,
            struct err *err)
{
  struct err why = ERR_INIT;
  uint64_t len;

  if (v->placed) {
    len = b->asr.disks.ptr[v->disk].parts.ptr[v->part].len;
    if (backup_fit_volume (bytes, len, out, &why) == 0)
      return 0;
    report_warn (report, "%s: %s", v->file, why.msg);
  }
  return block_window_new (bytes, 0, block_size (bytes), out, err);
}

static int
open_volume (struct backup *b, const struct backup_volume *v,
             const char *name, const struct image_options *options,
             struct image **out, struct report *report, struct err *err)
{
  CLEANUP_BLOCK struct block *bytes = NULL, *fitted = NULL, *named = NULL;
  struct image_vector images = VECTOR_INIT;
  struct region whole = { .layer = 1 };
  struct image *vhd = NULL;
  struct block_sizes sizes;
  int r = backup_open_volume (b, v, options, &vhd, &bytes, report, err);

  if (r < 0)
    return r;
  if (vector_append (&images, &vhd) < 0) {
    image_unref (vhd);
    return err_nomem (err);
  }
  r = fit_or_all (b, v, bytes, &fitted, report, err);
  if (r == 0) {
    block_get_sizes (fitted, &sizes);
    whole.block = fitted;
    whole.len = block_size (fitted);
    r = block_regions_new (name, whole.len, &sizes, &whole, 1, &named, err);
  }
  if (r == 0)
    r = make_image (b, v, &images, named, out, err);
  images_free (&images);
  return r;
}

/*--- members ---------------------------------------------------------------*/

static bool
same_letter (const struct backup_volume *v, const char *str)
{
  return v->letter && toupper ((unsigned char) str[0]) == v->letter &&
    (str[1] == '\0' || strcmp (str + 1, ":") == 0);
}

static const struct backup_volume *
find_volume (const struct backup *b, const char *member)
{
  uint8_t guid[UUID_SIZE];
  bool is_guid = guid_from_string (member, guid);

  for (size_t i = 0; i < b->volumes.len; ++i) {
    const struct backup_volume *v = &b->volumes.ptr[i];

    if (is_guid ? memcmp (guid, v->guid, UUID_SIZE) == 0
        : utf8_same_but_case (member, v->name) || same_letter (v, member))
      return v;
  }
  return NULL;
}

/* "disk, C, System Reserved" */
static void
names_of_members (const struct backup *b, char *buf, size_t size)
{
  size_t len = 0;

  buf[0] = '\0';
  for (size_t i = 0; i < b->disks.len && len < size; ++i)
    len += (size_t) snprintf (buf + len, size - len, "%s%s", len ? ", " : "",
                              b->disks.ptr[i].name);
  for (size_t i = 0; i < b->volumes.len && len < size; ++i)
    len += (size_t) snprintf (buf + len, size - len, "%s%s", len ? ", " : "",
                              b->volumes.ptr[i].name);
}

static int
no_such_member (const struct backup *b, const char *member, struct err *err)
{
  char names[256], clean[TEXT_NAME_SIZE];

  names_of_members (b, names, sizeof names);
  if (member == NULL)
    return err_set (err, -EINVAL, "the backup has several disks: add the name "
                    "of one, or of a volume, behind a slash: %s", names);
  return err_set (err, -ENOENT, "the backup has no ‘%s’, but %s",
                  text_clean (member, clean, sizeof clean), names);
}

/* A disk that there is not is refused with the reason. */
static int
open_member (struct backup *b, const char *member, const char *name,
             const struct image_options *options, struct image **out,
             struct report *report, struct err *err)
{
  const struct backup_volume *v = member ? find_volume (b, member) : NULL;

  if (v)
    return open_volume (b, v, name, options, out, report, err);
  if (b->layout.code < 0 && (member == NULL || strcmp (member, "disk") == 0)) {
    char names[256];

    names_of_members (b, names, sizeof names);
    return err_set (err, b->layout.code, "no disk can be put together: %s; "
                    "its volumes can be had: %s", b->layout.msg, names);
  }
  for (size_t i = 0; i < b->disks.len; ++i)
    if (member ? strcasecmp (b->disks.ptr[i].name, member) == 0
        : b->disks.len == 1)
      return open_disk (b, b->disks.ptr[i].disk, name, options, out, report,
                        err);
  return no_such_member (b, member, err);
}

/* 1, 0 or negative as backup_find. */
static int
open_backup (const char *path, struct backup **out, struct report *report,
             struct err *err)
{
  struct backup_place place = BACKUP_PLACE_INIT;
  int r = backup_find (path, &place, err);

  if (r <= 0)
    return r;
  r = backup_open (&place, out, report, err);
  return r < 0 ? r : 1;
}

int
backup_folder_open (const char *path, const char *member, const char *name,
                    const struct image_options *options, struct image **out,
                    struct report *report, struct err *err)
{
  CLEANUP_REPORT struct report unsaid = REPORT_INIT;
  struct backup *b = NULL;
  int r = open_backup (path, &b, &unsaid, err);

  if (r == 0)
    return err_set (err, -ENOENT, "is not a backup of Windows");
  if (r > 0 && options->format)
    r = err_set (err, -EINVAL, "%sformat= is for files, and this is a backup "
                 "of Windows", image_option_dashes);
  else if (r > 0 && options->writable)
    r = err_set (err, -EROFS, "can't be opened for writing: backups of "
                 "Windows are read-only");
  else if (r > 0)
    r = open_member (b, member, name, options, out, report, err);
  backup_unref (b);
  return r;
}

/* The folder that is named, or the one in which something is named that is no
 * file: *member is what, in name, or NULL.  *out is NULL if it is neither; the
 * caller frees it.  0 or -ENOMEM.
 */
static int
folder_of_name (const char *name, char **out, const char **member,
                struct err *err)
{
  const char *slash = strrchr (name, '/');
  CLEANUP_FREE char *folder = NULL;
  struct stat st;

  *out = NULL;
  *member = NULL;
  if (stat (name, &st) == 0)
    folder = strdup (name);
  else if (slash == NULL || slash == name || slash[1] == '\0')
    return 0;
  else {
    folder = strndup (name, (size_t) (slash - name));
    *member = slash + 1;
  }
  if (folder == NULL)
    return err_nomem (err);
  if (stat (folder, &st) == 0 && S_ISDIR (st.st_mode))
    *out = steal_ptr (&folder);
  return 0;
}

int
backup_folder_open_name (const char *name,
                         const struct image_options *options,
                         struct image **out, struct report *report,
                         struct err *err)
{
  CLEANUP_FREE char *folder = NULL;
  const char *member;
  int r = folder_of_name (name, &folder, &member, err);

  if (r == 0 && folder)
    r = backup_folder_is_one (folder, err);
  if (r <= 0)
    return r;
  r = backup_folder_open (folder, member, name, options, out, report, err);
  return r < 0 ? r : 1;
}

char *
backup_folder_absolute (const char *name)
{
  const char *member;
  CLEANUP_FREE char *folder = NULL, *real = NULL;
  char *path = realpath (name, NULL);
  int saved = errno;

  if (path)
    return path;
  if (folder_of_name (name, &folder, &member, NULL) == 0 && folder)
    real = realpath (folder, NULL);
  if (real && member && asprintf (&path, "%s/%s", real, member) >= 0)
    return path;
  errno = saved;
  return NULL;
}

int
backup_folder_is_one (const char *path, struct err *err)
{
  struct backup_place place = BACKUP_PLACE_INIT;
  int r = backup_find (path, &place, err);

  backup_place_free (&place);
  return r;
}

/*--- lists -----------------------------------------------------------------*/

static int
add_member (struct backup_member_vector *out, const char *name, bool is_disk,
            struct err *err)
{
  struct backup_member m = { strdup (name), is_disk };

  if (m.name && vector_append (out, &m) == 0)
    return 0;
  free (m.name);
  return err_nomem (err);
}

/* The disk that there should be is named, so that whoever opens it hears why
 * there is none.
 */
int
backup_folder_members (const char *path, struct backup_member_vector *out,
                       struct report *report, struct err *err)
{
  struct backup_member_vector found = VECTOR_INIT;
  struct backup *b = NULL;
  int r = open_backup (path, &b, report, err);

  if (r == 0)
    return err_set (err, -ENOENT, "is not a backup of Windows");
  if (r > 0)
    r = b->layout.code < 0 ? add_member (&found, "disk", true, err) : 0;
  for (size_t i = 0; r == 0 && i < b->disks.len; ++i)
    r = add_member (&found, b->disks.ptr[i].name, true, err);
  for (size_t i = 0; r == 0 && i < b->volumes.len; ++i)
    r = add_member (&found, b->volumes.ptr[i].name, false, err);
  backup_unref (b);
  if (r < 0)
    backup_members_free (&found);
  else
    *out = found;
  return r;
}

void
backup_members_free (struct backup_member_vector *members)
{
  for (size_t i = 0; i < members->len; ++i)
    free (members->ptr[i].name);
  vector_free (members);
}
