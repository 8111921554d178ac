/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The connections to an NBD export: a pool, and what is done when one breaks.
 *
 * The pool's mutex guards only the pool, so it is never held while a request
 * or a connect is under way.
 *
 * Broken connections.  When we only read, a fresh connection gives the same
 * bytes, so the request is tried once more on one.  When we write, a server
 * that went away may have taken acknowledged writes with it that a flush on
 * a fresh connection would wrongly vouch for: the block then fails all that
 * follows with -EIO, for good.  A server that owes an answer and says nothing
 * is as good as gone, but is not tried again: it would be silent as long.
 *
 * Flushes.  NBD says that on a server with multi-conn a flush speaks for the
 * writes on all connections, but not that all connections are to the same
 * server: one that was started anew has taken the later ones, and an end
 * that nobody has looked for yet looks like a quiet connection.  So a flush
 * goes out on each connection that acknowledged a write since its own last
 * flush, and waits for those that are busy: the answer comes from whoever
 * acknowledged the write, or not at all.
 *
 * Who reads and connects again must get the same disk.  NBD has no name for
 * that, so size, abilities and some bytes at both ends must be the same.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>

#include <libnbd.h>

#include "lib/base/cleanup.h"
#include "lib/block/nbd-private.h"

bool
nbd_is_broken (struct nbd_handle *h)
{
  return nbd_aio_is_dead (h) || nbd_aio_is_closed (h);
}

bool
nbd_has_ended (struct nbd_handle *h)
{
  return nbd_poll (h, 0) < 0 || nbd_is_broken (h);
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
      n->max_request != NBD_DEFAULT_MAX_REQUEST)
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

/* Under the lock: an idle connection that no flush waits for, or else where
 * one more may be opened, or else NULL.
 */
static struct nbd_connection *
find_free (struct nbd_block *n)
{
  struct nbd_connection *room = NULL;

  for (unsigned i = 0; i < NBD_MAX_CONNECTIONS; ++i) {
    struct nbd_connection *c = &n->connections[i];

    if (c->taken)
      continue;
    if (c->h == NULL)
      room = c;
    else if (c->awaited == 0)
      return c;
  }
  return n->nr_open < n->max_open ? room : NULL;
}

/* Wait for a connection to be idle or for room to open one (its h is NULL). */
static int
take (struct nbd_block *n, struct nbd_connection **out, struct err *err)
{
  struct nbd_connection *c;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&n->lock);

  while ((c = find_free (n)) == NULL && !n->lost)
    pthread_cond_wait (&n->idle_cond, &n->lock);
  if (check_lost (n, err) < 0)
    return -EIO;
  if (c->h == NULL)
    n->nr_open++;
  c->taken = true;
  *out = c;
  return 0;
}

/* Under the lock: one connection less.  When the last is gone, the next may
 * be to a server that takes more.
 */
static void
forget (struct nbd_block *n, struct nbd_connection *c)
{
  c->h = NULL;
  c->taken = c->unflushed = false;
  n->nr_open--;
  if (n->nr_open == 0)
    n->max_open = n->can_multi_conn ? NBD_MAX_CONNECTIONS : 1;
  pthread_cond_broadcast (&n->idle_cond);
}

/* A connection is gone: there is room for another. */
static void
drop (struct nbd_block *n, struct nbd_connection *c)
{
  nbd_close (c->h);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&n->lock);
  if (n->base.writable)
    n->lost = true;
  forget (n, c);
}

/* One more connection could not be made.  A server may take fewer than we
 * would open: true if there are others to make do with.
 */
static bool
make_do (struct nbd_block *n, struct nbd_connection *c)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&n->lock);
  forget (n, c);
  if (n->nr_open == 0)
    return false;
  n->max_open = n->nr_open;
  return true;
}

void
nbd_pool_put (struct nbd_block *n, struct nbd_connection *c,
              enum nbd_outcome outcome)
{
  if (outcome == NBD_BROKEN) {
    drop (n, c);
    return;
  }
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&n->lock);
  assert (c->taken);
  c->taken = false;
  if (outcome != NBD_UNCHANGED)
    c->unflushed = outcome == NBD_WROTE;
  /* With a writer, one of those that wait may be a flush that waits for
   * another connection.
   */
  if (n->base.writable)
    pthread_cond_broadcast (&n->idle_cond);
  else
    pthread_cond_signal (&n->idle_cond);
}

int
nbd_pool_take (struct nbd_block *n, struct nbd_connection **out,
               struct err *err)
{
  int r;

  do {
    r = take (n, out, err);
    if (r < 0 || (*out)->h != NULL)
      return r;
    r = reconnect (n, &(*out)->h, err);
  } while (r < 0 && make_do (n, *out));
  return r;
}

/* While a flush waits, no new request takes the connection: writers could
 * keep it from its turn for ever.
 */
int
nbd_pool_take_unflushed (struct nbd_block *n, unsigned i,
                         struct nbd_connection **out, struct err *err)
{
  struct nbd_connection *c = &n->connections[i];
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&n->lock);

  *out = NULL;
  c->awaited++;
  while (c->unflushed && c->taken && !n->lost)
    pthread_cond_wait (&n->idle_cond, &n->lock);
  c->awaited--;
  if (check_lost (n, err) < 0)
    return -EIO;
  if (c->unflushed) {
    c->taken = true;
    *out = c;
  }
  else                          /* another flush has been there */
    pthread_cond_broadcast (&n->idle_cond);
  return 0;
}

int
nbd_pool_check_idle (struct nbd_block *n, struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&n->lock);

  for (unsigned i = 0; i < NBD_MAX_CONNECTIONS; ++i) {
    struct nbd_connection *c = &n->connections[i];

    if (!c->taken && c->h && nbd_has_ended (c->h))
      n->lost = n->base.writable;
  }
  return check_lost (n, err);
}

/*--- its beginning and end -------------------------------------------------*/

void
nbd_pool_init (struct nbd_block *n, struct nbd_handle *first)
{
  pthread_mutex_init (&n->lock, NULL);
  pthread_cond_init (&n->idle_cond, NULL);
  n->connections[0].h = first;
  n->nr_open = 1;
  n->max_open = n->can_multi_conn ? NBD_MAX_CONNECTIONS : 1;
}

void
nbd_pool_destroy (struct nbd_block *n)
{
  for (unsigned i = 0; i < NBD_MAX_CONNECTIONS; ++i) {
    struct nbd_handle *h = n->connections[i].h;

    if (h == NULL)
      continue;
    /* The goodbye goes out now if it can; a server that no longer answers
     * is not waited for.
     */
    nbd_aio_disconnect (h, 0);
    nbd_close (h);
  }
  pthread_cond_destroy (&n->idle_cond);
  pthread_mutex_destroy (&n->lock);
}
