/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Compressed files as many kinds of writers make them, by the libraries. */

#ifndef NBDIMAGE_TESTS_SQUEEZE_H
#define NBDIMAGE_TESTS_SQUEEZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct squeezed {
  uint8_t *data;
  size_t len, cap;
};

struct squeezer {
  const char *name;             /* of the compression, and of the kind */
  const char *kind;
  bool checked;                 /* a checksum covers every byte that is in it */
  void (*run) (struct squeezed *out, const uint8_t *data, size_t len,
               int kind);
  int number;                   /* for run */
};

/* Ends with a NULL name. */
extern const struct squeezer squeezers[];

/* Aborts if it can't. */
void squeeze (const struct squeezer *s, const uint8_t *data, size_t len,
              struct squeezed *out);
/* The first of that name and kind. */
const struct squeezer *squeezer_find (const char *name, const char *kind);

/* Bytes as on a disk: text, noise, zeros; the same for the same seed. */
void squeeze_fill (uint8_t *data, size_t len, uint64_t seed);

#endif /* NBDIMAGE_TESTS_SQUEEZE_H */
