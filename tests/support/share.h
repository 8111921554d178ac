/* SPDX-License-Identifier: GPL-2.0-or-later */

/* How much of a test with many cases this build runs.
 *
 * A build with the sanitizers takes several times as long for a case, and the
 * usual one tries all of them: NBDIMAGE_TEST_SHARE=N makes it try one in N.
 * Which ones depends on N, and what is random in them is not what it is in the
 * usual build, so that the two together see more than one of them twice.
 */

#ifndef NBDIMAGE_TESTS_SHARE_H
#define NBDIMAGE_TESTS_SHARE_H

#include <stdbool.h>
#include <stdlib.h>

/* N; 1 where nothing is said. */
static inline unsigned
share_number (void)
{
  const char *value = getenv ("NBDIMAGE_TEST_SHARE");
  unsigned long n = value ? strtoul (value, NULL, 10) : 1;

  return n > 0 && n < 1000 ? (unsigned) n : 1;
}

/* Of nr cases so many are tried, at the least. */
static inline unsigned
share_of (unsigned nr)
{
  return nr / share_number ();
}

/* Is case number n, from 0 on, one of them?  Of any N that follow each other
 * one is.
 */
static inline bool
is_in_share (unsigned n)
{
  return n % share_number () == share_number () / 2;
}

/* For the seeds of random cases: 0 in the usual build. */
static inline unsigned
share_seed (void)
{
  return (share_number () - 1) * 1000003U;
}

#endif /* NBDIMAGE_TESTS_SHARE_H */
