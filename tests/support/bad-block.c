/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/block/block-ops.h"
#include "tests/support/bad-block.h"

struct bad_block {
  struct block base;
  const uint8_t *bytes;
  const struct nbi_range *bad;
  size_t nr_bad;
};

static int
bad_pread (struct block *b, void *buf, size_t len, uint64_t off,
           struct err *err)
{
  const struct bad_block *bad = (const struct bad_block *) b;

  for (size_t i = 0; i < bad->nr_bad; ++i)
    if (bad->bad[i].off < off + len &&
        bad->bad[i].off + bad->bad[i].len > off)
      return err_set (err, -EIO, "a bad sector");
  memcpy (buf, bad->bytes + off, len);
  return 0;
}

static const struct block_ops bad_ops = { .pread = bad_pread };

struct block *
bad_block_new (const uint8_t *bytes, size_t size, const struct nbi_range *bad,
               size_t nr_bad)
{
  struct bad_block *b = calloc (1, sizeof *b);

  if (b == NULL ||
      block_init (&b->base, &bad_ops, "a disk", size, false, NULL) < 0)
    abort ();
  b->bytes = bytes;
  b->bad = bad;
  b->nr_bad = nr_bad;
  return &b->base;
}
