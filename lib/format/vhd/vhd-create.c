/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Making VHDs.
 *
 *   fixed         data of the disk (a hole at first) · footer
 *   dynamic       footer copy · header · BAT · footer
 *   differencing  footer copy · header · BAT · locator texts · footer
 *
 * The footer at the end lies where the bitmap of the first block will come,
 * so that the data of blocks begins at multiples of 4 KiB, as with Windows.
 *
 * The geometry is the largest there is, which means that it says nothing:
 * so every reader goes by the size in bytes, those too that would believe
 * the geometry of a creator they do not know.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "lib/base/text.h"
#include "lib/format/create-ops.h"
#include "lib/format/vhd/vhd.h"

#define DEFAULT_BLOCK_SIZE VHD_MAX_NEW_BLOCK_SIZE
#define ALIGNMENT 4096
#define AZURE_UNIT (UINT64_C (1) << 20)

/* The leaf of the parent; NULL if that is no VHD. */
static const struct vhd_layer *
parent_layer (const struct creation *c)
{
  if (strcmp (image_format (c->parent), "vhd") != 0)
    return NULL;
  return ((const struct vhd *) c->parent->state)->leaf;
}

/* A disk of an odd number of bytes gets zeros behind it. */
static uint64_t
parent_size (const struct creation *c)
{
  return round_up (image_size (c->parent), VHD_SECTOR_SIZE);
}

static bool
is_fixed (const struct image_create_options *o)
{
  return o->parent == NULL && (o->kind == IMAGE_FIXED || o->azure);
}

/*--- What is asked for ------------------------------------------------------*/

static int
check_parent (const struct creation *c, struct err *err)
{
  const struct image_create_options *o = c->options;
  struct block_sizes sizes;
  unsigned layers = 1;

  /* Whoever names a file as the parent wants what others can read. */
  if (o->base == NULL && parent_layer (c) == NULL)
    return err_set (err, -EINVAL, "parent %s: is %s %s image; the parent of "
                    "a differencing VHD is a VHD", o->parent,
                    text_article (image_format (c->parent)),
                    image_format (c->parent));
  image_get_sizes (c->parent, &sizes);
  if (sizes.logical > VHD_SECTOR_SIZE && parent_layer (c) == NULL &&
      strcmp (image_format (c->parent), "iso") != 0)
    return err_set (err, -EINVAL, "parent %s: has sectors of %" PRIu32
                    " bytes, and those of a VHD have %d; a VHDX can have them",
                    image_name (c->parent), sizes.logical, VHD_SECTOR_SIZE);
  if (o->kind == IMAGE_FIXED || o->azure)
    return err_set (err, -EINVAL, "a fixed VHD can't have a parent");
  if (o->size != 0 && o->size < parent_size (c))
    return err_set (err, -EINVAL, "the disk would be smaller (%" PRIu64
                    " bytes) than that of its parent (%" PRIu64 " bytes)",
                    o->size, parent_size (c));
  for (const struct vhd_layer *l = parent_layer (c); l; l = l->parent)
    layers++;
  if (layers > PARENT_MAX_LAYERS)
    return err_set (err, -EINVAL, "parent %s: has %u files in its chain "
                    "already, and %d are the most",
                    image_name (c->parent), layers - 1,
                    PARENT_MAX_LAYERS);
  return 0;
}

static int
check_block_size (const struct image_create_options *o, struct err *err)
{
  if (o->block_size == 0)
    return 0;
  if (is_fixed (o))
    return err_set (err, -EINVAL, "a fixed VHD has no blocks");
  if (!is_power_of_2 (o->block_size) ||
      o->block_size < VHD_MIN_NEW_BLOCK_SIZE ||
      o->block_size > VHD_MAX_NEW_BLOCK_SIZE)
    return err_set (err, -EINVAL, "blocks of %" PRIu32 " bytes can't be; "
                    "expected 512K, 1M or 2M", o->block_size);
  return 0;
}

static int
check_options (const struct creation *c, struct err *err)
{
  const struct image_create_options *o = c->options;
  int r = c->parent ? check_parent (c, err) : 0;

  if (r == 0)
    r = check_block_size (o, err);
  if (r < 0)
    return r;
  if ((o->sector_size && o->sector_size != VHD_SECTOR_SIZE) ||
      o->physical_sector_size)
    return err_set (err, -EINVAL, "sectors of a VHD have %d bytes",
                    VHD_SECTOR_SIZE);
  if (o->preallocate && !is_fixed (o))
    return err_set (err, -EINVAL, "space can be taken in advance for fixed "
                    "VHDs only");
  if (o->azure && o->chs)
    return err_set (err, -EINVAL, "Azure goes by the size in bytes and takes "
                    "whole MiB, which a geometry does not give");
  return 0;
}

/* Sets the size of the disk and the geometry. */
static int
choose_size (struct creation *c, struct vhd_footer *f, struct err *err)
{
  const struct image_create_options *o = c->options;
  int r = 0;

  c->size = o->size != 0 ? o->size : parent_size (c);
  f->cylinders = VHD_MAX_CYLINDERS;
  f->heads = VHD_MAX_HEADS;
  f->sectors = VHD_MAX_SECTORS;
  if (o->azure)
    c->size = round_up (c->size, AZURE_UNIT);
  if (o->chs)
    r = vhd_geometry_for (c->size, f, &c->size, err);
  if (r < 0)
    return r;
  if (c->size % VHD_SECTOR_SIZE != 0)
    return err_set (err, -EINVAL, "a VHD is of whole sectors of %d bytes, "
                    "which %" PRIu64 " bytes are not", VHD_SECTOR_SIZE,
                    c->size);
  if (!is_fixed (o) && c->size > VHD_MAX_DYNAMIC_SIZE)
    return err_set (err, -EINVAL, "the largest VHD that grows is of 2040 GiB "
                    "(%" PRIu64 " bytes); a fixed one can be larger",
                    VHD_MAX_DYNAMIC_SIZE);
  return 0;
}

/*--- The file ---------------------------------------------------------------*/

static int
make_footer (struct creation *c, struct vhd_footer *f, struct err *err)
{
  const struct image_create_options *o = c->options;
  unsigned major = 0, minor = 0;
  int r;

  memset (f, 0, sizeof *f);
  sscanf (PACKAGE_VERSION, "%u.%u", &major, &minor);
  f->type = is_fixed (o) ? VHD_FIXED
    : c->parent ? VHD_DIFFERENCING : VHD_DYNAMIC;
  f->data_offset = is_fixed (o) ? UINT64_MAX : VHD_FOOTER_SIZE;
  f->timestamp = vhd_link_stamp (time (NULL));
  memcpy (f->creator, VHD_OUR_CREATOR, sizeof f->creator);
  f->creator_version = major << 16 | minor;
  memcpy (f->creator_os, VHD_OUR_CREATOR_OS, sizeof f->creator_os);
  r = choose_size (c, f, err);
  f->original_size = f->current_size = c->size;
  return r < 0 ? r : uuid_new (f->id, err);
}

static int
create_fixed (struct creation *c, const struct vhd_footer *footer,
              struct err *err)
{
  uint8_t bytes[VHD_FOOTER_SIZE];
  int r;

  vhd_footer_encode (footer, bytes);
  r = creation_resize (c, c->size + VHD_FOOTER_SIZE, err);
  if (r == 0 && c->options->preallocate)
    r = creation_reserve (c, c->size + VHD_FOOTER_SIZE, err);
  if (r == 0)
    r = creation_write (c, bytes, sizeof bytes, c->size, err);
  return r;
}

/* Give the locators their places from *end on, which moves behind them. */
static void
place_locators (struct vhd_header *h, const struct vhd_link *link,
                uint64_t *end)
{
  memcpy (h->parent_name, link->name, sizeof h->parent_name);
  for (size_t i = 0; i < VHD_NR_LOCATORS; ++i) {
    h->locators[i] = link->locators[i];
    if (link->texts[i] == NULL)
      continue;
    h->locators[i].off = *end;
    *end += link->locators[i].space;
  }
}

static int
write_bat (struct creation *c, const struct vhd_header *h, uint64_t len,
           struct err *err)
{
  CLEANUP_FREE uint8_t *bytes = malloc (len);

  if (bytes == NULL)
    return err_nomem (err);
  memset (bytes, 0xFF, len);
  return creation_write (c, bytes, len, h->table_offset, err);
}

static int
write_locators (struct creation *c, const struct vhd_header *h,
                const struct vhd_link *link, struct err *err)
{
  int r = 0;

  for (size_t i = 0; r == 0 && i < VHD_NR_LOCATORS; ++i)
    if (link->texts[i])
      r = creation_write (c, link->texts[i], h->locators[i].len,
                          h->locators[i].off, err);
  return r;
}

static int
write_footer_and_header (struct creation *c, const struct vhd_footer *footer,
                         const struct vhd_header *h, uint64_t end,
                         struct err *err)
{
  uint8_t footer_bytes[VHD_FOOTER_SIZE], header_bytes[VHD_HEADER_SIZE];
  int r;

  vhd_footer_encode (footer, footer_bytes);
  vhd_header_encode (h, header_bytes);
  r = creation_write (c, footer_bytes, sizeof footer_bytes, 0, err);
  if (r == 0)
    r = creation_write (c, header_bytes, sizeof header_bytes,
                        VHD_FOOTER_SIZE, err);
  if (r == 0)
    r = creation_write (c, footer_bytes, sizeof footer_bytes, end, err);
  return r;
}

static int
create_with_blocks (struct creation *c, const struct vhd_footer *footer,
                    const struct vhd_link *link, struct err *err)
{
  struct vhd_header h = { .table_offset = VHD_FOOTER_SIZE + VHD_HEADER_SIZE };
  uint32_t bitmap_size;
  uint64_t table_size, end;
  int r;

  h.block_size = c->options->block_size ? c->options->block_size
                                        : DEFAULT_BLOCK_SIZE;
  h.max_entries = (uint32_t) div_round_up (c->size, h.block_size);
  table_size = round_up (vhd_header_table_size (&h), VHD_SECTOR_SIZE);
  end = h.table_offset + table_size;
  if (c->parent) {
    r = image_identity (c->parent, h.parent_id, err);
    if (r < 0)
      return r;
    h.parent_timestamp = vhd_link_time (image_block (c->parent));
    end = round_up (end, ALIGNMENT);
    place_locators (&h, link, &end);
  }
  bitmap_size = vhd_bitmap_size (h.block_size);
  end = round_up (end + bitmap_size, ALIGNMENT) - bitmap_size;
  r = creation_resize (c, end + VHD_FOOTER_SIZE, err);
  if (r == 0)
    r = write_bat (c, &h, table_size, err);
  if (r == 0)
    r = write_locators (c, &h, link, err);
  if (r == 0)
    r = write_footer_and_header (c, footer, &h, end, err);
  return r;
}

int
vhd_create (struct creation *c, struct report *report, struct err *err)
{
  struct vhd_link link = { .name = { 0 } };
  struct vhd_footer footer;
  int r = check_options (c, err);

  if (r == 0)
    r = make_footer (c, &footer, err);
  if (r == 0 && c->parent)
    r = vhd_link_make (c->path, image_name (c->parent), &link, report, err);
  if (r == 0)
    r = is_fixed (c->options) ? create_fixed (c, &footer, err)
                              : create_with_blocks (c, &footer, &link, err);
  vhd_link_free (&link);
  return r;
}
