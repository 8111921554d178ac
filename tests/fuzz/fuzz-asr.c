/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Documents of a backup of Windows that may record the layout of disks: XML,
 * what is taken from it, and the tables that are built of what was accepted.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/format/winbackup/asr.h"
#include "lib/part/build.h"
#include "tests/fuzz/fuzz.h"

static void
build_mbr (const struct asr_disk *disk)
{
  struct mbr_slot slots[PART_MBR_SLOTS] = { { 0 } };
  uint8_t mbr[PART_MBR_SIZE];
  struct err err = ERR_INIT;
  int r;

  for (size_t i = 0; i < disk->parts.len; ++i) {
    const struct asr_partition *p = &disk->parts.ptr[i];

    must (p->index < PART_MBR_SLOTS && slots[p->index].type == 0);
    slots[p->index] = (struct mbr_slot) {
      p->mbr_type, p->active, p->off / disk->sector_size,
      p->len / disk->sector_size };
  }
  r = mbr_build (mbr, disk->signature, slots,
                 (struct mbr_geometry) { disk->heads, disk->sectors }, &err);
  /* What is too far away for an MBR is all that may be wrong. */
  must (r == 0 || r == -EINVAL);
  if (r < 0)
    fuzz_check_err (r, &err);
}

static void
build_gpt (const struct asr_disk *disk)
{
  CLEANUP_FREE struct gpt_slot *slots = calloc (GPT_ENTRIES, sizeof *slots);
  CLEANUP_FREE uint8_t *head = NULL, *tail = NULL;
  struct gpt_plan plan = { disk->sector_size, disk->size / disk->sector_size,
                           { 0 }, slots, GPT_ENTRIES };
  struct err err = ERR_INIT;

  if (disk->parts.len == 0)
    return;
  for (size_t i = 0; i < disk->parts.len; ++i) {
    const struct asr_partition *p = &disk->parts.ptr[i];
    struct gpt_slot *s = &slots[p->index];

    must (p->index < GPT_ENTRIES && s->last == 0);
    memcpy (s->type, p->type, UUID_SIZE);
    s->first = p->off / disk->sector_size;
    s->last = (p->off + p->len) / disk->sector_size - 1;
    s->name = p->name;
  }
  must (gpt_build (&plan, &head, &tail, &err) == 0);
}

static void
check_disk (struct asr_disk *disk)
{
  uint64_t end = 0;

  asr_check_disk (disk);
  if (disk->refusal.code < 0) {
    fuzz_check_err (disk->refusal.code, &disk->refusal);
    return;
  }
  must (disk->size > 0 && disk->size % disk->sector_size == 0);
  for (size_t i = 0; i < disk->parts.len; ++i) {
    const struct asr_partition *p = &disk->parts.ptr[i];

    must (p->len > 0 && p->off >= disk->sector_size && p->off >= end);
    end = p->off + p->len;
    must (end > p->off && end <= disk->size);
  }
  if (disk->is_gpt)
    build_gpt (disk);
  else
    build_mbr (disk);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t len)
{
  struct asr asr = { .found = false };
  struct err err = ERR_INIT;
  int r = asr_read (data, len, &asr, &err);

  if (r < 0)
    fuzz_check_err (r, &err);
  must (r < 0 || asr.found || asr.disks.len == 0);
  for (size_t i = 0; r == 0 && i < asr.disks.len; ++i)
    check_disk (&asr.disks.ptr[i]);
  /* The same once more agrees with itself. */
  if (r == 0 && asr.found) {
    struct asr again = { .found = false };

    must (asr_read (data, len, &again, &err) == 0);
    must (asr_read (data, len, &again, &err) == 0);
    asr_free (&again);
  }
  asr_free (&asr);
  return 0;
}
