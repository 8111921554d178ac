/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libnbd.h>

#include "lib/base/cleanup.h"
#include "lib/base/uri.h"
#include "lib/block/nbd.h"
#include "lib/block/nbd-connect.h"
#include "tools/exports.h"

static int
one_export (void *opaque, const char *name, const char *description)
{
  struct export_vector *exports = opaque;
  struct export e = { .name = strdup (name) };

  if (*description)
    e.description = strdup (description);
  if (e.name && exports->len < EXPORTS_MAX &&
      vector_append (exports, &e) == 0)
    return 0;
  free (e.name);
  free (e.description);
  return 0;
}

/* Of an option: there is nothing more to do when it is done. */
static int
option_done (void *opaque, int *error)
{
  *(int *) opaque = *error;
  return 0;
}

/* Returns false when the server does not answer any more. */
static bool
ask_size (struct nbd_handle *nbd, struct export *e)
{
  nbd_completion_callback done = { .callback = option_done };
  int error = 0;
  int64_t size;

  done.user_data = &error;
  if (nbd_set_export_name (nbd, e->name) < 0 ||
      nbd_aio_opt_info (nbd, done) < 0)
    return true;
  if (nbd_connect_wait (nbd, NBD_CONNECT_SECONDS, NULL) < 0)
    return false;
  if (error != 0)
    return true;
  size = nbd_get_size (nbd);
  if (size < 0)
    return true;
  e->size = (uint64_t) size;
  e->has_size = true;
  e->read_only = nbd_is_read_only (nbd) > 0;
  return true;
}

static int
ask_names (struct nbd_handle *nbd, struct export_vector *exports,
           struct err *err)
{
  nbd_list_callback list = { .callback = one_export, .user_data = exports };
  nbd_completion_callback done = { .callback = option_done };
  int error = 0, r;

  done.user_data = &error;
  if (nbd_aio_opt_list (nbd, list, done) < 0)
    return err_libnbd (err);
  r = nbd_connect_wait (nbd, NBD_CONNECT_SECONDS, err);
  if (r == 0 && error != 0)
    r = err_set (err, -ENOTSUP, "the server does not list its exports");
  return r;
}

static int
ask (struct nbd_handle *nbd, const char *uri, bool with_sizes,
     struct export_vector *exports, struct err *err)
{
  int r;

  if (nbd_set_uri_allow_local_file (nbd, true) < 0 ||
      nbd_set_opt_mode (nbd, true) < 0)
    return err_libnbd (err);
  r = nbd_connect_bounded (nbd, uri, NBD_CONNECT_SECONDS, err);
  if (r < 0)
    return r;
  if (nbd_aio_is_negotiating (nbd) != 1)
    return err_set (err, -ENOTSUP, "the server speaks the old protocol, "
                    "without export names");
  r = ask_names (nbd, exports, err);
  for (size_t i = 0; r == 0 && with_sizes && i < exports->len; ++i)
    if (!ask_size (nbd, &exports->ptr[i]))
      break;
  return r;
}

int
exports_list (const char *uri, bool with_sizes,
              struct export_vector *exports, struct err *err)
{
  struct export_vector found = VECTOR_INIT;
  struct nbd_handle *nbd = nbd_create ();
  int r;

  if (nbd == NULL)
    return err_libnbd (err);
  r = ask (nbd, uri, with_sizes, &found, err);
  nbd_close (nbd);
  if (r < 0) {
    exports_free (&found);
    return r;
  }
  *exports = found;
  return 0;
}

void
exports_free (struct export_vector *exports)
{
  for (size_t i = 0; i < exports->len; ++i) {
    free (exports->ptr[i].name);
    free (exports->ptr[i].description);
  }
  vector_free (exports);
}

/* SCHEME://AUTHORITY/NAME?QUERY: the end of the authority, and of the
 * name.
 */
static void
find_name (const char *uri, size_t *from, size_t *to)
{
  const char *p = strstr (uri, "://");

  p = p ? p + 3 : uri;
  p += strcspn (p, "/?#");
  *from = (size_t) (p - uri);
  *to = *from + strcspn (p, "?#");
}

bool
exports_uri_has_name (const char *uri)
{
  size_t from, to;

  find_name (uri, &from, &to);
  while (from < to && uri[from] == '/')
    from++;
  return from < to;
}

char *
exports_uri (const char *uri, const char *name)
{
  CLEANUP_FREE char *encoded = uri_encode (name);
  size_t from, to;
  char *out;

  find_name (uri, &from, &to);
  if (encoded == NULL ||
      asprintf (&out, "%.*s/%s%s", (int) from, uri, encoded, uri + to) < 0)
    return NULL;
  return out;
}

void
exports_explain (const char *uri, struct err *err)
{
  CLEANUP_EXPORTS struct export_vector exports = VECTOR_INIT;
  char names[ERR_MSG_SIZE / 2] = "";

  if (!block_nbd_is_uri (uri) || exports_uri_has_name (uri) ||
      exports_list (uri, false, &exports, NULL) < 0 || exports.len < 2)
    return;
  for (size_t i = 0; i < exports.len; ++i) {
    size_t len = strlen (names);

    if (len + strlen (exports.ptr[i].name) + 8 > sizeof names) {
      strcpy (names + len, ", …");
      break;
    }
    sprintf (names + len, "%s%s", i ? ", " : "", exports.ptr[i].name);
  }
  err_set (err, err->code, "the URI names no export, and the server has %zu: "
           "%s", exports.len, names);
}
