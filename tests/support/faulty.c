/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "lib/block/block-ops.h"
#include "tests/support/faulty.h"

struct faulty {
  struct block base;
  struct block *below;
  unsigned fail_read, reads;
};

static void
faulty_close (struct block *b)
{
  block_unref (((struct faulty *) b)->below);
}

static int
faulty_pread (struct block *b, void *buf, size_t len, uint64_t off,
              struct err *err)
{
  struct faulty *f = (struct faulty *) b;

  f->reads++;
  if (f->fail_read != 0 && f->reads >= f->fail_read)
    return err_set (err, -EIO, "bad sector at offset %" PRIu64, off);
  return block_pread (f->below, buf, len, off, err);
}

static const struct block_ops faulty_ops = {
  .close = faulty_close,
  .pread = faulty_pread,
};

struct block *
faulty_new (struct block *below, unsigned fail_read)
{
  struct faulty *f = calloc (1, sizeof *f);

  if (f == NULL || block_init (&f->base, &faulty_ops, block_name (below),
                               block_size (below), false, NULL) < 0)
    abort ();
  f->below = block_ref (below);
  f->fail_read = fail_read;
  return &f->base;
}

void
faulty_set (struct block *b, unsigned fail_read)
{
  struct faulty *f = (struct faulty *) b;

  f->fail_read = fail_read;
  f->reads = 0;
}

unsigned
faulty_reads (const struct block *b)
{
  return ((const struct faulty *) b)->reads;
}
