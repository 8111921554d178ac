/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Partition tables: MBR with logical partitions, GPT with both copies. */

#ifndef NBDIMAGE_PART_PART_H
#define NBDIMAGE_PART_PART_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/report.h"
#include "lib/base/uuid.h"
#include "lib/base/vector.h"
#include "lib/block/block.h"

enum part_scheme {
  PART_NONE,                    /* no table found */
  PART_MBR,
  PART_GPT,
};

const char *part_scheme_to_string (enum part_scheme scheme); /* "none"… */

struct partition {
  unsigned number;              /* as Linux numbers it: nbd0pN */
  uint64_t off, len;            /* bytes */
  char *type;                   /* MBR: "0x83"; GPT: the type GUID */
  const char *type_name;        /* "Linux"; NULL: not known; static */
  char *name;                   /* GPT name; NULL if empty or MBR */
  char *uuid;                   /* GPT GUID; MBR: "SIGNATURE-NN" as Linux */
  bool bootable;                /* MBR active flag, GPT legacy boot bit */
  bool is_logical;              /* inside an extended partition */
  bool is_extended;             /* the extended partition itself: no data */
};

DEFINE_VECTOR (partition_vector, struct partition);

struct part_table {
  enum part_scheme scheme;
  uint32_t sector_size;         /* bytes the table counts in */
  char *id;                     /* disk GUID, or MBR signature "0x1234abcd" */
  struct partition_vector parts;        /* by number */
  bool is_lost;                 /* PART_NONE: the MBR names a GPT, of which no
                                   copy is good */
};

/* The sectors of a CD.  The table of a hybrid, which is a disk too, does not
 * count in them: what a table counts in by the sectors of what it is on, for
 * part_read.
 */
#define PART_DISC_SECTOR 2048

static inline uint32_t
part_sector_size (uint32_t logical)
{
  return logical == PART_DISC_SECTOR ? 0 : logical;
}

/* Read the table of a disk.  sector_size: as the disk says; 0 tries 512 and
 * 4096 (what the table of a hybrid CD counts in, too).  A damaged copy of a
 * GPT is reported and the good one used; entries that do not lie wholly
 * inside the disk are reported and kept out (Linux cuts them off).  No table
 * at all is not an error (PART_NONE), nor is a GPT of which no copy is good:
 * that is reported.  -EIO when the disk can't be read.  Names come from the
 * disk and may hold any character.
 */
int part_read (struct block *disk, uint32_t sector_size,
               struct part_table *table, struct report *report,
               struct err *err);

void part_table_free (struct part_table *table);

#define CLEANUP_PART_TABLE __attribute__ ((__cleanup__ (part_table_free)))

#endif /* NBDIMAGE_PART_PART_H */
