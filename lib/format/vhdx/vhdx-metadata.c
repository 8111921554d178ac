/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The metadata table and the items in it that say what the disk is like.
 *
 * Nothing in here has a checksum, so that each item is held against what it
 * can be.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/vhdx/vhdx.h"

/* The items that we know. */
enum {
  FILE_PARAMETERS, DISK_SIZE, PAGE_83, LOGICAL, PHYSICAL, LOCATOR, NR_KNOWN
};

static const struct known {
  uint8_t guid[UUID_SIZE];
  const char *name;
  uint32_t len;                 /* bytes; 0: any */
} known[NR_KNOWN] = {
  [FILE_PARAMETERS] = { VHDX_GUID_FILE_PARAMETERS, "file parameters", 8 },
  [DISK_SIZE] = { VHDX_GUID_SIZE, "virtual disk size", 8 },
  [PAGE_83] = { VHDX_GUID_PAGE_83, "virtual disk id", 16 },
  [LOGICAL] = { VHDX_GUID_LOGICAL, "logical sector size", 4 },
  [PHYSICAL] = { VHDX_GUID_PHYSICAL, "physical sector size", 4 },
  [LOCATOR] = { VHDX_GUID_LOCATOR, "parent locator", 0 },
};

struct item {
  uint32_t off;                 /* bytes, in the region */
  uint32_t len;
};

/* The table while it is read. */
struct table {
  struct block *file;
  const struct vhdx_region *region;
  struct item items[VHDX_MAX_ITEMS];
  size_t nr_items;              /* that are not empty */
  struct item known[NR_KNOWN];  /* off 0: it is not there */
};

/*--- The table --------------------------------------------------------------*/

static int
check_item (const struct table *t, const struct item *item, const char *guid,
            struct err *err)
{
  if (item->len > VHDX_MAX_ITEM_SIZE ||
      item->off < VHDX_METADATA_TABLE_SIZE ||
      !range_fits (item->off, item->len, t->region->len))
    return err_set (err, -EBADMSG, "metadata item %s has %" PRIu32 " bytes at "
                    "offset %" PRIu32 " of the metadata, which is not behind "
                    "the table and inside its %" PRIu64 " bytes", guid,
                    item->len, item->off, t->region->len);
  for (size_t i = 0; i < t->nr_items; ++i) {
    const struct item *other = &t->items[i];

    if (item->off < other->off + other->len &&
        other->off < item->off + item->len)
      return err_set (err, -EBADMSG, "metadata item %s at offset %" PRIu32
                      " of the metadata overlaps the one at offset %" PRIu32,
                      guid, item->off, other->off);
  }
  return 0;
}

static int
find_known (const uint8_t *guid, uint32_t flags)
{
  /* A user's item means something to its user only, whatever its name. */
  if (flags & VHDX_ITEM_USER)
    return NR_KNOWN;
  for (int i = 0; i < NR_KNOWN; ++i)
    if (memcmp (known[i].guid, guid, UUID_SIZE) == 0)
      return i;
  return NR_KNOWN;
}

static int
add_known (struct table *t, int which, const struct item *item,
           struct err *err)
{
  const struct known *k = &known[which];

  if (t->known[which].off != 0)
    return err_set (err, -EBADMSG, "the metadata has the %s twice", k->name);
  if (item->len == 0 || (k->len != 0 && item->len != k->len))
    return err_set (err, -EBADMSG, "the %s in the metadata has %" PRIu32
                    " bytes, expected %s%" PRIu32, k->name, item->len,
                    k->len ? "" : "more than ", k->len);
  t->known[which] = *item;
  return 0;
}

static int
add_entry (struct table *t, const uint8_t *p, struct err *err)
{
  const struct item item = { get_le32 (p + VHDX_ITEM_OFFSET),
                             get_le32 (p + VHDX_ITEM_LENGTH) };
  uint32_t flags = get_le32 (p + VHDX_ITEM_FLAGS);
  int which = find_known (p + VHDX_ITEM_GUID, flags), r = 0;
  char guid[UUID_STRING_SIZE];

  guid_to_string (p + VHDX_ITEM_GUID, guid);
  if (which == NR_KNOWN && (flags & VHDX_ITEM_REQUIRED))
    return err_set (err, -ENOTSUP, "metadata item %s is marked as required, "
                    "and is not known", guid);
  /* An empty item is nowhere. */
  if (item.len != 0 || item.off != 0)
    r = check_item (t, &item, guid, err);
  if (r == 0 && which != NR_KNOWN)
    r = add_known (t, which, &item, err);
  if (r == 0 && item.len != 0)
    t->items[t->nr_items++] = item;
  return r;
}

static int
read_table (struct table *t, struct err *err)
{
  CLEANUP_FREE uint8_t *bytes = malloc (VHDX_METADATA_TABLE_SIZE);
  unsigned count;
  int r;

  if (bytes == NULL)
    return err_nomem (err);
  r = block_pread (t->file, bytes, VHDX_METADATA_TABLE_SIZE, t->region->off,
                   err);
  if (r < 0)
    return r;
  if (memcmp (bytes, VHDX_METADATA_SIGNATURE, 8) != 0)
    return err_set (err, -EBADMSG, "there is no metadata table (“%s”) at "
                    "offset %" PRIu64, VHDX_METADATA_SIGNATURE,
                    t->region->off);
  count = get_le16 (bytes + VHDX_METADATA_COUNT);
  if (count > VHDX_MAX_ITEMS)
    return err_set (err, -EBADMSG, "the metadata table at offset %" PRIu64
                    " has %u entries, expected %d at most", t->region->off,
                    count, VHDX_MAX_ITEMS);
  for (unsigned i = 0; r == 0 && i < count; ++i)
    r = add_entry (t, bytes + VHDX_METADATA_ENTRIES +
                   i * VHDX_ITEM_ENTRY_SIZE, err);
  return r;
}

static int
read_item (const struct table *t, int which, uint8_t *buf, struct err *err)
{
  const struct item *item = &t->known[which];

  if (item->off == 0)
    return err_set (err, -EBADMSG, "the metadata lacks the %s",
                    known[which].name);
  return block_pread (t->file, buf, item->len, t->region->off + item->off,
                      err);
}

/*--- The items --------------------------------------------------------------*/

static int
read_parameters (const struct table *t, struct vhdx_metadata *m,
                 struct err *err)
{
  uint8_t bytes[8];
  uint32_t flags;
  int r = read_item (t, FILE_PARAMETERS, bytes, err);

  if (r < 0)
    return r;
  m->block_size = get_le32 (bytes);
  flags = get_le32 (bytes + 4);
  m->is_fixed = flags & VHDX_LEAVE_ALLOCATED;
  m->has_parent = flags & VHDX_HAS_PARENT;
  if (!is_power_of_2 (m->block_size) ||
      m->block_size < VHDX_MIN_BLOCK_SIZE ||
      m->block_size > VHDX_MAX_BLOCK_SIZE)
    return err_set (err, -EBADMSG, "the metadata states blocks of %" PRIu32
                    " bytes, expected a power of 2 from 1 MiB to 256 MiB",
                    m->block_size);
  if (flags & ~(VHDX_LEAVE_ALLOCATED | VHDX_HAS_PARENT))
    return err_set (err, -ENOTSUP, "the file parameters in the metadata have "
                    "the flags 0x%" PRIx32 ", of which only 0x3 are known",
                    flags);
  return 0;
}

static int
read_sector_size (const struct table *t, int which, uint32_t *out,
                  struct err *err)
{
  uint8_t bytes[4];
  int r = read_item (t, which, bytes, err);

  if (r < 0)
    return r;
  *out = get_le32 (bytes);
  if (*out != 512 && *out != 4096)
    return err_set (err, -EBADMSG, "the metadata states a %s of %" PRIu32
                    " bytes, expected 512 or 4096", known[which].name, *out);
  return 0;
}

static int
read_size (const struct table *t, struct vhdx_metadata *m, struct err *err)
{
  uint8_t bytes[8];
  int r = read_item (t, DISK_SIZE, bytes, err);

  if (r < 0)
    return r;
  m->size = get_le64 (bytes);
  if (m->size > VHDX_MAX_SIZE)
    return err_set (err, -EBADMSG, "the metadata states a size of %" PRIu64
                    " bytes, expected 64 TiB at most", m->size);
  if (m->size % m->logical != 0)
    return err_set (err, -EBADMSG, "the metadata states a size of %" PRIu64
                    " bytes, which is not a multiple of the sector size of %"
                    PRIu32, m->size, m->logical);
  return 0;
}

static int
read_locator (const struct table *t, struct vhdx_metadata *m, struct err *err)
{
  size_t len = t->known[LOCATOR].len;
  CLEANUP_FREE uint8_t *bytes = malloc (len > 0 ? len : 1);
  int r;

  if (bytes == NULL)
    return err_nomem (err);
  r = read_item (t, LOCATOR, bytes, err);
  if (r < 0)
    return r;
  m->locator = steal_ptr (&bytes);
  m->locator_len = len;
  return 0;
}

int
vhdx_metadata_read (struct block *file, const struct vhdx_region *region,
                    struct vhdx_metadata *out, struct err *err)
{
  CLEANUP_FREE struct table *t = calloc (1, sizeof *t);
  struct vhdx_metadata m = { 0 };
  int r;

  if (t == NULL)
    return err_nomem (err);
  t->file = file;
  t->region = region;
  r = read_table (t, err);
  if (r == 0)
    r = read_parameters (t, &m, err);
  if (r == 0)
    r = read_sector_size (t, LOGICAL, &m.logical, err);
  if (r == 0)
    r = read_sector_size (t, PHYSICAL, &m.physical, err);
  if (r == 0)
    r = read_size (t, &m, err);
  if (r == 0)
    r = read_item (t, PAGE_83, m.page_83, err);
  if (r == 0 && m.has_parent)
    r = read_locator (t, &m, err);
  if (r == 0)
    *out = m;
  return r;
}
