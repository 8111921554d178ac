/* SPDX-License-Identifier: GPL-2.0-or-later */

/* XenServer's batmap: a header in the sector after the BAT, and a map with a
 * bit for each block whose sectors are all there.  It is a hint that reading
 * does not need; what matters is that no block lies over it, and that its
 * header says when tapdisk has encrypted the blocks.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/format/vhd/vhd.h"

int
vhd_batmap_read (struct block *block, const struct vhd_footers *footers,
                 const struct vhd_header *header, struct vhd_batmap *out,
                 struct report *report, struct err *err)
{
  uint64_t table_end = header->table_offset + vhd_header_table_size (header);
  uint64_t off = round_up (table_end, VHD_SECTOR_SIZE);
  struct vhd_batmap map = { .present = true, .header_off = off };
  uint8_t bytes[VHD_BATMAP_SIZE];
  int r;

  if (!vhd_creator_is (&footers->footer, "tap\0") ||
      !range_fits (off, sizeof bytes, footers->end))
    return 0;
  r = block_pread (block, bytes, sizeof bytes, off, err);
  if (r < 0)
    return r;
  if (memcmp (bytes, VHD_BATMAP_COOKIE, VHD_COOKIE_SIZE) != 0)
    return 0;
  if (bytes[VHD_BATMAP_KEY_HASH] != 0)
    return err_set (err, -ENOTSUP, "the batmap at offset %" PRIu64 " holds "
                    "the hash of a key: the disk was encrypted by tapdisk",
                    off);
  map.off = get_be64 (bytes + VHD_BATMAP_OFFSET);
  map.len = (uint64_t) get_be32 (bytes + VHD_BATMAP_SECTORS) *
    VHD_SECTOR_SIZE;
  if (!range_fits (map.off, map.len, footers->end)) {
    report_warn (report, "%s: the batmap at offset %" PRIu64 " says that its "
                 "map is at offset %" PRIu64 ", which is not in the file; "
                 "the map is a hint and not used", block_name (block), off,
                 map.off);
    map.off = map.len = 0;
  }
  *out = map;
  return 0;
}
