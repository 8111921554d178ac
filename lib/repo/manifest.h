/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a generation says about itself, in JSON: docs/NBI.md §9.  All but a
 * few numbers is for people, and for a restore that checks it again.
 */

#ifndef NBDIMAGE_REPO_MANIFEST_H
#define NBDIMAGE_REPO_MANIFEST_H

#include <stdbool.h>

#include "lib/base/vector.h"
#include "lib/repo/nbi-header.h"
#include "lib/base/digest.h"

/* Chunks, but for the last two. */
struct manifest_counts {
  uint64_t data, zero, unallocated, unreadable, fresh;  /* fresh: "new" */
  uint64_t stored;              /* bytes written by this run */
  uint64_t unreadable_bytes;
};

/* Texts that are NULL are not known. */
struct manifest_fs {
  char *type, *uuid, *label;
  uint64_t block_size, used, smallest;  /* bytes; 0: not known */
};

struct manifest_partition {
  uint64_t number, off, len;    /* bytes */
  char *type, *id, *name, *attributes;
  uint64_t first_chunk, nr_chunks;      /* that lie in it as a whole */
  uint8_t hash[DIGEST_SIZE];    /* of these */
  struct manifest_fs fs;
  char *saved;                  /* "used", "all", "none" */
};

/* It was not chosen: nothing of it is in the backup, but what shares a chunk
 * with something that is.
 */
#define MANIFEST_SAVED_NONE "none"

DEFINE_VECTOR (manifest_partitions, struct manifest_partition);
DEFINE_VECTOR (manifest_warnings, char *);

struct manifest {
  uint8_t generation[UUID_SIZE];
  char *name;
  uint64_t time, size;
  uint32_t chunk_size, logical, physical;
  uint8_t hash[DIGEST_SIZE];    /* of the disk */
  uint64_t finished;            /* seconds since 1970; 0: not known */
  uint8_t base[UUID_SIZE];      /* zeros: there is none */
  char *creator, *host;
  char *source_kind, *source_path, *source_model, *source_serial, *source_wwn;
  char *source_format;
  char *held, *changes;
  char *checkpoint;             /* the bitmap that began with it (changes.h) */
  char *table_kind, *table_id;
  uint8_t *table_first, *table_last;    /* as they are on the disk */
  size_t table_first_len, table_last_len;
  struct manifest_partitions partitions;
  struct manifest_counts counts;
  struct manifest_warnings warnings;
};

/* Frees what is in it; everything is from malloc. */
void manifest_destroy (struct manifest *m);

bool manifest_partition_is_absent (const struct manifest_partition *p);

/* Which chunks lie in the partition as a whole; may be none. */
void manifest_chunks (uint64_t off, uint64_t len, uint32_t chunk_size,
                      uint64_t disk_size, uint64_t *first, uint64_t *nr);

/* JSON of *len bytes, for free().  What would be too long for NBI-90 is left
 * out, as §9 says.  -ENOMEM.
 */
int manifest_write (const struct manifest *m, char **json, size_t *len,
                    struct err *err);

/* NBI-90 to NBI-94, against the header of the file it is in.  *m is empty, or
 * to be destroyed, in each case.
 */
int manifest_read (const char *json, size_t len, const struct nbi_header *h,
                   struct manifest *m, struct err *err);

#endif /* NBDIMAGE_REPO_MANIFEST_H */
