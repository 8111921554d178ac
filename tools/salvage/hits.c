/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which files have bytes in what is lost, partition by partition. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/block/window.h"
#include "tools/salvage/salvage-tool.h"

DEFINE_VECTOR (range_vector, struct fs_range);

/* What is lost of a partition, by its own bytes. */
static int
lost_of (const struct salvage_ranges *lost, const struct manifest_partition *p,
         struct range_vector *ranges, struct err *err)
{
  for (size_t i = 0; i < lost->len; ++i) {
    const struct nbi_range *r = &lost->ptr[i];
    uint64_t from = max_u64 (r->off, p->off);
    uint64_t to = min_u64 (r->off + r->len, p->off + p->len);
    struct fs_range range = { from - p->off, to - from };

    if (from < to && vector_append (ranges, &range) < 0)
      return err_nomem (err);
  }
  return 0;
}

static int
look_in (const struct salvage_command *c, const struct manifest_partition *p,
         struct fs_hits *hits, struct job *job, struct err *err)
{
  struct range_vector ranges = VECTOR_INIT;
  CLEANUP_BLOCK struct block *block = NULL;
  int r = lost_of (&c->lost, p, &ranges, err);

  if (r == 0 && ranges.len > 0)
    r = block_window_new (c->disk, p->off, p->len, &block, err);
  if (r == 0 && ranges.len > 0)
    r = fs_files_hit (block, ranges.ptr, ranges.len, NULL, hits, job, err);
  vector_free (&ranges);
  return r;
}

/* A disk without a table may be a file system as a whole. */
int
salvage_find_hits (struct salvage_command *c, struct job *job, struct err *err)
{
  const struct manifest_partition whole = {
    .len = salvage_header (c->salvage)->disk_size,
  };
  size_t nr = c->manifest.partitions.len;
  int r = 0;

  if (c->lost.len == 0)
    return 0;
  c->nr_hits = nr > 0 ? nr : 1;
  c->hits = calloc (c->nr_hits, sizeof *c->hits);
  if (c->hits == NULL)
    return err_nomem (err);
  job_start (job, "looking for files", 0);
  if (nr == 0)
    return look_in (c, &whole, &c->hits[0], job, err);
  for (size_t i = 0; r == 0 && i < nr; ++i) {
    const struct manifest_partition *p = &c->manifest.partitions.ptr[i];

    if (p->fs.type != NULL && !manifest_partition_is_absent (p))
      r = look_in (c, p, &c->hits[i], job, err);
  }
  return r;
}

void
salvage_free_hits (struct salvage_command *c)
{
  for (size_t i = 0; i < c->nr_hits; ++i)
    fs_hits_free (&c->hits[i]);
  free (c->hits);
}
