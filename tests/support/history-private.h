/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What history.c and replay.c share. */

#ifndef NBDIMAGE_TESTS_HISTORY_PRIVATE_H
#define NBDIMAGE_TESTS_HISTORY_PRIVATE_H

#include <pthread.h>

#include "lib/base/vector.h"
#include "tests/support/history.h"

#define HISTORY_SECTOR 512U

/* Allocated to whole sectors, and zero behind size. */
struct history_bytes {
  uint8_t *ptr;
  uint64_t size, allocated;
};

struct history_file {
  struct history_bytes first;   /* as it was given */
  struct history_bytes now;
};

DEFINE_VECTOR (history_items, struct history_item);
DEFINE_VECTOR (history_files, struct history_file);

struct history {
  pthread_mutex_t lock;
  struct history_items items;
  struct history_files files;
  bool drop_flushes, stopped, ordered_appends;
};

/* Grow with zeros, or cut off.  Room stays for whole sectors. */
void history_bytes_resize (struct history_bytes *bytes, uint64_t size);

/* Whatever goes wrong ends the test program. */
void history_must (bool ok);

#endif /* NBDIMAGE_TESTS_HISTORY_PRIVATE_H */
