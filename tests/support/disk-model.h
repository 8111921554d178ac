/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a disk may hold after operations on it, of which some may have failed,
 * or been undone by a power cut.
 *
 * Disks are of whole sectors of 512 bytes.  Each write has a number, and the
 * n-th sector that it writes is made of that number plus n; 0 is zeros.
 *
 * The contract: what was flushed is there.  Of what was not flushed a sector
 * has one of the states that it had since then.  Trimmed sectors are zeros or
 * what they were before, never what a parent has below data of the child.  An
 * operation that failed may have been done in part.  A flush that failed is to
 * who opens the image next as a crash is.
 *
 * Whatever goes wrong in here ends the test program.  For one thread.
 */

#ifndef NBDIMAGE_TESTS_DISK_MODEL_H
#define NBDIMAGE_TESTS_DISK_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/format/image.h"
#include "tests/support/rng.h"

#define DISK_SECTOR 512U

enum disk_op_kind { DISK_WRITE, DISK_ZERO, DISK_TRIM };

struct disk_op {
  enum disk_op_kind kind;
  unsigned first, nr;           /* sectors */
  unsigned flags;               /* BLOCK_* */
  uint32_t id;                  /* of a write: of its first sector */
};

/* The bytes of a sector. */
void disk_fill_sector (uint8_t sector[DISK_SECTOR], uint32_t id);

/* Some operation, on a disk of so many sectors with so many in a block of its
 * image; often where others were, often on whole blocks.  Its id is next_id,
 * which grows by what it needs.
 */
struct disk_op disk_op_random (struct rng *rng, unsigned nr_sectors,
                               unsigned per_block, uint32_t *next_id);

/* Do it.  As image_pwrite and so on. */
int disk_op_run (const struct disk_op *op, struct image *img, struct err *err);

/* The same without allocating memory: what it writes, which the caller frees,
 * and doing it.
 */
uint8_t *disk_op_bytes (const struct disk_op *op);
int disk_op_do (const struct disk_op *op, const uint8_t *bytes,
                struct image *img, struct err *err);

/*--- The model --------------------------------------------------------------*/

struct disk_model;

/* A disk that holds these bytes, on stable storage. */
struct disk_model *disk_model_new (const uint8_t *bytes, unsigned nr_sectors);
void disk_model_free (struct disk_model *m);

unsigned disk_model_nr_sectors (const struct disk_model *m);

/* An operation begins; returns its number.  Those that run at the same time
 * must not overlap.
 */
uint64_t disk_model_begin (struct disk_model *m, const struct disk_op *op);

/* It ended.  bytes: after a trim, what its sectors hold now. */
void disk_model_end (struct disk_model *m, uint64_t number, bool ok,
                     const uint8_t *bytes);

/* A flush begins; what it returns is for when it has succeeded. */
uint64_t disk_model_flush_begin (struct disk_model *m);
void disk_model_flush_end (struct disk_model *m, uint64_t begun);

/* May the disk hold these sectors?  after_crash: see above; otherwise each
 * sector is what it was made last, or a failed operation after that.  If not,
 * *wrong is the number of one that it may not.
 */
bool disk_model_allows (const struct disk_model *m, const uint8_t *bytes,
                        unsigned first, unsigned nr, bool after_crash,
                        unsigned *wrong);

/* The same of the disk of an image, as a sentence in *err if not.  Where the
 * disk is shorter or longer than the model, of what is in both.
 */
int disk_model_check (const struct disk_model *m, struct image *img,
                      bool after_crash, struct err *err);

/* A flush failed, nobody can make up for it, and the image was opened anew.
 * May it hold what it does, as after a crash?  Then that is what it has to go
 * on holding: which of the states it is that a sector has, is open once only.
 * Nothing may be under way.
 */
int disk_model_settle (struct disk_model *m, struct image *img,
                       struct err *err);

#endif /* NBDIMAGE_TESTS_DISK_MODEL_H */
