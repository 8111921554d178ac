/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Files of backup images in memory, as a vault has them in folders. */

#ifndef NBDIMAGE_TESTS_REPO_MEMORY_H
#define NBDIMAGE_TESTS_REPO_MEMORY_H

#include <pthread.h>

#include "lib/base/vector.h"
#include "lib/repo/generation.h"
#include "lib/repo/run.h"

struct memory_file {
  uint8_t uuid[UUID_SIZE], run[UUID_SIZE];
  uint8_t *bytes;
  size_t len, cap;
  bool last;                    /* a generation ends in it */
  bool ended;
};

DEFINE_VECTOR (memory_files, struct memory_file *);

struct repo_memory {
  struct sink sink;
  pthread_mutex_t lock;         /* guards the list while a backup runs */
  struct memory_files files;    /* in the order in which they were begun */
  size_t fail_at;               /* bytes after which writing fails; 0: never */
  struct run_place place;
  struct generation_files look_up;
  struct generation_caches caches;
};

/* Keeps `chunks' bytes of decoded chunks. */
void repo_memory_init (struct repo_memory *repo, size_t chunks);
void repo_memory_destroy (struct repo_memory *repo);

/* A file as it is, opened. */
int repo_memory_open (struct repo_memory *repo, const struct memory_file *file,
                      struct file_reader **out, struct err *err);

/* The generation that ended last. */
int repo_memory_newest (struct repo_memory *repo, struct generation **out,
                        struct err *err);

#endif /* NBDIMAGE_TESTS_REPO_MEMORY_H */
