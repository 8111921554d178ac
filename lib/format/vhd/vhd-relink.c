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
 *      in front of the first block, if they fit there, and the new header at
 *      its usual place, naming them there.  fdatasync.
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

/* Where header and texts are or will be, and the room that a text has; 0:
 * there is no such text.
 */
struct placement {
  uint64_t header;
  uint64_t texts[VHD_NR_LOCATORS];
  uint32_t rooms[VHD_NR_LOCATORS];
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

/* With room for a longer text, as others leave it. */
static uint32_t
usual_room (const struct vhd_link *link, size_t i)
{
  return (uint32_t) round_up (link->locators[i].len, VHD_ALIGNMENT);
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

/* Room for len bytes in the range, at a multiple of unit; 0: none. */
static uint64_t
find_room (const struct ranges *used, uint64_t len, uint64_t unit,
           const struct range *in)
{
  uint64_t off = round_up (in->off, unit), next;

  while ((next = obstacle (used, off, len)) != 0)
    off = round_up (next, unit);
  return off + len <= in->off + in->len ? off : 0;
}

/* The usual room in one of the two ranges for text i, or less, or none. */
static int
place_text (const struct vhd_link *link, size_t i, const struct range in[2],
            struct ranges *used, struct placement *to, struct err *err)
{
  struct range text = { 0, 0 };

  for (unsigned n = 0; text.off == 0 && n < 2; ++n) {
    text.len = usual_room (link, i);
    text.off = find_room (used, text.len, VHD_ALIGNMENT, &in[n]);
    if (text.off != 0)
      break;
    text.len = round_up (link->locators[i].len, VHD_SECTOR_SIZE);
    text.off = find_room (used, text.len, VHD_SECTOR_SIZE, &in[n]);
  }
  if (text.off == 0)
    return 0;
  to->texts[i] = text.off;
  to->rooms[i] = (uint32_t) text.len;
  return vector_append (used, &text) < 0 ? err_nomem (err) : 0;
}

static uint64_t
end_of_blocks (const struct vhd_edit *e)
{
  const struct vhd_bat *bat = &e->layer->bat;
  uint64_t end = 0;

  for (uint64_t i = 0; i < bat->nr_entries; ++i)
    if (bat->entries[i] != VHD_BAT_HELD_ABSENT)
      end = max_u64 (end, vhd_edit_block_off (e, i) + vhd_place_size (bat));
  return end;
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

/* In front of the first block, as far as there is room, or else between the
 * last one and start; 0 where there is none.  Nothing of it goes where the
 * caller does not want it.
 */
static int
place_usually (const struct vhd_edit *e, const struct vhd_link *link,
               const struct range *avoid, uint64_t start,
               struct placement *to, struct err *err)
{
  const struct vhd_header *h = &e->layer->header;
  const struct range fixed[] = {
    { 0, VHD_FOOTER_SIZE + VHD_HEADER_SIZE },
    { h->table_offset, round_up (vhd_header_table_size (h),
                                 VHD_SECTOR_SIZE) },
    *avoid,
  };
  uint64_t behind = min_u64 (end_of_blocks (e), start);
  const struct range in[] = {
    { 0, min_u64 (first_block (e), start) }, { behind, start - behind },
  };
  struct ranges used = VECTOR_INIT;
  int r = 0;

  memset (to, 0, sizeof *to);
  if (usual_place_is_free (e) &&
      !(avoid->off < USUAL_PLACE + VHD_HEADER_SIZE && avoid->len > 0))
    to->header = USUAL_PLACE;
  for (size_t i = 0; r == 0 && i < sizeof fixed / sizeof fixed[0]; ++i)
    if (fixed[i].len > 0 && vector_append (&used, &fixed[i]) < 0)
      r = err_nomem (err);
  for (size_t i = 0; r == 0 && i < VHD_NR_LOCATORS; ++i)
    if (link->texts[i])
      r = place_text (link, i, in, &used, to, err);
  vector_free (&used);
  return r;
}

/* One behind the other from start on, those first that will stay there: to
 * becomes complete.  Returns where all of it ends.
 */
static uint64_t
place_at_end (const struct vhd_link *link, uint64_t start,
              struct placement *to, struct placement *at_end)
{
  uint64_t off = start;

  memset (at_end, 0, sizeof *at_end);
  for (int placed = 0; placed < 2; ++placed)
    for (size_t i = 0; i < VHD_NR_LOCATORS; ++i) {
      if (link->texts[i] == NULL || at_end->texts[i] != 0 ||
          (placed == 0 && to->texts[i] != 0))
        continue;
      at_end->texts[i] = off;
      at_end->rooms[i] = usual_room (link, i);
      off += at_end->rooms[i];
      if (to->texts[i] == 0) {
        to->texts[i] = at_end->texts[i];
        to->rooms[i] = at_end->rooms[i];
      }
    }
  at_end->header = off;
  if (to->header == 0)
    to->header = off;
  return off + VHD_HEADER_SIZE;
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
              has ? at->rooms[i] : l->space);
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

/* The whole of it; places are chosen. */
static int
take_steps (struct vhd_edit *e, const struct vhd_link *link, uint64_t end,
            const struct placement *at_end, const struct placement *to,
            struct err *err)
{
  int r = vhd_edit_end_at_least (e, vhd_place_align (&e->layer->bat, end),
                                 err);

  if (r == 0)
    r = write_out (e, link, at_end, err);
  if (r == 0)
    r = say_where (e, at_end, err);
  if (r < 0 || to->header == at_end->header)
    return r;
  r = write_out (e, link, to, err);
  return r < 0 ? r : say_where (e, to, err);
}

static int
relink (struct vhd_edit *e, const struct vhd_link *link,
        const struct range *avoid, struct err *err)
{
  uint64_t start = round_up (max_u64 (vhd_place_end_of_data (&e->layer->bat),
                                      avoid->off + avoid->len),
                             VHD_ALIGNMENT);
  struct placement at_end, to;
  uint64_t end;
  int r = place_usually (e, link, avoid, start, &to, err);

  if (r < 0)
    return r;
  end = place_at_end (link, start, &to, &at_end);
  r = take_steps (e, link, end, &at_end, &to, err);
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

static bool
is_same_locator (const struct vhd_link *a, const struct vhd_link *b, size_t i)
{
  return a->locators[i].code == b->locators[i].code &&
    a->locators[i].len == b->locators[i].len &&
    (a->texts[i] == NULL) == (b->texts[i] == NULL) &&
    (a->texts[i] == NULL ||
     memcmp (a->texts[i], b->texts[i], a->locators[i].len) == 0);
}

int
vhd_relink_compare (struct vhd_edit *e, const struct vhd_link *link,
                    bool *same, struct err *err)
{
  struct vhd_link own;
  int r = read_link (e, &own, err);

  *same = r == 0 && memcmp (own.name, link->name, sizeof own.name) == 0;
  for (size_t i = 0; i < VHD_NR_LOCATORS; ++i)
    *same = *same && is_same_locator (&own, link, i);
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
