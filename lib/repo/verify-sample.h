/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Some of many pieces, by chance: each is as likely as any other, and none
 * comes twice.
 *
 *   verify_sample_parse ("2%", &sample, err);
 *   verify_sample_begin (&sample, n, bytes);
 *   for each of the n, in the same order:
 *     if (verify_sample_draw (&sample)) ...
 *
 * The same seed over the same pieces draws the same ones.
 */

#ifndef NBDIMAGE_REPO_VERIFY_SAMPLE_H
#define NBDIMAGE_REPO_VERIFY_SAMPLE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"

struct verify_sample {
  uint64_t share;               /* of 100000000; 0: size says it */
  uint64_t size;                /* bytes */

  uint64_t left, wanted;        /* pieces that come, and how many of them are
                                   to be drawn */
  uint64_t random;              /* state; begins as the seed */
};

/* "N%", with up to six decimals and not more than 100, or a size as size_parse
 * has it; neither may be nothing.  -EINVAL.
 */
int verify_sample_parse (const char *str, struct verify_sample *sample,
                         struct err *err);

/* There are so many pieces, of so many bytes together.  At least one is drawn,
 * if there is any.
 */
void verify_sample_begin (struct verify_sample *sample, uint64_t nr,
                          uint64_t bytes);

/* Is the next one drawn? */
bool verify_sample_draw (struct verify_sample *sample);

/* How likely it is, from 0 to 1, that `drawn' of nr pieces have one of `bad'
 * ones among them.
 */
double verify_sample_chance (uint64_t nr, uint64_t drawn, uint64_t bad);

#endif /* NBDIMAGE_REPO_VERIFY_SAMPLE_H */
