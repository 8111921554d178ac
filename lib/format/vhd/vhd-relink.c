/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The dynamic header, and the texts of the parent locators, change.
 *
 * The header is of two sectors.  What is in the first one (the BAT's place
 * and size) is written in place: one sector, which takes effect at once.
 * Anything else takes effect with the footer, which says where the header
 * is:
 *
 *   copy · header · BAT · texts · blocks · footer
 *
 *   1. The end of the file moves forth.  In the space that this gives behind
 *      the last block the new header and the new texts are written.
 *      fdatasync.
 *   2. The footers say that the header is there (vhd-edit.c).
 *
 *   copy · old header · BAT · old texts · blocks · new header · new texts
 *   · footer
 *
 *   3. Nothing speaks of the old ones any more.  The new texts are written
 *      in front of the first block, where they fit, and the new header at its
 *      usual place, naming them there.  fdatasync.
 *   4. The footers say that the header is at its usual place.
 *   5. The end of the file moves back.
 *
 * A crash before the footer at the end changes in 2: the old header, whole.
 * After that, the new one, at the end until 4, at its usual place afterwards;
 * whoever changes the file next finds it at the end and goes on from 3.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/vhd/vhd-edit.h"

#define USUAL_PLACE VHD_FOOTER_SIZE
#define MAX_TEXT (64 * 1024)

struct range {
  uint64_t off, len;
};

DEFINE_VECTOR (ranges, struct range);

/* Where header and texts are or will be; 0: there is no such text. */
struct placement {
  uint64_t header;
  uint64_t texts[VHD_NR_LOCATORS];
};

static void
sum_header (uint8_t header[VHD_HEADER_SIZE])
{
  put_be32 (header + VHD_HEADER_CHECKSUM,
            vhd_checksum (header, VHD_HEADER_SIZE, VHD_HEADER_CHECKSUM));
}

int
vhd_relink_max_entries (struct vhd_edit *e, uint32_t max_entries,
                        struct err *err)
{
  int r;

  put_be32 (e->header + VHD_HEADER_MAX_ENTRIES, max_entries);
  sum_header (e->header);
  r = block_pwrite (e->block, e->header, VHD_SECTOR_SIZE,
                    e->layer->footers.footer.data_offset, 0, err);
  return r < 0 ? r : block_flush (e->block, err);
}

/*--- The texts that there are -----------------------------------------------*/

static bool
has_text (const struct vhd_edit *e, const struct vhd_locator *l)
{
  return e->layer->footers.footer.type == VHD_DIFFERENCING &&
    l->code != VHD_LOCATOR_NONE && l->len > 0 && l->len <= MAX_TEXT &&
    range_fits (l->off, l->len, e->layer->footers.end);
}

/* As they are; locators that name none stay as they are, too. */
static int
read_link (struct vhd_edit *e, struct vhd_link *link, struct err *err)
{
  const struct vhd_header *h = &e->layer->header;

  memset (link, 0, sizeof *link);
  memcpy (link->name, h->parent_name, sizeof link->name);
  for (size_t i = 0; i < VHD_NR_LOCATORS; ++i) {
    int r;

    link->locators[i] = h->locators[i];
    if (!has_text (e, &h->locators[i]))
      continue;
    link->texts[i] = malloc (h->locators[i].len);
    if (link->texts[i] == NULL)
      return err_nomem (err);
    r = block_pread (e->block, link->texts[i], h->locators[i].len,
                     h->locators[i].off, err);
    if (r < 0)
      return r;
  }
  return 0;
}

/*--- Where they go ----------------------------------------------------------*/

/* Room for a text: it can be written over by a longer one. */
static uint64_t
room (const struct vhd_link *link, size_t i)
{
  return round_up (link->locators[i].len, VHD_ALIGNMENT);
}

/* One behind the other from off on; returns where they end. */
static uint64_t
place_at_end (const struct vhd_link *link, uint64_t off,
              struct placement *to)
{
  memset (to, 0, sizeof *to);
  to->header = off;
  off += round_up (VHD_HEADER_SIZE, VHD_ALIGNMENT);
  for (size_t i = 0; i < VHD_NR_LOCATORS; ++i)
    if (link->texts[i]) {
      to->texts[i] = off;
      off += room (link, i);
    }
  return off;
}

/* What stands in the way of [off, off+len)?  0, or where that ends. */
static uint64_t
obstacle (const struct ranges *used, uint64_t off, uint64_t len)
{
  for (size_t i = 0; i < used->len; ++i) {
    const struct range *u = &used->ptr[i];

    if (off < u->off + u->len && u->off < off + len)
      return u->off + u->len;
  }
  return 0;
}

/* Room for len bytes in front of limit, which it then uses; 0: none. */
static int
find_room (struct ranges *used, uint64_t len, uint64_t limit, uint64_t *out,
           struct err *err)
{
  struct range found = { 0, len };
  uint64_t next;

  *out = 0;
  while ((next = obstacle (used, found.off, len)) != 0)
    found.off = round_up (next, VHD_ALIGNMENT);
  if (found.off + len > limit)
    return 0;
  *out = found.off;
  return vector_append (used, &found) < 0 ? err_nomem (err) : 0;
}

static uint64_t
first_block (const struct vhd_edit *e)
{
  const struct vhd_bat *bat = &e->layer->bat;
  uint64_t first = UINT64_MAX;

  for (uint64_t i = 0; i < bat->nr_entries; ++i)
    if (bat->entries[i] != VHD_BAT_HELD_ABSENT)
      first = min_u64 (first, vhd_edit_block_off (e, i));
  return first;
}

static bool
usual_place_is_free (const struct vhd_edit *e)
{
  const struct vhd_header *h = &e->layer->header;

  return first_block (e) >= USUAL_PLACE + VHD_HEADER_SIZE &&
    (h->table_offset >= USUAL_PLACE + VHD_HEADER_SIZE ||
     h->table_offset + vhd_header_table_size (h) <= USUAL_PLACE);
}

/* In front of the first block, as far as there is room; what is left stays
 * where it is, at the end.  Nothing of it goes where the caller does not want
 * it.
 */
static int
place_usually (const struct vhd_edit *e, const struct vhd_link *link,
               const struct range *avoid, struct placement *to,
               struct err *err)
{
  const struct vhd_header *h = &e->layer->header;
  const struct range fixed[] = {
    { 0, VHD_FOOTER_SIZE + VHD_HEADER_SIZE },
    { h->table_offset, round_up (vhd_header_table_size (h),
                                 VHD_SECTOR_SIZE) },
    *avoid,
  };
  uint64_t limit = min_u64 (first_block (e), to->header);
  struct ranges used = VECTOR_INIT;
  int r = 0;

  if (usual_place_is_free (e) &&
      !(avoid->off < USUAL_PLACE + VHD_HEADER_SIZE && avoid->len > 0))
    to->header = USUAL_PLACE;
  for (size_t i = 0; r == 0 && i < sizeof fixed / sizeof fixed[0]; ++i)
    if (fixed[i].len > 0 && vector_append (&used, &fixed[i]) < 0)
      r = err_nomem (err);
  for (size_t i = 0; r == 0 && i < VHD_NR_LOCATORS; ++i) {
    uint64_t off = 0;

    if (link->texts[i])
      r = find_room (&used, room (link, i), limit, &off, err);
    if (off != 0)
      to->texts[i] = off;
  }
  vector_free (&used);
  return r;
}

/*--- Writing ----------------------------------------------------------------*/

static void
put_locators (uint8_t header[VHD_HEADER_SIZE], const struct vhd_link *link,
              const struct placement *at)
{
  memcpy (header + VHD_HEADER_PARENT_NAME, link->name, VHD_PARENT_NAME_SIZE);
  memset (header + VHD_HEADER_LOCATORS, 0, VHD_NR_LOCATORS * VHD_LOCATOR_SIZE);
  for (size_t i = 0; i < VHD_NR_LOCATORS; ++i) {
    uint8_t *p = header + VHD_HEADER_LOCATORS + i * VHD_LOCATOR_SIZE;
    const struct vhd_locator *l = &link->locators[i];
    bool has = link->texts[i] != NULL;

    put_be32 (p + VHD_LOCATOR_CODE, l->code);
    put_be32 (p + VHD_LOCATOR_DATA_SPACE,
              has ? (uint32_t) room (link, i) : l->space);
    put_be32 (p + VHD_LOCATOR_DATA_LENGTH, l->len);
    put_be64 (p + VHD_LOCATOR_DATA_OFFSET, has ? at->texts[i] : l->off);
  }
}

/* Steps 1 and 3. */
static int
write_out (struct vhd_edit *e, const struct vhd_link *link,
           const struct placement *to, struct err *err)
{
  int r = 0;

  put_locators (e->header, link, to);
  sum_header (e->header);
  for (size_t i = 0; r == 0 && i < VHD_NR_LOCATORS; ++i)
    if (link->texts[i])
      r = block_pwrite (e->block, link->texts[i], link->locators[i].len,
                        to->texts[i], 0, err);
  if (r == 0)
    r = block_pwrite (e->block, e->header, VHD_HEADER_SIZE, to->header, 0,
                      err);
  return r < 0 ? r : block_flush (e->block, err);
}

/* Steps 2 and 4. */
static int
say_where (struct vhd_edit *e, const struct placement *at, struct err *err)
{
  uint8_t footer[VHD_FOOTER_SIZE];

  memcpy (footer, e->footer, sizeof footer);
  put_be64 (footer + VHD_FOOTER_DATA_OFFSET, at->header);
  return vhd_edit_set_footer (e, footer, err);
}

static int
relink (struct vhd_edit *e, const struct vhd_link *link,
        const struct range *avoid, struct err *err)
{
  uint64_t start = max_u64 (vhd_place_end_of_data (&e->layer->bat),
                            avoid->off + avoid->len);
  struct placement at_end, to;
  uint64_t end = place_at_end (link, round_up (start, VHD_ALIGNMENT),
                               &at_end);
  int r = vhd_edit_end_at_least (e, vhd_place_align (&e->layer->bat, end),
                                 err);

  if (r == 0)
    r = write_out (e, link, &at_end, err);
  if (r == 0)
    r = say_where (e, &at_end, err);
  to = at_end;
  if (r == 0)
    r = place_usually (e, link, avoid, &to, err);
  if (r < 0)
    return r;
  if (to.header != at_end.header) {
    r = write_out (e, link, &to, err);
    if (r == 0)
      r = say_where (e, &to, err);
  }
  if (r == 0)
    r = vhd_edit_reload (e, err);
  return r < 0 ? r : vhd_edit_cut (e, err);
}

int
vhd_relink (struct vhd_edit *e, const struct vhd_link *link, uint64_t off,
            uint64_t len, struct err *err)
{
  const struct range avoid = { off, len };
  struct vhd_link own;
  int r;

  if (link)
    return relink (e, link, &avoid, err);
  r = read_link (e, &own, err);
  if (r == 0)
    r = relink (e, &own, &avoid, err);
  vhd_link_free (&own);
  return r;
}

bool
vhd_relink_is_interrupted (const struct vhd_edit *e)
{
  uint64_t off = e->layer->footers.footer.data_offset;

  return off != USUAL_PLACE && off > e->layer->header.table_offset &&
    usual_place_is_free (e);
}

int
vhd_relink_finish (struct vhd_edit *e, struct err *err)
{
  return vhd_relink (e, NULL, 0, 0, err);
}
