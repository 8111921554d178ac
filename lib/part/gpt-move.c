/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Moving the second copy of a GPT to another end: gpt.c has the layout.
 *
 * Only fields that depend on the size of the disk are changed.  A library that
 * writes tables (libfdisk) would make its own of the rest, and writes to a
 * disk at once, when restoring wants to write the first sectors last.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/crc32.h"
#include "lib/part/build.h"
#include "lib/part/move.h"
#include "lib/part/part-internal.h"

#define MBR_ENTRIES 446
#define MBR_ENTRY_SIZE 16
#define MBR_SIGNATURE 0xaa55

struct move {
  struct block *disk;
  uint32_t sector_size;
  uint64_t old_sectors, sectors;        /* of the disk */
  struct gpt gpt;               /* the good copy */
  uint64_t nr_array;            /* sectors of its array */
  struct part_patches *patches;
};

void
part_patches_free (struct part_patches *patches)
{
  for (size_t i = 0; i < patches->len; ++i)
    free (patches->ptr[i].bytes);
  vector_free (patches);
}

/* Takes over bytes, which may be NULL for zeros. */
static int
add (struct move *m, uint64_t sector, uint64_t len, uint8_t *bytes,
     struct err *err)
{
  const struct part_patch patch = { sector * m->sector_size, len, bytes };

  if (vector_append (m->patches, &patch) == 0)
    return 0;
  free (bytes);
  return err_nomem (err);
}

/*--- The first sector -------------------------------------------------------*/

/* It may say less where partitions of an old system lie behind the GPT's. */
static void
stretch (uint8_t *entry, const struct move *m)
{
  uint64_t start = get_le32 (entry + 8), sectors = get_le32 (entry + 12);

  if (entry[4] != MBR_TYPE_GPT || start >= m->sectors ||
      (sectors != UINT32_MAX && start + sectors < m->old_sectors))
    return;
  put_le32 (entry + 12, (uint32_t) min_u64 (m->sectors - start, UINT32_MAX));
}

static int
patch_mbr (struct move *m, struct err *err)
{
  CLEANUP_FREE uint8_t *mbr = malloc (m->sector_size);
  int r;

  if (mbr == NULL)
    return err_nomem (err);
  r = block_pread (m->disk, mbr, m->sector_size, 0, err);
  if (r < 0 || get_le16 (mbr + MBR_SIZE - 2) != MBR_SIGNATURE)
    return r;
  for (int i = 0; i < PART_MBR_SLOTS; ++i)
    stretch (mbr + MBR_ENTRIES + i * MBR_ENTRY_SIZE, m);
  return add (m, 0, m->sector_size, steal_ptr (&mbr), err);
}

/*--- The copies -------------------------------------------------------------*/

/* A header at sector own, of which array is the first sector of its array.
 * NULL: see err.
 */
static uint8_t *
make_header (struct move *m, uint64_t own, uint64_t other, uint64_t array,
             struct err *err)
{
  CLEANUP_FREE uint8_t *h = malloc (m->sector_size);
  int r;

  if (h == NULL) {
    err_nomem (err);
    return NULL;
  }
  r = block_pread (m->disk, h, m->sector_size, m->gpt.lba * m->sector_size,
                   err);
  if (r < 0)
    return NULL;
  put_le64 (h + 24, own);
  put_le64 (h + 32, other);
  put_le64 (h + 48, m->sectors - 2 - m->nr_array);
  put_le64 (h + 72, array);
  put_le32 (h + 16, 0);
  put_le32 (h + 16, crc32_update (0, h, get_le32 (h + 12)));
  return steal_ptr (&h);
}

static int
add_header (struct move *m, uint64_t own, uint64_t other, uint64_t array,
            struct err *err)
{
  uint8_t *h = make_header (m, own, other, array, err);

  return h == NULL ? err->code : add (m, own, m->sector_size, h, err);
}

static int
add_array (struct move *m, uint64_t sector, struct err *err)
{
  uint64_t len = m->nr_array * m->sector_size;
  uint8_t *bytes;

  if (len == 0)
    return 0;
  bytes = calloc (1, (size_t) len);
  if (bytes == NULL)
    return err_nomem (err);
  memcpy (bytes, m->gpt.array,
          (size_t) m->gpt.nr_entries * m->gpt.entry_size);
  return add (m, sector, len, bytes, err);
}

/* Where the first array is, or is to be if that copy is lost. */
static uint64_t
first_array (const struct move *m)
{
  return m->gpt.lba == 1 ? m->gpt.array_lba : 2;
}

static int
add_first_copy (struct move *m, struct err *err)
{
  int r = add_header (m, 1, m->sectors - 1, first_array (m), err);

  return r < 0 || m->gpt.lba == 1 ? r : add_array (m, 2, err);
}

static int
add_second_copy (struct move *m, struct err *err)
{
  uint64_t array = m->sectors - 1 - m->nr_array;
  int r = add_array (m, array, err);

  return r < 0 ? r : add_header (m, m->sectors - 1, 1, array, err);
}

/*--- Where the second copy was ----------------------------------------------*/

/* Has a partition any of these sectors? */
static bool
is_used (const struct move *m, uint64_t first, uint64_t nr)
{
  for (uint32_t i = 0; i < m->gpt.nr_entries; ++i) {
    const uint8_t *e = m->gpt.array + (size_t) i * m->gpt.entry_size;

    if (!uuid_is_zero (e) && get_le64 (e + 32) < first + nr &&
        get_le64 (e + 40) >= first)
      return true;
  }
  return false;
}

/* Array and header, if they are where they are usually: a copy that lies
 * about would look like one that was lost, in free space.
 */
static int
clear_second_copy (struct move *m, struct err *err)
{
  uint64_t lba = m->gpt.lba == 1 ? m->gpt.other_lba : m->gpt.lba;
  uint64_t first, nr = m->nr_array + 1;

  if (lba >= m->old_sectors || lba < 2 + 2 * m->nr_array)
    return 0;
  first = lba - m->nr_array;
  if (is_used (m, first, nr) || first + nr > m->sectors - nr)
    return 0;
  return add (m, first, nr * m->sector_size, NULL, err);
}

/*----------------------------------------------------------------------------*/

static int
check (const struct move *m, struct err *err)
{
  const struct gpt *g = &m->gpt;

  if (g->lba != 1 && g->first_usable < 2 + m->nr_array)
    return err_set (err, -EINVAL, "the first copy of the GPT is lost, and its "
                    "%" PRIu64 " sectors would not fit in front of sector %"
                    PRIu64 ", the first that partitions may use",
                    2 + m->nr_array, g->first_usable);
  if (m->sectors < g->last_usable + 2 + m->nr_array)
    return err_set (err, -EINVAL, "there is no room for the second copy of "
                    "the GPT behind sector %" PRIu64 ", the last that "
                    "partitions may use", g->last_usable);
  return 0;
}

static int
make_patches (struct move *m, struct err *err)
{
  int r = check (m, err);

  if (r == 0)
    r = patch_mbr (m, err);
  if (r == 0)
    r = add_first_copy (m, err);
  if (r == 0)
    r = clear_second_copy (m, err);
  return r < 0 ? r : add_second_copy (m, err);
}

int
gpt_move_end (struct block *disk, uint32_t sector_size, uint64_t new_size,
              struct part_patches *patches, struct err *err)
{
  struct part_patches made = VECTOR_INIT;
  struct move m = {
    .disk = disk, .sector_size = sector_size, .patches = &made,
    .old_sectors = block_size (disk) / sector_size,
    .sectors = new_size / sector_size,
  };
  struct err why = ERR_INIT;
  int r = gpt_choose_copy (disk, sector_size, &m.gpt, NULL, &why);

  if (r == 0)
    r = err_set (&why, -ENOENT, "no copy of the GPT is good");
  if (r > 0) {
    m.nr_array = div_round_up ((uint64_t) m.gpt.nr_entries * m.gpt.entry_size,
                               sector_size);
    r = make_patches (&m, &why);
  }
  gpt_free (&m.gpt);
  if (r == 0)
    *patches = made;
  else {
    part_patches_free (&made);
    err_set (err, r, "%s", why.msg);
  }
  return r;
}
