/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the parts of a block on an NBD export share.  Only they include this:
 *
 *   nbd.c           what the export is; opening, closing, the table
 *   nbd-pool.c      its connections, and what is done when one breaks
 *   nbd-request.c   reading, writing, flushing
 *   nbd-extents.c   block status
 *
 * A request takes a connection out of the pool, which nobody else touches
 * meanwhile, and puts it back.
 */

#ifndef NBDIMAGE_BLOCK_NBD_PRIVATE_H
#define NBDIMAGE_BLOCK_NBD_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <libnbd.h>

#include "lib/block/block-ops.h"
#include "lib/block/extents.h"
#include "lib/block/nbd-connect.h"

/* As many requests as one process commonly runs at once. */
#define NBD_MAX_CONNECTIONS 8

/* Servers that state no maximum take this much (NBD protocol, "Block size
 * constraints").
 */
#define NBD_DEFAULT_MAX_REQUEST (UINT32_C (32) * 1024 * 1024)

/* Guarded by the pool's lock; while it is taken, h is the taker's alone. */
struct nbd_connection {
  struct nbd_handle *h;         /* NULL: none, or it is being made */
  bool taken;
  bool unflushed;               /* has acknowledged what it has not flushed */
  unsigned awaited;             /* flushes that wait for it */
};

struct nbd_block {
  struct block base;            /* its name is the URI */
  uint32_t max_request;         /* bytes; what the server accepts at once */
  bool can_flush, can_fua, can_zero, can_fast_zero, can_trim, can_cache;
  bool can_extents, can_multi_conn;
  char *description;            /* owned; NULL: none */
  struct nbd_ends ends;         /* of one that we only read */

  /* Of nbd-pool.c alone, once nbd_pool_init has set it up. */
  pthread_mutex_t lock;         /* guards what follows */
  pthread_cond_t idle_cond;     /* one is idle, was flushed or dropped */
  struct nbd_connection connections[NBD_MAX_CONNECTIONS];
  unsigned nr_open;             /* or being opened */
  unsigned max_open;            /* what the server takes, as far as we know */
  bool lost;                    /* see nbd-pool.c */
};

static inline struct nbd_block *
nbd_of (struct block *b)
{
  return (struct nbd_block *) b;
}

/*--- the pool --------------------------------------------------------------*/

/* A pool with this connection, which it owns from now on.  Called after
 * can_multi_conn is known.
 */
void nbd_pool_init (struct nbd_block *n, struct nbd_handle *first);

/* Say goodbye on all connections and close them.  None is taken out. */
void nbd_pool_destroy (struct nbd_block *n);

/* Take out an idle connection, or a new one to the same export, or wait for
 * one.  -EIO when there is none to be had, or when a writer has lost one.
 */
int nbd_pool_take (struct nbd_block *n, struct nbd_connection **out,
                   struct err *err);

/* For a flush: take out connection i, waiting for it, if it has acknowledged
 * what it has not flushed; otherwise *out is NULL.  i is less than
 * NBD_MAX_CONNECTIONS.  -EIO when a writer has lost a connection.
 */
int nbd_pool_take_unflushed (struct nbd_block *n, unsigned i,
                             struct nbd_connection **out, struct err *err);

/* What came of a connection while it was out. */
enum nbd_outcome {
  NBD_UNCHANGED,
  NBD_WROTE,                    /* it acknowledged what a flush must follow */
  NBD_FLUSHED,                  /* it did all that it had acknowledged */
  NBD_BROKEN,                   /* it is of no more use, and is closed */
};

/* Put it back. */
void nbd_pool_put (struct nbd_block *n, struct nbd_connection *c,
                   enum nbd_outcome outcome);

/* Is this connection of no more use? */
bool nbd_is_broken (struct nbd_handle *h);

/* The same, of one that nothing is under way on: has the server ended it? */
bool nbd_has_ended (struct nbd_handle *h);

/* For a writer: -EIO if a connection that is idle now has ended. */
int nbd_pool_check_idle (struct nbd_block *n, struct err *err);

/*--- requests --------------------------------------------------------------*/

/* One request, as what runs it on a connection sees it. */
struct nbd_request {
  struct nbd_block *n;
  void *in;                     /* pread */
  const void *out;              /* pwrite */
  uint64_t len, off;            /* len ≤ max_request, but for block status */
  uint32_t flags;               /* LIBNBD_CMD_FLAG_* */
  struct extent_list *list;     /* block status */
  int list_error;               /* out of memory in the callback */
  enum nbd_outcome outcome;     /* when it succeeds */
};

/* Begins it: libnbd's number for the command, or -1. */
typedef int64_t (*nbd_begin_fn) (struct nbd_handle *h,
                                 struct nbd_request *req);

/* Run a request on some connection, on others too when one breaks and we only
 * read.  The errno that the server answered, -EIO for all else.
 */
int nbd_request_run (struct nbd_request *req, nbd_begin_fn begin,
                     struct err *err);

/*--- operations, as in struct block_ops ------------------------------------*/

int nbd_block_pread (struct block *b, void *buf, size_t len, uint64_t off,
                     struct err *err);
int nbd_block_pwrite (struct block *b, const void *buf, size_t len,
                      uint64_t off, unsigned flags, struct err *err);
int nbd_block_zero (struct block *b, uint64_t len, uint64_t off,
                    unsigned flags, struct err *err);
int nbd_block_trim (struct block *b, uint64_t len, uint64_t off,
                    unsigned flags, struct err *err);
int nbd_block_flush (struct block *b, struct err *err);
int nbd_block_extents (struct block *b, uint64_t len, uint64_t off,
                       struct extent_list *list, struct err *err);
int nbd_block_cache (struct block *b, uint64_t len, uint64_t off,
                     struct err *err);

#endif /* NBDIMAGE_BLOCK_NBD_PRIVATE_H */
