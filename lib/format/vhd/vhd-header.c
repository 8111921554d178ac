/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The header of a dynamic or differencing VHD. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/format/vhd/vhd.h"

static void
decode_locator (const uint8_t *p, struct vhd_locator *l)
{
  l->code = get_be32 (p + VHD_LOCATOR_CODE);
  l->space = get_be32 (p + VHD_LOCATOR_DATA_SPACE);
  l->len = get_be32 (p + VHD_LOCATOR_DATA_LENGTH);
  l->off = get_be64 (p + VHD_LOCATOR_DATA_OFFSET);
}

static void
decode (const uint8_t *p, struct vhd_header *h)
{
  h->table_offset = get_be64 (p + VHD_HEADER_TABLE_OFFSET);
  h->version = get_be32 (p + VHD_HEADER_VERSION);
  h->max_entries = get_be32 (p + VHD_HEADER_MAX_ENTRIES);
  h->block_size = get_be32 (p + VHD_HEADER_BLOCK_SIZE);
  h->checksum = get_be32 (p + VHD_HEADER_CHECKSUM);
  memcpy (h->parent_id, p + VHD_HEADER_PARENT_ID, sizeof h->parent_id);
  h->parent_timestamp = get_be32 (p + VHD_HEADER_PARENT_TIMESTAMP);
  memcpy (h->parent_name, p + VHD_HEADER_PARENT_NAME, sizeof h->parent_name);
  for (int i = 0; i < VHD_NR_LOCATORS; ++i)
    decode_locator (p + VHD_HEADER_LOCATORS + i * VHD_LOCATOR_SIZE,
                    &h->locators[i]);
}

uint64_t
vhd_header_table_size (const struct vhd_header *h)
{
  return (uint64_t) h->max_entries * VHD_BAT_ENTRY_SIZE;
}

/* Do [a, a+a_len) and [b, b+b_len), both without overflow, share a byte? */
static bool
overlap (uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
  return a_len > 0 && b_len > 0 && a < b + b_len && b < a + a_len;
}

static int
validate_table (const struct vhd_header *h, uint64_t off, uint64_t end,
                uint64_t size, struct err *err)
{
  uint64_t table_size = vhd_header_table_size (h);

  if (!range_fits (h->table_offset, table_size, end))
    return err_set (err, -EBADMSG, "the BAT at offset %" PRIu64 " with %"
                    PRIu32 " entries does not fit into the first %" PRIu64
                    " bytes of the file, where it must be", h->table_offset,
                    h->max_entries, end);
  if (overlap (h->table_offset, table_size, 0, VHD_FOOTER_SIZE))
    return err_set (err, -EBADMSG, "the BAT at offset %" PRIu64 " overlaps "
                    "the copy of the footer at offset 0", h->table_offset);
  if (overlap (h->table_offset, table_size, off, VHD_HEADER_SIZE))
    return err_set (err, -EBADMSG, "the BAT at offset %" PRIu64 " with %"
                    PRIu32 " entries overlaps the dynamic header at offset %"
                    PRIu64, h->table_offset, h->max_entries, off);
  if ((uint64_t) h->max_entries * h->block_size < size)
    return err_set (err, -EBADMSG, "the BAT has %" PRIu32 " entries for "
                    "blocks of %" PRIu32 " bytes, which is too small for a "
                    "disk of %" PRIu64 " bytes", h->max_entries,
                    h->block_size, size);
  return 0;
}

static int
validate (const struct vhd_header *h, uint64_t off, uint64_t end,
          uint64_t size, struct err *err)
{
  if (h->version >> 16 != VHD_VERSION_MAJOR)
    return err_set (err, -ENOTSUP, "the dynamic header at offset %" PRIu64
                    " has version %" PRIu32 ".%" PRIu32 ", expected %d.x",
                    off, h->version >> 16, h->version & 0xFFFF,
                    VHD_VERSION_MAJOR);
  if (!is_power_of_2 (h->block_size))
    return err_set (err, -EBADMSG, "the dynamic header at offset %" PRIu64
                    " has block size %" PRIu32 ", expected a power of 2",
                    off, h->block_size);
  if (h->block_size < VHD_MIN_BLOCK_SIZE ||
      h->block_size > VHD_MAX_BLOCK_SIZE)
    return err_set (err, -ENOTSUP, "the dynamic header at offset %" PRIu64
                    " has block size %" PRIu32 ", expected %d to %d", off,
                    h->block_size, VHD_MIN_BLOCK_SIZE, VHD_MAX_BLOCK_SIZE);
  return validate_table (h, off, end, size, err);
}

static int
check_bytes (struct block *block, const uint8_t p[VHD_HEADER_SIZE],
             uint64_t off, bool ignore_checksums, struct vhd_header *h,
             struct report *report, struct err *err)
{
  uint32_t sum = vhd_checksum (p, VHD_HEADER_SIZE, VHD_HEADER_CHECKSUM);

  if (memcmp (p, VHD_HEADER_COOKIE, VHD_COOKIE_SIZE) != 0)
    return err_set (err, -EBADMSG, "there is no dynamic header (‘%s’) at "
                    "offset %" PRIu64 ", where the footer says it is",
                    VHD_HEADER_COOKIE, off);
  if (h->checksum == sum)
    return 0;
  if (!ignore_checksums)
    return err_set (err, -EBADMSG, "the dynamic header at offset %" PRIu64
                    " has checksum %08" PRIx32 ", computed %08" PRIx32, off,
                    h->checksum, sum);
  report_warn (report, "%s: the dynamic header at offset %" PRIu64 " has a "
               "wrong checksum, which is ignored as you asked",
               block_name (block), off);
  h->bad_checksum = true;
  return 0;
}

int
vhd_header_read (struct block *block, const struct vhd_footers *footers,
                 uint64_t size, bool ignore_checksums, struct vhd_header *out,
                 struct report *report, struct err *err)
{
  uint64_t off = footers->footer.data_offset;
  uint8_t bytes[VHD_HEADER_SIZE];
  struct vhd_header header = { 0 };
  int r;

  if (!range_fits (off, VHD_HEADER_SIZE, footers->end))
    return err_set (err, -EBADMSG, "the dynamic header at offset %" PRIu64
                    " does not fit into the first %" PRIu64 " bytes of the "
                    "file, where it must be", off, footers->end);
  if (off < VHD_FOOTER_SIZE)
    return err_set (err, -EBADMSG, "the dynamic header at offset %" PRIu64
                    " overlaps the copy of the footer at offset 0", off);
  r = block_pread (block, bytes, sizeof bytes, off, err);
  if (r < 0)
    return r;
  decode (bytes, &header);
  r = check_bytes (block, bytes, off, ignore_checksums, &header, report,
                   err);
  if (r == 0)
    r = validate (&header, off, footers->end, size, err);
  if (r < 0)
    return r;
  *out = header;
  return 0;
}
