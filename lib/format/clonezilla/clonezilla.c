/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/format/clonezilla/clonezilla.h"
#include "lib/format/image-ops.h"

/*--- The image of a disk ----------------------------------------------------*/

struct clonezilla {
  struct clonezilla_images images;      /* with references */
};

static void
images_free (struct clonezilla_images *images)
{
  for (size_t i = 0; i < images->len; ++i)
    image_unref (images->ptr[i]);
  vector_free (images);
}

static void
clonezilla_close (struct image *img)
{
  images_free (&((struct clonezilla *) img->state)->images);
}

static int
add_layer (const struct image *img, struct image_info *info, struct err *err)
{
  struct image_layer layer = {
    .name = strdup (image_name (img)),
    .format = strdup (image_format (img)),
  };

  if (layer.name && layer.format &&
      vector_append (&info->layers, &layer) == 0)
    return 0;
  free (layer.name);
  free (layer.format);
  return err_nomem (err);
}

static int
clonezilla_info (struct image *img, struct image_info *info, struct err *err)
{
  const struct clonezilla *c = img->state;
  int r = add_layer (img, info, err);

  info->file_size = 0;
  info->is_assembled = true;
  for (size_t i = 0; r == 0 && i < c->images.len; ++i) {
    info->file_size += block_size (image_file (c->images.ptr[i]));
    r = add_layer (c->images.ptr[i], info, err);
  }
  info->type = strdup ("disk");
  return r == 0 && info->type == NULL ? err_nomem (err) : r;
}

/* Never asked to open or probe a block: images are made below. */
static const struct image_ops clonezilla_image_ops = {
  .name = "clonezilla",
  .state_size = sizeof (struct clonezilla),
  .close = clonezilla_close,
  .info = clonezilla_info,
};

/* Takes the images over when it succeeds. */
static int
make_image (struct clonezilla_images *images, struct block *bytes,
            struct image **out, struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;
  int r = image_new (&clonezilla_image_ops, bytes, &img, err);

  if (r < 0)
    return r;
  img->readonly_reason = strdup ("backups of Clonezilla are read-only");
  if (img->readonly_reason == NULL)
    return err_nomem (err);
  ((struct clonezilla *) img->state)->images = *images;
  *images = (struct clonezilla_images) VECTOR_INIT;
  img->disk = block_ref (bytes);
  img->size = block_size (bytes);
  *out = steal_ptr (&img);
  return 0;
}

static int
open_disk (const struct clonezilla_folder *folder, const char *disk,
           const char *name, const struct image_options *options,
           struct image **out, struct report *report, struct err *err)
{
  struct clonezilla_images images = VECTOR_INIT;
  CLEANUP_BLOCK struct block *bytes = NULL;
  int r = clonezilla_open_disk (folder, disk, name, options, &images, &bytes,
                                report, err);

  if (r == 0)
    r = make_image (&images, bytes, out, err);
  images_free (&images);
  return r;
}

/*--- Names ------------------------------------------------------------------*/

/* Does the folder have the table of such a disk? */
static bool
is_disk (const struct clonezilla_folder *folder, const char *disk)
{
  char file[TEXT_NAME_SIZE + 16];
  int len = snprintf (file, sizeof file, "%s-mbr", disk);

  if (len < 0 || (size_t) len + 8 >= sizeof file)
    return false;
  if (clonezilla_has (folder, file))
    return true;
  snprintf (file, sizeof file, "%s-gpt-1st", disk);
  return clonezilla_has (folder, file);
}

/* The name without that ending, for the caller to free; NULL: it has another
 * one, or out of memory.
 */
static char *
without_ending (const char *name, const char *ending)
{
  size_t len = strlen (name), end = strlen (ending);

  return len > end && strcmp (name + len - end, ending) == 0
    ? strndup (name, len - end) : NULL;
}

/* The disk of whose table that is the file, by which it is counted: "sda-mbr"
 * and not "sda-hidden-data-after-mbr", nor "sda-gpt-1st" if there is the former
 * too.  The caller frees it; NULL: none, or out of memory.
 */
static char *
disk_of_file (const struct clonezilla_folder *folder, const char *name)
{
  CLEANUP_FREE char *hidden = without_ending (name, "-hidden-data-after-mbr");
  CLEANUP_FREE char *gpt = without_ending (name, "-gpt-1st");
  CLEANUP_FREE char *mbr = NULL;

  if (hidden)
    return NULL;
  if (gpt == NULL)
    return without_ending (name, "-mbr");
  if (asprintf (&mbr, "%s-mbr", gpt) < 0) {
    mbr = NULL;
    return NULL;
  }
  return clonezilla_has (folder, mbr) ? NULL : steal_ptr (&gpt);
}

/* Disks of which there is a table; *last is one of them, the caller's to free,
 * or NULL.
 */
static size_t
count_disks (const struct clonezilla_folder *folder, char **last)
{
  size_t nr = 0;

  *last = NULL;
  for (size_t i = 0; i < folder->files.len; ++i) {
    char *disk = disk_of_file (folder, folder->files.ptr[i]);

    if (disk) {
      free (*last);
      *last = disk;
      ++nr;
    }
  }
  return nr;
}

static int
open_only_disk (const struct clonezilla_folder *folder, const char *name,
                const struct image_options *options, struct image **out,
                struct report *report, struct err *err)
{
  CLEANUP_FREE char *disk = NULL;
  size_t nr = count_disks (folder, &disk);

  if (nr == 0)
    return err_set (err, -ENOTSUP, "the backup of Clonezilla has no partition "
                    "table (-mbr, -gpt-1st); add the name of a partition "
                    "behind a slash");
  if (nr > 1)
    return err_set (err, -EINVAL, "the backup of Clonezilla has several disks: "
                    "add the name of one, or of a partition, behind a slash");
  return open_disk (folder, disk, name, options, out, report, err);
}

static int
open_member (const struct clonezilla_folder *folder, const char *member,
             const char *name, const struct image_options *options,
             struct image **out, struct report *report, struct err *err)
{
  char clean[TEXT_NAME_SIZE];
  int r;

  if (member == NULL)
    return open_only_disk (folder, name, options, out, report, err);
  if (is_disk (folder, member))
    return open_disk (folder, member, name, options, out, report, err);
  r = clonezilla_open_part (folder, member, options, out, report, err);
  if (r == 0 && *out == NULL)
    return err_set (err, -ENOENT, "the backup of Clonezilla has neither a disk "
                    "nor a partition ‘%s’", text_clean (member, clean,
                                                        sizeof clean));
  return r;
}

/* The folder of the name, and what is named in it, or NULL.  *out is NULL if
 * it names a file, or nothing in a folder.
 */
static int
split_name (const char *name, char **out, const char **member,
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

bool
clonezilla_is_one (const char *name)
{
  struct clonezilla_folder folder;
  CLEANUP_FREE char *path = NULL;
  const char *member;

  if (split_name (name, &path, &member, NULL) < 0 || path == NULL ||
      clonezilla_folder_read (path, &folder, NULL) <= 0)
    return false;
  clonezilla_folder_free (&folder);
  return true;
}

int
clonezilla_open_name (const char *name, const struct image_options *options,
                      struct image **out, struct report *report,
                      struct err *err)
{
  struct clonezilla_folder folder;
  CLEANUP_FREE char *path = NULL;
  const char *member;
  int r = split_name (name, &path, &member, err);

  if (r < 0 || path == NULL)
    return r;
  r = clonezilla_folder_read (path, &folder, err);
  if (r <= 0)
    return r;
  if (options->format)
    r = err_set (err, -EINVAL, "%sformat= is for files, and this is a backup "
                 "of Clonezilla", image_option_dashes);
  else if (options->writable)
    r = err_set (err, -EROFS, "can't be opened for writing: backups of "
                 "Clonezilla are read-only");
  else
    r = open_member (&folder, member, name, options, out, report, err);
  clonezilla_folder_free (&folder);
  return r < 0 ? r : 1;
}
