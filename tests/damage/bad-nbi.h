/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Backup images that lie in one length, count, offset, level or size. */

#ifndef NBDIMAGE_TESTS_BAD_NBI_H
#define NBDIMAGE_TESTS_BAD_NBI_H

#include "tests/damage/nbi-craft.h"

struct nbi_lie_patch {
  enum craft_place place;
  size_t off;
  unsigned width;               /* 0: no patch */
  uint64_t value;
};

#define NBI_LIE_PATCHES 3

struct nbi_lie {
  const char *name;
  const char *says;             /* of what `convert' says; with found_later, of
                                   what `check' says */
  struct nbi_lie_patch patches[NBI_LIE_PATCHES];
  void (*tell) (struct craft *c);       /* before it is built; or NULL */
  bool with_range;
  bool found_later;             /* by `check': what is read is right */
  bool plain, encrypted;        /* only that; neither: both */
  bool passphrase;              /* it is opened with one */
};

extern const struct nbi_lie nbi_lies[];
extern const size_t nbi_nr_lies;

/* The file, for free().  key: as for craft_init. */
void nbi_lie_make (const struct nbi_lie *lie, const uint8_t *key,
                   struct craft *c);

#endif /* NBDIMAGE_TESTS_BAD_NBI_H */
