/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a test tried, for the table at the end of `make check-long':
 * long-table, beside this, reads the lines.  Scripts print such lines, too.
 */

#ifndef NBDIMAGE_TESTS_COUNTED_H
#define NBDIMAGE_TESTS_COUNTED_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

/* It tried `nr` of what, and nr_bad of them were not as they must be.  To be
 * called before the test fails because of them; where the first ends it at
 * once, afterwards, with 0.  seed: what random numbers began with; 0: it tries
 * all there is, or the same each time.
 */
static inline void
counted (uint64_t nr, const char *what, uint64_t nr_bad, uint64_t seed)
{
  printf ("COUNTED: %" PRIu64 " %s, %" PRIu64 " bad, seed %" PRIu64 "\n", nr,
          what, nr_bad, seed);
  fflush (stdout);
}

#endif /* NBDIMAGE_TESTS_COUNTED_H */
