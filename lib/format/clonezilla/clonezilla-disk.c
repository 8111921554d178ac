/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A disk of what Clonezilla saved: the sectors before the first partition as
 * they were, each partition where the table says, the second copy of a GPT
 * made of the first (the one that is saved lacks its first sector, in most
 * versions), and holes elsewhere.
 *
 * A partition that is in "parts" has to be there.  Others were not saved, and
 * are empty, which is said: so is swap space, that Clonezilla makes anew.
 * Refused are disks with partitions of LVM, which is saved volume by volume,
 * with encrypted ones of which the contents are saved, and with logical ones,
 * whose tables are saved only as text.
 */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/crc32.h"
#include "lib/block/memory.h"
#include "lib/block/regions.h"
#include "lib/format/clonezilla/clonezilla.h"
#include "lib/part/part.h"

#define SECTOR 512
#define HEAD_SIZE (34 * SECTOR)
#define HIDDEN_MAX ((size_t) 64 * 1024 * 1024)
#define TEXT_MAX ((size_t) 1024 * 1024)

DEFINE_VECTOR (region_vector, struct region);

struct building {
  const struct clonezilla_folder *folder;
  const char *disk;             /* "sda" */
  const struct image_options *options;
  struct clonezilla_images *images;
  struct report *report;
  uint64_t size;                /* bytes */
  uint8_t *head, *tail;         /* of the disk */
  size_t head_len, tail_len;
  char *parts;                  /* " sda1 sda2 " */
  char *lvm;                    /* lvm_vg_dev.list; NULL: none */
  char *luks;                   /* luks-dev.list; NULL: none */
  struct region_vector regions; /* with references */
};

static void
building_free (struct building *d)
{
  for (size_t i = 0; i < d->regions.len; ++i)
    block_unref (d->regions.ptr[i].block);
  vector_free (&d->regions);
  free (d->head);
  free (d->tail);
  free (d->parts);
  free (d->lvm);
  free (d->luks);
}

/* Takes the reference over. */
static int
add_region (struct building *d, uint64_t off, struct block *block,
            unsigned layer, struct err *err)
{
  struct region g = { off, block_size (block), block, 0, layer };

  if (vector_append (&d->regions, &g) == 0)
    return 0;
  block_unref (block);
  return err_nomem (err);
}

static int
add_bytes (struct building *d, uint64_t off, const void *bytes, size_t len,
           struct err *err)
{
  struct block *block;
  int r = block_memory_new ("partition table", bytes, len, &block, err);

  return r == 0 ? add_region (d, off, block, 0, err) : r;
}

/*--- The table --------------------------------------------------------------*/

/* Of the GPT's first copy, in sectors of 512 bytes: its second copy, and with
 * that the size of the disk (UEFI specification 2.10, §5.3.2).
 */
static int
make_tail (struct building *d, struct err *err)
{
  uint8_t *h = d->head + SECTOR, *copy;
  uint32_t size = get_le32 (h + 12), nr = get_le32 (h + 80);
  uint32_t each = get_le32 (h + 84);
  uint64_t last = get_le64 (h + 32), len = (uint64_t) nr * each;
  uint8_t header[SECTOR];

  memcpy (header, h, SECTOR);
  put_le32 (header + 16, 0);
  if (size < 92 || size > SECTOR ||
      crc32_update (0, header, size) != get_le32 (h + 16))
    return err_set (err, -EBADMSG, "%s-gpt-1st: the CRC-32 of the header at "
                    "offset 512 is wrong", d->disk);
  if (get_le64 (h + 72) != 2 || len == 0 || len > HEAD_SIZE - 2 * SECTOR ||
      len % SECTOR != 0)
    return err_set (err, -ENOTSUP, "%s-gpt-1st: the table has %" PRIu32
                    " entries of %" PRIu32 " bytes at sector %" PRIu64
                    ", which the file does not cover", d->disk, nr, each,
                    get_le64 (h + 72));
  if (crc32_update (0, d->head + 2 * SECTOR, (size_t) len) !=
      get_le32 (h + 88))
    return err_set (err, -EBADMSG, "%s-gpt-1st: the CRC-32 of the entries at "
                    "offset 1024 is wrong", d->disk);
  if (last > INT64_MAX / SECTOR - 1 || last < 2 * (HEAD_SIZE / SECTOR))
    return err_set (err, -EBADMSG, "%s-gpt-1st: the second copy is at sector "
                    "%" PRIu64, d->disk, last);
  d->size = (last + 1) * SECTOR;
  d->tail_len = (size_t) len + SECTOR;
  d->tail = copy = malloc (d->tail_len);
  if (copy == NULL)
    return err_nomem (err);
  memcpy (copy, d->head + 2 * SECTOR, (size_t) len);
  put_le64 (header + 24, last);
  put_le64 (header + 32, 1);
  put_le64 (header + 72, last - len / SECTOR);
  put_le32 (header + 16, crc32_update (0, header, size));
  memcpy (copy + len, header, SECTOR);
  return 0;
}

/* "Disk /dev/sda: 41943040s" */
static int
size_of_text (struct building *d, struct err *err)
{
  CLEANUP_FREE uint8_t *text = NULL;
  size_t len;
  const char *p;
  uint64_t sectors;
  int r = clonezilla_read (d->folder, d->disk, "-pt.parted", TEXT_MAX, &text,
                           &len, err);

  if (r < 0)
    return r;
  p = strstr ((const char *) text, "Disk /dev/");
  p = p ? strchr (p, ':') : NULL;
  if (p == NULL || sscanf (p, ": %" SCNu64 "s", &sectors) != 1 ||
      sectors == 0 || sectors > INT64_MAX / SECTOR)
    return err_set (err, -EBADMSG, "%s-pt.parted does not say how many sectors "
                    "the disk has", d->disk);
  if (strstr ((const char *) text, "512B/") == NULL)
    return err_set (err, -ENOTSUP, "%s-pt.parted does not say that sectors "
                    "have 512 bytes", d->disk);
  d->size = sectors * SECTOR;
  return 0;
}

static int
read_gpt (struct building *d, struct err *err)
{
  int r = clonezilla_read (d->folder, d->disk, "-gpt-1st", HEAD_SIZE,
                           &d->head, &d->head_len, err);

  if (r < 0)
    return r;
  if (d->head_len < HEAD_SIZE)
    return err_set (err, -EBADMSG, "%s-gpt-1st is cut off: it has %zu bytes, "
                    "expected %d", d->disk, d->head_len, HEAD_SIZE);
  if (memcmp (d->head + SECTOR, "EFI PART", 8) != 0)
    return err_set (err, -ENOTSUP, "%s-gpt-1st has no GPT in sectors of 512 "
                    "bytes", d->disk);
  return make_tail (d, err);
}

static int
check_no_extended (const struct building *d, struct err *err)
{
  for (unsigned i = 0; i < 4; ++i) {
    uint8_t type = d->head[446 + 16 * i + 4];

    if (type == 0x05 || type == 0x0F || type == 0x85)
      return err_set (err, -ENOTSUP, "partition %u of %s is an extended one, "
                      "whose tables were saved as text only, so that the disk "
                      "can't be put together; each partition can be had",
                      i + 1, d->disk);
  }
  return 0;
}

static int
read_mbr (struct building *d, struct err *err)
{
  int r = clonezilla_read (d->folder, d->disk, "-mbr", SECTOR, &d->head,
                           &d->head_len, err);

  if (r < 0)
    return r;
  if (d->head_len < SECTOR || get_le16 (d->head + 510) != 0xAA55)
    return err_set (err, -EBADMSG, "%s-mbr is no boot sector: it has %zu "
                    "bytes, expected %d with AA55 at the end", d->disk,
                    d->head_len, SECTOR);
  r = check_no_extended (d, err);
  return r == 0 ? size_of_text (d, err) : r;
}

/* What is between the table and the first partition. */
static int
add_hidden (struct building *d, uint64_t first, struct err *err)
{
  CLEANUP_FREE uint8_t *bytes = NULL;
  CLEANUP_FREE char *name = NULL;
  size_t len, skip = d->head_len - SECTOR;
  int r;

  if (asprintf (&name, "%s-hidden-data-after-mbr", d->disk) < 0) {
    name = NULL;
    return err_nomem (err);
  }
  if (!clonezilla_has (d->folder, name))
    return 0;
  r = clonezilla_read (d->folder, name, "", HIDDEN_MAX, &bytes, &len, err);
  if (r < 0)
    return r;
  len = (size_t) min_u64 (len, first > SECTOR ? first - SECTOR : 0);
  return len > skip ? add_bytes (d, d->head_len, bytes + skip, len - skip, err)
                    : 0;
}

/*--- Partitions -------------------------------------------------------------*/

/* Is the word in the text, between what is no part of a device's name? */
static bool
has_word (const char *text, const char *word)
{
  size_t len = strlen (word);

  for (const char *p = text; p && (p = strstr (p, word)) != NULL; ++p)
    if ((p == text || !isalnum ((unsigned char) p[-1])) &&
        !isalnum ((unsigned char) p[len]))
      return true;
  return false;
}

static int
check_absent (struct building *d, const char *part, struct err *err)
{
  if (d->lvm && has_word (d->lvm, part))
    return err_set (err, -ENOTSUP, "%s is of LVM (lvm_vg_dev.list), which "
                    "Clonezilla saves volume by volume, so that the disk can't "
                    "be put together", part);
  if (d->luks && has_word (d->luks, part))
    return err_set (err, -ENOTSUP, "%s is encrypted (luks-dev.list), of which "
                    "Clonezilla saved what is in it, so that the disk can't be "
                    "put together", part);
  if (has_word (d->parts, part))
    return err_set (err, -EBADMSG, "there is no image of %s, which is named in "
                    "‘parts’", part);
  report_warn (d->report, "%s: %s is not in the backup and is empty on the "
               "disk", d->folder->path, part);
  return 0;
}

/* partclone may leave out what is behind the last block; dd leaves out nothing
 * that was there.
 */
static int
check_size (const struct image *img, const char *part,
            const struct partition *p, struct err *err)
{
  bool is_whole = strcmp (image_format (img), "partclone") != 0;
  uint64_t size = image_size (img);

  if (size == 0)
    return err_set (err, -EBADMSG, "%s: is empty", image_name (img));
  if (size > p->len || (is_whole && size < p->len))
    return err_set (err, -EBADMSG, "%s: has %" PRIu64 " bytes, and the "
                    "partition %s %s%" PRIu64, image_name (img), size, part,
                    size > p->len ? "only " : "", p->len);
  return 0;
}

static int
put_part (struct building *d, struct image *img, const char *part,
          const struct partition *p, struct err *err)
{
  struct block *bytes;
  int r = check_size (img, part, p, err);

  if (r == 0)
    r = image_to_block (img, &bytes, err);
  if (r < 0)
    return r;
  if (vector_append (d->images, &img) < 0) {
    block_unref (bytes);
    return err_nomem (err);
  }
  image_ref (img);
  return add_region (d, p->off, bytes, (unsigned) d->images->len, err);
}

static int
add_part (struct building *d, const struct partition *p, struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;
  CLEANUP_FREE char *part = NULL;
  size_t len = strlen (d->disk);
  int r;

  if (asprintf (&part, "%s%s%u", d->disk,
                isdigit ((unsigned char) d->disk[len - 1]) ? "p" : "",
                p->number) < 0) {
    part = NULL;
    return err_nomem (err);
  }
  r = clonezilla_open_part (d->folder, part, d->options, &img, d->report, err);
  if (r < 0)
    return r;
  return img ? put_part (d, img, part, p, err) : check_absent (d, part, err);
}

static int
by_offset (const void *a, const void *b)
{
  const struct partition *p = a, *q = b;

  return p->off < q->off ? -1 : p->off > q->off;
}

static int
add_parts (struct building *d, const struct part_table *table,
           struct err *err)
{
  CLEANUP_FREE struct partition *sorted = NULL;
  size_t nr = table->parts.len;
  int r;

  if (nr == 0)
    return err_set (err, -EBADMSG, "the table of %s has no partitions",
                    d->disk);
  sorted = malloc (nr * sizeof *sorted);
  if (sorted == NULL)
    return err_nomem (err);
  memcpy (sorted, table->parts.ptr, nr * sizeof *sorted);
  qsort (sorted, nr, sizeof *sorted, by_offset);
  r = add_hidden (d, sorted[0].off, err);
  for (size_t i = 0; r == 0 && i < nr; ++i)
    r = add_part (d, &sorted[i], err);
  return r;
}

/*--- All of it --------------------------------------------------------------*/

static int
read_list (const struct building *d, const char *name, char **out,
           struct err *err)
{
  uint8_t *text;
  size_t len;
  int r = clonezilla_read (d->folder, name, "", TEXT_MAX, &text, &len, err);

  if (r == 0)
    *out = (char *) text;
  return r;
}

static int
read_lists (struct building *d, struct err *err)
{
  int r = read_list (d, "parts", &d->parts, err);

  if (r == 0 && clonezilla_has (d->folder, "lvm_vg_dev.list"))
    r = read_list (d, "lvm_vg_dev.list", &d->lvm, err);
  if (r == 0 && clonezilla_has (d->folder, "luks-dev.list"))
    r = read_list (d, "luks-dev.list", &d->luks, err);
  return r;
}

/* The disk with nothing but its table, to read that. */
static int
read_table (struct building *d, struct part_table *table, struct err *err)
{
  CLEANUP_REPORT struct report said = REPORT_INIT;
  CLEANUP_BLOCK struct block *bare = NULL;
  int r = add_bytes (d, 0, d->head, d->head_len, err);

  if (r == 0 && d->tail)
    r = add_bytes (d, d->size - d->tail_len, d->tail, d->tail_len, err);
  if (r == 0)
    r = block_regions_new (d->disk, d->size, NULL, d->regions.ptr,
                           d->regions.len, &bare, err);
  if (r == 0)
    r = part_read (bare, SECTOR, table, &said, err);
  if (r == 0 && said.lines.len > 0)
    r = err_set (err, -EBADMSG, "the table of %s is damaged: %s", d->disk,
                 said.lines.ptr[0]);
  if (r == 0 && table->scheme != (d->tail ? PART_GPT : PART_MBR))
    r = err_set (err, -EBADMSG, "%s has no partition table", d->disk);
  if (r == 0 && d->tail)        /* comes last */
    block_unref (d->regions.ptr[--d->regions.len].block);
  return r;
}

static int
build (struct building *d, bool is_gpt, const char *name, struct block **out,
       struct err *err)
{
  const struct block_sizes sizes = { 1, 4096, SECTOR };
  CLEANUP_PART_TABLE struct part_table table = { .scheme = PART_NONE };
  int r = read_lists (d, err);

  if (r == 0)
    r = is_gpt ? read_gpt (d, err) : read_mbr (d, err);
  if (r == 0)
    r = read_table (d, &table, err);
  if (r == 0)
    r = add_parts (d, &table, err);
  if (r == 0 && d->tail)
    r = add_bytes (d, d->size - d->tail_len, d->tail, d->tail_len, err);
  if (r < 0)
    return r;
  r = block_regions_new (name, d->size, &sizes, d->regions.ptr,
                         d->regions.len, out, err);
  return r == -EINVAL ? err_code (err, -EBADMSG) : r;
}

int
clonezilla_open_disk (const struct clonezilla_folder *folder,
                      const char *disk, const char *name,
                      const struct image_options *options,
                      struct clonezilla_images *images,
                      struct block **bytes, struct report *report,
                      struct err *err)
{
  struct building d = {
    .folder = folder,
    .disk = disk,
    .options = options,
    .images = images,
    .report = report,
  };
  CLEANUP_FREE char *gpt = NULL;
  int r;

  if (asprintf (&gpt, "%s-gpt-1st", disk) < 0) {
    gpt = NULL;
    return err_nomem (err);
  }
  r = build (&d, clonezilla_has (folder, gpt), name, bytes, err);
  building_free (&d);
  return r;
}
