/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What must hold for a recorded disk before it is built. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/format/winbackup/asr.h"
#include "lib/part/build.h"

#define MBR_LDM 0x42

/* Of which a volume may have many pieces on many disks. */
static const struct {
  const char *guid, *what;
} not_basic[] = {
  { "5808c8aa-7e8f-42e0-85d2-e1e90434cfb3", "of a dynamic disk" },
  { "af9b60a0-1431-4f62-bc68-3311714a69ad", "of a dynamic disk" },
  { "e75caf8f-f680-4cee-afa3-b001e56efc2d", "of a storage space" },
};

static int
compare_offsets (const void *a, const void *b)
{
  const struct asr_partition *p = a, *q = b;

  return p->off < q->off ? -1 : p->off > q->off;
}

static int
check_size (const struct asr_disk *disk, struct err *err)
{
  if (disk->sector_size != 512 && disk->sector_size != 4096)
    return err_set (err, -EBADMSG, "BytesPerSector is %" PRIu32 ", expected "
                    "512 or 4096", disk->sector_size);
  if (disk->size == 0 || disk->size % disk->sector_size != 0)
    return err_set (err, -EBADMSG, "DiskSize is %" PRIu64 ", which are no "
                    "whole sectors of %" PRIu32, disk->size,
                    disk->sector_size);
  if (disk->nr_said != disk->parts.len)
    return err_set (err, -EBADMSG, "NumPartitions is %" PRIu64 ", but there "
                    "are %zu", disk->nr_said, disk->parts.len);
  return 0;
}

/* Where partitions may lie: between what the table takes. */
static int
check_place (const struct asr_disk *disk, const struct asr_partition *p,
             struct err *err)
{
  uint64_t first = disk->is_gpt ? gpt_head_size (disk->sector_size)
                                : disk->sector_size;
  uint64_t last = disk->is_gpt ? gpt_tail_size (disk->sector_size) : 0;

  if (p->len == 0 || p->off % disk->sector_size != 0 ||
      p->len % disk->sector_size != 0)
    return err_set (err, -EBADMSG, "PartitionOffset %" PRIu64 " and "
                    "PartitionLength %" PRIu64 " are no whole sectors of %"
                    PRIu32, p->off, p->len, disk->sector_size);
  if (last > disk->size || p->off < first ||
      !range_fits (p->off, p->len, disk->size - last))
    return err_set (err, -EBADMSG, "PartitionOffset %" PRIu64 " and "
                    "PartitionLength %" PRIu64 " are not within the disk of %"
                    PRIu64 " bytes and its table", p->off, p->len, disk->size);
  return 0;
}

static int
check_mbr_part (const struct asr_partition *p, struct err *err)
{
  if (p->mbr_type == MBR_LDM)
    return err_set (err, -ENOTSUP, "it is of a dynamic disk, which is not put "
                    "together");
  if (p->mbr_type == 0x05 || p->mbr_type == 0x0f ||
      p->index >= PART_MBR_SLOTS)
    return err_set (err, -ENOTSUP, "it is an extended or a logical partition, "
                    "whose tables are not rebuilt");
  if (p->mbr_type == 0)
    return err_set (err, -EBADMSG, "PartitionType is 0, which means none");
  return 0;
}

static int
check_gpt_part (const struct asr_partition *p, struct err *err)
{
  char guid[UUID_STRING_SIZE];

  guid_to_string (p->type, guid);
  for (size_t i = 0; i < sizeof not_basic / sizeof not_basic[0]; ++i)
    if (strcmp (guid, not_basic[i].guid) == 0)
      return err_set (err, -ENOTSUP, "it is %s, which is not put together",
                      not_basic[i].what);
  if (p->index >= GPT_ENTRIES)
    return err_set (err, -EBADMSG, "PartitionIndex is %u, more than a GPT "
                    "has", p->index);
  if (uuid_is_zero (p->type))
    return err_set (err, -EBADMSG, "its type is zero, which means none");
  return 0;
}

/* With the one before it on the disk, and with all. */
static int
check_beside (const struct asr_disk *disk, size_t i, struct err *err)
{
  const struct asr_partition *p = &disk->parts.ptr[i];

  if (i > 0 && p[-1].off + p[-1].len > p->off)
    return err_set (err, -EBADMSG, "it overlaps the partition with index %u",
                    p[-1].index);
  for (size_t j = 0; j < i; ++j) {
    const struct asr_partition *q = &disk->parts.ptr[j];

    if (q->index == p->index)
      return err_set (err, -EBADMSG, "there are two with that PartitionIndex");
    if (q->active && p->active)
      return err_set (err, -EBADMSG, "it is active, and so is the partition "
                      "with index %u", q->index);
    if (q->has_volume && p->has_volume &&
        memcmp (q->volume, p->volume, UUID_SIZE) == 0)
      return err_set (err, -EBADMSG, "it has the volume of the partition with "
                      "index %u", q->index);
    if (disk->is_gpt && memcmp (q->guid, p->guid, UUID_SIZE) == 0)
      return err_set (err, -EBADMSG, "it has the GUID of the partition with "
                      "index %u", q->index);
  }
  return 0;
}

static int
check_part (const struct asr_disk *disk, size_t i, struct err *err)
{
  const struct asr_partition *p = &disk->parts.ptr[i];
  int r = disk->is_gpt ? check_gpt_part (p, err) : check_mbr_part (p, err);

  if (r == 0)
    r = check_place (disk, p, err);
  if (r == 0)
    r = check_beside (disk, i, err);
  if (r < 0)
    err_in (err, "%s with index %u", disk->is_gpt ? "GptPartition"
            : "MbrPartition", p->index);
  return r;
}

void
asr_check_disk (struct asr_disk *disk)
{
  struct err *err = &disk->refusal;
  int r = check_size (disk, err);

  if (disk->parts.len > 0)
    qsort (disk->parts.ptr, disk->parts.len, sizeof *disk->parts.ptr,
           compare_offsets);
  for (size_t i = 0; r == 0 && i < disk->parts.len; ++i)
    r = check_part (disk, i, err);
  if (r < 0)
    err_in (err, "AsrSif: %s %u", disk->is_gpt ? "GptDisk" : "MbrDisk",
            disk->number);
}
