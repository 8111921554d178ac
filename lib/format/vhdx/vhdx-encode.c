/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Structures of a new file as bytes: the other direction of vhdx-header.c,
 * vhdx-region.c and vhdx-metadata.c.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/base/utf16.h"
#include "lib/format/vhdx/vhdx.h"

/* RFC 4122 has the version in the first byte of its third field, which is the
 * second one here.
 */
int
vhdx_guid_new (uint8_t guid[UUID_SIZE], struct err *err)
{
  int r = uuid_new (guid, err);
  uint8_t byte = guid[6];

  guid[6] = guid[7];
  guid[7] = byte;
  return r;
}

int
vhdx_encode_identifier (const char *creator,
                        uint8_t out[VHDX_CREATOR + VHDX_CREATOR_SIZE],
                        struct err *err)
{
  CLEANUP_FREE uint8_t *utf16 = NULL;
  size_t len;
  int r = utf16_from_utf8 (creator, UTF16_LE, &utf16, &len, err);

  if (r < 0)
    return r;
  memset (out, 0, VHDX_CREATOR + VHDX_CREATOR_SIZE);
  memcpy (out, VHDX_IDENTIFIER, VHDX_IDENTIFIER_SIZE);
  memcpy (out + VHDX_CREATOR, utf16,
          len < VHDX_CREATOR_SIZE ? len : VHDX_CREATOR_SIZE);
  return 0;
}

void
vhdx_encode_header (const struct vhdx_header *h,
                    const uint8_t file_write_guid[UUID_SIZE],
                    uint8_t out[VHDX_HEADER_SIZE])
{
  memset (out, 0, VHDX_HEADER_SIZE);
  memcpy (out, VHDX_HEADER_SIGNATURE, 4);
  put_le64 (out + VHDX_HEADER_SEQUENCE, h->sequence);
  memcpy (out + VHDX_HEADER_FILE_WRITE_GUID, file_write_guid, UUID_SIZE);
  memcpy (out + VHDX_HEADER_DATA_WRITE_GUID, h->data_write_guid, UUID_SIZE);
  memcpy (out + VHDX_HEADER_LOG_GUID, h->log_guid, UUID_SIZE);
  put_le16 (out + VHDX_HEADER_LOG_VERSION, VHDX_LOG_VERSION);
  put_le16 (out + VHDX_HEADER_VERSION, VHDX_VERSION);
  put_le32 (out + VHDX_HEADER_LOG_LENGTH, h->log_len);
  put_le64 (out + VHDX_HEADER_LOG_OFFSET, h->log_off);
  put_le32 (out + VHDX_CHECKSUM, vhdx_checksum (out, VHDX_HEADER_SIZE));
}

/*--- Region table -----------------------------------------------------------*/

static void
put_region (uint8_t *p, const struct vhdx_region *region)
{
  memcpy (p + VHDX_REGION_GUID, region->guid, UUID_SIZE);
  put_le64 (p + VHDX_REGION_OFFSET, region->off);
  put_le32 (p + VHDX_REGION_LENGTH, (uint32_t) region->len);
  put_le32 (p + VHDX_REGION_FLAGS, VHDX_REGION_REQUIRED);
}

void
vhdx_encode_regions (struct vhdx_regions *regions,
                     uint8_t out[VHDX_REGIONS_SIZE])
{
  static const uint8_t bat_guid[UUID_SIZE] = VHDX_GUID_BAT;
  static const uint8_t metadata_guid[UUID_SIZE] = VHDX_GUID_METADATA;

  memcpy (regions->bat.guid, bat_guid, UUID_SIZE);
  memcpy (regions->metadata.guid, metadata_guid, UUID_SIZE);
  memset (out, 0, VHDX_REGIONS_SIZE);
  memcpy (out, VHDX_REGIONS_SIGNATURE, 4);
  put_le32 (out + VHDX_REGIONS_COUNT, 2);
  put_region (out + VHDX_REGIONS_ENTRIES, &regions->bat);
  put_region (out + VHDX_REGIONS_ENTRIES + VHDX_REGION_ENTRY_SIZE,
              &regions->metadata);
  put_le32 (out + VHDX_CHECKSUM, vhdx_checksum (out, VHDX_REGIONS_SIZE));
}

/*--- Metadata ---------------------------------------------------------------*/

/* Where the next entry and the next item go. */
struct table {
  uint8_t *bytes;
  unsigned nr;
  uint32_t end;
};

/* Returns where the item's bytes are to be put. */
static uint8_t *
add_item (struct table *t, const uint8_t guid[UUID_SIZE], size_t len,
          uint32_t flags)
{
  uint8_t *entry = t->bytes + VHDX_METADATA_ENTRIES +
    t->nr * VHDX_ITEM_ENTRY_SIZE;
  uint8_t *item = t->bytes + t->end;

  memcpy (entry + VHDX_ITEM_GUID, guid, UUID_SIZE);
  put_le32 (entry + VHDX_ITEM_OFFSET, t->end);
  put_le32 (entry + VHDX_ITEM_LENGTH, (uint32_t) len);
  put_le32 (entry + VHDX_ITEM_FLAGS, flags | VHDX_ITEM_REQUIRED);
  t->nr++;
  t->end += (uint32_t) len;
  put_le16 (t->bytes + VHDX_METADATA_COUNT, (uint16_t) t->nr);
  return item;
}

size_t
vhdx_encode_metadata (const struct vhdx_metadata *m, uint8_t *out)
{
  static const uint8_t parameters[UUID_SIZE] = VHDX_GUID_FILE_PARAMETERS;
  static const uint8_t size[UUID_SIZE] = VHDX_GUID_SIZE;
  static const uint8_t page_83[UUID_SIZE] = VHDX_GUID_PAGE_83;
  static const uint8_t logical[UUID_SIZE] = VHDX_GUID_LOGICAL;
  static const uint8_t physical[UUID_SIZE] = VHDX_GUID_PHYSICAL;
  static const uint8_t locator[UUID_SIZE] = VHDX_GUID_LOCATOR;
  const uint32_t disk = VHDX_ITEM_VIRTUAL_DISK;
  struct table t = { out, 0, VHDX_METADATA_TABLE_SIZE };
  uint8_t *p;

  memset (out, 0, VHDX_METADATA_TABLE_SIZE);
  memcpy (out, VHDX_METADATA_SIGNATURE, 8);
  p = add_item (&t, parameters, 8, 0);
  put_le32 (p, m->block_size);
  put_le32 (p + 4, (m->is_fixed ? VHDX_LEAVE_ALLOCATED : 0) |
            (m->has_parent ? VHDX_HAS_PARENT : 0));
  put_le64 (add_item (&t, size, 8, disk), m->size);
  memcpy (add_item (&t, page_83, UUID_SIZE, disk), m->page_83, UUID_SIZE);
  put_le32 (add_item (&t, logical, 4, disk), m->logical);
  put_le32 (add_item (&t, physical, 4, disk), m->physical);
  if (m->has_parent)
    memcpy (add_item (&t, locator, m->locator_len, 0), m->locator,
            m->locator_len);
  return t.end;
}
