/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Hashes of what a disk reads as, whatever way it is stored (docs/NBI.md §8,
 * "Hashes").  Chunks come in order, one by one or as runs of zeros; a range of
 * chunks needs memory for a node of each size at most, and a run of zeros
 * about as many steps.
 *
 * By one thread at a time.
 */

#ifndef NBDIMAGE_REPO_HASH_TREE_H
#define NBDIMAGE_REPO_HASH_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/digest.h"

/* Node (k, i) stands for chunks i × 2^k to (i + 1) × 2^k - 1. */
#define HASH_LEVELS 33          /* k is 0 to 32 */

struct hash_node {
  uint8_t level;
  uint64_t index;
  uint8_t hash[DIGEST_SIZE];
};

/* Nodes that only have zeros, made as they are needed. */
struct hash_zeros {
  unsigned nr_made;
  uint8_t nodes[HASH_LEVELS][DIGEST_SIZE];
};

/* id: the identity of a whole chunk of zeros. */
int hash_zeros_init (struct hash_zeros *zeros, const uint8_t id[DIGEST_SIZE],
                     struct err *err);

/* Chunks from `first' on. */
struct hash_range {
  uint64_t first, next;         /* chunks */
  unsigned nr_nodes;
  struct hash_node nodes[2 * HASH_LEVELS];      /* that cover them */
};

void hash_range_init (struct hash_range *range, uint64_t first);

/* The next chunk has this identity. */
int hash_range_add (struct hash_range *range, const uint8_t id[DIGEST_SIZE],
                    struct err *err);

/* The next 2^level chunks have this node; they begin at a multiple of that. */
int hash_range_add_node (struct hash_range *range, unsigned level,
                         const uint8_t hash[DIGEST_SIZE], struct err *err);

/* The next n chunks are whole ones of zeros. */
int hash_range_add_zeros (struct hash_range *range, struct hash_zeros *zeros,
                          uint64_t n, struct err *err);

/* hash [first, next).  More may come afterwards. */
int hash_range_end (const struct hash_range *range, uint8_t hash[DIGEST_SIZE],
                    struct err *err);

/* As a root entry has it: node (12, p) if the range is a whole page, and
 * otherwise hash_range_end.
 */
int hash_range_end_page (const struct hash_range *range,
                         uint8_t hash[DIGEST_SIZE], struct err *err);

#endif /* NBDIMAGE_REPO_HASH_TREE_H */
