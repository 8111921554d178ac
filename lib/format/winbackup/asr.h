/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The layout of a computer's disks as Windows' ASR writer records it in a
 * backup: an XML element AsrSif.  Microsoft does not document it;
 * docs/WINDOWS-BACKUP.md has what is known.
 */

#ifndef NBDIMAGE_FORMAT_WINBACKUP_ASR_H
#define NBDIMAGE_FORMAT_WINBACKUP_ASR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/uuid.h"
#include "lib/base/vector.h"

struct asr_partition {
  unsigned index;               /* PartitionIndex: its slot, from 0 */
  uint64_t off, len;            /* bytes */
  bool active;                  /* MBR */
  bool critical;                /* Windows needs it */
  uint8_t mbr_type;
  uint8_t type[UUID_SIZE];      /* GPT, and the next three */
  uint8_t guid[UUID_SIZE];
  uint64_t attributes;
  char *name;                   /* NULL: none */
  bool has_volume;
  uint8_t volume[UUID_SIZE];    /* the volume's GUID, which its file has */
};

DEFINE_VECTOR (asr_partition_vector, struct asr_partition);

struct asr_disk {
  bool is_gpt;
  unsigned number;              /* DeviceNumber */
  uint64_t size;                /* bytes */
  uint32_t sector_size;
  unsigned heads, sectors;      /* of the geometry */
  uint32_t signature;           /* MBR */
  uint8_t guid[UUID_SIZE];      /* GPT */
  uint64_t nr_said;             /* NumPartitions */
  struct asr_partition_vector parts;    /* in ascending order of off once
                                           asr_check_disk saw them */
  struct err refusal;           /* of asr_check_disk; code 0: none */
};

struct asr_volume {
  uint8_t guid[UUID_SIZE];
  char letter;                  /* 'C'; 0: none */
  char *label;                  /* NULL: none */
};

DEFINE_VECTOR (asr_disk_vector, struct asr_disk);
DEFINE_VECTOR (asr_volume_vector, struct asr_volume);

struct asr {
  bool found;                   /* there was an AsrSif */
  uint64_t nr_mbr_said, nr_gpt_said;
  struct asr_disk_vector disks;
  struct asr_volume_vector volumes;
};

void asr_free (struct asr *asr);

/* Read the AsrSif in a document: the root, an element within it, or text, in
 * an attribute or an element, that is XML itself.  None at
 * all leaves asr->found false.  -EBADMSG names the element; two that differ
 * are -EBADMSG, too.  If asr has one already, from another document, it is
 * compared with that.
 */
int asr_read (const void *document, size_t len, struct asr *asr,
              struct err *err);

/* Could such a disk be, and can it be built?  Sorts the partitions and sets
 * disk->refusal: -EBADMSG when the record contradicts itself, -ENOTSUP for
 * what we do not build: dynamic disks, storage spaces, logical partitions.
 */
void asr_check_disk (struct asr_disk *disk);

#endif /* NBDIMAGE_FORMAT_WINBACKUP_ASR_H */
