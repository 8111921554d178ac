/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Making VHDXs.
 *
 *   0        identifier · headers · region tables
 *   1 MiB    log
 *   2 MiB    metadata
 *   3 MiB    BAT
 *   …        of a fixed disk: its blocks, in order; a hole at first
 *
 * which is the order of Windows.  Nothing is in the log, and both headers
 * are whole.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/format/create-ops.h"
#include "lib/format/vhdx/vhdx.h"

#define CREATOR VHDX_OUR_CREATOR PACKAGE_VERSION

#define LOG_OFF VHDX_UNIT
#define LOG_SIZE VHDX_UNIT
#define METADATA_OFF (2 * VHDX_UNIT)
#define METADATA_SIZE VHDX_UNIT
#define BAT_OFF (3 * VHDX_UNIT)

/* What Hyper-V takes.  A child gets its blocks as a whole, be it for one
 * sector: small ones.
 */
#define DEFAULT_BLOCK_SIZE (32 * 1024 * 1024)
#define DEFAULT_CHILD_BLOCK_SIZE (2 * 1024 * 1024)

/* What is to be made. */
struct plan {
  struct vhdx_metadata metadata;
  struct vhdx_regions regions;
  struct vhdx_bat bat;          /* without entries */
};

/* The leaf of the parent; NULL if that is no VHDX. */
static const struct vhdx_layer *
parent_layer (const struct creation *c)
{
  if (strcmp (image_format (c->parent), "vhdx") != 0)
    return NULL;
  return ((const struct vhdx *) c->parent->state)->leaf;
}

/* Of a disk that is no VHDX too: a CD has sectors of 2048 bytes, of which it
 * is four of ours.
 */
static uint32_t
parent_sector_size (const struct creation *c)
{
  struct block_sizes sizes;

  image_get_sizes (c->parent, &sizes);
  return sizes.logical == 4096 ? 4096 : 512;
}

/*--- What is asked for ------------------------------------------------------*/

static int
check_parent (const struct creation *c, struct err *err)
{
  const struct image_create_options *o = c->options;
  unsigned layers = 1;

  /* Whoever names a file as the parent wants what others can read. */
  if (o->base == NULL && parent_layer (c) == NULL)
    return err_set (err, -EINVAL, "parent %s: is %s %s image; the parent of "
                    "a differencing VHDX is a VHDX", o->parent,
                    text_article (image_format (c->parent)),
                    image_format (c->parent));
  if (o->kind == IMAGE_FIXED)
    return err_set (err, -EINVAL, "a fixed VHDX can't have a parent");
  if (o->size != 0 && o->size < image_size (c->parent))
    return err_set (err, -EINVAL, "the disk would be smaller (%" PRIu64
                    " bytes) than that of its parent (%" PRIu64 " bytes)",
                    o->size, image_size (c->parent));
  if (o->sector_size != 0 && o->sector_size != parent_sector_size (c))
    return err_set (err, -EINVAL, "sectors of %" PRIu32 " bytes can't be: "
                    "those of the parent have %" PRIu32, o->sector_size,
                    parent_sector_size (c));
  for (const struct vhdx_layer *l = parent_layer (c); l; l = l->parent)
    layers++;
  if (layers > PARENT_MAX_LAYERS)
    return err_set (err, -EINVAL, "parent %s: has %u files in its chain "
                    "already, and %d are the most",
                    image_name (c->parent), layers - 1,
                    PARENT_MAX_LAYERS);
  return 0;
}

static int
check_sectors (const struct vhdx_metadata *m, struct err *err)
{
  uint32_t bad = m->logical != 512 && m->logical != 4096 ? m->logical
    : m->physical != 512 && m->physical != 4096 ? m->physical : 0;

  if (bad)
    return err_set (err, -EINVAL, "sectors of %" PRIu32 " bytes can't be; "
                    "expected 512 or 4096", bad);
  if (m->physical < m->logical)
    return err_set (err, -EINVAL, "physical sectors of %" PRIu32 " bytes "
                    "can't be smaller than logical ones of %" PRIu32,
                    m->physical, m->logical);
  return 0;
}

static int
check_options (const struct creation *c, struct err *err)
{
  const struct image_create_options *o = c->options;

  if (o->azure || o->chs)
    return err_set (err, -EINVAL, "a VHDX has no geometry, and Azure takes "
                    "VHDs");
  if (o->block_size != 0 && (!is_power_of_2 (o->block_size) ||
                             o->block_size < VHDX_MIN_BLOCK_SIZE ||
                             o->block_size > VHDX_MAX_BLOCK_SIZE))
    return err_set (err, -EINVAL, "blocks of %" PRIu32 " bytes can't be; "
                    "expected a power of 2 from 1M to 256M", o->block_size);
  if (o->preallocate && o->kind != IMAGE_FIXED)
    return err_set (err, -EINVAL, "space can be taken in advance for fixed "
                    "VHDXs only");
  return c->parent ? check_parent (c, err) : 0;
}

static int
check_size (const struct vhdx_metadata *m, struct err *err)
{
  if (m->size > VHDX_MAX_SIZE)
    return err_set (err, -EINVAL, "the largest VHDX is of 64 TiB (%" PRIu64
                    " bytes)", VHDX_MAX_SIZE);
  if (m->size % m->logical != 0)
    return err_set (err, -EINVAL, "a VHDX is of whole sectors of %" PRIu32
                    " bytes, which %" PRIu64 " bytes are not", m->logical,
                    m->size);
  return 0;
}

/* As small as is usual, and such that the table is held in memory. */
static void
choose_block_size (struct plan *p, uint32_t asked)
{
  struct vhdx_metadata *m = &p->metadata;

  m->block_size = asked ? asked
    : m->has_parent ? DEFAULT_CHILD_BLOCK_SIZE : DEFAULT_BLOCK_SIZE;
  vhdx_bat_measure (m, &p->bat);
  while (asked == 0 && p->bat.nr_entries > VHDX_BAT_MAX_HELD &&
         m->block_size < VHDX_MAX_BLOCK_SIZE) {
    m->block_size *= 2;
    vhdx_bat_measure (m, &p->bat);
  }
}

static void
choose_metadata (const struct creation *c, struct vhdx_metadata *m)
{
  const struct image_create_options *o = c->options;
  const struct vhdx_layer *parent = c->parent ? parent_layer (c) : NULL;

  m->is_fixed = o->kind == IMAGE_FIXED;
  m->has_parent = c->parent != NULL;
  m->logical = o->sector_size ? o->sector_size
    : c->parent ? parent_sector_size (c) : 512;
  m->physical = o->physical_sector_size ? o->physical_sector_size
    : parent ? parent->metadata.physical : 4096;
  m->size = o->size ? o->size
    : round_up (image_size (c->parent), m->logical);
}

static int
link_to_parent (const struct creation *c, struct vhdx_metadata *m,
                struct report *report, struct err *err)
{
  uint8_t id[UUID_SIZE];
  int r = image_identity (c->parent, id, err);

  if (r < 0)
    return r;
  if (strcmp (image_format (c->parent), "vhdx") != 0)
    return vhdx_link_make_over (c->path, c->parent, id, &m->locator,
                                &m->locator_len, report, err);
  return vhdx_link_make (c->path, image_name (c->parent), id, NULL,
                         &m->locator, &m->locator_len, report, err);
}

static int
make_plan (struct creation *c, struct plan *p, struct report *report,
           struct err *err)
{
  struct vhdx_metadata *m = &p->metadata;
  int r = check_options (c, err);

  if (r < 0)
    return r;
  choose_metadata (c, m);
  r = check_sectors (m, err);
  if (r == 0)
    r = check_size (m, err);
  if (r < 0)
    return r;
  choose_block_size (p, c->options->block_size);
  p->regions.metadata.off = METADATA_OFF;
  p->regions.metadata.len = METADATA_SIZE;
  p->regions.bat.off = BAT_OFF;
  p->regions.bat.len = round_up (p->bat.nr_entries * VHDX_BAT_ENTRY_SIZE,
                                 VHDX_UNIT);
  c->size = m->size;
  if (c->parent && parent_layer (c))
    memcpy (m->page_83, parent_layer (c)->metadata.page_83, UUID_SIZE);
  else
    r = vhdx_guid_new (m->page_83, err);
  return r == 0 && c->parent ? link_to_parent (c, m, report, err) : r;
}

/*--- The file ---------------------------------------------------------------*/

static int
write_headers (struct creation *c, struct err *err)
{
  struct vhdx_header h = { .log_off = LOG_OFF, .log_len = LOG_SIZE };
  uint8_t bytes[VHDX_HEADER_SIZE], file_write_guid[UUID_SIZE];
  uint8_t identifier[VHDX_CREATOR + VHDX_CREATOR_SIZE];
  int r;

  r = vhdx_guid_new (file_write_guid, err);
  if (r == 0)
    r = vhdx_guid_new (h.data_write_guid, err);
  if (r == 0)
    r = vhdx_encode_identifier (CREATOR, identifier, err);
  if (r == 0)
    r = creation_write (c, identifier, sizeof identifier, 0, err);
  for (int i = 0; r == 0 && i < 2; ++i) {
    h.sequence = (uint64_t) i + 1;
    vhdx_encode_header (&h, file_write_guid, bytes);
    r = creation_write (c, bytes, sizeof bytes,
                        i == 0 ? VHDX_HEADER_1 : VHDX_HEADER_2, err);
  }
  return r;
}

static int
write_tables (struct creation *c, struct plan *p, struct err *err)
{
  CLEANUP_FREE uint8_t *bytes = malloc (METADATA_SIZE);
  int r;

  if (bytes == NULL)
    return err_nomem (err);
  vhdx_encode_regions (&p->regions, bytes);
  r = creation_write (c, bytes, VHDX_REGIONS_SIZE, VHDX_REGIONS_1, err);
  if (r == 0)
    r = creation_write (c, bytes, VHDX_REGIONS_SIZE, VHDX_REGIONS_2, err);
  if (r == 0)
    r = creation_write (c, bytes, vhdx_encode_metadata (&p->metadata, bytes),
                        p->regions.metadata.off, err);
  return r;
}

#define ENTRIES_AT_ONCE 8192

/* Every block is present, and they lie in order. */
static int
write_fixed_bat (struct creation *c, const struct plan *p, uint64_t first_off,
                 struct err *err)
{
  CLEANUP_FREE uint8_t *bytes = malloc (ENTRIES_AT_ONCE * VHDX_BAT_ENTRY_SIZE);
  uint64_t off = first_off, i = 0, ratio = p->bat.chunk_ratio;
  int r = 0;

  if (bytes == NULL)
    return err_nomem (err);
  while (r == 0 && i < p->bat.nr_entries) {
    uint64_t at = p->regions.bat.off + i * VHDX_BAT_ENTRY_SIZE;
    size_t n = 0;

    for (; n < ENTRIES_AT_ONCE && i < p->bat.nr_entries; ++n, ++i) {
      bool is_bitmap = i % (ratio + 1) == ratio;

      put_le64 (bytes + n * VHDX_BAT_ENTRY_SIZE,
                is_bitmap ? 0 : off | VHDX_PRESENT);
      off += is_bitmap ? 0 : p->metadata.block_size;
    }
    r = creation_write (c, bytes, n * VHDX_BAT_ENTRY_SIZE, at, err);
  }
  return r;
}

static int
write_file (struct creation *c, struct plan *p, struct err *err)
{
  const struct vhdx_metadata *m = &p->metadata;
  uint64_t first_off = p->regions.bat.off + p->regions.bat.len;
  uint64_t end = first_off;
  int r;

  if (m->is_fixed)
    end += p->bat.nr_blocks * m->block_size;
  r = creation_resize (c, end, err);
  if (r == 0 && c->options->preallocate)
    r = creation_reserve (c, end, err);
  if (r == 0)
    r = write_headers (c, err);
  if (r == 0)
    r = write_tables (c, p, err);
  if (r == 0 && m->is_fixed)
    r = write_fixed_bat (c, p, first_off, err);
  return r;
}

int
vhdx_create (struct creation *c, struct report *report, struct err *err)
{
  struct plan plan = { .metadata = { 0 } };
  int r = make_plan (c, &plan, report, err);

  if (r == 0)
    r = write_file (c, &plan, err);
  free (plan.metadata.locator);
  return r;
}
