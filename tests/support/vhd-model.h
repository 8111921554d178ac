/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a disk that is written may hold, and the life of an image with random
 * operations, faults and power cuts: for dynamic and for differencing VHDs.
 *
 * Disks are of whole sectors with a number in each: 0 for zeros, otherwise
 * bytes made of the number.  Blocks are small so that many states can be
 * tried.  NBDIMAGE_TEST_STATES is how many power cuts (2000 by default),
 * NBDIMAGE_TEST_SEED what the random numbers begin with.
 */

#ifndef NBDIMAGE_TESTS_VHD_MODEL_H
#define NBDIMAGE_TESTS_VHD_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/format/image.h"

#define MODEL_BLOCK 4096U
#define MODEL_PER_BLOCK (MODEL_BLOCK / 512)
#define MODEL_BLOCKS 64U
/* The last block is cut off. */
#define MODEL_SECTORS (MODEL_BLOCKS * MODEL_PER_BLOCK - 3)
#define MODEL_STATES 64         /* of a sector between two flushes */

/* For each sector the numbers it had since the last flush; the last of them
 * is what it has now.
 */
struct model {
  uint32_t ids[MODEL_SECTORS][MODEL_STATES];
  unsigned nr[MODEL_SECTORS];
  uint32_t next_id;
};

/* What is tested: set by main. */
struct model_subject {
  struct block *(*make) (void); /* a recorder with the image */
  void (*init) (uint32_t ids[MODEL_SECTORS]);   /* what its disk holds */
  const char *parent_path;      /* NULL: it has no parents */
};

extern struct model_subject model_subject;

unsigned model_number_from (const char *name, unsigned usual);
void model_seed (void);
unsigned model_random_below (unsigned n);

void model_fill_sector (uint8_t p[512], uint32_t id);
void model_init (struct model *m);
void model_flushed (struct model *m);

/* Does the disk hold one of the last `max` states of each sector? */
bool model_is (struct image *img, const struct model *m, unsigned max);

/* Opens the image of the recorder or ends the test. */
struct image *model_open (struct block *block, bool writable);

/* Does the file open, from scratch, and hold what was written last? */
bool model_recorder_is_good (struct block *block, const struct model *m);

enum model_kind { MODEL_WRITE, MODEL_ZERO, MODEL_TRIM };

struct model_operation {
  enum model_kind kind;
  unsigned first, nr;           /* sectors */
  unsigned flags;
};

struct model_operation model_random_operation (void);

/* Writes the numbers from id on. */
int model_run (struct image *img, const struct model_operation *o,
               uint32_t id);

/* The same, and the model does it too. */
int model_do (struct image *img, struct model *m,
              const struct model_operation *o);

/* Which flushes are not done. */
enum model_dropped {
  DROPPED_NONE,
  DROPPED_INNER,                /* those that no client asked for */
  DROPPED_FIRST,                /* the first of each that one asked for */
  DROPPED_ALL,
};

/* Images live through some operations, and at one of the changes the power
 * fails.  Of nr files that may be left then, how many are bad?  Where something
 * is dropped, it ends when there is one.
 */
unsigned model_count_bad (unsigned nr, enum model_dropped dropped);

/* The same with files that may be left if the power fails now. */
unsigned model_count_bad_now (struct block *block, const struct model *m,
                              unsigned nr);

/* A change fails, or some do, and the image goes on.  Returns how many
 * operations failed.
 */
unsigned model_life_with_faults (unsigned nth, unsigned count);

#endif /* NBDIMAGE_TESTS_VHD_MODEL_H */
