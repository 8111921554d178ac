/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Finding out what `info` shows. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/block/window.h"
#include "lib/fsmap/efi.h"
#include "lib/repo/image-nbi.h"
#include "tools/info/info.h"
#include "tools/info/walk.h"

/*--- partitions and file systems -------------------------------------------*/

static int
identify (struct block *block, struct info_partition *p, struct err *err)
{
  int r = fs_identify (block, &p->fs, err);

  if (r == 0 && p->fs.type && strcmp (p->fs.type, "vfat") == 0)
    r = efi_find_loaders (block, &p->efi_loaders, err);
  return r;
}

static int
identify_partition (struct info *info, size_t i, struct err *err)
{
  const struct partition *p = &info->table.parts.ptr[i];
  CLEANUP_BLOCK struct block *window = NULL;
  int r;

  if (p->is_extended || absent_has (nbi_image_absent (info->img), p->number))
    return 0;
  r = block_window_new (info->disk, p->off, p->len, &window, err);
  if (r == 0)
    r = identify (window, &info->parts[i], err);
  return r < 0 ? err_in (err, "partition %u", p->number) : 0;
}

/* Where UEFI finds the image of its file system on a CD: the El Torito entry
 * often states no length.
 */
static int
look_at_efi_entry (struct info *info, struct err *err)
{
  for (size_t i = 0; i < info->image.boot.len; ++i) {
    const struct image_boot_entry *e = &info->image.boot.ptr[i];
    const uint64_t size = block_size (info->disk);
    CLEANUP_BLOCK struct block *window = NULL;
    int r;

    if (strcmp (e->platform, "UEFI") != 0 || e->off >= size)
      continue;
    r = block_window_new (info->disk, e->off, size - e->off, &window, err);
    if (r == 0)
      r = efi_find_loaders (window, &info->whole.efi_loaders, err);
    return r;
  }
  return 0;
}

static int
look_at_table (struct info *info, struct err *err)
{
  struct block_sizes sizes;
  int r;

  image_get_sizes (info->img, &sizes);
  r = part_read (info->disk, part_sector_size (sizes.logical), &info->table,
                 &info->report, err);
  if (r < 0)
    return err_in (err, "partition table");
  info->parts = calloc (info->table.parts.len + 1, sizeof *info->parts);
  return info->parts ? 0 : err_nomem (err);
}

/*--- extents ---------------------------------------------------------------*/

static void
fill_cells (struct info *info, uint64_t off, uint64_t len)
{
  const double per_cell = (double) image_size (info->img) / info->nr_cells;
  double from = (double) off / per_cell, to = (double) (off + len) / per_cell;

  for (unsigned i = (unsigned) from; i < info->nr_cells && i < to; ++i) {
    double a = from > i ? from : i;
    double b = to < i + 1.0 ? to : i + 1.0;

    if (b > a)
      info->cells[i] += b - a;
  }
}

static int
count_extent (void *opaque, const struct extent *e)
{
  struct info *info = opaque;

  if (e->kind != EXTENT_DATA && e->kind != EXTENT_UNREADABLE)
    return 0;
  info->data += e->len;
  if (info->nr_cells)
    fill_cells (info, e->off, e->len);
  return 0;
}

static int
count_data (struct info *info, unsigned seconds, struct err *err)
{
  int r = walk_extents (info->img, seconds, count_extent, info,
                        &info->data_end, err);

  if (r < 0)
    info->data_end = 0;
  return r < 0 ? err_in (err, "extents") : 0;
}

bool
info_has_all_data (const struct info *info)
{
  return info->data_end == image_size (info->img);
}

/*--- all of it -------------------------------------------------------------*/

/* The first failure is the one returned; a damaged image outweighs. */
static void
note (int r, struct err *found, struct info *info, struct err *worst)
{
  if (r == 0)
    return;
  report_warn (&info->report, "%s", found->msg);
  if (worst->code == 0 || r == -EBADMSG)
    *worst = *found;
}

int
info_collect (struct info *info, struct image *img, unsigned nr_cells,
              unsigned seconds, struct report *report, struct err *err)
{
  struct err e = ERR_INIT, worst = ERR_INIT;
  int r;

  memset (info, 0, sizeof *info);
  info->img = image_ref (img);
  info->nr_cells = (unsigned) min_u64 (nr_cells, PICTURE_CELLS_MAX);
  if (image_size (img) == 0)
    info->nr_cells = 0;
  report_move (&info->report, report);
  r = image_to_block (img, &info->disk, err);
  if (r == 0)
    r = image_get_info (img, &info->image, err);
  if (r < 0) {
    info_free (info);
    return r;
  }
  note (info_find_boot_code (info, &e), &e, info, &worst);
  note (look_at_table (info, &e), &e, info, &worst);
  if (info->parts)
    info->nr_identified = min_u64 (info->table.parts.len, IDENTIFIED_MAX);
  for (size_t i = 0; i < info->nr_identified; ++i)
    note (identify_partition (info, i, &e), &e, info, &worst);
  if (info->table.scheme == PART_NONE || info->image.is_optical)
    note (identify (info->disk, &info->whole, &e), &e, info, &worst);
  note (look_at_efi_entry (info, &e), &e, info, &worst);
  note (count_data (info, seconds, &e), &e, info, &worst);
  if (worst.code == 0)
    return 0;
  if (err)
    *err = worst;
  return worst.code;
}

static void
free_partition (struct info_partition *p)
{
  fs_identity_free (&p->fs);
  free (p->efi_loaders);
}

void
info_free (struct info *info)
{
  for (size_t i = 0; info->parts && i < info->table.parts.len; ++i)
    free_partition (&info->parts[i]);
  free (info->parts);
  free_partition (&info->whole);
  part_table_free (&info->table);
  image_info_free (&info->image);
  block_unref (info->disk);
  image_unref (info->img);
  report_free (&info->report);
  memset (info, 0, sizeof *info);
}
