/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Footer and dynamic header as bytes, with their checksums. */

#include <config.h>

#include <string.h>

#include "lib/base/bytes.h"
#include "lib/format/vhd/vhd.h"

/* Bit 1 is reserved and always set. */
#define FEATURES 0x00000002

#define VERSION_1_0 (VHD_VERSION_MAJOR << 16)

void
vhd_footer_encode (const struct vhd_footer *f, uint8_t p[VHD_FOOTER_SIZE])
{
  memset (p, 0, VHD_FOOTER_SIZE);
  memcpy (p, VHD_FOOTER_COOKIE, VHD_COOKIE_SIZE);
  put_be32 (p + VHD_FOOTER_FEATURES, FEATURES);
  put_be32 (p + VHD_FOOTER_VERSION, VERSION_1_0);
  put_be64 (p + VHD_FOOTER_DATA_OFFSET, f->data_offset);
  put_be32 (p + VHD_FOOTER_TIMESTAMP, f->timestamp);
  memcpy (p + VHD_FOOTER_CREATOR, f->creator, sizeof f->creator);
  put_be32 (p + VHD_FOOTER_CREATOR_VERSION, f->creator_version);
  memcpy (p + VHD_FOOTER_CREATOR_OS, f->creator_os, sizeof f->creator_os);
  put_be64 (p + VHD_FOOTER_ORIGINAL_SIZE, f->original_size);
  put_be64 (p + VHD_FOOTER_CURRENT_SIZE, f->current_size);
  put_be16 (p + VHD_FOOTER_CYLINDERS, f->cylinders);
  p[VHD_FOOTER_HEADS] = f->heads;
  p[VHD_FOOTER_SECTORS] = f->sectors;
  put_be32 (p + VHD_FOOTER_TYPE, f->type);
  memcpy (p + VHD_FOOTER_ID, f->id, UUID_SIZE);
  p[VHD_FOOTER_SAVED_STATE] = f->saved_state;
  put_be32 (p + VHD_FOOTER_CHECKSUM,
            vhd_checksum (p, VHD_FOOTER_SIZE, VHD_FOOTER_CHECKSUM));
}

static void
encode_locator (const struct vhd_locator *l, uint8_t *p)
{
  put_be32 (p + VHD_LOCATOR_CODE, l->code);
  put_be32 (p + VHD_LOCATOR_DATA_SPACE, l->space);
  put_be32 (p + VHD_LOCATOR_DATA_LENGTH, l->len);
  put_be64 (p + VHD_LOCATOR_DATA_OFFSET, l->off);
}

void
vhd_header_encode (const struct vhd_header *h, uint8_t p[VHD_HEADER_SIZE])
{
  memset (p, 0, VHD_HEADER_SIZE);
  memcpy (p, VHD_HEADER_COOKIE, VHD_COOKIE_SIZE);
  memset (p + VHD_HEADER_NEXT, 0xFF, 8);
  put_be64 (p + VHD_HEADER_TABLE_OFFSET, h->table_offset);
  put_be32 (p + VHD_HEADER_VERSION, VERSION_1_0);
  put_be32 (p + VHD_HEADER_MAX_ENTRIES, h->max_entries);
  put_be32 (p + VHD_HEADER_BLOCK_SIZE, h->block_size);
  memcpy (p + VHD_HEADER_PARENT_ID, h->parent_id, UUID_SIZE);
  put_be32 (p + VHD_HEADER_PARENT_TIMESTAMP, h->parent_timestamp);
  memcpy (p + VHD_HEADER_PARENT_NAME, h->parent_name, VHD_PARENT_NAME_SIZE);
  for (size_t i = 0; i < VHD_NR_LOCATORS; ++i)
    if (h->locators[i].code != VHD_LOCATOR_NONE)
      encode_locator (&h->locators[i],
                      p + VHD_HEADER_LOCATORS + i * VHD_LOCATOR_SIZE);
  put_be32 (p + VHD_HEADER_CHECKSUM,
            vhd_checksum (p, VHD_HEADER_SIZE, VHD_HEADER_CHECKSUM));
}
