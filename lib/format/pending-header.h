/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The header of a journal, for pending-journal.c, which makes it, and
 * pending-sweep.c.
 */

#ifndef NBDIMAGE_FORMAT_PENDING_HEADER_H
#define NBDIMAGE_FORMAT_PENDING_HEADER_H

#include <stdint.h>

#include "lib/base/crc32c.h"
#include "lib/base/uuid.h"

#define PENDING_MAGIC "nbdimage pending"
#define PENDING_JOURNAL_VERSION 1U

/* All names of journals begin like this. */
#define PENDING_NAME "pending-"

/* Read by the same machine in the same boot: in its order of bytes.  In all
 * versions it is this long and has the fields up to born.
 */
struct pending_header {
  char magic[16];               /* no NUL */
  uint32_t version;
  uint32_t checksum;            /* CRC-32C of the struct, with 0 here */
  uint64_t dev, ino;
  uint8_t id[UUID_SIZE];
  char boot[40];
  int64_t born;                 /* when the file was made, nanoseconds since
                                   1970; 0: its file system does not tell */
  uint32_t sectors_per_block;
  uint32_t low_bit_first;
  uint32_t page_bytes;
  uint32_t nr_slots;
};

/* What its checksum has to be. */
static inline uint32_t
pending_header_checksum (const struct pending_header *h)
{
  struct pending_header copy = *h;

  copy.checksum = 0;
  return crc32c_update (0, &copy, sizeof copy);
}

#endif /* NBDIMAGE_FORMAT_PENDING_HEADER_H */
