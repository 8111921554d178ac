/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the tests of salvage share: a disk, the files of a backup of it, and
 * what is had of such files.  All by the thread of the test; what fails ends
 * it.
 */

#ifndef NBDIMAGE_TESTS_SALVAGE_TRIAL_H
#define NBDIMAGE_TESTS_SALVAGE_TRIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/repo/salvage.h"
#include "tests/support/repo-memory.h"

#define CHUNK (16 * 1024)
#define CHUNKS 150
#define SIZE (CHUNKS * CHUNK - 5000)    /* the last one is short */

/* Of what is saved and salvaged; NULL: it is not encrypted. */
extern struct keyring *keys;

/* To set them up for a test, and to end that. */
int with_a_key (void **state);
int without_one (void **state);

struct saved {
  uint8_t *disk;
  struct repo_memory repo;
  bool unallocated[CHUNKS];
};

/* Back up a disk made of this seed, in files of at most this length, or in one
 * if that is 0.  inner: a file that lies on the disk; or NULL.  End with
 * forget.
 */
void save_with (struct saved *s, uint64_t seed, uint64_t limit, const
                struct memory_file *inner);
void save (struct saved *s, uint64_t seed, uint64_t limit);
void forget (struct saved *s);

const struct memory_file *file_of (const struct saved *s, size_t i);

/* All its records, by its tables: of a file that is whole. */
void list_records (struct saved *s, size_t i, struct salvage_records *out);

struct damaged {
  uint8_t *bytes;
  size_t len;
  const char *name;             /* NULL: none that says anything */
};

struct attempt {
  struct salvage_files files;
  struct salvage *salvage;
  struct block *disk;
  struct salvage_counts counts;
};

/* Salvage what there is in n files; done, however it ends. */
int attempt (struct attempt *a, const struct damaged *files, size_t n,
             struct err *err);
void done (struct attempt *a);

/* Is chunk c had?  If so, with the right bytes. */
bool had (const struct saved *s, const struct attempt *a, uint64_t c);
unsigned count_had (const struct saved *s, const struct attempt *a);

#endif /* NBDIMAGE_TESTS_SALVAGE_TRIAL_H */
