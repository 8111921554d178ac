/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A disk of what was recorded: its partition table is built anew, the volumes
 * lie where their partitions do, and the rest is a hole.  A partition whose
 * volume is not in the backup is empty, as it would be after Windows has
 * restored the disk.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/block/memory.h"
#include "lib/block/regions.h"
#include "lib/format/winbackup/backup.h"
#include "lib/part/build.h"

static const uint8_t reserved_type[UUID_SIZE] = {
  0x16, 0xe3, 0xc9, 0xe3, 0x5c, 0x0b, 0xb8, 0x4d,
  0x81, 0x7d, 0xf9, 0x2d, 0xf0, 0x02, 0x15, 0xae
};

DEFINE_VECTOR (region_vector, struct region);

struct building {
  const struct backup *backup;
  const struct asr_disk *disk;
  size_t index;                 /* of it */
  const struct image_options *options;
  struct image_vector *images;
  struct report *report;
  char *specs;                  /* BackupSpecs.xml in ASCII; NULL: none */
  struct region_vector regions; /* with references */
};

static void
building_free (struct building *d)
{
  for (size_t i = 0; i < d->regions.len; ++i)
    block_unref (d->regions.ptr[i].block);
  vector_free (&d->regions);
  free (d->specs);
}

/* Takes the reference over. */
static int
add_region (struct building *d, uint64_t off, struct block *block,
            unsigned layer, struct err *err)
{
  struct region g = { off, block_size (block), block, 0, layer };

  if (vector_append (&d->regions, &g) == 0)
    return 0;
  block_unref (block);
  return err_nomem (err);
}

static int
add_bytes (struct building *d, uint64_t off, const void *bytes, uint64_t len,
           struct err *err)
{
  struct block *block;
  int r = block_memory_new ("partition table", bytes, (size_t) len, &block,
                            err);

  return r == 0 ? add_region (d, off, block, 0, err) : r;
}

/*--- the table -------------------------------------------------------------*/

static int
add_mbr (struct building *d, struct err *err)
{
  const struct asr_disk *disk = d->disk;
  struct mbr_slot slots[PART_MBR_SLOTS] = { { 0 } };
  uint8_t mbr[PART_MBR_SIZE];
  int r;

  for (size_t i = 0; i < disk->parts.len; ++i) {
    const struct asr_partition *p = &disk->parts.ptr[i];

    slots[p->index] = (struct mbr_slot) {
      .type = p->mbr_type,
      .active = p->active,
      .start = p->off / disk->sector_size,
      .sectors = p->len / disk->sector_size,
    };
  }
  r = mbr_build (mbr, disk->signature, slots,
                 (struct mbr_geometry) { disk->heads, disk->sectors }, err);
  return r == 0 ? add_bytes (d, 0, mbr, sizeof mbr, err)
    : err_code (err, -EBADMSG);
}

/* A partition's index is its place in the array. */
static void
plan_gpt (const struct asr_disk *disk, struct gpt_slot slots[GPT_ENTRIES],
          struct gpt_plan *plan)
{
  for (size_t i = 0; i < disk->parts.len; ++i) {
    const struct asr_partition *p = &disk->parts.ptr[i];
    struct gpt_slot *s = &slots[p->index];

    memcpy (s->type, p->type, UUID_SIZE);
    memcpy (s->guid, p->guid, UUID_SIZE);
    s->first = p->off / disk->sector_size;
    s->last = (p->off + p->len) / disk->sector_size - 1;
    s->attributes = p->attributes;
    s->name = p->name;
  }
  plan->sector_size = disk->sector_size;
  plan->sectors = disk->size / disk->sector_size;
  memcpy (plan->guid, disk->guid, UUID_SIZE);
  plan->slots = slots;
  plan->nr_slots = GPT_ENTRIES;
}

/* The backup copy goes last, behind the partitions. */
static int
build_gpt (struct building *d, uint8_t **tail, struct err *err)
{
  CLEANUP_FREE struct gpt_slot *slots = calloc (GPT_ENTRIES, sizeof *slots);
  CLEANUP_FREE uint8_t *head = NULL;
  struct gpt_plan plan;
  int r;

  if (slots == NULL)
    return err_nomem (err);
  plan_gpt (d->disk, slots, &plan);
  r = gpt_build (&plan, &head, tail, err);
  return r == 0 ? add_bytes (d, 0, head, gpt_head_size (plan.sector_size), err)
    : err_code (err, -EBADMSG);
}

/*--- the volumes -----------------------------------------------------------*/

static const struct backup_volume *
volume_of (const struct building *d, size_t part)
{
  for (size_t i = 0; i < d->backup->volumes.len; ++i) {
    const struct backup_volume *v = &d->backup->volumes.ptr[i];

    if (v->placed && v->disk == d->index && v->part == part)
      return v;
  }
  return NULL;
}

/* BackupSpecs.xml, whose characters are of one or two bytes, without the NULs
 * between them.  Only GUIDs are looked for.
 */
static void
load_specs (struct building *d)
{
  CLEANUP_FREE char *text = NULL;
  size_t len, n = 0;

  if (backup_read_document (d->backup, "BackupSpecs.xml", &text, &len,
                            NULL) < 0)
    return;
  for (size_t i = 0; i < len; ++i)
    if (text[i] != '\0')
      text[n++] = text[i];
  text[n] = '\0';
  d->specs = steal_ptr (&text);
}

static int
check_absent (struct building *d, const struct asr_partition *p,
              struct err *err)
{
  char guid[UUID_STRING_SIZE];

  if (d->disk->is_gpt && memcmp (p->type, reserved_type, UUID_SIZE) == 0)
    return 0;                   /* nobody's data */
  if (!p->has_volume && p->critical)
    return err_set (err, -EBADMSG, "the partition with index %u is critical, "
                    "but has no volume", p->index);
  if (!p->has_volume) {
    report_warn (d->report, "%s: the partition with index %u has no volume "
                 "and is empty on the disk", d->backup->place.path, p->index);
    return 0;
  }
  guid_to_string (p->volume, guid);
  if (p->critical || (d->specs && strcasestr (d->specs, guid)))
    return err_set (err, -EBADMSG, "%s.vhd or .vhdx is missing, the volume of "
                    "the partition with index %u%s", guid, p->index,
                    p->critical ? ", which is critical" : "");
  report_warn (d->report, "%s: the partition with index %u, volume %s, is not "
               "in the backup and is empty on the disk",
               d->backup->place.path, p->index, guid);
  return 0;
}

/* Where NTFS and FAT were made, they noted where they lie. */
static void
check_hidden (struct building *d, const struct backup_volume *v,
              const struct asr_partition *p, struct block *bytes)
{
  uint64_t start = p->off / d->disk->sector_size;
  uint8_t sector[512];
  uint32_t hidden;

  if (p->len < sizeof sector ||
      block_pread (bytes, sector, sizeof sector, 0, NULL) < 0 ||
      memcmp (sector + 3, "NTFS    ", 8) != 0)
    return;
  hidden = get_le32 (sector + 28);
  if (hidden != start)
    report_warn (d->report, "%s: its file system says that it begins at sector "
                 "%" PRIu32 ", its partition does at %" PRIu64, v->file,
                 hidden, start);
}

static int
add_volume (struct building *d, const struct backup_volume *v,
            const struct asr_partition *p, struct err *err)
{
  CLEANUP_BLOCK struct block *bytes = NULL;
  CLEANUP_IMAGE struct image *img = NULL;
  struct block *fitted;
  int r = backup_open_volume (d->backup, v, d->options, &img, &bytes,
                              d->report, err);

  if (r < 0)
    return r;
  r = backup_fit_volume (bytes, p->len, &fitted, err);
  if (r < 0) {
    err_in (err, "%s", v->file);
    return r;
  }
  check_hidden (d, v, p, fitted);
  if (vector_append (d->images, &img) < 0) {
    block_unref (fitted);
    return err_nomem (err);
  }
  steal_ptr (&img);
  return add_region (d, p->off, fitted, (unsigned) d->images->len, err);
}

static int
add_parts (struct building *d, struct err *err)
{
  int r = 0;

  load_specs (d);
  for (size_t i = 0; r == 0 && i < d->disk->parts.len; ++i) {
    const struct asr_partition *p = &d->disk->parts.ptr[i];
    const struct backup_volume *v = volume_of (d, i);

    r = v ? add_volume (d, v, p, err) : check_absent (d, p, err);
  }
  return r;
}

/*--- all of it -------------------------------------------------------------*/

static int
build (struct building *d, const char *name, struct block **out,
       struct err *err)
{
  const struct asr_disk *disk = d->disk;
  struct block_sizes sizes = { 1, 4096, disk->sector_size };
  CLEANUP_FREE uint8_t *tail = NULL;
  int r = disk->is_gpt ? build_gpt (d, &tail, err) : add_mbr (d, err);

  if (r == 0)
    r = add_parts (d, err);
  if (r == 0 && tail) {
    uint64_t len = gpt_tail_size (disk->sector_size);

    r = add_bytes (d, disk->size - len, tail, len, err);
  }
  return r == 0 ? block_regions_new (name, disk->size, &sizes,
                                     d->regions.ptr, d->regions.len, out, err)
    : r;
}

int
backup_open_disk (const struct backup *backup, size_t disk, const char *name,
                  const struct image_options *options,
                  struct image_vector *images, struct block **bytes,
                  struct report *report, struct err *err)
{
  struct building d = {
    .backup = backup,
    .disk = &backup->asr.disks.ptr[disk],
    .index = disk,
    .options = options,
    .images = images,
    .report = report,
  };
  int r;

  if (d.disk->refusal.code < 0)
    return err_set (err, d.disk->refusal.code, "%s", d.disk->refusal.msg);
  r = build (&d, name, bytes, err);
  building_free (&d);
  return r;
}
