/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A file that is read over SFTP, as a block.
 *
 * Each read is cut into requests, which are all on their way before the first
 * answer is waited for.  The file is opened on each connection anew, and must
 * have the size that it had; its bytes are those of a vault, whose files never
 * change and are checked by whoever reads them.
 *
 * The lock guards only which handle there is.  Two threads that find the
 * connection broken both open the file; the second one closes its own again.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/cleanup.h"
#include "lib/block/block-ops.h"
#include "lib/repo/store-sftp-ahead.h"
#include "lib/repo/store-sftp-private.h"

#define CALLS_MAX 64            /* on their way for one read */
#define AHEAD_MAX (1024U * 1024)        /* larger reads fill the way alone */

/* A file on one connection. */
struct opened {
  unsigned refs;                /* atomic */
  struct sftp *sftp;
  struct sftp_handle handle;
};

struct sftp_block {
  struct block base;
  struct sftp_link *link;
  char *path;                   /* owned; on the server */
  struct sftp_ahead *ahead;     /* NULL: none */

  pthread_mutex_t lock;         /* guards what follows */
  struct opened *opened;        /* NULL: not on this connection yet */
};

/* Waited for, so that nothing is on its way when a server goes into the
 * background, and the process that it leaves ends beside our thread.
 */
static void
opened_unref (struct opened *o)
{
  if (o == NULL || __atomic_sub_fetch (&o->refs, 1, __ATOMIC_ACQ_REL) > 0)
    return;
  if (!sftp_is_lost (o->sftp))
    sftp_ask_close (o->sftp, &o->handle, NULL);
  sftp_unref (o->sftp);
  free (o);
}

static int
opened_new (struct sftp *sftp, const char *path, struct opened **out,
            struct err *err)
{
  struct opened *o = calloc (1, sizeof *o);
  int r;

  if (o == NULL)
    return err_nomem (err);
  r = sftp_ask_open (sftp, path, SFTP_FOR_READING, 0, &o->handle, err);
  if (r < 0) {
    free (o);
    return r;
  }
  o->refs = 1;
  o->sftp = sftp_ref (sftp);
  *out = o;
  return 0;
}

/* On another connection: it has to be as long as it was. */
static int
open_again (struct sftp_block *b, struct sftp *sftp, struct opened **out,
            struct err *err)
{
  struct sftp_attrs attrs;
  struct opened *o;
  int r = opened_new (sftp, b->path, &o, err);

  if (r < 0)
    return r;
  r = sftp_ask_fstat (sftp, &o->handle, &attrs, err);
  if (r == 0 && attrs.size != b->base.size)
    r = err_set (err, -EIO, "the file has %" PRIu64 " bytes now, expected %"
                 PRIu64 " as when it was opened", attrs.size, b->base.size);
  if (r < 0)
    opened_unref (o);
  else
    *out = o;
  return r;
}

/* The handle on this connection; a reference. */
static int
take_opened (struct sftp_block *b, struct sftp *sftp, struct opened **out,
             struct err *err)
{
  struct opened *o = NULL, *old;
  int r;

  pthread_mutex_lock (&b->lock);
  if (b->opened != NULL && b->opened->sftp == sftp) {
    o = b->opened;
    __atomic_add_fetch (&o->refs, 1, __ATOMIC_RELAXED);
  }
  pthread_mutex_unlock (&b->lock);
  if (o != NULL) {
    *out = o;
    return 0;
  }
  r = open_again (b, sftp, &o, err);
  if (r < 0)
    return r;
  __atomic_add_fetch (&o->refs, 1, __ATOMIC_RELAXED);
  pthread_mutex_lock (&b->lock);
  old = b->opened;
  b->opened = o;
  pthread_mutex_unlock (&b->lock);
  opened_unref (old);
  *out = o;
  return 0;
}

/*--- reading ----------------------------------------------------------------*/

struct range {
  struct sftp_block *b;
  char *buf;
  size_t len;
  uint64_t off;
};

static int
send_read (const struct opened *o, struct sftp_call *c, void *buf, size_t len,
           uint64_t off, struct err *err)
{
  c->into = buf;
  c->into_size = len;
  sftp_packet_begin (&c->packet, SFTP_READ);
  sftp_put_bytes (&c->packet, o->handle.bytes, o->handle.len);
  sftp_put_u64 (&c->packet, off);
  sftp_put_u32 (&c->packet, (uint32_t) len);
  return sftp_send (o->sftp, c, err);
}

/* Bytes that came; a server may send fewer than it was asked for. */
static int
take_read (const struct opened *o, struct sftp_call *c, size_t *n,
           struct err *err)
{
  int r = sftp_wait (o->sftp, c, err);

  if (r < 0)
    return r;
  if (c->type != SFTP_DATA) {
    r = sftp_status (c, err);
    return r == -ENODATA ? err_set (err, -EIO, "the file ends too early")
      : r == 0 ? err_set (err, -EPROTO, "the server sends no bytes") : r;
  }
  if (c->into_len == 0)
    return err_set (err, -EIO, "the server sends no bytes");
  *n = c->into_len;
  return 0;
}

/* One that came short is gone on with by itself. */
static int
finish_read (const struct opened *o, struct sftp_call *c, char *buf,
             size_t len, uint64_t off, struct err *err)
{
  size_t n = 0;
  int r = take_read (o, c, &n, err);

  while (r == 0 && n < len) {
    buf += n;
    off += n;
    len -= n;
    r = send_read (o, c, buf, len, off, err);
    if (r == 0)
      r = take_read (o, c, &n, err);
  }
  return r;
}

/* A ring of calls: the oldest is waited for when all are on their way. */
static int
read_range (const struct opened *o, const struct range *range,
            struct sftp_call *calls, struct err *err)
{
  size_t max = sftp_server (o->sftp)->max_read, sent = 0, got = 0;
  unsigned first = 0, n = 0;
  int r = 0, r2 = 0;

  while (r == 0 && r2 == 0 && got < range->len) {
    if (sent < range->len && n < CALLS_MAX) {
      size_t len = range->len - sent < max ? range->len - sent : max;

      r = send_read (o, &calls[(first + n) % CALLS_MAX], range->buf + sent,
                     len, range->off + sent, err);
      if (r == 0) {
        sent += len;
        ++n;
      }
      continue;
    }
    {
      size_t len = range->len - got < max ? range->len - got : max;

      r2 = finish_read (o, &calls[first], range->buf + got, len,
                        range->off + got, err);
      got += len;
      first = (first + 1) % CALLS_MAX;
      --n;
    }
  }
  /* Nothing may come into the buffer after this returned. */
  for (; n > 0; --n, first = (first + 1) % CALLS_MAX)
    (void) sftp_wait (o->sftp, &calls[first], NULL);
  return r < 0 ? r : r2;
}

static int
do_read (struct sftp *sftp, bool again, void *opaque, struct err *err)
{
  const struct range *range = opaque;
  struct sftp_call *calls = calloc (CALLS_MAX, sizeof *calls);
  struct opened *o = NULL;
  int r = calls ? take_opened (range->b, sftp, &o, err) : err_nomem (err);

  if (r == 0) {
    bool ahead = false;

    if (range->b->ahead != NULL && range->len <= AHEAD_MAX) {
      sftp_ahead_note (range->b->ahead, sftp, &o->handle, range->len,
                       range->off);
      ahead = sftp_ahead_take (range->b->ahead, range->buf, range->len,
                               range->off);
    }
    if (!ahead)
      r = read_range (o, range, calls, err);
    opened_unref (o);
  }
  for (size_t i = 0; calls != NULL && i < CALLS_MAX; ++i)
    sftp_call_free (&calls[i]);
  free (calls);
  if (r == -ENOENT && again)
    return err_set (err, -EIO, "the connection broke, and the file is gone "
                    "since");
  return r == SFTP_FAILED || r == -EPROTO ? err_code (err, -EIO) : r;
}

static int
sftp_block_pread (struct block *block, void *buf, size_t len, uint64_t off,
                  struct err *err)
{
  struct sftp_block *b = (struct sftp_block *) block;
  struct range range = { b, buf, len, off };

  return sftp_link_run (b->link, do_read, &range, err);
}

static void
sftp_block_close (struct block *block)
{
  struct sftp_block *b = (struct sftp_block *) block;

  sftp_ahead_free (b->ahead);
  opened_unref (b->opened);
  sftp_link_unref (b->link);
  pthread_mutex_destroy (&b->lock);
  free (b->path);
}

static const struct block_ops sftp_block_ops = {
  .close = sftp_block_close,
  .pread = sftp_block_pread,
};

/*--- opening ----------------------------------------------------------------*/

struct opening {
  struct sftp_store *s;
  const char *name;
  char path[SFTP_PATH_SIZE];
  struct opened *opened;
  uint64_t size;
};

static int
do_open (struct sftp *sftp, bool again, void *opaque, struct err *err)
{
  struct opening *o = opaque;
  struct sftp_found found;
  int r = sftp_find_file (o->s, sftp, o->name, &found, err);

  (void) again;
  if (r == 0)
    r = sftp_path (o->s, o->name, o->path, err);
  if (r == 0) {
    o->size = found.attrs.size; /* as it was a moment ago */
    r = opened_new (sftp, o->path, &o->opened, err);
  }
  return sftp_last_error (o->s, sftp, r, err);
}

int
sftp_store_read (struct store *store, const char *name, struct block **out,
                 struct err *err)
{
  struct opening o = { .s = sftp_store_of (store), .name = name };
  CLEANUP_FREE char *full = NULL;
  struct sftp_block *b;
  int r = sftp_link_run (o.s->link, do_open, &o, err);

  if (r < 0)
    return r;
  b = calloc (1, sizeof *b);
  if (b == NULL || asprintf (&full, "%s/%s", store->name, name) < 0)
    r = err_nomem (err);
  if (r == 0)
    r = block_init (&b->base, &sftp_block_ops, full, o.size, false, err);
  if (r == 0 && (b->path = strdup (o.path)) == NULL) {
    free (b->base.name);
    r = err_nomem (err);
  }
  if (r < 0) {
    opened_unref (o.opened);
    free (b);
    return r;
  }
  pthread_mutex_init (&b->lock, NULL);
  b->link = sftp_link_ref (o.s->link);
  b->opened = o.opened;
  b->ahead = sftp_ahead_new (o.size);
  *out = &b->base;
  return 0;
}
