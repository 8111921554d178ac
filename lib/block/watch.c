/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <stdlib.h>

#include "lib/block/block-ops.h"
#include "lib/block/watch.h"

struct watch_block {
  struct block base;
  struct block *below;          /* a reference */
  struct err failure;           /* code 0: none yet */
};

static void
watch_close (struct block *b)
{
  block_unref (((struct watch_block *) b)->below);
}

static int
watch_pread (struct block *b, void *buf, size_t len, uint64_t off,
             struct err *err)
{
  struct watch_block *w = (struct watch_block *) b;
  struct err why = ERR_INIT;
  int r = block_pread (w->below, buf, len, off, &why);

  if (r == 0)
    return 0;
  if (w->failure.code == 0)
    w->failure = why;
  return err_set (err, r, "%s", why.msg);
}

static const struct block_ops watch_ops = {
  .close = watch_close,
  .pread = watch_pread,
};

int
block_watch_new (struct block *below, struct block **out, struct err *err)
{
  struct watch_block *w = calloc (1, sizeof *w);
  int r;

  if (w == NULL)
    return err_nomem (err);
  r = block_init (&w->base, &watch_ops, block_name (below),
                  block_size (below), false, err);
  if (r < 0) {
    free (w);
    return r;
  }
  w->below = block_ref (below);
  *out = &w->base;
  return 0;
}

int
block_watch_failure (const struct block *b, struct err *err)
{
  const struct err *failure = &((const struct watch_block *) b)->failure;

  return failure->code == 0
    ? 0 : err_set (err, failure->code, "%s", failure->msg);
}
