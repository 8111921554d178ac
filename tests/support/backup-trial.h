/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What becomes of a disk that is backed up: the disk, and what a generation of
 * it must read as.  All by the thread of the test; what fails ends the test.
 */

#ifndef NBDIMAGE_TESTS_BACKUP_TRIAL_H
#define NBDIMAGE_TESTS_BACKUP_TRIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/repo/backup.h"
#include "lib/repo/bad-sectors.h"
#include "tests/support/repo-memory.h"
#include "tests/support/rng.h"

#define KIB UINT64_C (1024)
#define MIB (1024 * KIB)

struct disk {
  uint8_t *bytes;
  size_t size;
  struct nbi_range_vector bad;
  struct used_map used;
  bool has_map;
};

void fill_random (struct rng *rng, uint8_t *p, size_t len);

/* Some of it random, some of it text, some zeros, some a copy of what was. */
void change (struct disk *disk, struct rng *rng, unsigned n);

/* With some of all of that; end with disk_free. */
void disk_init (struct disk *disk, size_t size, struct rng *rng);
void disk_free (struct disk *disk);

/* n places of some sectors that can't be read. */
void break_sectors (struct disk *disk, struct rng *rng, unsigned n);

/* A map of what is used: n places. */
void use_in_part (struct disk *disk, struct rng *rng, unsigned n);

/* Of a new run of the disk, in a vault. */
struct nbi_header header_of (const struct disk *disk, uint32_t chunk_size);

/* Into the place of repo, with options of which this sets the header, the
 * manifest and what is used.
 */
struct backup_result back_up (struct repo_memory *repo,
                              const struct disk *disk,
                              struct backup_options *options,
                              uint32_t chunk_size);

/* Is a sector of this one that can't be read? */
bool is_bad (const struct disk *disk, uint64_t off, uint64_t len);

/* What chunk c should read as. */
void expected_chunk (const struct disk *disk, uint32_t chunk_size, uint64_t c,
                     uint8_t *buf, bool *used);

/* Everything in it: how much is wrong.  What can't be opened counts. */
unsigned verify_all (struct repo_memory *repo, bool data);

/* The last one that was made; for generation_unref. */
struct generation *newest (struct repo_memory *repo);

/* Of that one, what it reads as, and its extents. */
void check_newest (struct repo_memory *repo, const struct disk *disk,
                   uint32_t chunk_size, struct rng *rng);

#endif /* NBDIMAGE_TESTS_BACKUP_TRIAL_H */
