/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "lib/block/block-ops.h"
#include "lib/block/memory.h"

struct memory_block {
  struct block base;
  char *data;
};

static void
memory_close (struct block *b)
{
  free (((struct memory_block *) b)->data);
}

static int
memory_pread (struct block *b, void *buf, size_t len, uint64_t off,
              struct err *err)
{
  (void) err;
  memcpy (buf, ((struct memory_block *) b)->data + off, len);
  return 0;
}

static int
memory_pwrite (struct block *b, const void *buf, size_t len, uint64_t off,
               unsigned flags, struct err *err)
{
  (void) flags;
  (void) err;
  memcpy (((struct memory_block *) b)->data + off, buf, len);
  return 0;
}

static const struct block_ops memory_ops = {
  .close = memory_close,
  .pread = memory_pread,
  .pwrite = memory_pwrite,
};

int
block_memory_new (const char *name, const void *data, size_t size,
                  struct block **out, struct err *err)
{
  struct memory_block *m = calloc (1, sizeof *m);
  int r;

  if (m == NULL)
    return err_nomem (err);
  m->data = calloc (1, size > 0 ? size : 1);
  r = m->data ? block_init (&m->base, &memory_ops, name, size, true, err)
              : err_nomem (err);
  if (r < 0) {
    free (m->data);
    free (m);
    return r;
  }
  if (data)
    memcpy (m->data, data, size);
  *out = &m->base;
  return 0;
}
