/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What generation.c and generation-read.c share. */

#ifndef NBDIMAGE_REPO_GENERATION_PRIVATE_H
#define NBDIMAGE_REPO_GENERATION_PRIVATE_H

#include "lib/repo/decoders.h"
#include "lib/repo/generation.h"

struct generation {
  size_t refs;
  uint64_t id;                  /* for keys */
  struct file_reader *last;
  const struct generation_files *files;
  const struct generation_caches *caches;
  struct decoders *decoders;    /* the caches' */
  char *manifest;
  size_t manifest_len;
  struct file_reader **held;    /* by index in the list; NULL: none is */
};

#endif /* NBDIMAGE_REPO_GENERATION_PRIVATE_H */
