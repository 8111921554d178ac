/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the tests of records, tables and trailers share: rows of what a rule
 * refuses, and values of the examples.
 */

#ifndef NBDIMAGE_TESTS_NBI_ROWS_H
#define NBDIMAGE_TESTS_NBI_ROWS_H

#include <stdint.h>

#define NR(a) (sizeof (a) / sizeof (a)[0])
#define END (1024 * 1024)       /* the data's, of the examples */

#define HASH "0123456789abcdefghijklmnopqrstuv"

/* Bytes of a structure that is right otherwise. */
struct row {
  const char *rule;
  int code;
  uint16_t off, len;
  uint64_t value;
};

#endif /* NBDIMAGE_TESTS_NBI_ROWS_H */
