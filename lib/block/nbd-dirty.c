/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a server leaves out would count as clean, and so would be lost: that
 * each byte was described is checked, and so is each length.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <libnbd.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/block/nbd-connect.h"
#include "lib/block/nbd-dirty.h"

#define CONTEXT "qemu:dirty-bitmap:"
#define DIRTY 1u                /* the bit of its states that has a meaning */

/* A request for block status is answered in 32-bit lengths. */
#define MAX_STATUS_REQUEST (UINT32_C (2) * 1024 * 1024 * 1024)

struct reading {
  struct nbd_dirty *dirty;
  const char *context;
  uint64_t off, end;            /* what is asked for, and not told yet */
  bool told;                    /* the context was, for this request */
  struct err err;               /* of add */
};

static int
take_entries (void *opaque, const char *context, uint64_t offset,
              uint32_t *entries, size_t nr_entries, int *error)
{
  struct reading *r = opaque;

  if (strcmp (context, r->context) != 0 || r->told || offset != r->off)
    return 0;
  r->told = true;
  for (size_t i = 0; i + 1 < nr_entries && r->off < r->end; i += 2) {
    uint64_t len = min_u64 (entries[i], r->end - r->off);

    if ((entries[i + 1] & DIRTY) && len > 0 &&
        r->dirty->add (r->dirty->opaque, r->off, len, &r->err) < 0) {
      *error = EIO;
      return -1;
    }
    r->off += len;
  }
  return 0;
}

static int
read_all (struct nbd_handle *h, struct reading *r, struct err *err)
{
  while (r->off < r->dirty->size) {
    const nbd_extent_callback callback = {
      .callback = take_entries, .user_data = r,
    };
    uint64_t before = r->off;
    int64_t cookie;
    int e;

    r->end = min_u64 (r->dirty->size, before + MAX_STATUS_REQUEST);
    r->told = false;
    cookie = nbd_aio_block_status (h, r->end - before, before, callback,
                                   NBD_NULL_COMPLETION, 0);
    e = nbd_command_wait (h, cookie, NBD_SILENCE_SECONDS, NBD_REQUEST_SECONDS,
                          err);
    if (r->err.code < 0) {
      *err = r->err;
      return err->code;
    }
    if (e < 0)
      return e;
    if (r->off == before)
      return err_set (err, -EIO, "the server told nothing of the bitmap at "
                      "offset %" PRIu64, before);
  }
  return 0;
}

static int
connect_to (struct nbd_handle *h, const char *uri, const char *context,
            struct err *err)
{
  int r;

  if (nbd_set_uri_allow_local_file (h, true) < 0 ||
      nbd_add_meta_context (h, context) < 0)
    return err_libnbd (err);
  r = nbd_connect_bounded (h, uri, NBD_CONNECT_SECONDS, err);
  if (r < 0)
    return r;
  return nbd_can_meta_context (h, context) == 1 ? 0
    : err_set (err, -ENOENT, "the server has no bitmap ‘%s’ for this export",
               context + strlen (CONTEXT));
}

int
nbd_dirty_read (const char *uri, const char *bitmap, struct nbd_dirty *dirty,
                struct err *err)
{
  CLEANUP_FREE char *context = NULL;
  struct reading reading = { .dirty = dirty, .err = ERR_INIT };
  struct nbd_handle *h;
  int64_t size;
  int r;

  if (asprintf (&context, CONTEXT "%s", bitmap) < 0) {
    context = NULL;
    return err_nomem (err);
  }
  h = nbd_create ();
  if (h == NULL)
    return err_libnbd (err);
  r = connect_to (h, uri, context, err);
  if (r == 0) {
    size = nbd_get_size (h);
    dirty->size = size > 0 ? (uint64_t) size : 0;
    reading.context = context;
    r = read_all (h, &reading, err);
    nbd_aio_disconnect (h, 0);
  }
  nbd_close (h);
  return r;
}
