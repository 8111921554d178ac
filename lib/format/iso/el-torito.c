/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A boot catalogue is a row of 32-byte entries:
 *   validation   01, platform, …, checksum @28, 55 AA @30: all 16-bit words
 *                add up to 0
 *   default      an image for the platform of the validation entry
 *   then any number of sections:
 *     header     90, or 91 for the last; platform; number of entries @2
 *     entry      an image
 *       extension  44: more selection criteria, which belong to the entry
 * An image: 88 bootable or 00; medium it pretends to be; …; number of
 * 512-byte sectors to load @6; its 2048-byte sector @8.
 *
 * The number of sectors says what a BIOS loads, not how long the image is.
 * UEFI takes 0 and 1 as "to the end of the volume".
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
#include "lib/format/iso/el-torito.h"
#include "lib/format/iso/iso9660.h"

#define ENTRY_SIZE 32
#define MAX_CATALOG (32 * ISO_SECTOR)   /* 2048 entries */
#define MAX_SAID 8                      /* images that something is wrong with,
                                           each with a sentence of its own */

#define PLATFORM_UEFI 0xEF

enum { ID_VALIDATION = 0x01, ID_HEADER = 0x90, ID_LAST_HEADER = 0x91,
       ID_EXTENSION = 0x44, ID_BOOTABLE = 0x88, ID_NOT_BOOTABLE = 0x00 };

enum { MEDIA_NONE, MEDIA_1200K, MEDIA_1440K, MEDIA_2880K, MEDIA_DISK };

/* A catalogue that was read, and where its entries go. */
struct catalog {
  struct block *block;
  uint64_t off;                 /* of the catalogue */
  const uint8_t *bytes;
  size_t len;
  uint64_t volume_size;
  struct image_boot_vector *boot;
  struct report *report;
  unsigned wrong;               /* images that something is wrong with */
};

static const char *
platform_name (uint8_t platform, char str[8])
{
  switch (platform) {
  case 0x00: return "BIOS";
  case 0x01: return "PowerPC";
  case 0x02: return "Mac";
  case PLATFORM_UEFI: return "UEFI";
  }
  snprintf (str, 8, "0x%02x", platform);
  return str;
}

static const char *
media_name (uint8_t media)
{
  switch (media) {
  case MEDIA_NONE: return "no emulation";
  case MEDIA_1200K: return "1.2M floppy";
  case MEDIA_1440K: return "1.44M floppy";
  case MEDIA_2880K: return "2.88M floppy";
  case MEDIA_DISK: return "hard disk";
  }
  return "unknown";
}

static void
free_entry (struct image_boot_entry *entry)
{
  free (entry->platform);
  free (entry->media);
}

void
el_torito_free (struct image_boot_vector *boot)
{
  for (size_t i = 0; i < boot->len; ++i)
    free_entry (&boot->ptr[i]);
  vector_free (boot);
}

int
el_torito_add (struct image_boot_vector *boot,
               const struct image_boot_entry *entry, struct err *err)
{
  struct image_boot_entry copy = *entry;

  copy.platform = strdup (entry->platform);
  copy.media = strdup (entry->media);
  if (copy.platform && copy.media && vector_append (boot, &copy) == 0)
    return 0;
  free_entry (&copy);
  return err_nomem (err);
}

/* How long the image at off is; 0: not stated.  A pretended disk says it in
 * the partition table that it must have.
 */
static uint64_t
image_length (const struct catalog *c, uint8_t platform, uint8_t media,
              uint64_t off, uint16_t sectors)
{
  uint8_t mbr[512];

  switch (media) {
  case MEDIA_1200K: return 1200 * 1024;
  case MEDIA_1440K: return 1440 * 1024;
  case MEDIA_2880K: return 2880 * 1024;
  case MEDIA_DISK:
    if (block_pread (c->block, mbr, sizeof mbr, off, NULL) < 0 ||
        mbr[510] != 0x55 || mbr[511] != 0xAA)
      return 0;
    return ((uint64_t) get_le32 (mbr + 446 + 8) + get_le32 (mbr + 446 + 12)) *
           512;
  }
  if (platform == PLATFORM_UEFI && sectors <= 1)
    return c->volume_size > off ? c->volume_size - off : 0;
  return (uint64_t) sectors * 512;
}

static int
add_image (struct catalog *c, const uint8_t *e, uint8_t platform,
           struct err *err)
{
  uint64_t size = block_size (c->block);
  uint64_t off = (uint64_t) get_le32 (e + 8) * ISO_SECTOR;
  uint8_t media = e[1] & 0x0F;
  char str[8];
  struct image_boot_entry entry = {
    .platform = (char *) platform_name (platform, str),
    .media = (char *) media_name (media),
    .bootable = e[0] == ID_BOOTABLE,
    .off = off,
  };

  if (off >= size) {
    if (c->wrong++ < MAX_SAID)
      report_warn (c->report, "El Torito boot image for %s is at offset %"
                   PRIu64 ", beyond the end of the file, %" PRIu64 "; it is "
                   "left out", entry.platform, off, size);
    return 0;
  }
  entry.len = image_length (c, platform, media, off, get_le16 (e + 6));
  if (entry.len > size - off) {
    if (c->wrong++ < MAX_SAID)
      report_warn (c->report, "El Torito boot image for %s, %" PRIu64 " bytes "
                   "at offset %" PRIu64 ", goes beyond the end of the file, %"
                   PRIu64, entry.platform, entry.len, off, size);
    entry.len = size - off;
  }
  return el_torito_add (c->boot, &entry, err);
}

static bool
is_zero_entry (const uint8_t *e)
{
  static const uint8_t zeros[ENTRY_SIZE];

  return memcmp (e, zeros, ENTRY_SIZE) == 0;
}

/* The images of the section whose header is at *pos; *pos moves behind
 * them.
 */
static int
read_section (struct catalog *c, size_t *pos, struct err *err)
{
  const uint8_t *header = c->bytes + *pos;
  unsigned left = get_le16 (header + 2);
  int r = 0;

  for (*pos += ENTRY_SIZE; left > 0 && r == 0; *pos += ENTRY_SIZE) {
    const uint8_t *e = c->bytes + *pos;

    if (*pos + ENTRY_SIZE > c->len)
      break;
    if (e[0] == ID_EXTENSION)
      continue;
    if (e[0] != ID_BOOTABLE && e[0] != ID_NOT_BOOTABLE)
      break;
    if (!is_zero_entry (e))
      r = add_image (c, e, header[1], err);
    --left;
  }
  if (r == 0 && left > 0)
    report_warn (c->report, "El Torito catalogue at offset %" PRIu64 ": a "
                 "section of %u entries has only %u", c->off,
                 get_le16 (header + 2), get_le16 (header + 2) - left);
  return r;
}

static int
read_sections (struct catalog *c, struct err *err)
{
  size_t pos = 2 * ENTRY_SIZE;
  bool last = false;
  int r = 0;

  while (r == 0 && !last && pos + ENTRY_SIZE <= c->len) {
    uint8_t id = c->bytes[pos];

    last = id == ID_LAST_HEADER;
    if (id == ID_EXTENSION)
      pos += ENTRY_SIZE;
    else if (id == ID_HEADER || id == ID_LAST_HEADER)
      r = read_section (c, &pos, err);
    else
      break;
  }
  if (r == 0 && pos + ENTRY_SIZE > c->len && c->len == MAX_CATALOG)
    report_warn (c->report, "El Torito catalogue at offset %" PRIu64 ": it "
                 "goes on behind %d entries, which are not looked at", c->off,
                 MAX_CATALOG / ENTRY_SIZE);
  if (c->wrong > MAX_SAID)
    report_warn (c->report, "El Torito catalogue at offset %" PRIu64 ": %u "
                 "more boot images are beyond the end of the file", c->off,
                 c->wrong - MAX_SAID);
  return r;
}

/* What is wrong with the validation entry; NULL: nothing. */
static const char *
check_validation (const uint8_t *v)
{
  uint16_t sum = 0;

  for (unsigned i = 0; i < ENTRY_SIZE; i += 2)
    sum = (uint16_t) (sum + get_le16 (v + i));
  if (v[0] != ID_VALIDATION)
    return "the validation entry does not begin with 01";
  if (v[30] != 0x55 || v[31] != 0xAA)
    return "the validation entry does not end in 55 aa";
  return sum == 0 ? NULL : "the validation entry's checksum is wrong";
}

int
el_torito_read (struct block *block, uint32_t catalog_sector,
                uint64_t volume_size, struct image_boot_vector *boot,
                struct report *report, struct err *err)
{
  CLEANUP_FREE uint8_t *bytes = NULL;
  struct catalog c = {
    .block = block,
    .off = (uint64_t) catalog_sector * ISO_SECTOR,
    .volume_size = min_u64 (volume_size, block_size (block)),
    .boot = boot,
    .report = report,
  };
  struct err why = ERR_INIT;
  const char *wrong;
  int r;

  if (!range_fits (c.off, ISO_SECTOR, block_size (block))) {
    report_warn (report, "El Torito catalogue at sector %" PRIu32 " is not "
                 "inside the file", catalog_sector);
    return 0;
  }
  c.len = (size_t) min_u64 (MAX_CATALOG, block_size (block) - c.off);
  c.bytes = bytes = malloc (c.len);
  if (bytes == NULL)
    return err_nomem (err);
  r = block_pread (block, bytes, c.len, c.off, &why);
  wrong = r < 0 ? why.msg : check_validation (bytes);
  if (wrong) {
    report_warn (report, "El Torito catalogue at sector %" PRIu32 ": %s; it "
                 "is not used", catalog_sector, wrong);
    return 0;
  }
  if (!is_zero_entry (bytes + ENTRY_SIZE)) {
    uint8_t id = bytes[ENTRY_SIZE];

    if (id != ID_BOOTABLE && id != ID_NOT_BOOTABLE)
      report_warn (report, "El Torito catalogue at sector %" PRIu32 ": the "
                   "default entry begins with %02x, expected 88 or 00",
                   catalog_sector, id);
    else
      r = add_image (&c, bytes + ENTRY_SIZE, bytes[1], err);
  }
  return r < 0 ? r : read_sections (&c, err);
}
