/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The checksums of a VHDX, wherever its structures are. */

#include <config.h>

#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/crc32c.h"
#include "tests/fuzz/fix.h"

#define HEADER_SIZE 4096
#define REGIONS_SIZE (64 * 1024)
#define PAGE 4096
#define MAX_LOG (4 * 1024 * 1024)
#define MAX_ENTRIES 32          /* of a log that are made right */

/* A structure that begins with its four characters and a checksum. */
static void
fix_crc (struct sparse *s, uint64_t off, size_t len, const char *signature)
{
  static uint8_t bytes[REGIONS_SIZE];

  if (!range_fits (off, len, s->size))
    return;
  sparse_read (s, bytes, len, off);
  if (memcmp (bytes, signature, 4) != 0)
    return;
  put_le32 (bytes + 4, 0);
  put_le32 (bytes + 4, crc32c_update (0, bytes, len));
  sparse_write (s, bytes + 4, 4, off + 4);
}

/* The entry at a page of the log, which is a ring. */
static bool
fix_entry (struct sparse *s, uint64_t log_off, uint64_t nr_pages,
           uint64_t page)
{
  uint64_t off = log_off + page * PAGE;
  uint8_t bytes[PAGE];
  uint32_t crc, len;

  sparse_read (s, bytes, 4, off);
  if (memcmp (bytes, "loge", 4) != 0)
    return false;
  sparse_read (s, bytes, PAGE, off);
  len = get_le32 (bytes + 8);
  if (len / PAGE > nr_pages)
    return false;
  put_le32 (bytes + 4, 0);
  crc = crc32c_update (0, bytes, PAGE);
  for (uint32_t n = 1; n < len / PAGE; ++n) {
    sparse_read (s, bytes, PAGE, log_off + (page + n) % nr_pages * PAGE);
    crc = crc32c_update (crc, bytes, PAGE);
  }
  put_le32 (bytes, crc);
  sparse_write (s, bytes, 4, off + 4);
  return true;
}

/* The log of the header at off. */
static void
fix_log (struct sparse *s, uint64_t off)
{
  uint8_t bytes[80];
  uint64_t log_off, len;
  unsigned nr_entries = 0;

  if (!range_fits (off, HEADER_SIZE, s->size))
    return;
  sparse_read (s, bytes, sizeof bytes, off);
  len = get_le32 (bytes + 68);
  log_off = get_le64 (bytes + 72);
  if (memcmp (bytes, "head", 4) != 0 || !range_fits (log_off, len, s->size) ||
      len > MAX_LOG)
    return;
  for (uint64_t page = 0; page < len / PAGE && nr_entries < MAX_ENTRIES;
       ++page)
    nr_entries += fix_entry (s, log_off, len / PAGE, page);
}

void
fix_vhdx (struct sparse *s)
{
  fix_log (s, 64 * 1024);
  fix_log (s, 128 * 1024);
  fix_crc (s, 64 * 1024, HEADER_SIZE, "head");
  fix_crc (s, 128 * 1024, HEADER_SIZE, "head");
  fix_crc (s, 192 * 1024, REGIONS_SIZE, "regi");
  fix_crc (s, 256 * 1024, REGIONS_SIZE, "regi");
}
