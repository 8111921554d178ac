/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/cleanup.h"
#include "lib/block/file.h"
#include "lib/block/nbd.h"
#include "tools/restore/restore-tool.h"

/* st: of a file of the image. */
static int
refuse_file (const struct restore_command *c, const struct stat *st,
             const char *name, struct err *err)
{
  const struct restore_system *system = &restore_this_system;
  struct stat target;

  if (c->to.kind == RESTORE_DEVICE) {
    if (restore_device_has (system, c->to.dev, st->st_dev))
      return err_set (err, -EBUSY, "is the disk that the image lies on: %s",
                      name);
    if (S_ISBLK (st->st_mode) &&
        (restore_device_has (system, c->to.dev, st->st_rdev) ||
         restore_device_has (system, st->st_rdev, c->to.dev)))
      return err_set (err, -EINVAL, "is, or has a part of, what the image is: "
                      "%s", name);
    if (restore_device_lies_in (system, c->to.dev, st))
      return err_set (err, -EINVAL, "lies in a file of the image: %s", name);
    return 0;
  }
  if (stat (c->name, &target) == 0 && target.st_dev == st->st_dev &&
      target.st_ino == st->st_ino)
    return err_set (err, -EINVAL, "is a file of the image: %s", name);
  return 0;
}

static int
refuse_path (const struct restore_command *c, const char *path,
             struct err *err)
{
  struct stat st;

  return !block_nbd_is_uri (path) && stat (path, &st) == 0
    ? refuse_file (c, &st, path, err) : 0;
}

/* The files that a chain, or a disk put together of several, is made of. */
static int
refuse_layers (const struct restore_command *c, struct err *err)
{
  CLEANUP_IMAGE_INFO struct image_info info = { .type = NULL };
  int r = image_get_info (c->img, &info, err);

  for (size_t i = 0; r == 0 && i < info.layers.len; ++i)
    r = refuse_path (c, info.layers.ptr[i].name, err);
  return r;
}

/* The folder of VAULT/DISK; NULL: it is no vault, or out of memory. */
static char *
vault_of (const char *source)
{
  const char *slash = strrchr (source, '/');
  CLEANUP_FREE char *vault = NULL, *files = NULL;
  struct stat st;

  if (slash == NULL || block_nbd_is_uri (source))
    return NULL;
  vault = strndup (source, slash == source ? 1 : (size_t) (slash - source));
  if (vault == NULL || asprintf (&files, "%s/files", vault) < 0) {
    files = NULL;
    return NULL;
  }
  if (stat (files, &st) < 0 || !S_ISDIR (st.st_mode))
    return NULL;
  return realpath (vault, NULL);
}

static int
refuse_vault (const struct restore_command *c, struct err *err)
{
  CLEANUP_FREE char *vault = vault_of (c->source);
  CLEANUP_FREE char *target = NULL;
  size_t len = vault ? strlen (vault) : 0;

  if (vault == NULL)
    return 0;
  if (c->to.kind == RESTORE_IMAGE)
    target = realpath (c->name, NULL);
  if (target && strncmp (target, vault, len) == 0 && target[len] == '/')
    return err_set (err, -EINVAL, "is a file of the vault %s", vault);
  return refuse_path (c, vault, err);
}

int
restore_refuse_source (const struct restore_command *c, struct err *err)
{
  int fd = block_file_fd (image_block (c->img));
  struct stat st;
  int r = 0;

  if (strcmp (c->source, c->name) == 0)
    return err_set (err, -EINVAL, "is the image itself");
  if (c->to.kind == RESTORE_NEW || c->to.kind == RESTORE_EXPORT)
    return 0;
  if (fd >= 0 && fstat (fd, &st) == 0)
    r = refuse_file (c, &st, block_name (image_block (c->img)), err);
  if (r == 0)
    r = refuse_layers (c, err);
  return r < 0 ? r : refuse_vault (c, err);
}
