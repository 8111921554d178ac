/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A folder of another machine as a store, over SFTP.
 *
 * SFTP 3 has few numbers for errors: "failure" is said of a name that is
 * there, of a folder that is not empty, of a full disk.  Which it was, a second
 * look tells.
 *
 * An answer that is lost with its connection: what changes nothing if it is
 * done twice, is done again.  A rename is looked up: our names are nobody
 * else's, so that a folder that left its place and is where we wanted it was
 * moved by us.  Of what has to be made by one alone (a file, a folder) nobody
 * can tell who made it: -EIO.
 *
 * A rename is SFTP's own, which never replaces; sftp-server does it, for a
 * file, by a link and the removal of the old name: a crash of the server
 * between the two leaves both, the same bytes under two names, of which the old
 * one is `.part', or in a folder that is deleted, and nobody's.
 *
 * A folder is flushed by a small file that is made in it, flushed and deleted
 * (docs/NBI.md §13).
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/cleanup.h"
#include "lib/base/uuid.h"
#include "lib/repo/nbi.h"
#include "lib/repo/ssh-connect.h"
#include "lib/repo/store-sftp-private.h"
#include "lib/repo/store-sftp.h"

int
sftp_last_error (struct sftp_store *s, struct sftp *sftp, int r,
                 struct err *err)
{
  uint64_t space;

  if (r == SFTP_FAILED &&
      sftp_ask_space (sftp, s->root, &space, NULL) == 0 && space < 65536)
    return err_set (err, -ENOSPC, "no space is left on the server");
  if (r == SFTP_FAILED || r == -EPROTO || r == -ENODATA || r == -EINVAL)
    return err_code (err, -EIO);
  return r;
}

/*--- operations -------------------------------------------------------------*/

/* What one of them is about. */
struct op {
  struct sftp_store *s;
  const char *name, *to;
  void *out;
  const void *buf;
  size_t len;
};

/* The name is there after a failure to make it: who made it? */
static int
exists (bool again, struct err *err)
{
  if (again)
    return err_set (err, -EIO, "the connection broke, and whether this was "
                    "made here or by somebody else can't be told");
  return err_set (err, -EEXIST, "there is one already");
}

static int
do_stat (struct sftp *sftp, bool again, void *opaque, struct err *err)
{
  const struct op *op = opaque;
  struct store_stat *out = op->out;
  struct sftp_found found;
  int r = sftp_find_there (op->s, sftp, op->name, &found, err);

  (void) again;
  if (r < 0)
    return sftp_last_error (op->s, sftp, r, err);
  out->kind = S_ISREG (found.attrs.mode) ? STORE_FILE
    : S_ISDIR (found.attrs.mode) ? STORE_FOLDER : STORE_OTHER;
  out->size = found.attrs.size;
  out->time = found.attrs.mtime;
  return 0;
}

static int
sftp_store_stat (struct store *store, const char *name,
                 struct store_stat *out, struct err *err)
{
  struct op op = { .s = sftp_store_of (store), .name = name, .out = out };

  return sftp_link_run (op.s->link, do_stat, &op, err);
}

static int
do_make_folder (struct sftp *sftp, bool again, void *opaque, struct err *err)
{
  const struct op *op = opaque;
  struct sftp_found found;
  char path[SFTP_PATH_SIZE];
  int r = sftp_find (op->s, sftp, op->name, &found, err);

  if (r == 0 && found.there)
    return exists (again, err);
  if (r == 0)
    r = sftp_path (op->s, op->name, path, err);
  if (r == 0)
    r = sftp_ask_mkdir (sftp, path, SFTP_FOLDER_MODE, err);
  if (r == 0) {
    sftp_promise (op->s, op->name, sftp_number (sftp));
    return 0;
  }
  if (r == SFTP_FAILED && sftp_find (op->s, sftp, op->name, &found,
                                     NULL) == 0 && found.there)
    return exists (again, err);
  return sftp_last_error (op->s, sftp, r, err);
}

static int
sftp_store_make_folder (struct store *store, const char *name,
                        struct err *err)
{
  struct op op = { .s = sftp_store_of (store), .name = name };

  return sftp_link_run (op.s->link, do_make_folder, &op, err);
}

/* After a lost answer what is not there any more is what was to be. */
static int
do_delete (struct sftp *sftp, bool again, void *opaque, struct err *err)
{
  const struct op *op = opaque;
  struct sftp_found found;
  char path[SFTP_PATH_SIZE];
  int r = sftp_find_there (op->s, sftp, op->name, &found, err);

  if (r == 0 && S_ISDIR (found.attrs.mode))
    return err_set (err, -EISDIR, "is a folder");
  if (r == 0)
    r = sftp_path (op->s, op->name, path, err);
  if (r == 0)
    r = sftp_ask_path (sftp, SFTP_REMOVE, path, err);
  if (r == -ENOENT && again)
    r = 0;
  if (r == 0)
    sftp_promise_moved (op->s, op->name, NULL);
  return sftp_last_error (op->s, sftp, r, err);
}

static int
sftp_store_delete (struct store *store, const char *name, struct err *err)
{
  struct op op = { .s = sftp_store_of (store), .name = name };

  return sftp_link_run (op.s->link, do_delete, &op, err);
}

/*--- folders ----------------------------------------------------------------*/

static int
do_delete_folder (struct sftp *sftp, bool again, void *opaque,
                  struct err *err)
{
  const struct op *op = opaque;
  char path[SFTP_PATH_SIZE];
  int r = sftp_find_folder (op->s, sftp, op->name, err);

  if (r == 0)
    r = sftp_path (op->s, op->name, path, err);
  if (r == 0)
    r = sftp_ask_path (sftp, SFTP_RMDIR, path, err);
  if (r == -ENOENT && again)
    r = 0;
  if (r == 0)
    sftp_promise_moved (op->s, op->name, NULL);
  if (r == SFTP_FAILED && sftp_has_names (op->s, sftp, op->name))
    return err_set (err, -ENOTEMPTY, "there is something in it");
  return sftp_last_error (op->s, sftp, r, err);
}

static int
sftp_store_delete_folder (struct store *store, const char *name,
                          struct err *err)
{
  struct op op = { .s = sftp_store_of (store), .name = name };

  return sftp_link_run (op.s->link, do_delete_folder, &op, err);
}

/*--- renaming ---------------------------------------------------------------*/

/* 1: it may be renamed; 0: it has been, before the answer was lost.  Both names
 * are asked for before any answer.
 */
static int
look_before_rename (const struct op *op, struct sftp *sftp, bool again,
                    struct err *err)
{
  struct sftp_look look_from, look_to;
  struct sftp_found from, to;
  struct err why = ERR_INIT;
  int r = sftp_look_send (op->s, sftp, op->name, &look_from, err);
  int r2 = sftp_look_send (op->s, sftp, op->to, &look_to, &why), r3;

  r3 = sftp_look_take (sftp, &look_from, &from, r < 0 ? NULL : err);
  r = r < 0 ? r : r3;
  r3 = sftp_look_take (sftp, &look_to, &to, r2 < 0 ? NULL : &why);
  r2 = r2 < 0 ? r2 : r3;
  if (r < 0)
    return r;
  if (!from.there && !again)
    return err_set (err, -ENOENT, "there is no such name");
  if (r2 < 0)
    return err_set (err, r2, "%s", why.msg);
  if (!from.there)
    return to.there ? 0 : err_set (err, -ENOENT, "there is no such name");
  return to.there ? err_set (err, -EEXIST, "‘%s’ is there already", op->to)
    : 1;
}

static int
do_rename (struct sftp *sftp, bool again, void *opaque, struct err *err)
{
  const struct op *op = opaque;
  char from[SFTP_PATH_SIZE], to[SFTP_PATH_SIZE];
  int r = look_before_rename (op, sftp, again, err), r2;

  if (r == 1) {
    r = sftp_path (op->s, op->name, from, err);
    if (r == 0)
      r = sftp_path (op->s, op->to, to, err);
    if (r == 0)
      r = sftp_ask_rename (sftp, from, to, err);
    if (r == SFTP_FAILED || r == -ENOENT) {
      r2 = look_before_rename (op, sftp, again, err);
      r = r2 == 1 ? r : r2;
    }
  }
  if (r == 0) {
    sftp_promise_moved (op->s, op->name, op->to);
    sftp_promise (op->s, op->to, sftp_number (sftp));
  }
  return sftp_last_error (op->s, sftp, r, err);
}

static int
sftp_store_rename (struct store *store, const char *from, const char *to,
                   struct err *err)
{
  struct op op = { .s = sftp_store_of (store), .name = from, .to = to };

  return sftp_link_run (op.s->link, do_rename, &op, err);
}

/*--- small files ------------------------------------------------------------*/

static int
rewrite_open (const struct op *op, struct sftp *sftp,
              const struct sftp_handle *handle, uint64_t size,
              struct err *err)
{
  struct sftp_attrs attrs;
  size_t most = sftp_server (sftp)->max_write;
  int r = 0;

  for (size_t at = 0; r == 0 && at < op->len; at += most) {
    size_t n = op->len - at < most ? op->len - at : most;

    r = sftp_ask_write (sftp, handle, (const char *) op->buf + at, n, at,
                        err);
  }
  if (r == 0 && size > op->len)
    r = sftp_ask_truncate (sftp, handle, op->len, err);
  if (r == 0)
    r = sftp_ask_fstat (sftp, handle, &attrs, err);
  if (r == 0)
    *(int64_t *) op->out = attrs.mtime;
  return r;
}

static int
do_rewrite (struct sftp *sftp, bool again, void *opaque, struct err *err)
{
  const struct op *op = opaque;
  struct sftp_handle handle;
  struct sftp_found found;
  char path[SFTP_PATH_SIZE];
  int r = sftp_find_file (op->s, sftp, op->name, &found, err);

  (void) again;
  if (r == 0)
    r = sftp_path (op->s, op->name, path, err);
  if (r == 0)
    r = sftp_ask_open (sftp, path, SFTP_FOR_WRITING, 0, &handle, err);
  if (r == 0) {
    int r2;

    r = rewrite_open (op, sftp, &handle, found.attrs.size, err);
    r2 = sftp_ask_close (sftp, &handle, r < 0 ? NULL : err);
    r = r < 0 ? r : r2;
  }
  return sftp_last_error (op->s, sftp, r, err);
}

static int
sftp_store_rewrite (struct store *store, const char *name, const void *buf,
                    size_t len, int64_t *time, struct err *err)
{
  struct op op = { .s = sftp_store_of (store), .name = name, .out = time,
                   .buf = buf, .len = len };

  return sftp_link_run (op.s->link, do_rewrite, &op, err);
}

/* A byte, and the flush: of which comes first nothing depends, for it is the
 * folder that matters.
 */
static int
write_and_flush (struct sftp *sftp, const struct sftp_handle *handle,
                 struct err *err)
{
  CLEANUP_SFTP_CALL struct sftp_call write = SFTP_CALL_INIT;
  CLEANUP_SFTP_CALL struct sftp_call flush = SFTP_CALL_INIT;
  int r, r2;

  sftp_packet_begin (&write.packet, SFTP_WRITE);
  sftp_put_bytes (&write.packet, handle->bytes, handle->len);
  sftp_put_u64 (&write.packet, 0);
  sftp_put_bytes (&write.packet, "\n", 1);
  sftp_put_fsync (&flush.packet, handle);
  r = sftp_send (sftp, &write, err);
  if (r < 0)
    return r;
  r2 = sftp_ask (sftp, &flush, err);
  r = sftp_wait (sftp, &write, err);
  if (r == 0)
    r = sftp_status (&write, err);
  if (r == 0 && r2 == 0)
    r2 = sftp_status (&flush, err);
  return r < 0 ? r : r2;
}

/* The file is new each time: what an earlier attempt left does not matter. */
static int
flush_by_file (const struct op *op, struct sftp *sftp, struct err *err)
{
  char path[SFTP_PATH_SIZE], name[STORE_PATH_SIZE], text[UUID_STRING_SIZE];
  struct sftp_handle handle;
  uint8_t uuid[UUID_SIZE];
  int r = uuid_new (uuid, err), r2;

  if (r < 0)
    return r;
  uuid_to_string (uuid, text);
  if ((size_t) snprintf (name, sizeof name, "%s%s.flush-%s", op->name,
                         op->name[0] ? "/" : "", text) >= sizeof name)
    return err_set (err, -EINVAL, "the folder's name is too long");
  r = sftp_path (op->s, name, path, err);
  if (r == 0)
    r = sftp_ask_open (sftp, path, SFTP_FOR_WRITING | SFTP_CREATE |
                       SFTP_EXCLUSIVE, SFTP_FILE_MODE, &handle, err);
  if (r < 0)
    return r;
  r = write_and_flush (sftp, &handle, err);
  sftp_tell_close (sftp, &handle);
  r2 = sftp_ask_path (sftp, SFTP_REMOVE, path, r < 0 ? NULL : err);
  return r < 0 ? r : r2;
}

static int
do_flush_folder (struct sftp *sftp, bool again, void *opaque,
                 struct err *err)
{
  const struct op *op = opaque;
  int r = sftp_find_folder (op->s, sftp, op->name, err);

  (void) again;
  if (r == 0)
    r = sftp_promise_check (op->s, sftp, op->name, err);
  if (r == 0 && !sftp_server (sftp)->has_fsync)
    return err_set (err, -ENOTSUP, "the server has no fsync@openssh.com");
  if (r == 0)
    r = flush_by_file (op, sftp, err);
  return sftp_last_error (op->s, sftp, r, err);
}

static int
sftp_store_flush_folder (struct store *store, const char *name,
                         struct err *err)
{
  struct op op = { .s = sftp_store_of (store), .name = name };
  int r = sftp_link_run (op.s->link, do_flush_folder, &op, err);

  if (r == 0)
    sftp_promise_kept (op.s, name);
  return r;
}

static int
do_space (struct sftp *sftp, bool again, void *opaque, struct err *err)
{
  const struct op *op = opaque;

  (void) again;
  return sftp_last_error (op->s, sftp,
                          sftp_ask_space (sftp, op->s->root, op->out, err),
                          err);
}

static int
sftp_store_space (struct store *store, uint64_t *bytes, struct err *err)
{
  struct op op = { .s = sftp_store_of (store), .out = bytes };

  return sftp_link_run (op.s->link, do_space, &op, err);
}

/*--- the store --------------------------------------------------------------*/

static void
sftp_store_close (struct store *store)
{
  struct sftp_store *s = sftp_store_of (store);

  sftp_link_unref (s->link);
  sftp_promise_free (s);
  pthread_mutex_destroy (&s->lock);
  free (s->root);
  free (s);
}

static void
sftp_store_set_job (struct store *store, struct job *job)
{
  sftp_link_set_job (sftp_store_of (store)->link, job);
}

static unsigned
sftp_store_connections (struct store *store)
{
  return sftp_link_number (sftp_store_of (store)->link);
}

static const struct store_ops sftp_store_ops = {
  .close = sftp_store_close,
  .make = sftp_store_make,
  .write = sftp_store_write,
  .flush = sftp_store_flush,
  .end = sftp_store_end,
  .rewrite = sftp_store_rewrite,
  .open = sftp_store_read,
  .stat = sftp_store_stat,
  .list = sftp_store_list,
  .make_folder = sftp_store_make_folder,
  .delete_folder = sftp_store_delete_folder,
  .delete = sftp_store_delete,
  .rename = sftp_store_rename,
  .flush_folder = sftp_store_flush_folder,
  .space = sftp_store_space,
  .set_job = sftp_store_set_job,
  .connections = sftp_store_connections,
};

/* The folder is there, or is made. */
static int
do_open (struct sftp *sftp, bool again, void *opaque, struct err *err)
{
  const struct op *op = opaque;
  struct sftp_found found;
  int r = sftp_find (op->s, sftp, "", &found, err);

  (void) again;
  if (r == 0 && !found.there && op->out != NULL) {
    r = sftp_ask_mkdir (sftp, op->s->root, 0777, err);
    if (r == SFTP_FAILED || r == 0)
      r = sftp_find (op->s, sftp, "", &found, err);
  }
  if (r == 0 && !found.there)
    return err_set (err, -ENOENT, "there is no such folder on the server");
  if (r == 0 && !S_ISDIR (found.attrs.mode))
    return err_set (err, -ENOTDIR, "is no folder");
  return sftp_last_error (op->s, sftp, r, err);
}

int
store_sftp_open (const struct sftp_dialer *dialer, const char *name,
                 const char *path, bool make, unsigned lag,
                 struct job *job, struct store **out, struct err *err)
{
  struct sftp_store *s = calloc (1, sizeof *s);
  struct op op = { .s = s, .out = make ? s : NULL };
  int r;

  if (s == NULL) {
    dialer->free (dialer->opaque);
    return err_nomem (err);
  }
  pthread_mutex_init (&s->lock, NULL);
  r = sftp_link_new (dialer, job, &s->link, err);
  if (r == 0) {
    s->root = strdup (path);
    r = s->root ? sftp_link_run (s->link, do_open, &op, err)
      : err_nomem (err);
  }
  if (r == 0)
    r = store_init (&s->base, &sftp_store_ops, name, lag, false, err);
  if (r < 0)
    sftp_store_close (&s->base);
  else
    *out = &s->base;
  return r;
}

static int
dial_ssh (void *opaque, struct job *const *job, struct sftp_way **out,
          struct err *err)
{
  return ssh_connect_sftp (opaque, job, out, err);
}

static void
free_uri (void *opaque)
{
  ssh_uri_free (opaque);
  free (opaque);
}

int
store_ssh_open (const char *text, bool make, struct job *job,
                struct store **out, struct err *err)
{
  struct ssh_uri *uri = malloc (sizeof *uri);
  struct sftp_dialer dialer = { dial_ssh, free_uri, uri, 0, 0 };
  int r = uri ? ssh_uri_parse (text, uri, err) : err_nomem (err);

  if (r < 0) {                  /* the text may have a password */
    free (uri);
    return r;
  }
  dialer.timeout = uri->timeout;
  dialer.retry = uri->retry;
  r = store_sftp_open (&dialer, text, uri->path, make, uri->lag, job, out,
                       err);
  return r < 0 ? err_in (err, "%s", text) : 0;
}
