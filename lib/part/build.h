/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Writing partition tables anew, from what is known of them: the sectors of
 * a disk that are no partition's.
 */

#ifndef NBDIMAGE_PART_BUILD_H
#define NBDIMAGE_PART_BUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/uuid.h"

#define PART_MBR_SIZE 512
#define PART_MBR_SLOTS 4

struct mbr_slot {
  uint8_t type;                 /* 0: the slot is empty */
  bool active;
  uint64_t start, sectors;      /* in sectors of the disk */
};

/* A disk's geometry as its table counts it; 0 heads: 255 of 63 sectors. */
struct mbr_geometry {
  unsigned heads, sectors;
};

/* The first sector of a disk: four primary partitions, the signature, and a
 * boot program of our own that starts the boot sector of the active one, for
 * a BIOS with extended reads and sectors of 512 bytes.  -EINVAL, naming the
 * slot from 1, when a partition is not within 2^32 sectors.
 */
int mbr_build (uint8_t mbr[PART_MBR_SIZE], uint32_t signature,
               const struct mbr_slot slots[PART_MBR_SLOTS],
               struct mbr_geometry geometry, struct err *err);

struct gpt_slot {
  uint8_t type[UUID_SIZE];      /* as on disk; zero: the entry is empty */
  uint8_t guid[UUID_SIZE];
  uint64_t first, last;         /* sectors, both included */
  uint64_t attributes;
  const char *name;             /* UTF-8; NULL: none.  What is more than 36
                                   characters of UTF-16 is cut off. */
};

struct gpt_plan {
  uint32_t sector_size;         /* bytes: 512 or 4096 */
  uint64_t sectors;             /* of the disk */
  uint8_t guid[UUID_SIZE];      /* of the disk */
  const struct gpt_slot *slots; /* entry 1 first */
  size_t nr_slots;              /* up to GPT_ENTRIES */
};

#define GPT_ENTRIES 128         /* in the tables that we build */

/* How many bytes of the disk the table takes at either end. */
uint64_t gpt_head_size (uint32_t sector_size);
uint64_t gpt_tail_size (uint32_t sector_size);

/* Both copies: the first bytes of the disk, with the protective MBR, and the
 * last; the caller frees them.  Entries are 128 of 128 bytes, and all sectors
 * between the copies are usable (UEFI specification 2.10, §5.3).  -EINVAL,
 * naming the entry, when a partition is not among the usable sectors.
 */
int gpt_build (const struct gpt_plan *plan, uint8_t **head, uint8_t **tail,
               struct err *err);

#endif /* NBDIMAGE_PART_BUILD_H */
