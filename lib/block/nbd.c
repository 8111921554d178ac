/* SPDX-License-Identifier: GPL-2.0-or-later */

/* An export of an NBD server as a block.
 *
 * A pool of connections: a request checks one out, which nobody else touches
 * meanwhile, runs libnbd's synchronous call on it and puts it back.  The
 * pool's mutex guards only the pool, so it is never held while a request or
 * a connect is under way.
 *
 * Broken connections.  When we only read, a fresh connection gives the same
 * bytes, so the request is tried once more on one.  When we write, a server
 * that went away may have taken acknowledged writes with it that a flush on
 * a fresh connection would wrongly vouch for: the block then fails all that
 * follows with -EIO, for good.  A server that owes an answer and says nothing
 * is as good as gone, but is not tried again: it would be silent as long.
 *
 * Who reads and connects again must get the same disk.  NBD has no name for
 * that, so size, abilities and some bytes at both ends must be the same.
 *
 * Every length that the server chose (extents, block sizes, the size of the
 * export after a reconnect) is checked here before use.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <libnbd.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/block/block-ops.h"
#include "lib/block/nbd-connect.h"
#include "lib/block/nbd.h"

/* As many requests as one process commonly runs at once. */
#define MAX_CONNECTIONS 8

/* Servers that state no maximum take this much (NBD protocol, "Block size
 * constraints").
 */
#define DEFAULT_MAX_REQUEST (UINT32_C (32) * 1024 * 1024)

/* A request for block status is answered in 32-bit lengths. */
#define MAX_STATUS_REQUEST (UINT32_C (2) * 1024 * 1024 * 1024)

struct nbd_block {
  struct block base;            /* its name is the URI */
  uint32_t max_request;         /* bytes; what the server accepts at once */
  bool can_flush, can_fua, can_zero, can_fast_zero, can_trim, can_cache;
  bool can_extents, can_multi_conn;
  char *description;            /* owned; NULL: none */
  struct nbd_ends ends;         /* of one that we only read */

  pthread_mutex_t lock;         /* guards what follows */
  pthread_cond_t idle_cond;     /* a connection became idle or was dropped */
  struct nbd_handle *idle[MAX_CONNECTIONS];
  unsigned nr_idle, nr_open;
  unsigned max_open;            /* what the server takes, as far as we know */
  bool lost;                    /* see "Broken connections" */
};

static const struct block_ops nbd_ops;

static struct nbd_block *
nbd (struct block *b)
{
  return (struct nbd_block *) b;
}

bool
block_nbd_is_uri (const char *str)
{
  static const char *const schemes[] = {
    "nbd:", "nbds:", "nbd+unix:", "nbds+unix:", "nbd+vsock:", "nbds+vsock:",
  };

  for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; ++i)
    if (strncmp (str, schemes[i], strlen (schemes[i])) == 0)
      return true;
  return false;
}

/* Is this connection of no more use? */
static bool
is_dead (struct nbd_handle *h)
{
  return nbd_aio_is_dead (h) || nbd_aio_is_closed (h);
}

/*--- connecting ------------------------------------------------------------*/

static int
same_size (const struct nbd_block *n, struct nbd_handle *h, struct err *err)
{
  int64_t size = nbd_get_size (h);

  if (size < 0 || (uint64_t) size != n->base.size)
    return err_set (err, -EIO, "the export has %" PRIi64 " bytes now, "
                    "expected %" PRIu64 " as when it was opened",
                    size, n->base.size);
  return 0;
}

/* What requests are made for. */
static int
same_abilities (const struct nbd_block *n, struct nbd_handle *h,
                struct err *err)
{
  int64_t minimum = nbd_get_block_size (h, LIBNBD_SIZE_MINIMUM);
  int64_t maximum = nbd_get_block_size (h, LIBNBD_SIZE_MAXIMUM);

  if (minimum > 0 && n->base.sizes.minimum % minimum != 0)
    return err_set (err, -EIO, "the server takes blocks of %" PRIi64 " bytes "
                    "now, expected %" PRIu32 " as when the export was opened",
                    minimum, n->base.sizes.minimum);
  if (maximum > 0 && maximum < n->max_request &&
      n->max_request != DEFAULT_MAX_REQUEST)
    return err_set (err, -EIO, "the server takes requests of %" PRIi64
                    " bytes now, expected %" PRIu32 " as when the export was "
                    "opened", maximum, n->max_request);
  if (n->base.writable && nbd_is_read_only (h) != 0)
    return err_set (err, -EIO, "the server exports it for reading only now");
  if (n->can_extents &&
      nbd_can_meta_context (h, LIBNBD_CONTEXT_BASE_ALLOCATION) != 1)
    return err_set (err, -EIO, "the server does not tell extents any more");
  return 0;
}

static int
same_ends (const struct nbd_block *n, struct nbd_handle *h, struct err *err)
{
  struct nbd_ends ends;
  int r;

  if (!n->ends.known)
    return 0;
  r = nbd_ends_read (h, n->base.size, n->base.sizes.minimum, &ends, err);
  if (r < 0)
    return r;
  if (!ends.known)
    return err_set (err, -EIO, "the server can't read the ends of the export "
                    "any more");
  if (ends.crc != n->ends.crc)
    return err_set (err, -EIO, "the first or last bytes of the export are "
                    "others now than when it was opened (checksum %08" PRIx32
                    ", expected %08" PRIx32 ")", ends.crc, n->ends.crc);
  return 0;
}

/* Connect once more, to what must be the same export.  For a request it is
 * the medium that failed.
 */
static int
reconnect (struct nbd_block *n, struct nbd_handle **out, struct err *err)
{
  struct nbd_handle *h = NULL;
  int r = nbd_connect_export (n->base.name, &h, err);

  if (r == 0)
    r = same_size (n, h, err);
  if (r == 0)
    r = same_abilities (n, h, err);
  if (r == 0)
    r = same_ends (n, h, err);
  if (r < 0) {
    nbd_close (h);
    return err_code (err, -EIO);
  }
  *out = h;
  return 0;
}

/*--- the pool --------------------------------------------------------------*/

static int
check_lost (struct nbd_block *n, struct err *err)
{
  if (n->lost)
    return err_set (err, -EIO, "the connection to the server was lost while "
                    "writing");
  return 0;
}

/* Wait for a connection to be idle or for room to open one (*out NULL). */
static int
take (struct nbd_block *n, struct nbd_handle **out, struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&n->lock);

  while (n->nr_idle == 0 && n->nr_open >= n->max_open && !n->lost)
    pthread_cond_wait (&n->idle_cond, &n->lock);
  if (check_lost (n, err) < 0)
    return -EIO;
  if (n->nr_idle > 0)
    *out = n->idle[--n->nr_idle];
  else {
    n->nr_open++;
    *out = NULL;
  }
  return 0;
}

/* Under the lock: one connection less.  When the last is gone, the next may
 * be to a server that takes more.
 */
static void
forget_one (struct nbd_block *n)
{
  n->nr_open--;
  if (n->nr_open == 0)
    n->max_open = n->can_multi_conn ? MAX_CONNECTIONS : 1;
  pthread_cond_broadcast (&n->idle_cond);
}

/* A connection is gone: there is room for another. */
static void
drop (struct nbd_block *n, struct nbd_handle *h)
{
  nbd_close (h);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&n->lock);
  if (n->base.writable)
    n->lost = true;
  forget_one (n);
}

/* One more connection could not be made.  A server may take fewer than we
 * would open: true if there are others to make do with.
 */
static bool
make_do (struct nbd_block *n)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&n->lock);
  forget_one (n);
  if (n->nr_open == 0)
    return false;
  n->max_open = n->nr_open;
  return true;
}

static void
put_back (struct nbd_block *n, struct nbd_handle *h, bool of_no_use)
{
  if (of_no_use) {
    drop (n, h);
    return;
  }
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&n->lock);
  assert (n->nr_idle < MAX_CONNECTIONS);
  n->idle[n->nr_idle++] = h;
  pthread_cond_signal (&n->idle_cond);
}

static int
check_out (struct nbd_block *n, struct nbd_handle **out, struct err *err)
{
  int r;

  do {
    r = take (n, out, err);
    if (r < 0 || *out != NULL)
      return r;
    r = reconnect (n, out, err);
  } while (r < 0 && make_do (n));
  return r;
}

/*--- requests --------------------------------------------------------------*/

/* One request, as what runs it on a connection sees it. */
struct request {
  struct nbd_block *n;
  void *in;                     /* pread */
  const void *out;              /* pwrite */
  uint64_t len, off;            /* len ≤ max_request, but for block status */
  uint32_t flags;               /* LIBNBD_CMD_FLAG_* */
  struct extent_list *list;     /* block status */
  int list_error;               /* out of memory in the callback */
};

/* Begins it: libnbd's number for the command, or -1. */
typedef int64_t (*run_fn) (struct nbd_handle *h, struct request *req);

/* Run a request on some connection.  The second try is for the connections
 * that broke while they were idle: all of those are found broken first.
 */
static int
run (struct request *req, run_fn fn, struct err *err)
{
  struct nbd_block *n = req->n;
  unsigned tries = n->base.writable ? 1 : MAX_CONNECTIONS + 1;
  int r;

  do {
    struct nbd_handle *h;
    bool dead;

    r = check_out (n, &h, err);
    if (r < 0)
      return r;
    r = nbd_command_wait (h, fn (h, req), NBD_SILENCE_SECONDS,
                          NBD_REQUEST_SECONDS, err);
    dead = r < 0 && is_dead (h);
    put_back (n, h, dead || r == -ETIMEDOUT);
    if (r == -ETIMEDOUT && !dead)
      return err_code (err, -EIO);
    if (!dead)
      return r;
    r = err_set (err, -EIO, "the connection to the server was lost");
  } while (--tries > 0);
  return r;
}

/* Run a request in pieces that the server accepts. */
static int
run_in_pieces (struct request *req, run_fn fn, struct err *err)
{
  uint64_t left = req->len;
  int r = 0;

  while (r == 0 && left > 0) {
    req->len = min_u64 (left, req->n->max_request);
    r = run (req, fn, err);
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
run_pread (struct nbd_handle *h, struct request *req)
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
  struct request req = { .n = n, .in = bounce, .len = end - start,
                         .off = start };
  int r;

  if (bounce == NULL)
    return err_nomem (err);
  r = run_in_pieces (&req, run_pread, err);
  if (r == 0)
    memcpy (buf, bounce + (off - start), len);
  return r;
}

static int
nbd_block_pread (struct block *b, void *buf, size_t len, uint64_t off,
                 struct err *err)
{
  struct nbd_block *n = nbd (b);
  struct request req = { .n = n, .in = buf, .len = len, .off = off };

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
run_flush (struct nbd_handle *h, struct request *req)
{
  (void) req;
  return nbd_aio_flush (h, NBD_NULL_COMPLETION, 0);
}

/* A flush speaks for the writes on other connections too, but not when one of
 * those has ended meanwhile: this may be another server by now.  (One that
 * is in use fails its request and is lost with that.)
 */
static int
check_idle (struct nbd_block *n, struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&n->lock);

  for (unsigned i = 0; i < n->nr_idle; ++i)
    if (nbd_poll (n->idle[i], 0) < 0 || is_dead (n->idle[i]))
      n->lost = n->base.writable;
  return check_lost (n, err);
}

static int
nbd_block_flush (struct block *b, struct err *err)
{
  struct request req = { .n = nbd (b) };
  int r = nbd (b)->can_flush ? run (&req, run_flush, err) : 0;

  return r == 0 && b->writable ? check_idle (nbd (b), err) : r;
}

static uint32_t
fua_flag (const struct nbd_block *n, unsigned flags)
{
  return flags & BLOCK_FUA && n->can_fua ? LIBNBD_CMD_FLAG_FUA : 0;
}

/* FUA by a flush, where the server knows no FUA. */
static int
finish_write (struct block *b, int r, unsigned flags, struct err *err)
{
  if (r == 0 && flags & BLOCK_FUA && !nbd (b)->can_fua)
    r = nbd_block_flush (b, err);
  return r;
}

static int64_t
run_pwrite (struct nbd_handle *h, struct request *req)
{
  return nbd_aio_pwrite (h, req->out, (size_t) req->len, req->off,
                         NBD_NULL_COMPLETION, req->flags);
}

static int
nbd_block_pwrite (struct block *b, const void *buf, size_t len, uint64_t off,
                  unsigned flags, struct err *err)
{
  struct request req = { .n = nbd (b), .out = buf, .len = len, .off = off,
                         .flags = fua_flag (nbd (b), flags) };
  int r = check_aligned (b, len, off, err);

  if (r == 0)
    r = run_in_pieces (&req, run_pwrite, err);
  return finish_write (b, r, flags, err);
}

static int64_t
run_zero (struct nbd_handle *h, struct request *req)
{
  return nbd_aio_zero (h, req->len, req->off, NBD_NULL_COMPLETION,
                       req->flags);
}

static int
nbd_block_zero (struct block *b, uint64_t len, uint64_t off, unsigned flags,
                struct err *err)
{
  struct nbd_block *n = nbd (b);
  struct request req = { .n = n, .len = len, .off = off,
                         .flags = fua_flag (n, flags) };
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
run_trim (struct nbd_handle *h, struct request *req)
{
  return nbd_aio_trim (h, req->len, req->off, NBD_NULL_COMPLETION,
                       req->flags);
}

static int
nbd_block_trim (struct block *b, uint64_t len, uint64_t off, unsigned flags,
                struct err *err)
{
  struct request req = { .n = nbd (b), .len = len, .off = off,
                         .flags = fua_flag (nbd (b), flags) };
  int r = 0;

  if (nbd (b)->can_trim && check_aligned (b, len, off, NULL) == 0)
    r = run_in_pieces (&req, run_trim, err);
  return finish_write (b, r, flags, err);
}

static int64_t
run_cache (struct nbd_handle *h, struct request *req)
{
  return nbd_aio_cache (h, req->len, req->off, NBD_NULL_COMPLETION, 0);
}

static int
nbd_block_cache (struct block *b, uint64_t len, uint64_t off,
                 struct err *err)
{
  struct request req = { .n = nbd (b), .len = len, .off = off };

  if (!nbd (b)->can_cache || check_aligned (b, len, off, NULL) < 0)
    return 0;
  return run_in_pieces (&req, run_cache, err);
}

/*--- extents ---------------------------------------------------------------*/

/* NBD protocol, "base:allocation": a hole without NBD_STATE_ZERO may read
 * as anything, and so is data to us.
 */
static enum extent_kind
kind_of (uint32_t state)
{
  if (!(state & LIBNBD_STATE_ZERO))
    return EXTENT_DATA;
  return state & LIBNBD_STATE_HOLE ? EXTENT_HOLE : EXTENT_ZERO;
}

/* entries: pairs of length and state, from offset on.  The last one may
 * reach beyond what was asked for.
 */
static int
add_entries (void *opaque, const char *context, uint64_t offset,
             uint32_t *entries, size_t nr_entries, int *error)
{
  struct request *req = opaque;
  uint64_t end = req->off + req->len;

  /* Once for each request; a server that says more is not listened to. */
  if (strcmp (context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0 ||
      req->list->v.len > 0)
    return 0;
  for (size_t i = 0; i + 1 < nr_entries && offset < end; i += 2) {
    uint64_t len = min_u64 (entries[i], end - offset);

    if (extent_list_add (req->list, offset, len, kind_of (entries[i + 1]), 0,
                         NULL) < 0) {
      req->list_error = -ENOMEM;
      *error = ENOMEM;
      return -1;
    }
    offset += len;
  }
  return 0;
}

/* The list is the request's own: a second try starts it again. */
static int64_t
run_status (struct nbd_handle *h, struct request *req)
{
  extent_list_free (req->list);
  return nbd_aio_block_status (h, req->len, req->off,
                               (nbd_extent_callback) {
                                 .callback = add_entries,
                                 .user_data = req,
                               }, NBD_NULL_COMPLETION, 0);
}

static int
nbd_block_extents (struct block *b, uint64_t len, uint64_t off,
                   struct extent_list *list, struct err *err)
{
  struct nbd_block *n = nbd (b);
  uint64_t end = off + len;
  int r = 0;

  if (!n->can_extents)
    return extent_list_add (list, off, len, EXTENT_DATA, 0, err);
  while (r == 0 && off < end && !extent_list_full (list)) {
    /* A status request too must be of whole blocks. */
    uint64_t start = round_down (off, b->sizes.minimum);
    uint64_t stop = round_up (min_u64 (end, start + MAX_STATUS_REQUEST),
                              b->sizes.minimum);
    CLEANUP_EXTENT_LIST struct extent_list got = { VECTOR_INIT, list->limit };
    struct request req = { .n = n, .len = stop - start, .off = start,
                           .list = &got };

    r = run (&req, run_status, err);
    if (r == 0 && req.list_error < 0)
      return err_nomem (err);
    if (r == 0 && extent_list_end (&got, start) <= off)
      return err_set (err, -EIO, "the server described no extent at offset %"
                      PRIu64, off);
    for (size_t i = 0; r == 0 && i < got.v.len; ++i) {
      const struct extent *e = &got.v.ptr[i];
      uint64_t e_end = min_u64 (e->off + e->len, end);
      uint64_t e_off = max_u64 (e->off, off);

      if (e_off < e_end)
        r = extent_list_add (list, e_off, e_end - e_off, e->kind, 0, err);
    }
    off = extent_list_end (&got, start);
  }
  return r;
}

/*--- opening and closing ---------------------------------------------------*/

static void
nbd_block_close (struct block *b)
{
  struct nbd_block *n = nbd (b);

  for (unsigned i = 0; i < n->nr_idle; ++i) {
    /* The goodbye goes out now if it can; a server that no longer answers
     * is not waited for.
     */
    nbd_aio_disconnect (n->idle[i], 0);
    nbd_close (n->idle[i]);
  }
  pthread_cond_destroy (&n->idle_cond);
  pthread_mutex_destroy (&n->lock);
  free (n->description);
}

static const struct block_ops nbd_ops = {
  .close = nbd_block_close,
  .pread = nbd_block_pread,
  .pwrite = nbd_block_pwrite,
  .zero = nbd_block_zero,
  .trim = nbd_block_trim,
  .flush = nbd_block_flush,
  .extents = nbd_block_extents,
  .cache = nbd_block_cache,
};

/* Block sizes as the server states them (NBD protocol, "Block size
 * constraints"); a server that states nonsense is not believed.
 */
static int
learn_sizes (struct nbd_block *n, struct nbd_handle *h, struct err *err)
{
  int64_t minimum = nbd_get_block_size (h, LIBNBD_SIZE_MINIMUM);
  int64_t preferred = nbd_get_block_size (h, LIBNBD_SIZE_PREFERRED);
  int64_t maximum = nbd_get_block_size (h, LIBNBD_SIZE_MAXIMUM);
  struct block_sizes *sizes = &n->base.sizes;

  if (minimum > 65536 || (minimum > 0 && !is_power_of_2 ((uint64_t) minimum)))
    return err_set (err, -ENOTSUP, "the server states a minimum block size "
                    "of %" PRIi64 " bytes; expected a power of 2 up to 65536",
                    minimum);
  if (minimum > 0)
    sizes->minimum = (uint32_t) minimum;
  if (n->base.size % sizes->minimum != 0)
    return err_set (err, -ENOTSUP, "the export has %" PRIu64 " bytes, not a "
                    "multiple of the server's minimum block size of %" PRIu32,
                    n->base.size, sizes->minimum);
  if (preferred > 0 && preferred <= (int64_t) DEFAULT_MAX_REQUEST &&
      is_power_of_2 ((uint64_t) preferred))
    sizes->preferred = (uint32_t) preferred;
  if (maximum >= (int64_t) max_u64 (4096, sizes->minimum) &&
      maximum < (int64_t) DEFAULT_MAX_REQUEST)
    n->max_request = (uint32_t) round_down ((uint64_t) maximum,
                                            sizes->minimum);
  return 0;
}

static void
learn_export (struct nbd_block *n, struct nbd_handle *h)
{
  char *description;

  n->can_flush = nbd_can_flush (h) == 1;
  n->can_fua = nbd_can_fua (h) == 1;
  n->can_zero = nbd_can_zero (h) == 1;
  n->can_fast_zero = nbd_can_fast_zero (h) == 1;
  n->can_trim = nbd_can_trim (h) == 1;
  n->can_cache = nbd_can_cache (h) == 1;
  n->can_extents =
    nbd_can_meta_context (h, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
  n->can_multi_conn = nbd_can_multi_conn (h) == 1;
  if (n->can_multi_conn)
    n->max_open = MAX_CONNECTIONS;
  description = nbd_get_export_description (h);
  if (description && *description)
    n->description = steal_ptr (&description);
  free (description);
}

static int
check_export (struct nbd_handle *h, bool writable, struct err *err)
{
  if (nbd_get_size (h) < 0)
    return err_libnbd (err);
  if (writable && nbd_is_read_only (h) != 0)
    return err_set (err, -EROFS, "the server exports it for reading only");
  return 0;
}

int
block_nbd_open (const char *uri, unsigned flags, struct block **out,
                struct err *err)
{
  bool writable = flags & BLOCK_NBD_WRITE;
  struct nbd_handle *h;
  struct nbd_block *n;
  int r = nbd_connect_export (uri, &h, err);

  if (r < 0)
    return r;
  r = check_export (h, writable, err);
  n = r == 0 ? calloc (1, sizeof *n) : NULL;
  if (r == 0 && n == NULL)
    r = err_nomem (err);
  if (r == 0)
    r = block_init (&n->base, &nbd_ops, uri, (uint64_t) nbd_get_size (h),
                    writable, err);
  if (r < 0) {
    free (n);
    nbd_close (h);
    return r;
  }
  pthread_mutex_init (&n->lock, NULL);
  pthread_cond_init (&n->idle_cond, NULL);
  n->max_request = DEFAULT_MAX_REQUEST;
  n->idle[0] = h;
  n->nr_idle = n->nr_open = n->max_open = 1;
  r = learn_sizes (n, h, err);
  if (r == 0 && !writable)
    r = nbd_ends_read (h, n->base.size, n->base.sizes.minimum, &n->ends, err);
  if (r < 0) {
    block_unref (&n->base);
    return r;
  }
  learn_export (n, h);
  *out = &n->base;
  return 0;
}

const char *
block_nbd_description (const struct block *b)
{
  return b->ops == &nbd_ops
    ? ((const struct nbd_block *) b)->description : NULL;
}
