/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/cleanup.h"
#include "lib/block/window.h"
#include "lib/fsmap/used.h"
#include "lib/part/part.h"
#include "tools/change/free-space.h"

struct disk {
  struct block *block;
  struct part_table table;
  struct fs_used *used;         /* of each partition */
  struct used_partition *parts;
  size_t nr;                    /* so far */
};

static void
disk_free (struct disk *d)
{
  for (size_t i = 0; i < d->nr; ++i)
    fs_used_free (&d->used[i]);
  free (d->used);
  free (d->parts);
  part_table_free (&d->table);
  block_unref (d->block);
}

static int
look (struct disk *d, const char *what, uint64_t off, uint64_t len,
      struct report *report, struct job *job, struct err *err)
{
  CLEANUP_BLOCK struct block *part = NULL;
  struct fs_used *used = &d->used[d->nr];
  int r = block_window_new (d->block, off, len, &part, err);

  if (r == 0)
    r = fs_used (part, used, job, err);
  if (r < 0)
    return r;
  if (used->verdict == FS_USED_WHOLE)
    report_warn (report, "%s is kept as a whole: %s", what, used->reason);
  d->parts[d->nr++] = (struct used_partition) {
    .off = off, .len = len, .map = &used->map,
  };
  return 0;
}

static int
look_at_partitions (struct disk *d, struct report *report, struct job *job,
                    struct err *err)
{
  char what[32];
  int r = 0;

  for (size_t i = 0; r == 0 && i < d->table.parts.len; ++i) {
    const struct partition *p = &d->table.parts.ptr[i];

    /* An extended one has no data but its tables, which are in gaps. */
    if (p->is_extended)
      continue;
    snprintf (what, sizeof what, "partition %u", p->number);
    r = look (d, what, p->off, p->len, report, job, err);
  }
  return r;
}

int
free_space_find (struct image *img, struct used_map *used,
                 struct report *report, struct job *job, struct err *err)
{
  struct disk d = { .block = NULL };
  struct block_sizes sizes;
  int r;

  image_get_sizes (img, &sizes);
  r = image_to_block (img, &d.block, err);
  if (r == 0)
    r = part_read (d.block, sizes.logical, &d.table, report, err);
  if (r == 0) {
    d.used = calloc (d.table.parts.len + 1, sizeof *d.used);
    d.parts = calloc (d.table.parts.len + 1, sizeof *d.parts);
    if (d.used == NULL || d.parts == NULL)
      r = err_nomem (err);
  }
  if (r == 0 && d.table.scheme == PART_NONE)
    r = look (&d, "the disk", 0, block_size (d.block), report, job, err);
  else if (r == 0)
    r = look_at_partitions (&d, report, job, err);
  if (r == 0)
    r = used_disk_map (block_size (d.block), d.parts, d.nr, used, err);
  disk_free (&d);
  return r;
}
