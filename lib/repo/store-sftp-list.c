/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Listings over SFTP.  A folder is opened while it is still being looked at: to
 * open it changes nothing, and what is in it is not asked for before the look
 * says that it is one.  Then AT_ONCE requests are on their way: of most folders
 * the first answer has all names, and the second one says so.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/vector.h"
#include "lib/repo/store-sftp-private.h"

#define AT_ONCE 3U

struct name {
  char *name;                   /* owned */
  enum store_kind kind;
};

DEFINE_VECTOR (names, struct name);

static void
names_free (struct names *names)
{
  for (size_t i = 0; i < names->len; ++i)
    free (names->ptr[i].name);
  vector_free (names);
}

static enum store_kind
kind_of (uint32_t mode)
{
  return S_ISREG (mode) ? STORE_FILE : S_ISDIR (mode) ? STORE_FOLDER
    : STORE_OTHER;
}

/* §7: a name, the line that ls -l would print, the attributes. */
static int
take_name (struct sftp_reader *body, struct names *names, struct err *err)
{
  struct name n = { sftp_get_text (body), STORE_OTHER };
  struct sftp_attrs attrs;
  size_t len;

  (void) sftp_get_bytes (body, &len);
  sftp_get_attrs (body, &attrs);
  if (n.name == NULL || body->bad) {
    free (n.name);
    return err_set (err, -EPROTO, "its listing has what can't be a name "
                    "(NBI-137)");
  }
  if (strcmp (n.name, ".") == 0 || strcmp (n.name, "..") == 0) {
    free (n.name);
    return 0;
  }
  if (!attrs.has_mode) {
    free (n.name);
    return err_set (err, -ENOTSUP, "the server does not tell what is a folder");
  }
  n.kind = kind_of (attrs.mode);
  if (vector_append (names, &n) == 0)
    return 0;
  free (n.name);
  return err_nomem (err);
}

/* Of an answer.  1: there are more. */
static int
take_names (struct sftp *sftp, struct sftp_call *call, struct names *names,
            struct err *err)
{
  struct sftp_reader body;
  uint32_t n;
  int r = sftp_wait (sftp, call, err);

  if (r == 0)
    r = sftp_answer (call, SFTP_NAME, &body, err);
  if (r == -ENODATA)
    return 0;
  if (r < 0)
    return r;
  n = sftp_get_u32 (&body);
  for (r = 0; r == 0 && n > 0; --n)
    r = take_name (&body, names, err);
  return r < 0 ? r : 1;
}

static int
send_readdir (struct sftp *sftp, const struct sftp_handle *handle,
              struct sftp_call *call, struct err *err)
{
  sftp_call_free (call);
  sftp_packet_begin (&call->packet, SFTP_READDIR);
  sftp_put_bytes (&call->packet, handle->bytes, handle->len);
  return sftp_send (sftp, call, err);
}

/* A ring of calls.  Once one says that there is no more, those behind it may
 * fail for that; but they may have names after all, which are not to be lost.
 */
static int
read_names (struct sftp *sftp, const struct sftp_handle *handle,
            struct names *names, struct err *err)
{
  struct sftp_call calls[AT_ONCE] = { SFTP_CALL_INIT, };
  unsigned first = 0, n = 0;
  int r = 1;

  for (unsigned i = 0; i < AT_ONCE; ++i)
    calls[i] = (struct sftp_call) SFTP_CALL_INIT;
  while (r == 1 || n > 0) {
    struct err why = ERR_INIT;
    int r2;

    while (r == 1 && n < AT_ONCE) {
      r2 = send_readdir (sftp, handle, &calls[(first + n) % AT_ONCE], err);
      if (r2 == 0)
        ++n;
      else
        r = r2;
    }
    if (n == 0)
      break;
    r2 = take_names (sftp, &calls[first], names, &why);
    if (r == 1 || (r == 0 && r2 < 0 && r2 != SFTP_FAILED)) {
      r = r2;
      if (r < 0 && err != NULL)
        *err = why;
    }
    first = (first + 1) % AT_ONCE;
    --n;
  }
  for (unsigned i = 0; i < AT_ONCE; ++i)
    sftp_call_free (&calls[i]);
  return r;
}

/* The folder's handle, once it was looked at. */
static int
open_folder (struct sftp_store *s, struct sftp *sftp, const char *name,
             struct sftp_handle *handle, struct err *err)
{
  CLEANUP_SFTP_CALL struct sftp_call call = SFTP_CALL_INIT;
  char path[SFTP_PATH_SIZE];
  struct sftp_found found;
  struct sftp_look look;
  int r = sftp_look_send (s, sftp, name, &look, err), r2, sent = r;

  if (r == 0)
    sent = sftp_path (s, name, path, err);
  if (sent == 0) {
    sftp_packet_begin (&call.packet, SFTP_OPENDIR);
    sftp_put_text (&call.packet, path);
    sent = sftp_send (sftp, &call, err);
  }
  r2 = sftp_look_take (sftp, &look, &found, r < 0 ? NULL : err);
  r = r < 0 ? r : r2;
  if (r == 0)
    r = sftp_check_folder (&found, err);
  if (sent < 0)
    return r < 0 ? r : sent;
  r2 = sftp_wait (sftp, &call, r < 0 ? NULL : err);
  if (r2 == 0)
    r2 = sftp_handle_of (&call, handle, r < 0 ? NULL : err);
  if (r < 0 && r2 == 0)
    sftp_ask_close (sftp, handle, NULL);
  return r < 0 ? r : r2;
}

struct listing {
  struct sftp_store *s;
  const char *folder;
  struct names *names;
};

static int
do_list (struct sftp *sftp, bool again, void *opaque, struct err *err)
{
  const struct listing *l = opaque;
  struct sftp_handle handle;
  int r = open_folder (l->s, sftp, l->folder, &handle, err);

  (void) again;
  names_free (l->names);
  if (r < 0)
    return sftp_last_error (l->s, sftp, r, err);
  r = read_names (sftp, &handle, l->names, err);
  sftp_ask_close (sftp, &handle, NULL);
  return r == SFTP_FAILED
    ? err_set (err, -EIO, "its listing ended with an error (NBI-137)")
    : sftp_last_error (l->s, sftp, r, err);
}

/* All names first: fn is called once for each, however often it is listed. */
int
sftp_store_list (struct store *store, const char *folder,
                 int (*fn) (void *opaque, const struct store_entry *entry,
                            struct err *err),
                 void *opaque, struct err *err)
{
  struct names names = VECTOR_INIT;
  struct listing l = { sftp_store_of (store), folder, &names };
  int r = sftp_link_run (l.s->link, do_list, &l, err);

  for (size_t i = 0; r == 0 && i < names.len; ++i) {
    struct store_entry entry = { names.ptr[i].name, names.ptr[i].kind };

    r = fn (opaque, &entry, err);
  }
  names_free (&names);
  return r;
}

bool
sftp_has_names (struct sftp_store *s, struct sftp *sftp, const char *name)
{
  struct names names = VECTOR_INIT;
  struct listing l = { s, name, &names };
  bool some = do_list (sftp, false, &l, NULL) == 0 && names.len > 0;

  names_free (&names);
  return some;
}
