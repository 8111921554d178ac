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
    n->max_open = n->can_multi_conn ? NBD_MAX_CONNECTIONS : 1;
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

void
nbd_pool_put (struct nbd_block *n, struct nbd_handle *h, bool of_no_use)
{
  if (of_no_use) {
    drop (n, h);
    return;
  }
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&n->lock);
  assert (n->nr_idle < NBD_MAX_CONNECTIONS);
  n->idle[n->nr_idle++] = h;
  pthread_cond_signal (&n->idle_cond);
}

int
nbd_pool_take (struct nbd_block *n, struct nbd_handle **out, struct err *err)
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

/* A flush speaks for the writes on other connections too, but not when one of
 * those has ended meanwhile: this may be another server by now.  (One that
 * is in use fails its request and is lost with that.)
 */
int
nbd_pool_check_idle (struct nbd_block *n, struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&n->lock);

  for (unsigned i = 0; i < n->nr_idle; ++i)
    if (nbd_poll (n->idle[i], 0) < 0 || nbd_is_broken (n->idle[i]))
      n->lost = n->base.writable;
  return check_lost (n, err);
}

/*--- its beginning and end -------------------------------------------------*/

void
nbd_pool_init (struct nbd_block *n, struct nbd_handle *first)
{
  pthread_mutex_init (&n->lock, NULL);
  pthread_cond_init (&n->idle_cond, NULL);
  n->idle[0] = first;
  n->nr_idle = n->nr_open = 1;
  n->max_open = n->can_multi_conn ? NBD_MAX_CONNECTIONS : 1;
}

void
nbd_pool_destroy (struct nbd_block *n)
{
  for (unsigned i = 0; i < n->nr_idle; ++i) {
    /* The goodbye goes out now if it can; a server that no longer answers
     * is not waited for.
     */
    nbd_aio_disconnect (n->idle[i], 0);
    nbd_close (n->idle[i]);
  }
  pthread_cond_destroy (&n->idle_cond);
  pthread_mutex_destroy (&n->lock);
}
