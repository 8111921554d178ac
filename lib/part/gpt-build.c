/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Layouts: see gpt.c.  The first copy is MBR, header, array; the second, at
 * the end of the disk, array, header.
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
#include "lib/base/utf16.h"
#include "lib/part/build.h"

#define HEADER_SIZE 92
#define ENTRY_SIZE 128
#define NAME_SIZE 72
#define ARRAY_SIZE (GPT_ENTRIES * ENTRY_SIZE)
#define REVISION 0x00010000

static uint64_t
array_sectors (uint32_t sector_size)
{
  return div_round_up (ARRAY_SIZE, sector_size);
}

uint64_t
gpt_head_size (uint32_t sector_size)
{
  return (2 + array_sectors (sector_size)) * sector_size;
}

uint64_t
gpt_tail_size (uint32_t sector_size)
{
  return (1 + array_sectors (sector_size)) * sector_size;
}

/* One partition of type EE over the whole disk (§5.2.3). */
static void
put_protective_mbr (uint8_t *mbr, uint64_t sectors)
{
  static const uint8_t first_chs[3] = { 0x00, 0x02, 0x00 };
  uint8_t *p = mbr + 446;

  memcpy (p + 1, first_chs, sizeof first_chs);
  p[4] = 0xee;
  memset (p + 5, 0xff, 3);
  put_le32 (p + 8, 1);
  put_le32 (p + 12, (uint32_t) min_u64 (sectors - 1, UINT32_MAX));
  put_le16 (mbr + 510, 0xaa55);
}

/* A name that is cut off does not end in half a character. */
static int
put_name (uint8_t *p, const char *name, struct err *err)
{
  CLEANUP_FREE uint8_t *utf16 = NULL;
  size_t len;
  int r = utf16_from_utf8 (name, UTF16_LE, &utf16, &len, err);

  if (r < 0)
    return r;
  if (len > NAME_SIZE) {
    len = NAME_SIZE;
    if ((utf16[len - 1] & 0xfc) == 0xd8)
      len -= 2;
  }
  memcpy (p, utf16, len);
  return 0;
}

static int
put_array (uint8_t *array, const struct gpt_plan *plan, uint64_t first_usable,
           uint64_t last_usable, struct err *err)
{
  int r = 0;

  for (size_t i = 0; r == 0 && i < plan->nr_slots; ++i) {
    const struct gpt_slot *s = &plan->slots[i];
    uint8_t *p = array + i * ENTRY_SIZE;

    if (uuid_is_zero (s->type))
      continue;
    if (s->first < first_usable || s->last > last_usable || s->last < s->first)
      return err_set (err, -EINVAL, "partition %zu, sectors %" PRIu64 " to %"
                      PRIu64 ", is not among the usable ones, %" PRIu64
                      " to %" PRIu64, i + 1, s->first, s->last, first_usable,
                      last_usable);
    memcpy (p, s->type, UUID_SIZE);
    memcpy (p + 16, s->guid, UUID_SIZE);
    put_le64 (p + 32, s->first);
    put_le64 (p + 40, s->last);
    put_le64 (p + 48, s->attributes);
    if (s->name)
      r = put_name (p + 56, s->name, err);
  }
  return r;
}

static void
put_header (uint8_t *h, const struct gpt_plan *plan, uint64_t own,
            uint64_t other, uint64_t array_at, const uint8_t *array)
{
  uint64_t usable = 2 + array_sectors (plan->sector_size);

  memcpy (h, "EFI PART", 8);
  put_le32 (h + 8, REVISION);
  put_le32 (h + 12, HEADER_SIZE);
  put_le64 (h + 24, own);
  put_le64 (h + 32, other);
  put_le64 (h + 40, usable);
  put_le64 (h + 48, plan->sectors - usable);
  memcpy (h + 56, plan->guid, UUID_SIZE);
  put_le64 (h + 72, array_at);
  put_le32 (h + 80, GPT_ENTRIES);
  put_le32 (h + 84, ENTRY_SIZE);
  put_le32 (h + 88, crc32_update (0, array, ARRAY_SIZE));
  put_le32 (h + 16, crc32_update (0, h, HEADER_SIZE));
}

int
gpt_build (const struct gpt_plan *plan, uint8_t **head_out,
           uint8_t **tail_out, struct err *err)
{
  const uint32_t ss = plan->sector_size;
  const uint64_t nr_array = array_sectors (ss);
  const uint64_t last = plan->sectors - 1;
  CLEANUP_FREE uint8_t *head = NULL, *tail = NULL;
  int r;

  if (plan->nr_slots > GPT_ENTRIES)
    return err_set (err, -EINVAL, "%zu partitions are more than a GPT of %d "
                    "entries holds", plan->nr_slots, GPT_ENTRIES);
  if (plan->sectors < 2 * nr_array + 4)
    return err_set (err, -EINVAL, "a disk of %" PRIu64 " sectors has no room "
                    "for a GPT", plan->sectors);
  head = calloc (1, gpt_head_size (ss));
  tail = calloc (1, gpt_tail_size (ss));
  if (head == NULL || tail == NULL)
    return err_nomem (err);
  put_protective_mbr (head, plan->sectors);
  r = put_array (head + 2 * ss, plan, 2 + nr_array, last - nr_array - 1, err);
  if (r < 0)
    return r;
  put_header (head + ss, plan, 1, last, 2, head + 2 * ss);
  memcpy (tail, head + 2 * ss, ARRAY_SIZE);
  put_header (tail + nr_array * ss, plan, last, 1, last - nr_array, tail);
  *head_out = steal_ptr (&head);
  *tail_out = steal_ptr (&tail);
  return 0;
}
