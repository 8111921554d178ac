/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A file that is written over SFTP.
 *
 * It is a line of pieces, each a request to write that is put together once:
 *
 *      head          unanswered        unsent      filling
 *   ... | written, but  |  on their way  |  waiting  |  not full
 *       | not flushed   |                |           |
 *
 * Up to WINDOW bytes are on their way at once, so that the way's delay costs
 * nothing.  All that is not known to be on stable storage is kept: after each
 * FLUSH_EVERY bytes a flush is sent after them, and what it vouches for is let
 * go; that is what had been answered when it was sent, in case a server does
 * not keep the order.  Where connections break before so much gets through,
 * less is sent between two flushes, and at once.
 *
 * When the connection breaks (docs/NBI.md §13), the file is opened on the next
 * one, and all that is kept is written again at its place: the same bytes
 * behind the last flush that was answered.  A file that is gone, or shorter
 * than that, is -EIO.  So is a broken connection to a server that can't flush:
 * nobody knows what it still has.
 *
 * A crash of the server leaves what was flushed, and behind it anything, zeros
 * too, up to what was written; nobody reads a file before it was flushed as a
 * whole and renamed.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/repo/nbi.h"
#include "lib/repo/store-sftp-private.h"

#define WINDOW (4U * 1024 * 1024)
#define FLUSH_EVERY (16U * 1024 * 1024)
#define FLUSH_MIN (128U * 1024)
#define KEEP_MAX (2 * FLUSH_EVERY)
#define REOPEN_MAX 8            /* times that no byte more gets through */

struct piece {
  struct piece *next;
  struct sftp_call call;
  uint64_t off;
  size_t len;
};

struct sftp_file {
  struct store_file base;
  struct sftp_store *s;
  char *name;                   /* owned */
  struct sftp *sftp;            /* what the handle is of */
  struct sftp_handle handle;

  struct piece *head, **end;    /* all that are full or were sent, and the
                                   NULL behind them */
  struct piece *unanswered;     /* NULL: none */
  struct piece *unsent;
  struct piece *filling;        /* not in the line; NULL: none */
  uint64_t queued;              /* where the line ends in the file */
  uint64_t sent, answered, flushed;

  struct sftp_call flush;
  bool flushing;                /* it is on its way, */
  uint64_t covers;              /* and vouches for these bytes */
  unsigned reopened;            /* since something more was flushed */
  uint64_t every;               /* bytes between two flushes */
};

static struct sftp_file *
file_of (struct store_file *f)
{
  return (struct sftp_file *) f;
}

static bool
can_flush (const struct sftp_file *f)
{
  return sftp_server (f->sftp)->has_fsync;
}

/*--- pieces -----------------------------------------------------------------*/

static void
piece_free (struct piece *p)
{
  if (p == NULL)
    return;
  sftp_call_free (&p->call);
  free (p);
}

/* What is in front of the bytes; their number is put there when it is known. */
static void
put_head (const struct sftp_file *f, struct sftp_packet *packet, uint64_t off)
{
  sftp_packet_begin (packet, SFTP_WRITE);
  sftp_put_bytes (packet, f->handle.bytes, f->handle.len);
  sftp_put_u64 (packet, off);
  sftp_put_u32 (packet, 0);
}

static struct piece *
piece_new (const struct sftp_file *f)
{
  struct piece *p = calloc (1, sizeof *p);

  if (p == NULL)
    return NULL;
  p->off = f->queued;
  sftp_packet_reserve (&p->call.packet, sftp_server (f->sftp)->max_write +
                       sizeof f->handle.bytes + 64);
  put_head (f, &p->call.packet, p->off);
  return p;
}

static int
piece_send (struct sftp_file *f, struct piece *p, struct err *err)
{
  if (p->call.packet.failed)
    return err_nomem (err);
  put_be32 (p->call.packet.bytes + p->call.packet.len - p->len - 4,
            (uint32_t) p->len);
  return sftp_send (f->sftp, &p->call, err);
}

/* The same bytes for another handle. */
static int
piece_readdress (const struct sftp_file *f, struct piece *p, struct err *err)
{
  struct sftp_packet old = p->call.packet;

  p->call.packet = (struct sftp_packet) { NULL, 0, 0, false };
  sftp_call_free (&p->call);
  sftp_packet_reserve (&p->call.packet, old.len + sizeof f->handle.bytes);
  put_head (f, &p->call.packet, p->off);
  sftp_put_raw (&p->call.packet, old.bytes + old.len - p->len, p->len);
  sftp_packet_free (&old);
  return p->call.packet.failed ? err_nomem (err) : 0;
}

static void
let_go (struct sftp_file *f, uint64_t end)
{
  while (f->head != NULL && f->head != f->unanswered &&
         f->head != f->unsent && f->head->off + f->head->len <= end) {
    struct piece *p = f->head;

    f->head = p->next;
    if (f->head == NULL)
      f->end = &f->head;
    piece_free (p);
  }
}

/*--- one step ---------------------------------------------------------------*/

static int
send_pieces (struct sftp_file *f, struct err *err)
{
  while (f->unsent != NULL &&
         f->sent - f->answered < min_u64 (WINDOW, f->every)) {
    struct piece *p = f->unsent;
    int r = piece_send (f, p, err);

    if (r < 0)
      return r;
    if (f->unanswered == NULL)
      f->unanswered = p;
    f->unsent = p->next;
    f->sent = p->off + p->len;
  }
  return 0;
}

/* The answer to the first piece that has none; it is waited for. */
static int
take_answer (struct sftp_file *f, struct err *err)
{
  struct piece *p = f->unanswered;
  int r = sftp_wait (f->sftp, &p->call, err);

  if (r == 0)
    r = sftp_status (&p->call, err);
  if (r < 0)
    return r;
  f->unanswered = p->next == f->unsent ? NULL : p->next;
  f->answered = p->off + p->len;
  if (!can_flush (f)) {
    f->flushed = f->answered;   /* there is nothing to keep it for */
    let_go (f, f->flushed);
  }
  return 0;
}

static int
send_flush (struct sftp_file *f, struct err *err)
{
  int r;

  sftp_put_fsync (&f->flush.packet, &f->handle);
  r = sftp_send (f->sftp, &f->flush, err);
  if (r < 0)
    return r;
  f->flushing = true;
  f->covers = f->answered;
  return 0;
}

static int
take_flush (struct sftp_file *f, struct err *err)
{
  int r = sftp_wait (f->sftp, &f->flush, err);

  if (r == 0)
    r = sftp_status (&f->flush, err);
  if (r < 0)
    return r;
  f->flushing = false;
  if (f->covers > f->flushed) {
    f->reopened = 0;
    f->every = min_u64 (f->every * 2, FLUSH_EVERY);
  }
  f->flushed = f->covers;
  let_go (f, f->flushed);
  return 0;
}

/* What has come without our waiting for it. */
static int
harvest (struct sftp_file *f, struct err *err)
{
  int r = 0;

  while (r == 0 && f->unanswered != NULL &&
         sftp_is_done (f->sftp, &f->unanswered->call))
    r = take_answer (f, err);
  if (r == 0 && f->flushing && sftp_is_done (f->sftp, &f->flush))
    r = take_flush (f, err);
  return r;
}

static int
send_what_is_due (struct sftp_file *f, struct err *err)
{
  int r = harvest (f, err);

  if (r == 0)
    r = send_pieces (f, err);
  if (r == 0 && can_flush (f) && !f->flushing &&
      f->answered - f->flushed >= f->every)
    r = send_flush (f, err);
  return r;
}

/*--- a broken connection ----------------------------------------------------*/

/* Nothing of ours is on its way any more: it was answered, or ended with the
 * connection.
 */
static void
wait_for_all (struct sftp_file *f)
{
  for (struct piece *p = f->unanswered; p != NULL && p != f->unsent;
       p = p->next)
    (void) sftp_wait (f->sftp, &p->call, NULL);
  if (f->flushing)
    (void) sftp_wait (f->sftp, &f->flush, NULL);
  f->flushing = false;
}

static int
open_again (struct sftp_file *f, struct err *err)
{
  struct sftp_attrs attrs;
  struct sftp_found found;
  char path[SFTP_PATH_SIZE];
  int r = sftp_find_file (f->s, f->sftp, f->name, &found, err);

  if (r == 0)
    r = sftp_path (f->s, f->name, path, err);
  if (r == 0)
    r = sftp_ask_open (f->sftp, path, SFTP_FOR_WRITING, 0, &f->handle, err);
  if (r == 0)
    r = sftp_ask_fstat (f->sftp, &f->handle, &attrs, err);
  if (r == -ENOENT)
    return err_set (err, -EIO, "the connection broke, and the file is gone "
                    "since");
  if (r == 0 && attrs.size < f->flushed)
    return err_set (err, -EIO, "the connection broke, and the server has only "
                    "%" PRIu64 " bytes of the file, after it said that %" PRIu64
                    " are on stable storage", attrs.size, f->flushed);
  return r;
}

/* All that is kept is to be sent, as if it never had been. */
static int
begin_again (struct sftp_file *f, struct err *err)
{
  int r = 0;

  f->every = max_u64 (f->every / 4, FLUSH_MIN);
  f->unanswered = NULL;
  let_go (f, f->flushed);
  f->unsent = f->head;
  f->sent = f->answered = f->flushed;
  for (struct piece *p = f->head; r == 0 && p != NULL; p = p->next)
    r = piece_readdress (f, p, err);
  if (r == 0 && f->filling != NULL)
    r = piece_readdress (f, f->filling, err);
  return r;
}

static int
reopen (struct sftp_file *f, struct err *err)
{
  bool could_flush = can_flush (f);
  int r;

  wait_for_all (f);
  if (!could_flush)
    return err_set (err, -EIO, "the connection broke, and the server has no "
                    "fsync@openssh.com: it may have lost what was written");
  do {
    if (++f->reopened > REOPEN_MAX)
      return err_set (err, -EIO, "the connection broke %d times without "
                      "anything getting through", REOPEN_MAX);
    sftp_unref (f->sftp);
    f->sftp = NULL;
    r = sftp_link_take (f->s->link, &f->sftp, err);
    if (r < 0)
      return r;
    r = open_again (f, err);
  } while (r == SFTP_LOST);
  return r < 0 ? r : begin_again (f, err);
}

/* Nothing of the file can be gone on with. */
static int
give_up (struct sftp_file *f, int r, struct err *err)
{
  if (f->sftp == NULL)
    return r;
  r = sftp_last_error (f->s, f->sftp, r, err);
  return r == SFTP_LOST ? err_code (err, -EIO) : r;
}

/* step, and again on the next connection, until it is done. */
static int
run (struct sftp_file *f, int (*step) (struct sftp_file *f, struct err *err),
     struct err *err)
{
  int r = f->sftp ? step (f, err)
    : err_set (err, -EIO, "the connection broke before");

  while (r == SFTP_LOST) {
    r = reopen (f, err);
    if (r == 0)
      r = step (f, err);
  }
  return r < 0 ? give_up (f, r, err) : 0;
}

/*--- the operations ---------------------------------------------------------*/

/* There is room for more in the line. */
static int
step_room (struct sftp_file *f, struct err *err)
{
  int r = send_what_is_due (f, err);

  while (r == 0 && (f->sent < f->queued ||
                    f->queued - f->flushed >= KEEP_MAX)) {
    if (f->unanswered != NULL)
      r = take_answer (f, err);
    else if (f->flushing)
      r = take_flush (f, err);
    if (r == 0)
      r = send_what_is_due (f, err);
  }
  return r;
}

static int
step_answers (struct sftp_file *f, struct err *err)
{
  int r = send_what_is_due (f, err);

  while (r == 0 && f->answered < f->queued) {
    r = take_answer (f, err);
    if (r == 0)
      r = send_what_is_due (f, err);
  }
  if (r == 0 && f->flushing)
    r = take_flush (f, err);
  return r;
}

/* Without the extension nothing is promised: store_try says so. */
static int
step_flush (struct sftp_file *f, struct err *err)
{
  int r = step_answers (f, err);

  if (r < 0 || !can_flush (f))
    return r;
  r = send_flush (f, err);
  return r < 0 ? r : take_flush (f, err);
}

static void
close_line (struct sftp_file *f)
{
  struct piece *p = f->filling;

  if (p == NULL)
    return;
  f->filling = NULL;
  *f->end = p;
  f->end = &p->next;
  if (f->unsent == NULL)
    f->unsent = p;
  f->queued += p->len;
}

int
sftp_store_write (struct store_file *file, const void *buf, size_t len,
                  struct err *err)
{
  struct sftp_file *f = file_of (file);
  const char *from = buf;

  while (len > 0) {
    size_t max, n;
    int r;

    if (f->sftp == NULL)
      return err_set (err, -EIO, "the connection broke before");
    if (f->filling == NULL)
      f->filling = piece_new (f);
    if (f->filling == NULL)
      return err_nomem (err);
    max = sftp_server (f->sftp)->max_write;
    n = f->filling->len < max ? max - f->filling->len : 0;
    n = n < len ? n : len;
    sftp_put_raw (&f->filling->call.packet, from, n);
    f->filling->len += n;
    from += n;
    len -= n;
    if (f->filling->len < max)
      return 0;
    close_line (f);
    r = run (f, step_room, err);
    if (r < 0)
      return r;
  }
  return 0;
}

int
sftp_store_flush (struct store_file *file, struct err *err)
{
  struct sftp_file *f = file_of (file);

  close_line (f);
  return run (f, step_flush, err);
}

static void
file_free (struct sftp_file *f)
{
  if (f->sftp != NULL && (f->flushing || f->unanswered != NULL))
    wait_for_all (f);
  while (f->head != NULL) {
    struct piece *p = f->head;

    f->head = p->next;
    piece_free (p);
  }
  piece_free (f->filling);
  sftp_call_free (&f->flush);
  sftp_unref (f->sftp);
  free (f->name);
  free (f);
}

/* Of a file that was flushed to its end, or is given up, there is nothing more
 * to hear.
 */
static int
close_handle (struct sftp_file *f, bool flushed, struct err *err)
{
  int r;

  if (f->sftp == NULL || sftp_is_lost (f->sftp))
    return 0;
  if (flushed || f->base.failed < 0) {
    sftp_tell_close (f->sftp, &f->handle);
    return 0;
  }
  r = sftp_ask_close (f->sftp, &f->handle, err);
  return r == SFTP_LOST ? 0 : sftp_last_error (f->s, f->sftp, r, err);
}

int
sftp_store_end (struct store_file *file, struct err *err)
{
  struct sftp_file *f = file_of (file);
  bool flushed = false;
  int r = 0, r2;

  if (file->failed == 0) {
    close_line (f);
    r = run (f, step_answers, err);
    flushed = r == 0 && can_flush (f) && f->flushed == f->queued;
  }
  r2 = close_handle (f, flushed, r < 0 ? NULL : err);
  file_free (f);
  return r < 0 ? r : r2;
}

/*--- a new one --------------------------------------------------------------*/

static int
exists (bool again, struct err *err)
{
  if (again)
    return err_set (err, -EIO, "the connection broke, and whether this was "
                    "made here or by somebody else can't be told");
  return err_set (err, -EEXIST, "there is one already");
}

static int
do_make (struct sftp *sftp, bool again, void *opaque, struct err *err)
{
  struct sftp_file *f = opaque;
  struct sftp_found found;
  char path[SFTP_PATH_SIZE];
  int r = sftp_find (f->s, sftp, f->name, &found, err);

  if (r == 0 && found.there)
    return exists (again, err);
  if (r == 0)
    r = sftp_path (f->s, f->name, path, err);
  if (r == 0)
    r = sftp_ask_open (sftp, path, SFTP_FOR_WRITING | SFTP_CREATE |
                       SFTP_EXCLUSIVE, SFTP_FILE_MODE, &f->handle, err);
  if (r == 0) {
    f->sftp = sftp_ref (sftp);
    sftp_promise (f->s, f->name, sftp_number (sftp));
    return 0;
  }
  if (r == SFTP_FAILED &&
      sftp_find (f->s, sftp, f->name, &found, NULL) == 0 && found.there)
    return exists (again, err);
  return sftp_last_error (f->s, sftp, r, err);
}

int
sftp_store_make (struct store *store, const char *name,
                 struct store_file **out, struct err *err)
{
  struct sftp_file *f = calloc (1, sizeof *f);
  int r;

  if (f == NULL)
    return err_nomem (err);
  f->s = sftp_store_of (store);
  f->end = &f->head;
  f->every = FLUSH_EVERY;
  f->name = strdup (name);
  r = f->name ? sftp_link_run (f->s->link, do_make, f, err) : err_nomem (err);
  if (r < 0)
    file_free (f);
  else
    *out = &f->base;
  return r;
}
