/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The region table and its copy: where BAT and metadata are, and what else
 * takes space in the file.
 *
 * Windows marks BAT and metadata as required, QEMU does not: what counts is
 * that they are known.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/vhdx/vhdx.h"

static const uint64_t offsets[2] = { VHDX_REGIONS_1, VHDX_REGIONS_2 };
static const uint8_t bat_guid[UUID_SIZE] = VHDX_GUID_BAT;
static const uint8_t metadata_guid[UUID_SIZE] = VHDX_GUID_METADATA;

struct candidate {
  uint8_t bytes[VHDX_REGIONS_SIZE];
  bool is_signed, is_valid;
  uint32_t stored, computed;    /* checksums */
};

const char *
vhdx_region_name (const struct vhdx_region *region, char buf[64])
{
  char guid[UUID_STRING_SIZE];

  if (uuid_is_zero (region->guid))
    return "the log";
  if (memcmp (region->guid, bat_guid, UUID_SIZE) == 0)
    return "the BAT";
  if (memcmp (region->guid, metadata_guid, UUID_SIZE) == 0)
    return "the metadata";
  guid_to_string (region->guid, guid);
  snprintf (buf, 64, "the region %s", guid);
  return buf;
}

/*--- One of the two tables --------------------------------------------------*/

static int
read_one (struct block *file, uint64_t off, struct candidate *c,
          struct err *err)
{
  int r = block_pread (file, c->bytes, VHDX_REGIONS_SIZE, off, err);

  if (r < 0)
    return r;
  c->is_signed = memcmp (c->bytes, VHDX_REGIONS_SIGNATURE, 4) == 0;
  c->stored = get_le32 (c->bytes + VHDX_CHECKSUM);
  c->computed = vhdx_checksum (c->bytes, VHDX_REGIONS_SIZE);
  c->is_valid = c->is_signed && c->stored == c->computed;
  return 0;
}

static size_t
used_bytes (const struct candidate *c)
{
  return VHDX_REGIONS_ENTRIES +
    min_u64 (get_le32 (c->bytes + VHDX_REGIONS_COUNT), VHDX_MAX_REGIONS) *
    VHDX_REGION_ENTRY_SIZE;
}

static bool
say_the_same (const struct candidate c[2])
{
  size_t len = used_bytes (&c[0]);

  return memcmp (c[0].bytes + VHDX_REGIONS_COUNT,
                 c[1].bytes + VHDX_REGIONS_COUNT,
                 len - VHDX_REGIONS_COUNT) == 0;
}

static int
none_is_valid (const struct candidate c[2], struct err *err)
{
  int i = c[0].is_signed ? 0 : 1;

  if (!c[0].is_signed && !c[1].is_signed)
    return err_set (err, -EBADMSG, "there is no region table (“%s”), neither "
                    "at offset %" PRIu64 " nor at %" PRIu64,
                    VHDX_REGIONS_SIGNATURE, offsets[0], offsets[1]);
  return err_set (err, -EBADMSG, "the region table at offset %" PRIu64 " has "
                  "checksum %08" PRIx32 ", computed %08" PRIx32 ", and the "
                  "one at offset %" PRIu64 " is not valid either", offsets[i],
                  c[i].stored, c[i].computed, offsets[1 - i]);
}

static int
choose (struct block *file, const struct candidate c[2],
        bool ignore_checksums, int *out, struct report *report,
        struct err *err)
{
  int i = c[0].is_valid ? 0 : 1;

  if (c[0].is_valid && c[1].is_valid && !say_the_same (c))
    return err_set (err, -EBADMSG, "the region tables at offsets %" PRIu64
                    " and %" PRIu64 " are both valid but differ", offsets[0],
                    offsets[1]);
  if (!c[0].is_valid && !c[1].is_valid) {
    i = c[0].is_signed ? 0 : 1;
    if (!ignore_checksums || !c[i].is_signed)
      return none_is_valid (c, err);
    report_warn (report, "%s: the region table at offset %" PRIu64 " has "
                 "checksum %08" PRIx32 ", computed %08" PRIx32 "; ignored",
                 block_name (file), offsets[i], c[i].stored, c[i].computed);
  }
  else if (!c[1 - i].is_valid)
    report_warn (report, "%s: the region table at offset %" PRIu64 " is "
                 "damaged; using the one at offset %" PRIu64,
                 block_name (file), offsets[1 - i], offsets[i]);
  *out = i;
  return 0;
}

/*--- Entries ----------------------------------------------------------------*/

static int
check_place (const struct vhdx_region *region, uint64_t file_size,
             struct err *err)
{
  char name[64];

  if (region->off % VHDX_UNIT != 0 || region->len % VHDX_UNIT != 0 ||
      region->len == 0)
    return err_set (err, -EBADMSG, "%s has %" PRIu64 " bytes at offset %"
                    PRIu64 ", expected multiples of 1 MiB",
                    vhdx_region_name (region, name), region->len,
                    region->off);
  if (region->off < VHDX_UNIT ||
      !range_fits (region->off, region->len, file_size))
    return err_set (err, -EBADMSG, "%s has %" PRIu64 " bytes at offset %"
                    PRIu64 ", which is not behind the headers and inside the "
                    "%" PRIu64 " bytes of the file",
                    vhdx_region_name (region, name), region->len, region->off,
                    file_size);
  return 0;
}

/* The entry of a region that we know is kept in *known, too. */
static int
add_known (const struct vhdx_region *region, struct vhdx_region *known,
           struct err *err)
{
  char name[64];

  if (known->len != 0)
    return err_set (err, -EBADMSG, "%s is in the region table twice",
                    vhdx_region_name (region, name));
  *known = *region;
  return 0;
}

static int
add_entry (const uint8_t *p, uint64_t file_size, struct vhdx_regions *out,
           struct err *err)
{
  struct vhdx_region region = {
    .off = get_le64 (p + VHDX_REGION_OFFSET),
    .len = get_le32 (p + VHDX_REGION_LENGTH),
  };
  char name[64];
  int r;

  memcpy (region.guid, p + VHDX_REGION_GUID, UUID_SIZE);
  if (uuid_is_zero (region.guid))
    return err_set (err, -EBADMSG, "an entry of the region table has no GUID");
  r = check_place (&region, file_size, err);
  if (r < 0)
    return r;
  if (memcmp (region.guid, bat_guid, UUID_SIZE) == 0)
    r = add_known (&region, &out->bat, err);
  else if (memcmp (region.guid, metadata_guid, UUID_SIZE) == 0)
    r = add_known (&region, &out->metadata, err);
  else if (get_le32 (p + VHDX_REGION_FLAGS) & VHDX_REGION_REQUIRED)
    return err_set (err, -ENOTSUP, "%s at offset %" PRIu64 " is marked as "
                    "required, and is not known",
                    vhdx_region_name (&region, name), region.off);
  if (r < 0)
    return r;
  return vector_append (&out->all, &region) < 0 ? err_nomem (err) : 0;
}

static int
by_offset (const void *a, const void *b)
{
  const struct vhdx_region *x = a, *y = b;

  return x->off < y->off ? -1 : x->off > y->off;
}

static int
check_overlaps (const struct vhdx_region_vector *all, struct err *err)
{
  char a[64], b[64];

  for (size_t i = 1; i < all->len; ++i) {
    const struct vhdx_region *x = &all->ptr[i - 1], *y = &all->ptr[i];

    if (x->off + x->len > y->off)
      return err_set (err, -EBADMSG, "%s at offset %" PRIu64 " overlaps %s at "
                      "offset %" PRIu64, vhdx_region_name (y, b), y->off,
                      vhdx_region_name (x, a), x->off);
  }
  return 0;
}

static int
decode (const uint8_t *table, uint64_t file_size,
        const struct vhdx_header *header, struct vhdx_regions *out,
        struct err *err)
{
  const struct vhdx_region log = { .off = header->log_off,
                                   .len = header->log_len };
  uint32_t count = get_le32 (table + VHDX_REGIONS_COUNT);
  int r = 0;

  if (count > VHDX_MAX_REGIONS)
    return err_set (err, -EBADMSG, "the region table has %" PRIu32
                    " entries, expected %d at most", count, VHDX_MAX_REGIONS);
  if (log.len > 0 && vector_append (&out->all, &log) < 0)
    return err_nomem (err);
  for (uint32_t i = 0; r == 0 && i < count; ++i)
    r = add_entry (table + VHDX_REGIONS_ENTRIES + i * VHDX_REGION_ENTRY_SIZE,
                   file_size, out, err);
  if (r < 0)
    return r;
  if (out->bat.len == 0 || out->metadata.len == 0)
    return err_set (err, -EBADMSG, "%s is not in the region table",
                    out->bat.len == 0 ? "the BAT" : "the metadata");
  qsort (out->all.ptr, out->all.len, sizeof out->all.ptr[0], by_offset);
  return check_overlaps (&out->all, err);
}

int
vhdx_regions_read (struct block *file, const struct vhdx_header *header,
                   bool ignore_checksums, struct vhdx_regions *out,
                   struct report *report, struct err *err)
{
  CLEANUP_FREE struct candidate *c = calloc (2, sizeof *c);
  struct vhdx_regions regions = { .all = VECTOR_INIT };
  int r = 0, i;

  if (c == NULL)
    return err_nomem (err);
  for (i = 0; r == 0 && i < 2; ++i)
    r = read_one (file, offsets[i], &c[i], err);
  if (r == 0)
    r = choose (file, c, ignore_checksums, &i, report, err);
  if (r == 0)
    r = decode (c[i].bytes, block_size (file), header, &regions, err);
  regions.alone = !c[0].is_valid || !c[1].is_valid;
  if (r < 0)
    vhdx_regions_free (&regions);
  else
    *out = regions;
  return r;
}

void
vhdx_regions_free (struct vhdx_regions *regions)
{
  vector_free (&regions->all);
}

const struct vhdx_region *
vhdx_regions_touched (const struct vhdx_regions *regions, uint64_t off,
                      uint64_t len)
{
  const struct vhdx_region *all = regions->all.ptr;
  size_t low = 0, high = regions->all.len;

  /* The first one that ends behind off. */
  while (low < high) {
    size_t mid = (low + high) / 2;

    if (all[mid].off + all[mid].len > off)
      high = mid;
    else
      low = mid + 1;
  }
  return low < regions->all.len && all[low].off < off + len ? &all[low]
                                                            : NULL;
}
