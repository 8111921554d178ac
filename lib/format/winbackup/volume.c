/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A volume's file.  The VHDs of Windows 7 that people describe hold a disk
 * with one partition, the volume.  We look at the bytes: a partition table
 * with one partition means that one, the boot sector of a file system at the
 * start of the disk means that the disk is the volume.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/beneath.h"
#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/block/file.h"
#include "lib/block/window.h"
#include "lib/format/winbackup/backup.h"
#include "lib/part/part.h"

/* A file may hold more than the volume by less than a cylinder of 255 heads
 * and 63 sectors: who makes a disk for a volume rounds it up.
 */
#define ROUNDING (UINT64_C (255) * 63 * 512)

#define MICROSOFT_RESERVED "e3c9e316-0b5c-4db8-817d-f92df00215ae"

/*--- file systems ----------------------------------------------------------*/

static bool
has_name_at_3 (const uint8_t *sector)
{
  static const char names[][9] = { "NTFS    ", "EXFAT   ", "-FVE-FS-" };

  for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i)
    if (memcmp (sector + 3, names[i], 8) == 0)
      return true;
  return memcmp (sector + 3, "ReFS\0\0\0\0", 8) == 0;
}

static bool
has_fat (const uint8_t *sector)
{
  return (memcmp (sector + 54, "FAT", 3) == 0 ||
          memcmp (sector + 82, "FAT32", 5) == 0) &&
    sector[510] == 0x55 && sector[511] == 0xaa;
}

/* How long NTFS says that it is, with the copy of its boot sector behind it
 * ([MS] NTFS boot sector: 11 bytes in a sector, 40 sectors); 0: it is none.
 */
static uint64_t
ntfs_size (const uint8_t *sector)
{
  uint64_t size;

  if (memcmp (sector + 3, "NTFS    ", 8) != 0 ||
      !checked_add (get_le64 (sector + 40), UINT64_C (1), &size) ||
      !checked_mul (size, (uint64_t) get_le16 (sector + 11), &size))
    return 0;
  return size;
}

/*--- where the volume lies in its file -------------------------------------*/

/* The only partition that is more than an entry in the table. */
static int
only_partition (const struct part_table *table, const struct partition **out,
                struct err *err)
{
  size_t nr = 0;

  for (size_t i = 0; i < table->parts.len; ++i) {
    const struct partition *p = &table->parts.ptr[i];

    if (p->is_extended || strcmp (p->type, MICROSOFT_RESERVED) == 0)
      continue;
    *out = p;
    nr++;
  }
  if (nr == 1)
    return 0;
  return err_set (err, -EBADMSG, "its disk has %zu partitions, expected one, "
                  "the volume", nr);
}

static int
find_volume (struct block *disk, struct block **out, struct report *report,
             struct err *err)
{
  CLEANUP_PART_TABLE struct part_table table = { PART_NONE };
  const struct partition *p = NULL;
  struct block_sizes sizes;
  uint8_t sector[512];
  int r;

  if (block_size (disk) < sizeof sector)
    return err_set (err, -EBADMSG, "its disk has %" PRIu64 " bytes",
                    block_size (disk));
  r = block_pread (disk, sector, sizeof sector, 0, err);
  if (r < 0)
    return r;
  if (has_name_at_3 (sector) || has_fat (sector)) {
    *out = block_ref (disk);
    return 0;
  }
  block_get_sizes (disk, &sizes);
  r = part_read (disk, sizes.logical, &table, report, err);
  if (r == 0 && table.scheme == PART_NONE)
    return err_set (err, -EBADMSG, "its disk begins neither with a partition "
                    "table nor with a file system");
  if (r == 0)
    r = only_partition (&table, &p, err);
  return r == 0 ? block_window_new (disk, p->off, p->len, out, err) : r;
}

/*--- opening ---------------------------------------------------------------*/

static int
open_file (const struct backup *b, const struct backup_volume *v,
           const struct image_options *options, struct image **out,
           struct report *report, struct err *err)
{
  CLEANUP_FREE char *name = NULL;
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_IMAGE struct image *img = NULL;
  struct image_options o = *options;
  CLEANUP_CLOSE int fd = -1;
  int r;

  if (asprintf (&name, "%s/%s", b->place.path, v->file) < 0) {
    name = NULL;
    return err_nomem (err);
  }
  r = beneath_open_file (b->place.fd, v->file, &fd, err);
  if (r == 0)
    r = block_file_from_fd (fd, name, o.lock ? BLOCK_FILE_LOCK : 0, &block,
                            report, err);
  if (r < 0)
    return r;
  steal_fd (&fd);
  o.format = NULL;
  o.writable = false;
  r = image_open_block (block, &o, &img, report, err);
  if (r < 0)
    return r;
  if (strcmp (image_format (img), "vhd") != 0 &&
      strcmp (image_format (img), "vhdx") != 0)
    return err_set (err, -EBADMSG, "is neither a VHD nor a VHDX");
  *out = steal_ptr (&img);
  return 0;
}

/* part_read does not name the disk in what it reports. */
static void
report_for (struct report *to, struct report *from, const char *file)
{
  for (size_t i = 0; i < from->lines.len; ++i)
    report_warn (to, "%s: %s", file, from->lines.ptr[i]);
}

int
backup_open_volume (const struct backup *b, const struct backup_volume *v,
                    const struct image_options *options,
                    struct image **image, struct block **bytes,
                    struct report *report, struct err *err)
{
  CLEANUP_REPORT struct report inner = REPORT_INIT;
  CLEANUP_IMAGE struct image *img = NULL;
  CLEANUP_BLOCK struct block *disk = NULL;
  int r;

  if (v->second_file)
    return err_set (err, -EBADMSG, "the volume is there twice, as %s and as "
                    "%s", v->file, v->second_file);
  r = open_file (b, v, options, &img, report, err);
  if (r == 0)
    r = image_to_block (img, &disk, err);
  if (r == 0)
    r = find_volume (disk, bytes, &inner, err);
  report_for (report, &inner, v->file);
  if (r < 0) {
    err_in (err, "%s", v->file);
    return r;
  }
  *image = steal_ptr (&img);
  return 0;
}

int
backup_fit_volume (struct block *bytes, uint64_t len, struct block **out,
                   struct err *err)
{
  uint64_t size = block_size (bytes), inner;
  uint8_t sector[512];
  int r;

  if (size < len || size - len >= ROUNDING)
    return err_set (err, -EBADMSG, "it holds a volume of %" PRIu64 " bytes, "
                    "but the partition has %" PRIu64, size, len);
  if (len >= sizeof sector) {
    r = block_pread (bytes, sector, sizeof sector, 0, err);
    if (r < 0)
      return r;
    inner = ntfs_size (sector);
    if (inner > len)
      return err_set (err, -EBADMSG, "its file system has %" PRIu64 " bytes, "
                      "but the partition has %" PRIu64, inner, len);
  }
  return block_window_new (bytes, 0, len, out, err);
}
