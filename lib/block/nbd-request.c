/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Requests to an NBD export: reading, writing, flushing.  Each runs one
 * command on one connection of the pool and waits for it, but no longer than
 * nbd-connect.h says.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <libnbd.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/block/nbd-private.h"

/*--- running one -----------------------------------------------------------*/

/* Run a request on this connection and put it back.  *broke: its end is why
 * the request failed.
 */
static int
run_on (struct nbd_connection *c, struct nbd_request *req,
        nbd_begin_fn begin, bool *broke, struct err *err)
{
  int r = nbd_command_wait (c->h, begin (c->h, req), NBD_SILENCE_SECONDS,
                            NBD_REQUEST_SECONDS, err);
  enum nbd_outcome outcome = r == 0 ? req->outcome : NBD_UNCHANGED;

  *broke = r < 0 && nbd_is_broken (c->h);
  if (*broke || r == -ETIMEDOUT)
    outcome = NBD_BROKEN;
  nbd_pool_put (req->n, c, outcome);
  if (*broke)
    return err_set (err, -EIO, "the connection to the server was lost");
  return r == -ETIMEDOUT ? err_code (err, -EIO) : r;
}

/* Run a request on some connection.  The second try is for the connections
 * that broke while they were idle: all of those are found broken first.
 */
int
nbd_request_run (struct nbd_request *req, nbd_begin_fn begin,
                 struct err *err)
{
  unsigned tries = req->n->base.writable ? 1 : NBD_MAX_CONNECTIONS + 1;
  bool broke;
  int r;

  do {
    struct nbd_connection *c;

    r = nbd_pool_take (req->n, &c, err);
    if (r < 0)
      return r;
    r = run_on (c, req, begin, &broke, err);
  } while (broke && --tries > 0);
  return r;
}

/* Run a request in pieces that the server accepts. */
static int
run_in_pieces (struct nbd_request *req, nbd_begin_fn begin, struct err *err)
{
  uint64_t left = req->len;
  int r = 0;

  while (r == 0 && left > 0) {
    req->len = min_u64 (left, req->n->max_request);
    r = nbd_request_run (req, begin, err);
    left -= req->len;
    req->off += req->len;
    if (req->in)
      req->in = (char *) req->in + req->len;
    if (req->out)
      req->out = (const char *) req->out + req->len;
  }
  return r;
}

static int64_t
run_pread (struct nbd_handle *h, struct nbd_request *req)
{
  return nbd_aio_pread (h, req->in, (size_t) req->len, req->off,
                        NBD_NULL_COMPLETION, 0);
}

/* A server may insist on whole blocks: read around, hand out the middle. */
static int
pread_unaligned (struct nbd_block *n, void *buf, size_t len, uint64_t off,
                 struct err *err)
{
  uint64_t start = round_down (off, n->base.sizes.minimum);
  uint64_t end = round_up (off + len, n->base.sizes.minimum);
  CLEANUP_FREE char *bounce = malloc ((size_t) (end - start));
  struct nbd_request req = { .n = n, .in = bounce, .len = end - start,
                             .off = start };
  int r;

  if (bounce == NULL)
    return err_nomem (err);
  r = run_in_pieces (&req, run_pread, err);
  if (r == 0)
    memcpy (buf, bounce + (off - start), len);
  return r;
}

int
nbd_block_pread (struct block *b, void *buf, size_t len, uint64_t off,
                 struct err *err)
{
  struct nbd_block *n = nbd_of (b);
  struct nbd_request req = { .n = n, .in = buf, .len = len, .off = off };

  if (off % b->sizes.minimum != 0 || len % b->sizes.minimum != 0)
    return pread_unaligned (n, buf, len, off, err);
  return run_in_pieces (&req, run_pread, err);
}

static int
check_aligned (const struct block *b, uint64_t len, uint64_t off,
               struct err *err)
{
  if (off % b->sizes.minimum != 0 || len % b->sizes.minimum != 0)
    return err_set (err, -EINVAL, "the server takes whole blocks of %" PRIu32
                    " bytes only, not %" PRIu64 " bytes at offset %" PRIu64,
                    b->sizes.minimum, len, off);
  return 0;
}

static int64_t
run_flush (struct nbd_handle *h, struct nbd_request *req)
{
  (void) req;
  return nbd_aio_flush (h, NBD_NULL_COMPLETION, 0);
}

/* Flush on this connection and put it back.  Where the server knows no flush,
 * that it has not gone is all that can be known.
 */
static int
flush_on (struct nbd_connection *c, struct nbd_request *req, struct err *err)
{
  bool ended;

  if (req->n->can_flush)
    return run_on (c, req, run_flush, &ended, err);
  ended = nbd_has_ended (c->h);
  nbd_pool_put (req->n, c, ended ? NBD_BROKEN : NBD_FLUSHED);
  return ended ? err_set (err, -EIO, "the connection to the server was lost")
    : 0;
}

/* On each connection that has acknowledged a write since its last flush: see
 * nbd-pool.c.  Where none has, on any, as we were asked to.
 */
int
nbd_block_flush (struct block *b, struct err *err)
{
  struct nbd_block *n = nbd_of (b);
  struct nbd_request req = { .n = n, .outcome = NBD_FLUSHED };
  bool flushed = !n->can_flush;
  int r = 0;

  for (unsigned i = 0; r == 0 && i < NBD_MAX_CONNECTIONS; ++i) {
    struct nbd_connection *c;

    r = nbd_pool_take_unflushed (n, i, &c, err);
    if (r == 0 && c) {
      r = flush_on (c, &req, err);
      flushed = true;
    }
  }
  if (r == 0 && !flushed)
    r = nbd_request_run (&req, run_flush, err);
  return r == 0 && b->writable ? nbd_pool_check_idle (n, err) : r;
}

static uint32_t
fua_flag (const struct nbd_block *n, unsigned flags)
{
  return flags & BLOCK_FUA && n->can_fua ? LIBNBD_CMD_FLAG_FUA : 0;
}

/* What FUA made durable needs no flush. */
static enum nbd_outcome
outcome_of_write (const struct nbd_block *n, unsigned flags)
{
  return fua_flag (n, flags) ? NBD_UNCHANGED : NBD_WROTE;
}

/* FUA by a flush, where the server knows no FUA. */
static int
finish_write (struct block *b, int r, unsigned flags, struct err *err)
{
  if (r == 0 && flags & BLOCK_FUA && !nbd_of (b)->can_fua)
    r = nbd_block_flush (b, err);
  return r;
}

static int64_t
run_pwrite (struct nbd_handle *h, struct nbd_request *req)
{
  return nbd_aio_pwrite (h, req->out, (size_t) req->len, req->off,
                         NBD_NULL_COMPLETION, req->flags);
}

int
nbd_block_pwrite (struct block *b, const void *buf, size_t len, uint64_t off,
                  unsigned flags, struct err *err)
{
  struct nbd_request req = { .n = nbd_of (b), .out = buf, .len = len,
                             .off = off,
                             .flags = fua_flag (nbd_of (b), flags),
                             .outcome = outcome_of_write (nbd_of (b),
                                                          flags) };
  int r = check_aligned (b, len, off, err);

  if (r == 0)
    r = run_in_pieces (&req, run_pwrite, err);
  return finish_write (b, r, flags, err);
}

static int64_t
run_zero (struct nbd_handle *h, struct nbd_request *req)
{
  return nbd_aio_zero (h, req->len, req->off, NBD_NULL_COMPLETION,
                       req->flags);
}

int
nbd_block_zero (struct block *b, uint64_t len, uint64_t off, unsigned flags,
                struct err *err)
{
  struct nbd_block *n = nbd_of (b);
  struct nbd_request req = { .n = n, .len = len, .off = off,
                             .flags = fua_flag (n, flags),
                             .outcome = outcome_of_write (n, flags) };
  int r = check_aligned (b, len, off, err);

  if (r < 0)
    return r;
  if (!n->can_zero || (flags & BLOCK_FAST && !n->can_fast_zero))
    return block_write_zeros (b, len, off, flags, err);
  if (flags & BLOCK_NO_HOLE)
    req.flags |= LIBNBD_CMD_FLAG_NO_HOLE;
  if (flags & BLOCK_FAST)
    req.flags |= LIBNBD_CMD_FLAG_FAST_ZERO;
  r = run_in_pieces (&req, run_zero, err);
  return finish_write (b, r, flags, err);
}

static int64_t
run_trim (struct nbd_handle *h, struct nbd_request *req)
{
  return nbd_aio_trim (h, req->len, req->off, NBD_NULL_COMPLETION,
                       req->flags);
}

int
nbd_block_trim (struct block *b, uint64_t len, uint64_t off, unsigned flags,
                struct err *err)
{
  struct nbd_request req = { .n = nbd_of (b), .len = len, .off = off,
                             .flags = fua_flag (nbd_of (b), flags),
                             .outcome = outcome_of_write (nbd_of (b),
                                                          flags) };
  int r = 0;

  if (nbd_of (b)->can_trim && check_aligned (b, len, off, NULL) == 0)
    r = run_in_pieces (&req, run_trim, err);
  return finish_write (b, r, flags, err);
}

static int64_t
run_cache (struct nbd_handle *h, struct nbd_request *req)
{
  return nbd_aio_cache (h, req->len, req->off, NBD_NULL_COMPLETION, 0);
}

int
nbd_block_cache (struct block *b, uint64_t len, uint64_t off,
                 struct err *err)
{
  struct nbd_request req = { .n = nbd_of (b), .len = len, .off = off };

  if (!nbd_of (b)->can_cache || check_aligned (b, len, off, NULL) < 0)
    return 0;
  return run_in_pieces (&req, run_cache, err);
}
