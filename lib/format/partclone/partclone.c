/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A partition that partclone saved, as an image, read-only.  Blocks that are
 * not in it were not used by the file system: they read as zeros, and are not
 * allocated.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/format/compressed/compressed.h"
#include "lib/format/image-ops.h"
#include "lib/format/partclone/partclone.h"

struct partclone {
  struct partclone_header h;
  struct partclone_map_index *map;
  struct partclone_data *data;
};

static int
partclone_probe (const struct probe *probe)
{
  return probe->head_len >= PARTCLONE_MAGIC_SIZE &&
    memcmp (probe->head, PARTCLONE_MAGIC, PARTCLONE_MAGIC_SIZE) == 0
    ? PROBE_YES : PROBE_NO;
}

static void
partclone_close (struct image *img)
{
  struct partclone *pc = img->state;

  partclone_map_free (pc->map);
  partclone_data_free (pc->data);
}

/* Whoever compressed it has checksums of all bytes. */
static void
warn_of_v1 (struct block *block, struct report *report)
{
  if (compressed_file (block, NULL) == NULL)
    report_warn (report, "%s: is a partclone image of version 1, whose "
                 "checksums cover the first byte of each block only: other "
                 "damage to its blocks can't be found", block_name (block));
}

static int
partclone_open (struct image *img, const struct image_options *options,
                struct report *report, struct err *err)
{
  struct partclone *pc = img->state;
  bool ignore = options->ignore_checksums;
  int r;

  if (img->writable)
    return err_set (err, -EROFS, "can't be opened for writing: images of "
                    "partclone are read-only");
  r = partclone_header_read (img->block, ignore, &pc->h, report, err);
  if (r == 0)
    r = partclone_map_open (img->block, &pc->h, ignore, options->job,
                            &pc->map, report, err);
  if (r == 0 && pc->h.version == 1) {
    r = partclone_v1_finish (img->block, &pc->h,
                             partclone_map_count (pc->map), err);
    warn_of_v1 (img->block, report);
  }
  if (r == 0)
    r = partclone_data_new (img->block, &pc->h, &pc->data, err);
  if (r < 0)
    return r;
  img->size = pc->h.size;
  img->readonly_reason = strdup ("images of partclone are read-only");
  return img->readonly_reason ? 0 : err_nomem (err);
}

/* What a range begins with, in bytes: blocks that are there, at an ordinal, or
 * something that is not there.
 */
static int
piece_at (struct partclone *pc, uint64_t len, uint64_t off,
          struct partclone_span *span, uint64_t *piece, struct err *err)
{
  uint32_t bs = pc->h.block_size;
  uint64_t block = off / bs, in_block = off % bs;
  int r;

  if (block >= pc->h.nr_blocks) {
    *span = (struct partclone_span) { .is_used = false };
    *piece = len;
    return 0;
  }
  r = partclone_map_find (pc->map, block, div_round_up (in_block + len, bs),
                          span, err);
  if (r == 0)
    *piece = min_u64 (len, span->nr * bs - in_block);
  return r;
}

static int
partclone_pread (struct image *img, void *buf, size_t len, uint64_t off,
                 struct err *err)
{
  struct partclone *pc = img->state;
  uint8_t *p = buf;

  while (len > 0) {
    struct partclone_span span;
    uint64_t piece;
    int r = piece_at (pc, len, off, &span, &piece, err);

    if (r == 0 && span.is_used)
      r = partclone_data_read (pc->data, p, (size_t) piece, span.ordinal,
                               off % pc->h.block_size, err);
    else if (r == 0)
      memset (p, 0, (size_t) piece);
    if (r < 0)
      return r;
    p += piece;
    off += piece;
    len -= (size_t) piece;
  }
  return 0;
}

static int
partclone_extents (struct image *img, uint64_t len, uint64_t off,
                   struct extent_list *list, struct err *err)
{
  struct partclone *pc = img->state;
  enum extent_kind other = list->unallocated ? EXTENT_UNALLOCATED
                                             : EXTENT_HOLE;

  while (len > 0 && !extent_list_full (list)) {
    struct partclone_span span;
    uint64_t piece;
    int r = piece_at (pc, len, off, &span, &piece, err);

    if (r == 0)
      r = extent_list_add (list, off, piece,
                           span.is_used ? EXTENT_DATA : other, 0, err);
    if (r < 0)
      return r;
    off += piece;
    len -= piece;
  }
  return 0;
}

static int
add_checksums (const struct partclone_header *h, struct image_info *info,
               struct err *err)
{
  if (h->sum == PARTCLONE_SUM_NONE)
    return image_info_add (info, "checksums", "Checksums", err, "none");
  if (h->version == 1)
    return image_info_add (info, "checksums", "Checksums", err, "CRC-32 of "
                           "the first byte of each block only, going on from "
                           "one to the next");
  return image_info_add (info, "checksums", "Checksums", err, "%s of each %"
                         PRIu32 " blocks%s", partclone_sum_name (h->sum),
                         h->per_sum, h->is_chained
                         ? ", going on from one to the next" : "");
}

static int
partclone_info (struct image *img, struct image_info *info, struct err *err)
{
  const struct partclone_header *h = &((struct partclone *) img->state)->h;
  int r;

  info->type = strdup ("partition");
  if (info->type == NULL)
    return err_nomem (err);
  if (h->creator[0] != '\0' &&
      asprintf (&info->creator, "partclone %s", h->creator) < 0) {
    info->creator = NULL;
    return err_nomem (err);
  }
  info->allocation_size = h->block_size;
  r = image_info_add (info, "image-version", "Image version", err, "%u",
                      h->version);
  if (r == 0)
    r = image_info_add (info, "saved-file-system", "Saved as", err, "%s",
                        h->fs);
  if (r == 0)
    r = image_info_add (info, "used-blocks", "Blocks", err, "%" PRIu64 " of %"
                        PRIu64 " are in the image", h->nr_used, h->nr_blocks);
  return r == 0 ? add_checksums (h, info, err) : r;
}

static const char *const endings[] = { "pcl", NULL };

const struct image_ops partclone_image_ops = {
  .name = "partclone",
  .state_size = sizeof (struct partclone),
  .endings = endings,
  .lack = "there is no ‘" PARTCLONE_MAGIC "’ at its start",
  .probe = partclone_probe,
  .open = partclone_open,
  .close = partclone_close,
  .pread = partclone_pread,
  .extents = partclone_extents,
  .info = partclone_info,
};
