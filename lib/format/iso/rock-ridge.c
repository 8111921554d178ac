/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Rock Ridge (IEEE P1282) in ISO 9660, told by the system use entries (SUSP,
 * IEEE P1281) of the root directory's first record, which is the root itself:
 * an SP entry says that there are any, and an ER entry, most often in a
 * continuation area that a CE entry names, says of which kind.
 *
 * An entry: two letters, its length, a version, data.  A record and an entry
 * lie within one sector or area.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/format/iso/iso9660.h"

#define MAX_AREAS 16            /* a chain of them may loop; no writer needs
                                   more than one */
#define RECORD_SIZE 34          /* of the root, with its name and no entries */
#define XA_SIZE 14              /* what CD-ROM XA puts before the entries */

/* Where the next area is; len 0: nowhere. */
struct area {
  uint64_t off;
  uint32_t len;
};

static bool
is_rock_ridge_id (const uint8_t *id, size_t len)
{
  static const char *const ids[] = {
    "RRIP_1991A", "IEEE_P1282", "IEEE_1282",
  };

  for (size_t i = 0; i < sizeof ids / sizeof ids[0]; ++i)
    if (len == strlen (ids[i]) && memcmp (id, ids[i], len) == 0)
      return true;
  return false;
}

/* Look through one area.  True: Rock Ridge. */
static bool
look (const uint8_t *p, size_t len, uint32_t block_size, struct area *next)
{
  next->len = 0;
  while (len >= 4 && p[2] >= 4 && p[2] <= len) {
    if (memcmp (p, "RR", 2) == 0 || memcmp (p, "PX", 2) == 0)
      return true;
    if (memcmp (p, "ER", 2) == 0 && p[2] >= 8 && p[4] <= p[2] - 8 &&
        is_rock_ridge_id (p + 8, p[4]))
      return true;
    if (memcmp (p, "CE", 2) == 0 && p[2] >= 28) {
      next->off = (uint64_t) get_le32 (p + 4) * block_size +
                  get_le32 (p + 12);
      next->len = get_le32 (p + 20);
    }
    if (memcmp (p, "ST", 2) == 0)
      break;
    len -= p[2];
    p += p[2];
  }
  return false;
}

static bool
is_sp (const uint8_t *p, size_t len)
{
  return len >= 7 && memcmp (p, "SP\x07\x01\xBE\xEF", 6) == 0;
}

int
rock_ridge_detect (struct block *block, const struct iso9660 *iso,
                   bool *found, struct err *err)
{
  uint64_t off = (uint64_t) iso->root_block * iso->block_size;
  uint8_t sector[ISO_SECTOR];
  const uint8_t *entries;
  struct area next;
  size_t len;
  int r;

  if (iso->root_len < RECORD_SIZE ||
      !range_fits (off, RECORD_SIZE, block_size (block)))
    return err_set (err, -EBADMSG, "%" PRIu32 " bytes are not inside the file",
                    iso->root_len);
  len = (size_t) min_u64 (sizeof sector, block_size (block) - off);
  r = block_pread (block, sector, len, off, err);
  if (r < 0)
    return r;
  len = min_u64 (len, sector[0]);
  if (len < RECORD_SIZE || sector[32] != 1 || sector[33] != 0)
    return err_set (err, -EBADMSG, "the first record is not the directory "
                    "itself");
  entries = sector + RECORD_SIZE;
  len -= RECORD_SIZE;
  if (len >= XA_SIZE && !is_sp (entries, len)) {
    entries += XA_SIZE;
    len -= XA_SIZE;
  }
  if (!is_sp (entries, len))
    return 0;
  *found = look (entries, len, iso->block_size, &next);
  for (unsigned i = 0; !*found && next.len > 0; ++i) {
    if (i == MAX_AREAS)
      return err_set (err, -EBADMSG, "more than %d continuation areas, the "
                      "next at offset %" PRIu64 ": they may go in a circle",
                      MAX_AREAS, next.off);
    if (next.len > sizeof sector ||
        !range_fits (next.off, next.len, block_size (block)))
      return err_set (err, -EBADMSG, "continuation area of %" PRIu32 " bytes "
                      "at offset %" PRIu64 " is not inside the file",
                      next.len, next.off);
    r = block_pread (block, sector, next.len, next.off, err);
    if (r < 0)
      return r;
    *found = look (sector, next.len, iso->block_size, &next);
  }
  return 0;
}
