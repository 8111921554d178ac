/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A disk in memory that becomes another one at random, and knows what was
 * written to it.
 */

#ifndef NBDIMAGE_TESTS_RANDOM_DISK_H
#define NBDIMAGE_TESTS_RANDOM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/fsmap/used-map.h"
#include "tests/support/rng.h"

#define RANDOM_DISK_PARTS 3
#define RANDOM_DISK_SECTOR 512
#define RANDOM_DISK_SMALL ((size_t) 640 * 1024)
#define RANDOM_DISK_FAR ((size_t) 4099 * 16384) /* more than a page of a map */

struct random_part {
  uint64_t off, len;            /* bytes, whole sectors but for the last */
  bool chosen;                  /* to be backed up */
};

struct random_disk {
  struct rng *rng;
  size_t size, room;            /* bytes */
  uint8_t *bytes;               /* room of them; zeros behind the size */
  struct random_part parts[RANDOM_DISK_PARTS];  /* in order */
  unsigned nr_parts;
  struct used_map written;      /* since random_disk_begin; not finished */
};

/* Of any size up to RANDOM_DISK_SMALL, which need not be whole sectors; or, if
 * far, close to RANDOM_DISK_FAR, and most of it zeros.
 */
void random_disk_init (struct random_disk *d, struct rng *rng, bool far);
void random_disk_free (struct random_disk *d);

/* In one place or many, or not at all; it may grow or shrink, and have other
 * partitions.  Some of it may be a copy of what is on the other disk.
 */
void random_disk_change (struct random_disk *d,
                         const struct random_disk *other);

/* From now on written is about what follows. */
void random_disk_begin (struct random_disk *d);

/* Does the byte lie in a partition that is not chosen? */
bool random_disk_is_absent (const struct random_disk *d, uint64_t off);

#endif /* NBDIMAGE_TESTS_RANDOM_DISK_H */
