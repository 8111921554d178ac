/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Every place of a structure takes hostile values, one at a time. */

#ifndef NBDIMAGE_TESTS_HOSTILE_H
#define NBDIMAGE_TESTS_HOSTILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/damage/damage.h"

/* A structure on a disk, or the part of one that has fields. */
struct hostile_structure {
  const char *name;
  size_t off, len;              /* bytes */
  bool big_endian;              /* else little */
  unsigned tag;                 /* for whoever seals it; 0: nothing to seal */
};

/* Called with one place changed; what tells which, for messages.  Whatever it
 * changes in the bytes is put back afterwards.
 */
typedef void hostile_try (struct damage_file *file,
                          const struct hostile_structure *st,
                          const char *what);

/* Fields of 1, 2, 4 and 8 bytes at each multiple of their width take 0, 1,
 * the largest value, the sign, the one before it, one less and one more than
 * they have, twice and half that, its complement, and a random value.  Returns
 * how many files that were.
 */
unsigned hostile_sweep (struct damage_file *file,
                        const struct hostile_structure *st,
                        hostile_try *try);

/* Print the seed of what is random, from the environment if it is there, and
 * return it.
 */
uint64_t hostile_seed (const char *variable);
uint64_t hostile_random (void);

#endif /* NBDIMAGE_TESTS_HOSTILE_H */
