/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The part of an image that is the same for all formats: opening, counting
 * references, checking ranges once for all drivers.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/uri.h"
#include "lib/block/file.h"
#include "lib/block/nbd.h"
#include "lib/block/split.h"
#include "lib/format/backup-folder.h"
#include "lib/format/clonezilla/clonezilla.h"
#include "lib/format/compressed/compressed.h"
#include "lib/format/overlay.h"
#include "lib/format/probe.h"

const char *image_option_dashes = "";
const char *image_format_option = "format";

static const struct image_options default_options;

static image_opener *other_opener;

void
image_opener_set (image_opener *opener)
{
  other_opener = opener;
}

int
image_size_rule_parse (const char *str, enum image_size_rule *rule,
                       struct err *err)
{
  static const char *const names[] = {
    [IMAGE_SIZE_AUTO] = "auto",
    [IMAGE_SIZE_CURRENT] = "current",
    [IMAGE_SIZE_CHS] = "chs",
  };

  for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i)
    if (strcmp (names[i], str) == 0) {
      *rule = (enum image_size_rule) i;
      return 0;
    }
  return err_set (err, -EINVAL, "‘%s’ is not a rule for the size; expected "
                  "auto, current or chs", str);
}

/* A file, or the pieces that one was cut into, by the name of the first. */
static int
open_path (const char *name, unsigned flags, struct block **out,
           struct report *report, struct err *err)
{
  if (!block_split_is_first (name))
    return block_file_open (name, flags, out, report, err);
  if (flags & BLOCK_FILE_WRITE)
    return err_set (err, -EROFS, "can't be opened for writing: it is cut into "
                    "pieces");
  return block_split_open (name, flags, out, report, err);
}

int
image_open_file (const char *name, const struct image_options *options,
                 struct block **out, struct report *report, struct err *err)
{
  unsigned flags = 0;
  int r;

  if (name[0] == '\0')
    return err_set (err, -EINVAL, "the name of the image is empty");
  if (block_nbd_is_uri (name))
    return block_nbd_open (name, options->writable ? BLOCK_NBD_WRITE : 0,
                           out, err);
  if (options->writable)
    flags |= BLOCK_FILE_WRITE;
  if (options->lock)
    flags |= BLOCK_FILE_LOCK;
  r = open_path (name, flags, out, report, err);
  if (r == -ENOENT && uri_has_scheme (name))
    return err_set (err, r, "there is no such file, and of URIs only those "
                    "of NBD servers are understood: nbd://, nbds://, "
                    "nbd+unix://, nbds+unix://, nbd+vsock://, nbds+vsock://");
  return r;
}

/* An image that is in use, and could not be written if it were not: the
 * reason that lasts is the better one.
 */
static int
refuse_busy (const char *name, const struct image_options *options,
             struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;
  struct image_options reading = *options;

  reading.writable = reading.lock = false;
  if (image_open (name, &reading, &img, NULL, NULL) == 0 &&
      img->readonly_reason != NULL)
    return err_set (err, -EROFS, "can't be opened for writing: %s",
                    img->readonly_reason);
  return -EBUSY;
}

int
image_open_other (const char *name, const struct image_options *options,
                  struct image **out, struct report *report, struct err *err)
{
  return other_opener != NULL && !block_nbd_is_uri (name)
    ? other_opener (name, options, out, report, err) : 0;
}

int
image_open (const char *name, const struct image_options *options,
            struct image **out, struct report *report, struct err *err)
{
  CLEANUP_BLOCK struct block *block = NULL;
  int r;

  if (options == NULL)
    options = &default_options;
  if (options->overlay)
    return image_open_overlay (name, options, out, report, err);
  r = block_nbd_is_uri (name) ? 0
    : backup_folder_open_name (name, options, out, report, err);
  if (r == 0 && !block_nbd_is_uri (name))
    r = clonezilla_open_name (name, options, out, report, err);
  if (r == 0)
    r = image_open_other (name, options, out, report, err);
  if (r != 0)
    return r < 0 ? r : 0;
  r = image_open_file (name, options, &block, report, err);
  if (r == -EBUSY && options->writable)
    return refuse_busy (name, options, err);
  if (r < 0)
    return r;
  return image_open_block (block, options, out, report, err);
}

bool
image_is_compressed (struct block *block, const struct image_options *options)
{
  const struct codec *codec;
  const struct image_ops *ops;

  return probe_compressed (block, options->format, &ops, &codec, NULL) == 0 &&
    codec != NULL;
}

bool
image_takes_long (const char *name, const struct image_options *options)
{
  CLEANUP_BLOCK struct block *file = NULL;
  struct stat st;

  if (clonezilla_is_one (name))
    return true;
  return stat (name, &st) == 0 && S_ISREG (st.st_mode) &&
    open_path (name, 0, &file, NULL, NULL) == 0 &&
    image_is_compressed (file, options) && !compressed_is_indexed (file);
}

int
image_new (const struct image_ops *ops, struct block *block,
           struct image **out, struct err *err)
{
  struct image *img = calloc (1, sizeof *img);

  if (img == NULL)
    return err_nomem (err);
  img->ops = ops;
  img->refs = 1;
  img->block = block_ref (block);
  block_get_sizes (block, &img->sizes);
  img->state = calloc (1, ops->state_size > 0 ? ops->state_size : 1);
  if (img->state == NULL) {
    image_unref (img);
    return err_nomem (err);
  }
  *out = img;
  return 0;
}

/* The image in a compressed file.  Compressing what is compressed gains nothing
 * and is not expected: reading it would decode twice.
 */
static int
open_compressed (struct block *file, const struct codec *codec,
                 const struct image_options *options, struct image **out,
                 struct report *report, struct err *err)
{
  const char *name = compressed_codec_name (codec);
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_IMAGE struct image *img = NULL;
  const struct codec *inner;
  const struct image_ops *ops;
  int r;

  if (options->writable)
    return err_set (err, -EROFS, "can't be opened for writing: it is "
                    "compressed with %s", name);
  r = compressed_open (file, codec, options->job, &block, report, err);
  if (r == 0)
    r = probe_compressed (block, options->format, &ops, &inner, err);
  if (r < 0)
    return err_in (err, "compressed with %s", name);
  if (inner)
    return err_set (err, -ENOTSUP, "it is compressed twice, with %s and in "
                    "that with %s", name, compressed_codec_name (inner));
  r = image_open_block (block, options, &img, report, err);
  if (r < 0)
    return r;
  if (img->readonly_reason == NULL &&
      asprintf (&img->readonly_reason, "it is compressed with %s", name) < 0) {
    img->readonly_reason = NULL;
    return err_nomem (err);
  }
  *out = steal_ptr (&img);
  return 0;
}

int
image_open_block (struct block *block, const struct image_options *options,
                  struct image **out, struct report *report, struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;
  const struct image_ops *ops;
  const struct codec *codec;
  int r;

  if (options == NULL)
    options = &default_options;
  r = probe_compressed (block, options->format, &ops, &codec, err);
  if (r < 0)
    return r;
  if (codec)
    return open_compressed (block, codec, options, out, report, err);
  r = image_new (ops, block, &img, err);
  if (r < 0)
    return r;
  img->writable = options->writable;
  if (options->writable && !block_writable (block))
    return err_set (err, -EROFS, "is open for reading only");
  if (options->writable && options->ignore_checksums)
    return err_set (err, -EROFS, "an image whose checksums are ignored "
                    "can't be opened for writing");
  r = ops->open (img, options, report, err);
  if (r < 0)
    return r;
  if (img->readonly_reason == NULL && block_split_nr (block) > 0) {
    img->readonly_reason = strdup ("it is cut into pieces");
    if (img->readonly_reason == NULL)
      return err_nomem (err);
  }
  *out = steal_ptr (&img);
  return 0;
}

struct image *
image_ref (struct image *img)
{
  __atomic_add_fetch (&img->refs, 1, __ATOMIC_RELAXED);
  return img;
}

void
image_unref (struct image *img)
{
  if (img == NULL || __atomic_sub_fetch (&img->refs, 1, __ATOMIC_ACQ_REL) > 0)
    return;
  if (img->ops->close && img->state)
    img->ops->close (img);
  block_unref (img->disk);
  block_unref (img->block);
  free (img->readonly_reason);
  free (img->title);
  free (img->state);
  free (img);
}

void
image_cleanup (struct image **img)
{
  image_unref (*img);
}

const char *
image_name (const struct image *img)
{
  return block_name (img->block);
}

const char *
image_title (const struct image *img)
{
  return img->title ? img->title : image_name (img);
}

const char *
image_format (const struct image *img)
{
  return img->ops->name;
}

uint64_t
image_size (const struct image *img)
{
  return img->size;
}

bool
image_writable (const struct image *img)
{
  return img->writable;
}

const char *
image_readonly_reason (const struct image *img)
{
  return img->readonly_reason;
}

void
image_get_sizes (const struct image *img, struct block_sizes *sizes)
{
  *sizes = img->sizes;
}

int
image_check_recognised (const struct image *img, struct err *err)
{
  if (img->ops != &raw_image_ops || img->readonly_reason == NULL ||
      compressed_file (img->block, NULL) || block_split_nr (img->block) > 0)
    return 0;
  return err_set (err, -EBADMSG, "%s", img->readonly_reason);
}

struct block *
image_block (const struct image *img)
{
  return img->block;
}

struct block *
image_file (const struct image *img)
{
  struct block *file = compressed_file (img->block, NULL);

  return file ? file : img->block;
}

bool
image_is_plain (const struct image *img)
{
  return img->disk == img->block && img->size == block_size (img->block);
}

static int
check_range (const struct image *img, uint64_t len, uint64_t off,
             struct err *err)
{
  if (!range_fits (off, len, img->size))
    return err_set (err, -EINVAL, "%" PRIu64 " bytes at offset %" PRIu64
                    " are not inside the disk of %" PRIu64 " bytes",
                    len, off, img->size);
  return 0;
}

static int
check_write (const struct image *img, uint64_t len, uint64_t off,
             struct err *err)
{
  if (!img->writable)
    return err_set (err, -EROFS, "%s", img->readonly_reason
                    ? img->readonly_reason : "the image is open for reading "
                    "only");
  return check_range (img, len, off, err);
}

int
image_pread (struct image *img, void *buf, size_t len, uint64_t off,
             struct err *err)
{
  int r = check_range (img, len, off, err);

  if (r < 0 || len == 0)
    return r;
  if (img->disk)
    return block_pread (img->disk, buf, len, off, err);
  return img->ops->pread (img, buf, len, off, err);
}

int
image_pwrite (struct image *img, const void *buf, size_t len, uint64_t off,
              unsigned flags, struct err *err)
{
  int r = check_write (img, len, off, err);

  if (r < 0 || len == 0)
    return r;
  if (img->disk)
    return block_pwrite (img->disk, buf, len, off, flags, err);
  return img->ops->pwrite (img, buf, len, off, flags, err);
}

int
image_zero (struct image *img, uint64_t len, uint64_t off, unsigned flags,
            struct err *err)
{
  int r = check_write (img, len, off, err);

  if (r < 0 || len == 0)
    return r;
  if (img->disk)
    return block_zero (img->disk, len, off, flags, err);
  if (img->ops->zero == NULL)
    return err_set (err, -ENOTSUP, "the %s format has no way to write zeros",
                    img->ops->name);
  return img->ops->zero (img, len, off, flags, err);
}

int
image_trim (struct image *img, uint64_t len, uint64_t off, unsigned flags,
            struct err *err)
{
  int r = check_write (img, len, off, err);

  if (r < 0 || len == 0)
    return r;
  if (img->disk)
    return block_trim (img->disk, len, off, flags, err);
  if (img->ops->trim == NULL)
    return 0;
  return img->ops->trim (img, len, off, flags, err);
}

int
image_flush (struct image *img, struct err *err)
{
  if (!img->writable)
    return 0;
  if (img->disk || img->ops->flush == NULL)
    return block_flush (img->block, err);
  return img->ops->flush (img, err);
}

int
image_cache (struct image *img, uint64_t len, uint64_t off, struct err *err)
{
  int r = check_range (img, len, off, err);

  if (r < 0 || len == 0)
    return r;
  if (img->disk)
    return block_cache (img->disk, len, off, err);
  if (img->ops->cache == NULL)
    return 0;
  return img->ops->cache (img, len, off, err);
}

int
image_extents (struct image *img, uint64_t len, uint64_t off,
               struct extent_list *list, struct err *err)
{
  int r = check_range (img, len, off, err);

  if (r < 0 || len == 0)
    return r;
  if (img->disk)
    return block_extents (img->disk, len, off, list, err);
  if (img->ops->extents == NULL)
    return extent_list_add (list, off, len, EXTENT_DATA, 0, err);
  return img->ops->extents (img, len, off, list, err);
}
