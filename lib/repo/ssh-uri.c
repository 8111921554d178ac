/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/repo/ssh-uri.h"

static const char scheme[] = "ssh://";

bool
ssh_uri_is_one (const char *text)
{
  return strncmp (text, scheme, strlen (scheme)) == 0;
}

static int
digit (char c)
{
  return isdigit ((unsigned char) c) ? c - '0'
    : tolower ((unsigned char) c) - 'a' + 10;
}

/* The bytes without %XX; a zero among them is refused. */
static int
decode (const char *from, size_t len, char **out, struct err *err)
{
  CLEANUP_FREE char *text = malloc (len + 1);
  size_t n = 0;

  if (text == NULL)
    return err_nomem (err);
  for (size_t i = 0; i < len; ++i) {
    char c = from[i];

    if (c == '%') {
      if (len - i < 3 || !isxdigit ((unsigned char) from[i + 1]) ||
          !isxdigit ((unsigned char) from[i + 2]))
        return err_set (err, -EINVAL, "it has a %% without two hex digits");
      c = (char) (digit (from[i + 1]) * 16 + digit (from[i + 2]));
      i += 2;
    }
    if (c == '\0')
      return err_set (err, -EINVAL, "it has a zero byte");
    text[n++] = c;
  }
  text[n] = '\0';
  *out = steal_ptr (&text);
  return 0;
}

static int
parse_number (const char *from, size_t len, unsigned max, unsigned *out,
              struct err *err)
{
  unsigned n = 0;

  for (size_t i = 0; i < len; ++i) {
    if (!isdigit ((unsigned char) from[i]))
      len = 0;
    n = n * 10 + (unsigned) (from[i] - '0');
    if (n > max)
      len = 0;
  }
  if (len == 0)
    return err_set (err, -EINVAL, "it has another number than 0 to %u", max);
  *out = n;
  return 0;
}

/* HOST, HOST:PORT, [ADDRESS]:PORT */
static int
parse_host (const char *from, size_t len, struct ssh_uri *out,
            struct err *err)
{
  const char *end = from + len, *host_end, *port;
  int r;

  if (len > 0 && *from == '[') {
    ++from;
    host_end = memchr (from, ']', len - 1);
    if (host_end == NULL)
      return err_set (err, -EINVAL, "a ‘]’ is missing");
    port = host_end + 1;
    if (port < end && *port != ':')
      return err_set (err, -EINVAL, "behind the ‘]’ belongs a ‘:’ or a ‘/’");
  }
  else {
    port = memchr (from, ':', len);
    host_end = port = port ? port : end;
  }
  r = decode (from, (size_t) (host_end - from), &out->host, err);
  if (r < 0)
    return r;
  if (out->host[0] == '\0' || out->host[0] == '-')
    return err_set (err, -EINVAL, "it names no host");
  if (port + 1 >= end)
    return 0;
  ++port;
  return parse_number (port, (size_t) (end - port), 65535, &out->port, err);
}

static int
parse_authority (const char *from, size_t len, struct ssh_uri *out,
                 struct err *err)
{
  const char *at = memrchr (from, '@', len);
  int r;

  if (at != NULL) {
    if (memchr (from, ':', (size_t) (at - from)) != NULL)
      return err_set (err, -EINVAL, "a password in it could be read by "
                      "everybody; keys, or an agent that has them, are used "
                      "instead");
    r = decode (from, (size_t) (at - from), &out->user, err);
    if (r < 0)
      return r;
    if (out->user[0] == '\0' || out->user[0] == '-')
      return err_set (err, -EINVAL, "it names no user");
    len -= (size_t) (at + 1 - from);
    from = at + 1;
  }
  return parse_host (from, len, out, err);
}

/* The path begins with a slash. */
static int
parse_path (const char *from, size_t len, struct ssh_uri *out,
            struct err *err)
{
  int r;

  if (len >= 2 && from[1] == '~' && (len == 2 || from[2] == '/')) {
    from += len == 2 ? 2 : 3;
    len -= len == 2 ? 2 : 3;
  }
  while (len > 1 && from[len - 1] == '/')
    --len;
  r = decode (from, len, &out->path, err);
  if (r == 0 && out->path[0] == '\0') {
    free (out->path);
    out->path = strdup (".");
    r = out->path ? 0 : err_nomem (err);
  }
  return r;
}

static int
parse_option (const char *from, size_t len, struct ssh_uri *out,
              struct err *err)
{
  const struct {
    const char *name;
    unsigned max, *to;
  } known[] = {
    { "lag=", STORE_LAG_MAX, &out->lag },
    { "timeout=", 3600, &out->timeout },
    { "retry=", STORE_LAG_MAX, &out->retry },
  };

  for (size_t i = 0; i < sizeof known / sizeof known[0]; ++i) {
    size_t n = strlen (known[i].name);

    if (len > n && strncmp (from, known[i].name, n) == 0)
      return parse_number (from + n, len - n, known[i].max, known[i].to, err);
  }
  return err_set (err, -EINVAL, "behind the ‘?’ are only lag=SECONDS, "
                  "timeout=SECONDS and retry=SECONDS, with ‘&’ between them");
}

static int
parse (const char *text, struct ssh_uri *out, struct err *err)
{
  const char *path, *end, *options;
  int r;

  text += strlen (scheme);
  if (strchr (text, '#') != NULL)
    return err_set (err, -EINVAL, "a ‘#’ in a path is written as %%23");
  end = strchrnul (text, '?');
  path = memchr (text, '/', (size_t) (end - text));
  if (path == NULL)
    return err_set (err, -EINVAL, "it has no path behind the host");
  r = parse_authority (text, (size_t) (path - text), out, err);
  if (r == 0)
    r = parse_path (path, (size_t) (end - path), out, err);
  for (options = end; r == 0 && *options != '\0'; options = end) {
    ++options;
    end = strchrnul (options, '&');
    r = parse_option (options, (size_t) (end - options), out, err);
  }
  if (r == 0 && out->timeout == 0)
    r = err_set (err, -EINVAL, "a timeout of 0 seconds is over already");
  return r;
}

int
ssh_uri_parse (const char *text, struct ssh_uri *out, struct err *err)
{
  struct ssh_uri uri = SSH_URI_INIT;
  int r;

  if (!ssh_uri_is_one (text))
    return err_set (err, -EINVAL, "it does not begin with %s", scheme);
  r = parse (text, &uri, err);
  if (r < 0) {
    ssh_uri_free (&uri);
    return err_in (err, "ssh://[USER@]HOST[:PORT]/PATH");
  }
  *out = uri;
  return 0;
}

void
ssh_uri_free (struct ssh_uri *uri)
{
  free (uri->user);
  free (uri->host);
  free (uri->path);
  uri->user = uri->host = uri->path = NULL;
}
