/* SPDX-License-Identifier: GPL-2.0-or-later */

/* An export of an NBD server as a block: what the export is, opening and
 * closing.  nbd-private.h says where the rest is.
 *
 * Every length that the server chose (extents, block sizes, the size of the
 * export after a reconnect) is checked before use.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libnbd.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/block/nbd-private.h"
#include "lib/block/nbd.h"

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

static void
nbd_block_close (struct block *b)
{
  struct nbd_block *n = nbd_of (b);

  nbd_pool_destroy (n);
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
  if (preferred > 0 && preferred <= (int64_t) NBD_DEFAULT_MAX_REQUEST &&
      is_power_of_2 ((uint64_t) preferred))
    sizes->preferred = (uint32_t) preferred;
  if (maximum >= (int64_t) max_u64 (4096, sizes->minimum) &&
      maximum < (int64_t) NBD_DEFAULT_MAX_REQUEST)
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

  if (r < 0 && access (uri, F_OK) == 0)
    return err_in (err, "taken for a URI; there is a file of that name, which "
                   "is ./%s", uri);
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
  n->max_request = NBD_DEFAULT_MAX_REQUEST;
  learn_export (n, h);
  nbd_pool_init (n, h);
  r = learn_sizes (n, h, err);
  if (r == 0 && !writable)
    r = nbd_ends_read (h, n->base.size, n->base.sizes.minimum, &n->ends, err);
  if (r < 0) {
    block_unref (&n->base);
    return r;
  }
  *out = &n->base;
  return 0;
}

const char *
block_nbd_description (const struct block *b)
{
  return b->ops == &nbd_ops
    ? ((const struct nbd_block *) b)->description : NULL;
}

bool
block_nbd_can_flush (const struct block *b)
{
  return b->ops == &nbd_ops && ((const struct nbd_block *) b)->can_flush;
}
