/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Sector bits that are not in the image yet.
 *
 * A differencing disk has a bit for each sector: it is here, or the parent's.
 * A bit may be on stable storage only when the data of its sector is, or
 * a power cut would put zeros, or what lay there before, in the place of what
 * the parent has.  So bits wait here, and count as if they were in the
 * image, until a flush:
 *
 *   1. pending_snapshot: which bits are there now; the data of all of them
 *      was written by then.
 *   2. fdatasync: the data is on stable storage.  If it fails, nobody knows of
 *      which sectors it is not, and the journal is disowned.
 *   3. The bits are written into the image.
 *   4. fdatasync.
 *   5. pending_clear: those of the snapshot, and no others.
 *
 * A power cut before 4 is over: of each bit it is or it is not in the image,
 * and where it is its sector is too.
 *
 * A killed process loses no write, flushed or not: what it wrote is in the
 * kernel's hands.  So that the bits are too, the table is a file in a memory
 * file system (the journal) that is mapped.  Whoever opens the image next for
 * writing gets the bits of the journal and flushes them in the same order;
 * whoever opens it for reading counts them.  A power cut takes the journal,
 * and the bits that nobody may have then, away.  So does a flush that failed,
 * step 2 or any other of that file: the kernel tells once of data that it could
 * not write, and whoever opens the file next reads what lay there before.  Here
 * the bits go on to count, and every flush is going to fail.  Once an image is
 * closed after a flush, nothing is left.
 *
 * Nothing here knows a format.  A block is a run of sectors whose data has a
 * place in the file; what the number of that place means is the format's
 * business.  A table holds as many bits as fit: then a flush has to make
 * room.  All functions but those that open and close may be called from many
 * threads at once; none waits for anything.
 */

#ifndef NBDIMAGE_FORMAT_PENDING_H
#define NBDIMAGE_FORMAT_PENDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/report.h"
#include "lib/base/uuid.h"
#include "lib/base/vector.h"

/* Sectors whose bits are kept together: as many as a sector has bits. */
#define PENDING_PAGE_SECTORS 4096U

/* The image. */
struct pending_image {
  int fd;                       /* its file, for its identity; -1: there is
                                   none, and no journal */
  struct block *block;          /* borrowed, and stays longer than the table:
                                   when a flush of it fails, nobody counts on
                                   the journal any more.  NULL: in tests */
  const char *name;             /* for messages */
  uint8_t id[UUID_SIZE];        /* the format's own: another one in the same
                                   file is another image */
  uint32_t sectors_per_block;   /* not 0 */
  bool low_bit_first;           /* sector 0 is bit 1 of a byte, not 0x80 */

  uint32_t max_pages;           /* 0: the usual; for tests */
  const char *folder;           /* of the journal; NULL: the usual; for
                                   tests */
};

struct pending;

/* For writing; the caller holds the image against others.  There may be bits
 * at once, of a process that was killed: see pending_filter.
 *
 * Where there is no memory file system for a journal, a warning says what
 * that means.  -EBUSY when another process has the journal, -ENOTSUP when
 * it is of another version of this program and can't be understood.
 */
int pending_open (const struct pending_image *image, struct pending **out,
                  struct report *report, struct err *err);

/* For reading: a copy of the bits in the journal as they are now.  *out is
 * NULL if there is none.
 */
int pending_peek (const struct pending_image *image, struct pending **out,
                  struct err *err);

/* The journal is removed when no bit is left, and otherwise stays.  NULL is
 * fine.
 */
void pending_close (struct pending *p);

/* The data of nr sectors from first on of a block, which lies at `place`,
 * was written.  -ENOSPC when there is no room before a flush; some of the
 * bits may be set then.
 */
int pending_set (struct pending *p, uint64_t block, uint64_t place,
                 uint32_t first, uint32_t nr);

/* No bit of the block counts any more: it has another place, or none. */
void pending_forget (struct pending *p, uint64_t block);

/* Set those of the nr bits in `bits` that are pending, for the sectors from
 * first on, and leave the others.  first is a multiple of 8, and the range
 * does not cross one of PENDING_PAGE_SECTORS.
 */
void pending_merge (struct pending *p, uint64_t block, uint32_t first,
                    uint32_t nr, uint8_t *bits);

/* How many sectors from first on have the same bit: at least 1, at most
 * max.  What is behind the run may have the same.
 */
uint32_t pending_run (struct pending *p, uint64_t block, uint32_t first,
                      uint32_t max, bool *bit);

bool pending_is_empty (const struct pending *p);

/* Keep only the pages for which keep returns true, by block and place: after
 * opening, those of blocks that are where they were.
 */
void pending_filter (struct pending *p,
                     bool (*keep) (void *opaque, uint64_t block,
                                   uint64_t place), void *opaque);

/* Bits of some sectors of one block. */
struct pending_page {
  uint64_t block, place;
  uint32_t first;               /* a multiple of PENDING_PAGE_SECTORS */
  uint32_t nr;                  /* sectors, up to the end of the block */
  const uint8_t *bits;          /* nr of them */
};

DEFINE_VECTOR (pending_pages, struct pending_page);

struct pending_snapshot {
  struct pending_pages pages;
  uint8_t *bits;
};

#define PENDING_SNAPSHOT_INIT { VECTOR_INIT, NULL }
#define CLEANUP_PENDING_SNAPSHOT \
  __attribute__ ((__cleanup__ (pending_snapshot_free)))

/* All bits there are, for the caller to free.  0 or -ENOMEM. */
int pending_snapshot (struct pending *p, struct pending_snapshot *out,
                      struct err *err);
void pending_snapshot_free (struct pending_snapshot *snapshot);

/* They are in the image now.  What was forgotten since stays so. */
void pending_clear (struct pending *p, const struct pending_snapshot *s);

#endif /* NBDIMAGE_FORMAT_PENDING_H */
