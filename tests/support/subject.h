/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The kinds of images that can be written, for tests that hold for all of
 * them: one row of a table for each.  A new one is a new row.
 *
 * Whatever goes wrong in here ends the test program.
 */

#ifndef NBDIMAGE_TESTS_SUBJECT_H
#define NBDIMAGE_TESTS_SUBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/format/create.h"
#include "lib/format/image.h"

struct subject_files;

struct subject {
  const char *name;             /* "vhd-dynamic"; NULL ends a table */
  const char *format;           /* as image_format says it */
  enum image_kind kind;         /* of a chain: of its first file */
  unsigned depth;               /* files in the chain */
  uint64_t size;                /* bytes of the disk, whole sectors */
  uint32_t block_size;          /* bytes; a guess where there are no blocks */

  /* Fill the folder, and set disk; NULL: with image_create and random writes
   * into each file of the chain.
   */
  void (*make) (struct subject_files *files);

  /* Does a write without flush need none by the format itself?  Then the
   * order of what is written can't be wrong.
   */
  bool is_plain;
};

extern const struct subject subjects[];

/* The first and the next subject to be tested, NULL at the end: all of them,
 * or the one whose name is in NBDIMAGE_TEST_SUBJECT.
 */
const struct subject *subject_next (const struct subject *last);
unsigned subject_count (void);

#define FOR_EACH_SUBJECT(s)                                             \
  for (const struct subject *s = subject_next (NULL); s; s = subject_next (s))

/* A number from the environment, or the usual one. */
uint64_t subject_number (const char *name, uint64_t usual);

/* The images of a subject, in a folder of their own. */
struct subject_files {
  const struct subject *subject;
  char *folder;
  char *leaf;                   /* path of the file that is written */
  uint8_t *data;                /* the bytes of that file */
  size_t len;
  uint8_t *disk;                /* what it holds */
  unsigned nr_sectors;          /* of the disk */
  unsigned per_block;           /* sectors in a block */
};

/* The same seed, the same disk. */
void subject_make (const struct subject *subject, uint64_t seed,
                   struct subject_files *out);
void subject_remove (struct subject_files *files);

/* Open what lies on a block instead of the leaf, with the leaf's parents.
 * It must be found to be of that format.
 */
int subject_open (const struct subject_files *files, struct block *block,
                  bool writable, struct image **out, struct err *err);

#endif /* NBDIMAGE_TESTS_SUBJECT_H */
