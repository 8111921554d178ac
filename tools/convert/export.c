/* SPDX-License-Identifier: GPL-2.0-or-later */

/* An NBD export as the target.  It is empty when its server says so of all of
 * it; reading a disk as a whole to find zeros would take as long as the copy.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/block/nbd.h"
#include "lib/fsmap/identify.h"
#include "lib/part/part.h"
#include "tools/convert/convert.h"

/*--- What is in it ----------------------------------------------------------*/

/* Does the server say that all of it reads as zeros? */
static bool
is_empty (struct block *disk)
{
  uint64_t size = block_size (disk), off = 0;

  while (off < size) {
    CLEANUP_EXTENT_LIST struct extent_list list = { .limit = 1 };

    if (block_extents (disk, size - off, off, &list, NULL) < 0 ||
        list.v.len == 0)
      return false;
    for (size_t i = 0; i < list.v.len; ++i)
      if (list.v.ptr[i].kind != EXTENT_HOLE &&
          list.v.ptr[i].kind != EXTENT_ZERO)
        return false;
    off = extent_list_end (&list, size);
  }
  return true;
}

/* What neither has partitions nor is a file system. */
static int
describe_rest (struct block *disk, char **text)
{
  CLEANUP_IMAGE struct image *img = NULL;

  if (image_open_block (disk, NULL, &img, NULL, NULL) < 0 ||
      strcmp (image_format (img), "raw") == 0)
    return asprintf (text, "something that is not known");
  return asprintf (text, "a disk image (%s)", image_format (img));
}

/* "a GPT with 3 partitions", "ext4 ‘root’" */
static int
describe_contents (struct block *disk, char **text, struct err *err)
{
  CLEANUP_PART_TABLE struct part_table table = { .scheme = PART_NONE };
  CLEANUP_FS_IDENTITY struct fs_identity fs = { .type = NULL };
  struct block_sizes sizes;
  int r;

  block_get_sizes (disk, &sizes);
  r = part_read (disk, sizes.logical, &table, NULL, err);
  if (r == 0 && table.scheme == PART_NONE)
    r = fs_identify (disk, &fs, err);
  if (r < 0)
    return r;
  if (table.scheme != PART_NONE)
    r = asprintf (text, "a partition table (%s) with %zu partition%s",
                  table.scheme == PART_GPT ? "GPT" : "MBR", table.parts.len,
                  table.parts.len == 1 ? "" : "s");
  else if (fs.type)
    r = asprintf (text, "%s%s%s%s", fs.type, fs.label ? " ‘" : "",
                  fs.label ? fs.label : "", fs.label ? "’" : "");
  else if (fs.usage)
    r = asprintf (text, "several file systems at once");
  else
    r = describe_rest (disk, text);
  if (r < 0) {
    *text = NULL;
    return err_nomem (err);
  }
  return 0;
}

/*--- Opening ----------------------------------------------------------------*/

static int
check_size (const struct convert *c, const struct convert_source *from,
            struct block *disk, struct err *err)
{
  uint64_t size = block_size (disk), needed = block_size (from->disk);

  if (size >= needed)
    return 0;
  return err_set (err, -ENOSPC, "has %" PRIu64 " bytes, and the disk of %s "
                  "has %" PRIu64, size, c->source, needed);
}

int
convert_export_open (const struct convert *c,
                     const struct convert_source *from,
                     struct convert_target *to, struct err *err)
{
  int r = block_nbd_open (c->target, BLOCK_NBD_WRITE, &to->disk, err);

  if (r == 0)
    r = check_size (c, from, to->disk, err);
  if (r < 0)
    return r;
  to->size = block_size (to->disk);
  return is_empty (to->disk) ? 0
                             : describe_contents (to->disk, &to->contents, err);
}
