/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Metadata items and the region tables that say where they are.
 *
 * An item that becomes longer stays where it is if there is room behind it,
 * or goes into a gap between the others; the table changes with it.  Without
 * a gap, or when it is so long that a commit would be full of it, the whole
 * region is written anew behind the end of the data:
 *
 *   1. The file grows by the new region.  Flush.
 *   2. The region is written there, with the new item.  Flush.
 *   3. The region tables are put; the next commit makes it true.
 *
 * A crash before that commit leaves the old region, which was not touched.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/vhdx/vhdx-edit.h"

/* Where other items begin for us; nothing asks for that. */
#define ALIGNMENT 8

/* Longer ones get a new region. */
#define MAX_LOGGED (64 * VHDX_PAGE)

/* More than this is not copied. */
#define MAX_METADATA (64 * 1024 * 1024)

/* The table of the items. */
struct table {
  uint8_t bytes[VHDX_METADATA_TABLE_SIZE];
  unsigned nr;
};

static int
read_table (struct vhdx_edit *e, struct table *t, struct err *err)
{
  int r = vhdx_edit_read (e, t->bytes, sizeof t->bytes, e->metadata.off, err);

  t->nr = (unsigned) min_u64 (get_le16 (t->bytes + VHDX_METADATA_COUNT),
                              VHDX_MAX_ITEMS);
  return r;
}

static uint8_t *
entry_at (struct table *t, unsigned i)
{
  return t->bytes + VHDX_METADATA_ENTRIES + i * VHDX_ITEM_ENTRY_SIZE;
}

static uint64_t
item_off (const uint8_t *entry)
{
  return get_le32 (entry + VHDX_ITEM_OFFSET);
}

static uint64_t
item_len (const uint8_t *entry)
{
  return get_le32 (entry + VHDX_ITEM_LENGTH);
}

/* A user's item means something to its user only, whatever its name. */
static int
find_item (struct vhdx_edit *e, const uint8_t guid[UUID_SIZE],
           struct table *t, uint8_t **entry, struct err *err)
{
  char text[UUID_STRING_SIZE];
  int r = read_table (e, t, err);

  if (r < 0)
    return r;
  for (unsigned i = 0; i < t->nr; ++i) {
    uint8_t *p = entry_at (t, i);

    if (memcmp (p + VHDX_ITEM_GUID, guid, UUID_SIZE) == 0 &&
        !(get_le32 (p + VHDX_ITEM_FLAGS) & VHDX_ITEM_USER)) {
      *entry = p;
      return 0;
    }
  }
  guid_to_string (guid, text);
  return err_set (err, -ENOENT, "there is no metadata item %s", text);
}

int
vhdx_edit_get_item (struct vhdx_edit *e, const uint8_t guid[UUID_SIZE],
                    uint8_t **bytes, size_t *len, struct err *err)
{
  CLEANUP_FREE struct table *t = calloc (1, sizeof *t);
  CLEANUP_FREE uint8_t *item = NULL;
  uint8_t *entry;
  int r = t ? find_item (e, guid, t, &entry, err) : err_nomem (err);

  if (r < 0)
    return r;
  item = malloc (max_u64 (item_len (entry), 1));
  if (item == NULL)
    return err_nomem (err);
  r = vhdx_edit_read (e, item, item_len (entry),
                      e->metadata.off + item_off (entry), err);
  if (r < 0)
    return r;
  *len = item_len (entry);
  *bytes = steal_ptr (&item);
  return 0;
}

/*--- Room -------------------------------------------------------------------*/

/* Nothing but the item of this entry has a byte there? */
static bool
is_free (struct table *t, const uint8_t *entry, uint64_t off, uint64_t len)
{
  for (unsigned i = 0; i < t->nr; ++i) {
    const uint8_t *p = entry_at (t, i);

    if (p != entry && item_off (p) < off + len &&
        off < item_off (p) + item_len (p))
      return false;
  }
  return true;
}

static uint64_t
end_of_items (struct table *t)
{
  uint64_t end = VHDX_METADATA_TABLE_SIZE;

  for (unsigned i = 0; i < t->nr; ++i)
    end = max_u64 (end, item_off (entry_at (t, i)) +
                   item_len (entry_at (t, i)));
  return end;
}

/* Where it is now, or behind another item, the first of those; in front of
 * limit.  0: nowhere.
 */
static uint64_t
find_room (struct table *t, const uint8_t *entry, uint64_t len,
           uint64_t limit)
{
  uint64_t off = item_off (entry), best = 0;

  if (off >= VHDX_METADATA_TABLE_SIZE && off + len <= limit &&
      is_free (t, entry, off, len))
    return off;
  for (unsigned i = 0; i <= t->nr; ++i) {
    const uint8_t *p = entry_at (t, i);

    off = i == t->nr ? VHDX_METADATA_TABLE_SIZE
                     : round_up (item_off (p) + item_len (p), ALIGNMENT);
    if (p == entry || off < VHDX_METADATA_TABLE_SIZE || off + len > limit ||
        (best != 0 && off >= best) || !is_free (t, entry, off, len))
      continue;
    best = off;
  }
  return best;
}

/*--- Putting ----------------------------------------------------------------*/

static void
set_entry (uint8_t *entry, uint64_t off, size_t len)
{
  put_le32 (entry + VHDX_ITEM_OFFSET, (uint32_t) off);
  put_le32 (entry + VHDX_ITEM_LENGTH, (uint32_t) len);
}

/* What was put in the old region is in the new one, too. */
static void
forget_region (struct vhdx_edit *e, const struct vhdx_region *region)
{
  size_t nr = 0;

  for (size_t i = 0; i < e->staged.len; ++i) {
    struct vhdx_staged *s = &e->staged.ptr[i];

    if (s->off >= region->off && s->off < region->off + region->len)
      free (s->bytes);
    else
      e->staged.ptr[nr++] = *s;
  }
  e->staged.len = nr;
}

/* Steps 1 to 3. */
static int
move_with_item (struct vhdx_edit *e, struct table *t, uint8_t *entry,
                const void *bytes, size_t len, struct err *err)
{
  uint64_t end = end_of_items (t), to = round_up (end, ALIGNMENT), off;
  uint64_t size = round_up (to + len, VHDX_UNIT);
  struct vhdx_region old = e->metadata;
  CLEANUP_FREE uint8_t *region = NULL;
  int r;

  if (size > MAX_METADATA)
    return err_set (err, -ENOTSUP, "the metadata has %" PRIu64 " bytes, which "
                    "is more than is moved", end);
  region = calloc (1, size);
  if (region == NULL)
    return err_nomem (err);
  r = vhdx_edit_read (e, region, end, old.off, err);
  if (r < 0)
    return r;
  set_entry (entry, to, len);
  memcpy (region, t->bytes, sizeof t->bytes);
  memcpy (region + to, bytes, len);
  r = vhdx_edit_append (e, size, &off, err);
  if (r == 0)
    r = block_pwrite (e->block, region, size, off, 0, err);
  if (r == 0)
    r = block_flush (e->block, err);
  if (r < 0)
    return r;
  forget_region (e, &old);
  return vhdx_edit_put_region (e, old.guid, off, size, err);
}

static int
is_same (struct vhdx_edit *e, const uint8_t guid[UUID_SIZE],
         const void *bytes, size_t len, bool *same, struct err *err)
{
  CLEANUP_FREE uint8_t *found = NULL;
  size_t found_len;
  int r = vhdx_edit_get_item (e, guid, &found, &found_len, err);

  if (r == 0)
    *same = found_len == len && memcmp (found, bytes, len) == 0;
  return r;
}

int
vhdx_edit_put_item (struct vhdx_edit *e, const uint8_t guid[UUID_SIZE],
                    const void *bytes, size_t len, struct err *err)
{
  CLEANUP_FREE struct table *t = calloc (1, sizeof *t);
  uint8_t *entry;
  uint64_t off;
  bool same = false;
  int r = t ? is_same (e, guid, bytes, len, &same, err) : err_nomem (err);

  if (r < 0 || same)
    return r;
  r = find_item (e, guid, t, &entry, err);
  if (r < 0)
    return r;
  if (len == 0 || len > VHDX_MAX_ITEM_SIZE)
    return err_set (err, -EINVAL, "a metadata item can't have %zu bytes", len);
  off = len > MAX_LOGGED ? 0 : find_room (t, entry, len, e->metadata.len);
  if (off == 0)
    return move_with_item (e, t, entry, bytes, len, err);
  set_entry (entry, off, len);
  r = vhdx_edit_put (e, bytes, len, e->metadata.off + off, err);
  return r < 0 ? r
    : vhdx_edit_put (e, entry, VHDX_ITEM_ENTRY_SIZE,
                     e->metadata.off + (uint64_t) (entry - t->bytes), err);
}

/* The entries behind it move up; its bytes are nobody's then. */
int
vhdx_edit_remove_item (struct vhdx_edit *e, const uint8_t guid[UUID_SIZE],
                       struct err *err)
{
  CLEANUP_FREE struct table *t = calloc (1, sizeof *t);
  uint8_t *entry, *end;
  int r = t ? find_item (e, guid, t, &entry, err) : err_nomem (err);

  if (r < 0)
    return r;
  end = entry_at (t, t->nr);
  memmove (entry, entry + VHDX_ITEM_ENTRY_SIZE,
           (size_t) (end - entry) - VHDX_ITEM_ENTRY_SIZE);
  memset (end - VHDX_ITEM_ENTRY_SIZE, 0, VHDX_ITEM_ENTRY_SIZE);
  put_le16 (t->bytes + VHDX_METADATA_COUNT, (uint16_t) (t->nr - 1));
  return vhdx_edit_put (e, t->bytes, (size_t) (end - t->bytes),
                        e->metadata.off, err);
}

/*--- Region tables ----------------------------------------------------------*/

static uint8_t *
find_region (uint8_t *table, const uint8_t guid[UUID_SIZE])
{
  uint32_t nr = get_le32 (table + VHDX_REGIONS_COUNT);

  for (uint32_t i = 0; i < nr && i < VHDX_MAX_REGIONS; ++i) {
    uint8_t *p = table + VHDX_REGIONS_ENTRIES + i * VHDX_REGION_ENTRY_SIZE;

    if (memcmp (p + VHDX_REGION_GUID, guid, UUID_SIZE) == 0)
      return p;
  }
  return NULL;
}

/* Whatever differs between the two tables and means nothing, stays. */
static int
put_in_table (struct vhdx_edit *e, uint64_t table_off, uint8_t *table,
              const struct vhdx_region *region, struct err *err)
{
  uint8_t *p;
  int r = vhdx_edit_read (e, table, VHDX_REGIONS_SIZE, table_off, err);

  if (r < 0)
    return r;
  p = find_region (table, region->guid);
  if (p == NULL)
    return err_set (err, -ENOENT, "it is not in the region table at offset %"
                    PRIu64, table_off);
  put_le64 (p + VHDX_REGION_OFFSET, region->off);
  put_le32 (p + VHDX_REGION_LENGTH, (uint32_t) region->len);
  put_le32 (table + VHDX_CHECKSUM, vhdx_checksum (table, VHDX_REGIONS_SIZE));
  return vhdx_edit_put (e, table, VHDX_REGIONS_SIZE, table_off, err);
}

int
vhdx_edit_put_region (struct vhdx_edit *e, const uint8_t guid[UUID_SIZE],
                      uint64_t off, uint64_t len, struct err *err)
{
  CLEANUP_FREE uint8_t *table = malloc (VHDX_REGIONS_SIZE);
  struct vhdx_region region = { .off = off, .len = len };
  int r;

  if (table == NULL)
    return err_nomem (err);
  memcpy (region.guid, guid, UUID_SIZE);
  r = put_in_table (e, VHDX_REGIONS_1, table, &region, err);
  if (r == 0)
    r = put_in_table (e, VHDX_REGIONS_2, table, &region, err);
  if (r < 0)
    return r;
  if (memcmp (guid, e->bat.guid, UUID_SIZE) == 0)
    e->bat = region;
  if (memcmp (guid, e->metadata.guid, UUID_SIZE) == 0)
    e->metadata = region;
  return 0;
}
