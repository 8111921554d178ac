/* SPDX-License-Identifier: GPL-2.0-or-later */

/* In the first 16 sectors of 2048 bytes:
 *   MBR                in the first 512 bytes, 55 AA at 510
 *   GPT                its header at 512
 *   Apple partition map  entries from 512 or 2048 on, whichever is its block
 *                      size: "PM", number of entries @4, first block @8,
 *                      number of blocks @12, name @16, type @48
 *   HFS, HFS+          "BD" or "H+" at 1024: a disc that is one of those as
 *                      a whole
 * Partitions of MBR and GPT are lib/part's business.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/format/iso/hybrid.h"

#define HEAD 4096               /* bytes, with the first entry of any map */
#define MAX_ENTRIES 63          /* they end before the descriptors, in blocks
                                   of 512 bytes */
#define END 32768               /* byte: of the area */

/*--- Apple partition map ---------------------------------------------------*/

static bool
is_entry (const uint8_t *p)
{
  return memcmp (p, "PM\0\0", 4) == 0 && get_be32 (p + 4) > 0;
}

/* Entries in blocks of 512 bytes may be there only because the map begins
 * with a block of 2048: its first entry is then at 2048, the second at 4096.
 */
static uint32_t
map_block_size (const uint8_t *head)
{
  if (is_entry (head + 512))
    return 512;
  return is_entry (head + 2048) ? 2048 : 0;
}

static void
check_entry (const struct apple_entry *e, unsigned number, uint64_t size,
             struct report *report)
{
  if (!range_fits (e->off, e->len, size))
    report_warn (report, "Apple partition map: partition %u, %" PRIu64
                 " bytes at offset %" PRIu64 ", goes beyond the end of the "
                 "file, %" PRIu64, number, e->len, e->off, size);
}

static int
read_map (struct block *block, uint32_t unit, uint32_t entries,
          struct iso_hybrid *hybrid, struct report *report, struct err *err)
{
  uint8_t p[80];

  for (unsigned i = 1; i <= entries; ++i) {
    uint64_t off = (uint64_t) i * unit;
    struct apple_entry e;

    if (i > MAX_ENTRIES || off >= END) {
      report_warn (report, "Apple partition map: it says that it has %" PRIu32
                   " entries, of which %u are before byte %d; the others are "
                   "left out", entries, i - 1, END);
      break;
    }
    if (!range_fits (off, sizeof p, block_size (block)) ||
        block_pread (block, p, sizeof p, off, NULL) < 0 || !is_entry (p)) {
      report_warn (report, "Apple partition map: no entry at offset %" PRIu64
                   ", expected %" PRIu32 " of them", off, entries);
      break;
    }
    e.off = (uint64_t) get_be32 (p + 8) * unit;
    e.len = (uint64_t) get_be32 (p + 12) * unit;
    memcpy (e.name, p + 16, sizeof e.name);
    memcpy (e.type, p + 48, sizeof e.type);
    check_entry (&e, i, block_size (block), report);
    if (vector_append (&hybrid->apple, &e) < 0)
      return err_nomem (err);
  }
  return 0;
}

/*--- The others ------------------------------------------------------------*/

/* Four entries that can be ones, and one that is. */
static bool
is_mbr (const uint8_t *head)
{
  bool used = false;

  if (head[510] != 0x55 || head[511] != 0xAA)
    return false;
  for (unsigned i = 0; i < 4; ++i) {
    const uint8_t *e = head + 446 + 16 * i;

    if ((e[0] & 0x7F) != 0)
      return false;
    used |= get_le32 (e + 12) != 0;
  }
  return used;
}

int
iso_hybrid_read (struct block *block, struct iso_hybrid *hybrid,
                 struct report *report, struct err *err)
{
  uint8_t head[HEAD];
  uint32_t unit;

  if (block_size (block) < sizeof head ||
      block_pread (block, head, sizeof head, 0, NULL) < 0)
    return 0;
  hybrid->has_mbr = is_mbr (head);
  hybrid->has_gpt = memcmp (head + 512, "EFI PART", 8) == 0;
  hybrid->has_hfs = memcmp (head + 1024, "BD", 2) == 0;
  hybrid->has_hfs_plus = memcmp (head + 1024, "H+", 2) == 0;
  unit = map_block_size (head);
  if (unit == 0)
    return 0;
  return read_map (block, unit, get_be32 (head + unit + 4), hybrid, report,
                   err);
}

void
iso_hybrid_free (struct iso_hybrid *hybrid)
{
  vector_free (&hybrid->apple);
}
