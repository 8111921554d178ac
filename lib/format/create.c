/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Making images: what is the same for all formats. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/checked.h"
#include "lib/base/fdio.h"
#include "lib/base/newfile.h"
#include "lib/format/create-ops.h"

static const struct image_ops *
find_format (const char *name)
{
  for (const struct image_ops *const *ops = image_formats; *ops; ++ops)
    if ((*ops)->create && strcmp ((*ops)->name, name) == 0)
      return *ops;
  return NULL;
}

int
image_create_check_format (const char *format, struct err *err)
{
  if (find_format (format))
    return 0;
  return err_set (err, -EINVAL, "images of the format ‘%s’ can't be made",
                  format);
}

int
creation_resize (struct creation *c, uint64_t size, struct err *err)
{
  if (size > INT64_MAX || ftruncate (c->file.fd, (off_t) size) < 0) {
    if (size > INT64_MAX)
      errno = EFBIG;
    return err_sys (err, "a file of %" PRIu64 " bytes can't be made", size);
  }
  return 0;
}

int
creation_reserve (struct creation *c, uint64_t size, struct err *err)
{
  int r;

  do
    r = fallocate (c->file.fd, 0, 0, (off_t) size);
  while (r < 0 && errno == EINTR);
  if (r < 0)
    return err_sys (err, "%" PRIu64 " bytes can't be reserved for it", size);
  return 0;
}

int
creation_write (struct creation *c, const void *buf, size_t len, uint64_t off,
                struct err *err)
{
  return fd_pwrite (c->file.fd, buf, len, off, err);
}

static int
open_parent (struct creation *c, struct report *report, struct err *err)
{
  struct image_options options = { .format = NULL };
  int r;

  if (c->options->parent_options)
    options = *c->options->parent_options;
  options.writable = false;
  options.lock = true;
  r = image_open (c->options->parent, &options, &c->parent, report, err);
  if (r < 0)
    err_in (err, "parent %s", c->options->parent);
  return r;
}

static int
check (const struct image_create_options *o, const struct image_ops *ops,
       struct err *err)
{
  if (ops == NULL)
    return image_create_check_format (o->format, err);
  if (o->size == 0 && o->parent == NULL && o->base == NULL)
    return err_set (err, -EINVAL, "a disk of 0 bytes can't be made");
  if (o->size > INT64_MAX)
    return err_set (err, -EINVAL, "a disk of %" PRIu64 " bytes is larger than "
                    "a disk can be", o->size);
  return 0;
}

/* c->file is open already, or is opened when all else is right. */
static int
fill (struct creation *c, uint64_t *size, struct report *report,
      struct err *err)
{
  const struct image_ops *ops = find_format (c->options->format);
  int r = check (c->options, ops, err);

  if (r == 0 && c->options->base)
    c->parent = image_ref (c->options->base);
  else if (r == 0 && c->options->parent)
    r = open_parent (c, report, err);
  if (r == 0 && c->file.fd < 0)
    r = new_file_open (c->path, &c->file, err);
  if (r == 0)
    r = ops->create (c, report, err);
  if (r == 0)
    *size = c->size;
  image_unref (c->parent);
  return r;
}

int
image_create_in (struct new_file *file, const char *path,
                 const struct image_create_options *options,
                 uint64_t *size, struct report *report, struct err *err)
{
  struct creation c = { .options = options, .path = path, .file = *file };

  return fill (&c, size, report, err);
}

int
image_create (const char *path, const struct image_create_options *options,
              uint64_t *size, struct report *report, struct err *err)
{
  struct creation c = {
    .options = options,
    .path = path,
    .file = NEW_FILE_INIT,
  };
  uint64_t made;
  int r = fill (&c, &made, report, err);

  if (r == 0)
    r = new_file_commit (&c.file, err);
  if (r == 0)
    *size = made;
  new_file_close (&c.file);
  return r;
}
