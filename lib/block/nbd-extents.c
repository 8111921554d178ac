/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Extents of an NBD export, from the block status of its server.  Every length
 * in there is the server's own choice, and checked before use.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <libnbd.h>

#include "lib/base/checked.h"
#include "lib/block/nbd-private.h"

/* A request for block status is answered in 32-bit lengths. */
#define MAX_STATUS_REQUEST (UINT32_C (2) * 1024 * 1024 * 1024)

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
  struct nbd_request *req = opaque;
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
run_status (struct nbd_handle *h, struct nbd_request *req)
{
  extent_list_free (req->list);
  return nbd_aio_block_status (h, req->len, req->off,
                               (nbd_extent_callback) {
                                 .callback = add_entries,
                                 .user_data = req,
                               }, NBD_NULL_COMPLETION, 0);
}

int
nbd_block_extents (struct block *b, uint64_t len, uint64_t off,
                   struct extent_list *list, struct err *err)
{
  struct nbd_block *n = nbd_of (b);
  uint64_t end = off + len;
  int r = 0;

  if (!n->can_extents)
    return extent_list_add (list, off, len, EXTENT_DATA, 0, err);
  while (r == 0 && off < end && !extent_list_full (list)) {
    /* A status request too must be of whole blocks. */
    uint64_t start = round_down (off, b->sizes.minimum);
    uint64_t stop = round_up (min_u64 (end, start + MAX_STATUS_REQUEST),
                              b->sizes.minimum);
    CLEANUP_EXTENT_LIST struct extent_list got = { .limit = list->limit };
    struct nbd_request req = { .n = n, .len = stop - start, .off = start,
                               .list = &got };

    r = nbd_request_run (&req, run_status, err);
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
