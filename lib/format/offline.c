/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdlib.h>

#include "lib/base/cleanup.h"
#include "lib/block/file.h"
#include "lib/block/nbd.h"
#include "lib/format/offline-ops.h"
#include "lib/format/probe.h"

int
offline_open_block (struct block *block, const struct image_options *options,
                    struct offline **out, struct err *err)
{
  const struct image_ops *ops;
  struct offline *o;
  int r = probe_format (block, options->format, &ops, err);

  if (r < 0)
    return r;
  o = calloc (1, sizeof *o);
  if (o == NULL)
    return err_nomem (err);
  o->options.format = options->format;
  o->options.parent_path = options->parent_path;
  o->options.data_id = options->data_id;
  o->options.lock = true;
  o->block = block_ref (block);
  o->ops = ops;
  *out = o;
  return 0;
}

int
offline_open (const char *name, const struct image_options *options,
              struct offline **out, struct report *report, struct err *err)
{
  CLEANUP_BLOCK struct block *block = NULL;
  int r;

  if (block_nbd_is_uri (name))
    return err_set (err, -ENOTSUP, "is an export of a server; only files can "
                    "be changed in this way");
  r = block_file_open (name, BLOCK_FILE_WRITE | BLOCK_FILE_LOCK, &block,
                       report, err);
  return r < 0 ? r : offline_open_block (block, options, out, err);
}

void
offline_close (struct offline *o)
{
  if (o == NULL)
    return;
  image_unref (o->img);
  block_unref (o->block);
  free (o);
}

void
offline_cleanup (struct offline **o)
{
  offline_close (*o);
}

int
offline_image (struct offline *o, struct image **out, struct report *report,
               struct err *err)
{
  int r = 0;

  if (o->img == NULL)
    r = image_open_block (o->block, &o->options, &o->img, report, err);
  if (r == 0)
    *out = o->img;
  return r;
}

int
offline_reopen_image (struct offline *o, struct image **out, struct err *err)
{
  image_unref (o->img);
  o->img = NULL;
  return offline_image (o, out, NULL, err);
}

const char *
offline_format (const struct offline *o)
{
  return o->ops->name;
}

uint64_t
offline_file_size (const struct offline *o)
{
  return block_size (o->block);
}
