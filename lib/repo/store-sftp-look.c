/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What has a name on the server.
 *
 * No link is followed: before anything is done to a name, it and its folders
 * are looked at, in one go.  SFTP 3 can't hold a folder open, so between that
 * look and what follows somebody on the server may put a link there; whoever
 * can do that can write to the vault anyway.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/repo/nbi.h"
#include "lib/repo/store-sftp-private.h"

static int
path_of_part (const struct sftp_store *s, const char *name, size_t len,
              char path[SFTP_PATH_SIZE], struct err *err)
{
  bool slash = len > 0 && strcmp (s->root, "/") != 0;
  int n = snprintf (path, SFTP_PATH_SIZE, "%s%s%.*s", s->root,
                    slash ? "/" : "", (int) len, name);

  return n >= 0 && n < SFTP_PATH_SIZE ? 0
    : err_set (err, -ENAMETOOLONG, "the path on the server is too long");
}

int
sftp_path (const struct sftp_store *s, const char *name,
           char path[SFTP_PATH_SIZE], struct err *err)
{
  return path_of_part (s, name, strlen (name), path, err);
}

static int
send_look (const struct sftp_store *s, struct sftp *sftp, const char *name,
           size_t len, struct sftp_call *call, struct err *err)
{
  char path[SFTP_PATH_SIZE];
  int r = path_of_part (s, name, len, path, err);

  if (r < 0)
    return r;
  /* The vault's own folder may be a link. */
  sftp_packet_begin (&call->packet, len == 0 ? SFTP_STAT : SFTP_LSTAT);
  sftp_put_text (&call->packet, path);
  return sftp_send (sftp, call, err);
}

static int
take_look (struct sftp *sftp, struct sftp_call *call, struct sftp_found *out,
           struct err *err)
{
  struct sftp_reader body;
  int r = sftp_wait (sftp, call, err);

  out->there = false;
  if (r == 0)
    r = sftp_answer (call, SFTP_ATTRS, &body, err);
  if (r == -ENOENT)
    return 0;
  if (r < 0)
    return r;
  sftp_get_attrs (&body, &out->attrs);
  if (!out->attrs.has_mode || !out->attrs.has_size || !out->attrs.has_time)
    body.bad = true;
  out->there = true;
  return sftp_check (&body, err);
}

/* What is on the way to a name: each has to be a folder. */
static int
check_way (const struct sftp_found *found, struct err *err)
{
  if (!found->there)
    return err_set (err, -ENOENT, "its folder is not there");
  if (!S_ISDIR (found->attrs.mode))
    return nbi_refuse (err, 132, "is no folder, or not in one");
  return 0;
}

/* Of the folders first: the whole way is asked for before any answer. */
int
sftp_look_send (const struct sftp_store *s, struct sftp *sftp,
                const char *name, struct sftp_look *look, struct err *err)
{
  const char *end = name;

  look->n = look->sent = 0;
  do {
    int r;

    if (look->n == SFTP_DEPTH_MAX)
      return err_set (err, -ENAMETOOLONG, "it is too deep");
    end = strchrnul (end + (look->n > 0), '/');
    look->calls[look->n] = (struct sftp_call) SFTP_CALL_INIT;
    r = send_look (s, sftp, name, (size_t) (end - name),
                   &look->calls[look->n++], err);
    if (r < 0)
      return r;
    ++look->sent;
  } while (*end != '\0');
  return 0;
}

/* All have to be waited for, whatever the first one says. */
int
sftp_look_take (struct sftp *sftp, struct sftp_look *look,
                struct sftp_found *found, struct err *err)
{
  int r = 0;

  for (size_t i = 0; i < look->sent; ++i) {
    struct err *why = r < 0 ? NULL : err;
    int r2 = take_look (sftp, &look->calls[i], found, why);

    if (r2 == 0 && i + 1 < look->n)
      r2 = check_way (found, why);
    if (r == 0)
      r = r2;
  }
  for (size_t i = 0; i < look->n; ++i)
    sftp_call_free (&look->calls[i]);
  return r;
}

int
sftp_find (struct sftp_store *s, struct sftp *sftp, const char *name,
           struct sftp_found *found, struct err *err)
{
  struct sftp_look look;
  int r = sftp_look_send (s, sftp, name, &look, err);
  int r2 = sftp_look_take (sftp, &look, found, r < 0 ? NULL : err);

  return r < 0 ? r : r2;
}

int
sftp_find_there (struct sftp_store *s, struct sftp *sftp, const char *name,
                 struct sftp_found *found, struct err *err)
{
  int r = sftp_find (s, sftp, name, found, err);

  if (r == 0 && !found->there)
    r = err_set (err, -ENOENT, "there is no such name");
  return r;
}

int
sftp_find_file (struct sftp_store *s, struct sftp *sftp, const char *name,
                struct sftp_found *found, struct err *err)
{
  int r = sftp_find_there (s, sftp, name, found, err);

  if (r == 0 && !S_ISREG (found->attrs.mode))
    r = nbi_refuse (err, 132, "is no regular file");
  return r;
}

int
sftp_check_folder (const struct sftp_found *found, struct err *err)
{
  if (!found->there)
    return err_set (err, -ENOENT, "there is no such name");
  return S_ISDIR (found->attrs.mode) ? 0
    : nbi_refuse (err, 132, "is no folder, or not in one");
}

int
sftp_find_folder (struct sftp_store *s, struct sftp *sftp, const char *name,
                  struct err *err)
{
  struct sftp_found found;
  int r = sftp_find (s, sftp, name, &found, err);

  return r < 0 ? r : sftp_check_folder (&found, err);
}
