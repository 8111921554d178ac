/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A range is kept as the nodes that cover it, from left to right, each as
 * large as it can be: when two that came one after the other are the halves of
 * a node, they become that node.
 */

#include <config.h>

#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/repo/hash-tree.h"

#define PAGE_LEVEL 12           /* 4096 chunks */

/* The first bytes, which tell what is hashed. */
enum { LEAF = 0, INNER = 1, RANGE = 2 };

static int
hash_leaf (const uint8_t id[DIGEST_SIZE], uint8_t hash[DIGEST_SIZE],
           struct err *err)
{
  uint8_t text[1 + DIGEST_SIZE] = { LEAF };

  memcpy (text + 1, id, DIGEST_SIZE);
  return digest_of (text, sizeof text, hash, err);
}

/* hash may be one of the two. */
static int
hash_inner (const uint8_t left[DIGEST_SIZE], const uint8_t right[DIGEST_SIZE],
            uint8_t hash[DIGEST_SIZE], struct err *err)
{
  uint8_t text[1 + 2 * DIGEST_SIZE] = { INNER };

  memcpy (text + 1, left, DIGEST_SIZE);
  memcpy (text + 1 + DIGEST_SIZE, right, DIGEST_SIZE);
  return digest_of (text, sizeof text, hash, err);
}

/*--- Zeros ------------------------------------------------------------------*/

int
hash_zeros_init (struct hash_zeros *zeros, const uint8_t id[DIGEST_SIZE],
                 struct err *err)
{
  zeros->nr_made = 1;
  return hash_leaf (id, zeros->nodes[0], err);
}

static int
zeros_node (struct hash_zeros *zeros, unsigned level, const uint8_t **hash,
            struct err *err)
{
  while (zeros->nr_made <= level) {
    const uint8_t *half = zeros->nodes[zeros->nr_made - 1];
    int r = hash_inner (half, half, zeros->nodes[zeros->nr_made], err);

    if (r < 0)
      return r;
    ++zeros->nr_made;
  }
  *hash = zeros->nodes[level];
  return 0;
}

/*--- Ranges -----------------------------------------------------------------*/

void
hash_range_init (struct hash_range *range, uint64_t first)
{
  range->first = range->next = first;
  range->nr_nodes = 0;
}

/* Are these the halves of a node? */
static bool
are_halves (const struct hash_node *left, const struct hash_node *right)
{
  return left->level == right->level && left->index % 2 == 0 &&
    right->index == left->index + 1;
}

int
hash_range_add_node (struct hash_range *range, unsigned level,
                     const uint8_t hash[DIGEST_SIZE], struct err *err)
{
  struct hash_node *top = &range->nodes[range->nr_nodes];

  top->level = (uint8_t) level;
  top->index = range->next >> level;
  memcpy (top->hash, hash, DIGEST_SIZE);
  for (; top > range->nodes && are_halves (top - 1, top); --top) {
    int r = hash_inner (top[-1].hash, top->hash, top[-1].hash, err);

    if (r < 0)
      return r;
    ++top[-1].level;
    top[-1].index /= 2;
  }
  range->nr_nodes = (unsigned) (top - range->nodes) + 1;
  range->next += UINT64_C (1) << level;
  return 0;
}

int
hash_range_add (struct hash_range *range, const uint8_t id[DIGEST_SIZE],
                struct err *err)
{
  uint8_t leaf[DIGEST_SIZE];
  int r = hash_leaf (id, leaf, err);

  return r < 0 ? r : hash_range_add_node (range, 0, leaf, err);
}

/* The largest node that begins at `first' and has n chunks at most. */
static unsigned
largest_level (uint64_t first, uint64_t n)
{
  unsigned level = 0;

  while (level + 1 < HASH_LEVELS && first % (UINT64_C (2) << level) == 0 &&
         UINT64_C (2) << level <= n)
    ++level;
  return level;
}

int
hash_range_add_zeros (struct hash_range *range, struct hash_zeros *zeros,
                      uint64_t n, struct err *err)
{
  while (n > 0) {
    unsigned level = largest_level (range->next, n);
    const uint8_t *node;
    int r = zeros_node (zeros, level, &node, err);

    if (r == 0)
      r = hash_range_add_node (range, level, node, err);
    if (r < 0)
      return r;
    n -= UINT64_C (1) << level;
  }
  return 0;
}

int
hash_range_end (const struct hash_range *range, uint8_t hash[DIGEST_SIZE],
                struct err *err)
{
  CLEANUP_DIGEST struct digest *digest = NULL;
  uint8_t head[17] = { RANGE };
  int r = digest_new (&digest, err);

  if (r < 0)
    return r;
  put_le64 (head + 1, range->first);
  put_le64 (head + 9, range->next);
  digest_add (digest, head, sizeof head);
  for (unsigned i = 0; i < range->nr_nodes; ++i)
    digest_add (digest, range->nodes[i].hash, DIGEST_SIZE);
  return digest_end (digest, hash, err);
}

int
hash_range_end_page (const struct hash_range *range,
                     uint8_t hash[DIGEST_SIZE], struct err *err)
{
  if (range->nr_nodes != 1 || range->nodes[0].level != PAGE_LEVEL)
    return hash_range_end (range, hash, err);
  memcpy (hash, range->nodes[0].hash, DIGEST_SIZE);
  return 0;
}
