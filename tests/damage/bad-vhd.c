/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The bad VHDs.  Each is one of a few good ones with one to three fields
 * changed, checksums made right again unless the row says that they stay as
 * they were, and bytes cut off its end or appended.
 *
 *   DYN    copy 0 · header 512 · BAT 1536 · block 0 at sector 4 · block 2 at
 *          sector 37 · footer 35840; four blocks of 16 KiB
 *   FIX    8192 bytes · footer
 *   DIFF   copy · header · BAT 1536 · locators 2048, 2560, 3072 · block 1 at
 *          sector 7, its first 16 sectors are here · footer 20480;
 *          base.vhd is its parent, and is as DYN
 *   XEN    as DYN with tapdisk's batmap: header 2048, map 2560 · block 0 at
 *          sector 6 · block 2 at sector 39 · footer 36864
 *   VPC    as DYN, by Virtual PC; its geometry has 10/4/3 × 512 = 61440 bytes
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "tests/damage/bad-vhd.h"
#include "tests/damage/damage.h"
#include "tests/support/vhd-maker.h"

/*--- The good ones ----------------------------------------------------------*/

static const struct vhd_spec specs[] = {
  [DYN] = { .type = 3, .size = VHD_DISK, .block_size = VHD_BLOCK, .id = 1 },
  [FIX] = { .type = 2, .size = VHD_FIXED_DISK, .id = 1 },
  [DIFF] = { .type = 4, .size = VHD_DISK, .block_size = VHD_BLOCK, .id = 1,
             .parent_id = 2, .parent_name = "base.vhd",
             .locators = { { "W2ru", ".\\base.vhd" },
                           { "MacX", "file://./base.vhd" },
                           { "W2ku", "C:\\vm\\base.vhd" } } },
  [XEN] = { .type = 3, .size = VHD_DISK, .block_size = VHD_BLOCK, .id = 1,
            .creator = "tap\0", .creator_version = 0x00010003,
            .batmap = true },
  [VPC] = { .type = 3, .size = VHD_DISK, .block_size = VHD_BLOCK, .id = 1,
            .creator = "vpc ", .cylinders = 10, .heads = 4, .sectors = 3 },
};

static const struct vhd_spec parent_spec = {
  .type = 3, .size = VHD_DISK, .block_size = VHD_BLOCK, .id = 2,
};

/* Never 0, and different everywhere. */
static void
fill (uint8_t *p, size_t len, unsigned seed)
{
  for (size_t i = 0; i < len; ++i)
    p[i] = (uint8_t) (1 + (i + i / 512 * 5 + seed * 37) % 255);
}

static void
add_block (struct vhd_maker *m, unsigned index, const uint8_t *bits,
           unsigned seed)
{
  uint8_t data[VHD_BLOCK];

  fill (data, sizeof data, seed);
  vhd_maker_add_block (m, index, bits, data);
}

struct vhd_maker *
bad_vhd_make_good (enum vhd_base base)
{
  static const uint8_t first_half[4] = { 0xFF, 0xFF };
  struct vhd_maker *m = vhd_maker_new (&specs[base]);
  uint8_t data[VHD_FIXED_DISK];

  if (base == FIX) {
    fill (data, sizeof data, 1);
    vhd_maker_set_data (m, data);
  }
  else if (base == DIFF)
    add_block (m, 1, first_half, 1);
  else {
    add_block (m, 0, NULL, 1);
    add_block (m, 2, NULL, 2);
  }
  vhd_maker_finish (m);
  return m;
}

struct vhd_maker *
bad_vhd_make_parent (void)
{
  struct vhd_maker *m = vhd_maker_new (&parent_spec);

  add_block (m, 0, NULL, 3);
  add_block (m, 1, NULL, 4);
  vhd_maker_finish (m);
  return m;
}

struct damage_file
bad_vhd_good_disk (enum vhd_base base)
{
  uint8_t disk[VHD_DISK] = { 0 };

  if (base == FIX)
    fill (disk, VHD_FIXED_DISK, 1);
  else if (base == DIFF) {
    fill (disk, VHD_BLOCK, 3);
    fill (disk + VHD_BLOCK, VHD_BLOCK, 4);
    fill (disk + VHD_BLOCK, VHD_BLOCK / 2, 1);
  }
  else {
    fill (disk, VHD_BLOCK, 1);
    fill (disk + 2 * VHD_BLOCK, VHD_BLOCK, 2);
  }
  return damage_copy (disk, base == FIX ? VHD_FIXED_DISK
                      : base == VPC ? VHD_VPC_DISK : VHD_DISK);
}

/*--- Making them ------------------------------------------------------------*/

static size_t
offset_of (const struct vhd_maker *m, unsigned place)
{
  size_t table_end = m->table_off + 512;

  switch (place) {
  case END: case FOOTERS: return m->footer_off;
  case HEADER: return 512;
  case BAT: return m->table_off;
  case BATMAP: return m->batmap_off;
  case LOCATOR: return m->locator_off;
  case BITS:
    return m->batmap_off ? m->batmap_off + 1024
      : m->locator_off ? m->locator_off + 1536 : table_end;
  default: return 0;
  }
}

static void
put (uint8_t *to, const struct bad_vhd_patch *p)
{
  uint8_t bytes[8];

  put_be64 (bytes, p->value);
  if (p->width == 0)
    memset (to, 0, p->value);
  else
    memcpy (to, bytes + 8 - p->width, p->width);
}

static void
put_sum (uint8_t *p, size_t len, size_t at)
{
  uint32_t sum = 0;

  put_be32 (p + at, 0);
  for (size_t i = 0; i < len; ++i)
    sum += p[i];
  put_be32 (p + at, ~sum);
}

static void
apply (struct vhd_maker *m, const struct bad_vhd_patch *p, bool sum)
{
  unsigned place = p->place & ~(unsigned) PARENT;

  put (m->data + offset_of (m, place) + p->off, p);
  if (place == FOOTERS && m->spec.type != 2)
    put (m->data + p->off, p);
  if (!sum)
    return;
  if (place == FOOTERS || place == END)
    put_sum (m->data + m->footer_off, 512, 64);
  if ((place == FOOTERS && m->spec.type != 2) || place == COPY)
    put_sum (m->data, 512, 64);
  if (place == HEADER)
    put_sum (m->data + 512, 1024, 36);
}

static struct damage_file
take_file (struct vhd_maker *m, long cut)
{
  struct damage_file file = damage_copy (m->data, m->len);

  damage_cut (&file, cut);
  vhd_maker_free (m);
  return file;
}

static struct damage_file
expected_disk (const struct bad_vhd_row *row, const struct damage_file *image)
{
  struct damage_file disk;
  size_t size = row->size;

  if (row->flags & AS_RAW)
    return damage_copy (image->bytes, size ? size : image->len);
  disk = bad_vhd_good_disk (row->base);
  if (size > disk.len) {
    disk.bytes = realloc (disk.bytes, size);
    assert_non_null (disk.bytes);
    memset (disk.bytes + disk.len, 0, size - disk.len);
  }
  disk.len = size ? size : disk.len;
  memset (disk.bytes + row->zero_off, 0, row->zero_len);
  if (row->parent_len > 0) {
    uint8_t block[VHD_BLOCK];

    fill (block, sizeof block, 4);
    memcpy (disk.bytes + row->parent_off,
            block + row->parent_off % VHD_BLOCK, row->parent_len);
  }
  return disk;
}

static void
make (size_t i, struct damage_image *out)
{
  const struct bad_vhd_row *row = &bad_vhd_rows[i];
  struct vhd_maker *m = bad_vhd_make_good (row->base), *parent = NULL;

  if (row->base == DIFF && !(row->flags & NO_PARENT))
    parent = bad_vhd_make_parent ();
  for (size_t p = 0; p < 3 && row->patches[p].place != NOWHERE; ++p)
    apply (row->patches[p].place & PARENT ? parent : m, &row->patches[p],
           !(row->flags & BAD_SUM));
  out->image = take_file (m, row->cut);
  out->disk = expected_disk (row, &out->image);
  if (parent)
    out->parent = take_file (parent, 0);
}

static const char *
name_of (size_t i)
{
  return bad_vhd_rows[i].name;
}

static struct damage_verdict
verdict_of (size_t i)
{
  return bad_vhd_rows[i].verdict;
}

static size_t
nr (void)
{
  return bad_vhd_nr_rows;
}

const struct damage_family damage_vhd = {
  .name = "vhd",
  .file = "disk.vhd",
  .parent = "base.vhd",
  .nr = nr,
  .name_of = name_of,
  .verdict_of = verdict_of,
  .make = make,
};
