/* SPDX-License-Identifier: GPL-2.0-or-later */

/* SFTP's way over SSH, with libssh.
 *
 * libssh never waits here: what it can't do at once it answers with "again",
 * and we wait, no longer than the time limit, and with an eye on Ctrl-C.
 *
 * Who the host is, is what known_hosts says.  Neither an unknown key nor
 * another one is ever accepted, whatever the user's configuration says of
 * asking: there is nobody to ask in a backup at night, and what is sent are
 * whole disks.
 */

#include <config.h>

#include <errno.h>

#include "lib/repo/ssh-connect.h"

#ifdef HAVE_LIBSSH

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libssh/libssh.h>

#include "lib/base/cleanup.h"
#include "lib/base/text.h"

#define LOOK 100                /* ms between looks at the job */
#define WRITE_AT_ONCE (256U * 1024)

/* What the server may send before it hears that more may come.  libssh's own
 * 1.25 MB are on their way at once where a way has a delay, and then it is
 * idle.
 */
#define WINDOW (4U * 1024 * 1024)

struct ssh_way {
  struct sftp_way base;
  ssh_session session;
  ssh_channel channel;
  unsigned char *wide;          /* owned; WINDOW bytes, of which */
  size_t at, len;               /* these are to be given out */
  size_t taken;                 /* since the window was opened */
};

/* While it is being made. */
struct making {
  const struct ssh_uri *uri;
  struct job *const *job;
  uint64_t end;                 /* ms */
  ssh_session session;
};

static uint64_t
now_ms (void)
{
  struct timespec t;

  clock_gettime (CLOCK_BOOTTIME, &t);
  return (uint64_t) t.tv_sec * 1000 + (uint64_t) t.tv_nsec / 1000000;
}

static int
failed (ssh_session session, int code, const char *what, struct err *err)
{
  char text[TEXT_NAME_SIZE];

  return err_set (err, code, "%s: %s", what,
                  text_clean (ssh_get_error (session), text, sizeof text));
}

/* Until libssh may have something to go on with. */
static int
wait_for_server (const struct making *m, struct err *err)
{
  int flags = ssh_get_poll_flags (m->session);
  struct pollfd fd = {
    .fd = ssh_get_fd (m->session),
    .events = (short) (POLLIN | (flags & SSH_WRITE_PENDING ? POLLOUT : 0)),
  };
  struct job *job = m->job ? __atomic_load_n (m->job, __ATOMIC_ACQUIRE) : NULL;

  if (job_check (job, err) < 0)
    return -ECANCELED;
  if (now_ms () >= m->end)
    return err_set (err, -ETIMEDOUT, "the server did not answer within %u "
                    "seconds", m->uri->timeout);
  /* It also has timers of its own, and the way may not be there yet. */
  poll (&fd, fd.fd >= 0, LOOK);
  return 0;
}

/*--- the configuration ------------------------------------------------------*/

static int
set (ssh_session session, enum ssh_options_e option, const void *value,
     struct err *err)
{
  return ssh_options_set (session, option, value) < 0
    ? failed (session, -EINVAL, "ssh can't be set up", err) : 0;
}

/* What the URI says goes before what files say. */
static int
configure (const struct making *m, struct err *err)
{
  const char *file = getenv ("NBDIMAGE_SSH_CONFIG");
  const struct ssh_uri *uri = m->uri;
  const int yes = 1;
  int r;

  r = set (m->session, SSH_OPTIONS_HOST, uri->host, err);
  if (r == 0 && ssh_options_parse_config (m->session, file) < 0)
    r = failed (m->session, -EINVAL, "the configuration of ssh can't be read",
                err);
  if (r == 0 && uri->user)
    r = set (m->session, SSH_OPTIONS_USER, uri->user, err);
  if (r == 0 && uri->port)
    r = set (m->session, SSH_OPTIONS_PORT, &uri->port, err);
  if (r == 0)
    r = set (m->session, SSH_OPTIONS_STRICTHOSTKEYCHECK, &yes, err);
  if (r == 0)
    r = set (m->session, SSH_OPTIONS_NODELAY, &yes, err);
  return r;
}

/*--- who the host is --------------------------------------------------------*/

static char *
fingerprint (ssh_session session)
{
  unsigned char *hash = NULL;
  char *text = NULL;
  ssh_key key = NULL;
  size_t len;

  if (ssh_get_server_publickey (session, &key) == SSH_OK &&
      ssh_get_publickey_hash (key, SSH_PUBLICKEY_HASH_SHA256, &hash,
                              &len) == 0)
    text = ssh_get_fingerprint_hash (SSH_PUBLICKEY_HASH_SHA256, hash, len);
  ssh_clean_pubkey_hash (&hash);
  ssh_key_free (key);
  return text;
}

/* As known_hosts has it: [HOST]:PORT unless the port is 22. */
static void
host_name (ssh_session session, const struct ssh_uri *uri, char *buf,
           size_t size)
{
  unsigned port = 22;

  ssh_options_get_port (session, &port);
  snprintf (buf, size, port == 22 ? "%s" : "[%s]:%u", uri->host, port);
}

static int
refuse_host (const struct making *m, enum ssh_known_hosts_e known,
             struct err *err)
{
  char host[300], name[TEXT_NAME_SIZE];
  char *print = fingerprint (m->session);
  unsigned port = 22;
  int r;

  ssh_options_get_port (m->session, &port);
  host_name (m->session, m->uri, host, sizeof host);
  text_clean (host, name, sizeof name);
  if (known == SSH_KNOWN_HOSTS_CHANGED || known == SSH_KNOWN_HOSTS_OTHER)
    r = err_set (err, -EACCES, "the host's key is not the one in known_hosts: "
                 "somebody may be in between.  If the host has a new key, "
                 "and it is %s, then remove the old one with ‘ssh-keygen -R "
                 "%s’ and connect once with ssh", print ? print : "?", name);
  else if (known == SSH_KNOWN_HOSTS_ERROR)
    r = failed (m->session, -EACCES, "known_hosts can't be read", err);
  else
    r = err_set (err, -EACCES, "the host's key is not in known_hosts.  If it "
                 "is %s, then add it: connect once with ‘ssh -p %u %s’, or put "
                 "what ‘ssh-keyscan -p %u %s’ prints into ~/.ssh/known_hosts",
                 print ? print : "?", port, m->uri->host, port, m->uri->host);
  ssh_string_free_char (print);
  return r;
}

static int
check_host (const struct making *m, struct err *err)
{
  enum ssh_known_hosts_e known = ssh_session_is_known_server (m->session);

  return known == SSH_KNOWN_HOSTS_OK ? 0 : refuse_host (m, known, err);
}

/*--- getting in -------------------------------------------------------------*/

static int
connect_to_host (const struct making *m, struct err *err)
{
  int r;

  while ((r = ssh_connect (m->session)) == SSH_AGAIN) {
    int w = wait_for_server (m, err);

    if (w < 0)
      return w;
  }
  return r == SSH_OK ? 0
    : failed (m->session, -EIO, "the host can't be connected to", err);
}

/* First without any: it tells what the host takes, and may be enough. */
static int
let_in (const struct making *m, struct err *err)
{
  bool with_keys = false;
  int r = ssh_userauth_none (m->session, NULL);

  for (;;) {
    if (r == SSH_AUTH_AGAIN) {
      int w = wait_for_server (m, err);

      if (w < 0)
        return w;
    }
    else if (r == SSH_AUTH_SUCCESS)
      return 0;
    else if (r == SSH_AUTH_ERROR && !ssh_is_connected (m->session))
      return failed (m->session, -EIO, "the connection ended before we were "
                     "let in", err);
    else if (with_keys)
      return err_set (err, -EACCES, "the host does not let us in: none of the "
                      "keys that the agent has, or that are in files without "
                      "a passphrase, is good for it");
    else
      with_keys = true;
    r = with_keys ? ssh_userauth_publickey_auto (m->session, NULL, NULL)
      : ssh_userauth_none (m->session, NULL);
  }
}

static int
open_channel (const struct making *m, ssh_channel channel, struct err *err)
{
  int r;

  while ((r = ssh_channel_open_session (channel)) == SSH_AGAIN) {
    int w = wait_for_server (m, err);

    if (w < 0)
      return w;
  }
  if (r != SSH_OK)
    return failed (m->session, -EIO, "no channel can be opened", err);
  while ((r = ssh_channel_request_subsystem (channel, "sftp")) == SSH_AGAIN) {
    int w = wait_for_server (m, err);

    if (w < 0)
      return w;
  }
  return r == SSH_OK ? 0
    : failed (m->session, -EACCES, "the host has no SFTP", err);
}

/*--- the way ----------------------------------------------------------------*/

static struct ssh_way *
way_of (struct sftp_way *way)
{
  return (struct ssh_way *) way;
}

static int
at_end (const struct ssh_way *w, struct err *err)
{
  const char *why = ssh_get_error (w->session);

  if (why[0] == '\0')
    return err_set (err, -EPIPE, "the server ended the connection");
  return failed (w->session, -EPIPE, "the connection broke", err);
}

/* What a server says beside it is not for us, but may not fill its window. */
static void
drop_other (struct ssh_way *w)
{
  char other[1024];

  while (ssh_channel_poll (w->channel, 1) > 0 &&
         ssh_channel_read_nonblocking (w->channel, other, sizeof other, 1) > 0)
    continue;
}

/* libssh opens the window for as much as it is asked for. */
static int
read_wide (struct ssh_way *w)
{
  int n = ssh_channel_read_timeout (w->channel, w->wide, WINDOW, 0, 0);

  w->at = 0;
  w->len = n > 0 ? (size_t) n : 0;
  w->taken = 0;
  return n;
}

static int
read_some (struct ssh_way *w, void *buf, size_t len)
{
  size_t n = w->len - w->at < len ? w->len - w->at : len;
  int r;

  if (n == 0 && w->taken < WINDOW / 4) {
    r = ssh_channel_read_nonblocking (w->channel, buf, (uint32_t) len, 0);
    w->taken += r > 0 ? (size_t) r : 0;
    return r;
  }
  if (n == 0) {
    r = read_wide (w);
    if (r <= 0)
      return r;
    n = w->len < len ? w->len : len;
  }
  memcpy (buf, w->wide + w->at, n);
  w->at += n;
  return (int) n;
}

/* libssh may take bytes from the network whatever it is asked for: what is
 * asked for last is that which the caller goes to sleep for.
 */
static ssize_t
way_read (struct sftp_way *way, void *buf, size_t len, struct err *err)
{
  struct ssh_way *w = way_of (way);
  int n;

  drop_other (w);
  n = read_some (w, buf, len);
  if (n > 0)
    return n;
  if ((n < 0 && n != SSH_AGAIN) || ssh_channel_is_eof (w->channel) ||
      ssh_channel_is_closed (w->channel) || !ssh_is_connected (w->session))
    return at_end (w, err);
  return 0;
}

/* Not more than the window: what is in it goes without waiting.  Nor while
 * libssh still has bytes for the network, for it would keep any number.
 */
static ssize_t
way_write (struct sftp_way *way, const void *buf, size_t len,
           struct err *err)
{
  struct ssh_way *w = way_of (way);
  uint32_t window = ssh_channel_window_size (w->channel);
  int n;

  if (ssh_get_poll_flags (w->session) & SSH_WRITE_PENDING) {
    if (ssh_blocking_flush (w->session, 0) == SSH_ERROR)
      return at_end (w, err);
    if (ssh_get_poll_flags (w->session) & SSH_WRITE_PENDING)
      return 0;
  }
  if (window < len)
    len = window;
  if (len > WRITE_AT_ONCE)
    len = WRITE_AT_ONCE;
  if (len == 0)
    return 0;
  n = ssh_channel_write (w->channel, buf, (uint32_t) len);
  return n < 0 ? at_end (w, err) : n;
}

static void
way_poll (struct sftp_way *way, bool more, struct pollfd *out)
{
  struct ssh_way *w = way_of (way);
  int flags = ssh_get_poll_flags (w->session);

  (void) more;                  /* then the window is what we wait for */
  out->fd = ssh_get_fd (w->session);
  out->events = (short) (POLLIN | (flags & SSH_WRITE_PENDING ? POLLOUT : 0));
}

static void
way_close (struct sftp_way *way, bool forked)
{
  struct ssh_way *w = way_of (way);

  /* libssh would say goodbye for the one who still talks. */
  if (forked)
    close (ssh_get_fd (w->session));
  else {
    ssh_channel_free (w->channel);
    ssh_disconnect (w->session);
    ssh_free (w->session);
  }
  free (w->wide);
  free (w);
}

static const struct sftp_way_ops way_ops = {
  .read = way_read,
  .write = way_write,
  .poll = way_poll,
  .close = way_close,
};

static int
make_way (const struct making *m, struct ssh_way *w, struct err *err)
{
  int r = configure (m, err);

  if (r == 0)
    r = connect_to_host (m, err);
  if (r == 0)
    r = check_host (m, err);
  if (r == 0)
    r = let_in (m, err);
  if (r < 0)
    return r;
  w->channel = ssh_channel_new (m->session);
  return w->channel ? open_channel (m, w->channel, err) : err_nomem (err);
}

int
ssh_connect_sftp (const struct ssh_uri *uri, struct job *const *job,
                  struct sftp_way **out, struct err *err)
{
  struct making m = {
    .uri = uri, .job = job,
    .end = now_ms () + (uint64_t) uri->timeout * 1000,
  };
  struct ssh_way *w = calloc (1, sizeof *w);
  int r;

  if (w == NULL)
    return err_nomem (err);
  w->taken = WINDOW;            /* it is opened with the first read */
  w->base.ops = &way_ops;
  w->wide = malloc (WINDOW);
  m.session = w->session = w->wide ? ssh_new () : NULL;
  if (w->session == NULL) {
    free (w->wide);
    free (w);
    return err_nomem (err);
  }
  ssh_set_blocking (w->session, 0);
  r = make_way (&m, w, err);
  if (r < 0) {
    way_close (&w->base, false);
    return r;
  }
  *out = &w->base;
  return 0;
}

#else /* !HAVE_LIBSSH */

int
ssh_connect_sftp (const struct ssh_uri *uri, struct job *const *job,
                  struct sftp_way **out, struct err *err)
{
  (void) uri;
  (void) job;
  (void) out;
  return err_set (err, -ENOTSUP, "this nbdimage was built without libssh, "
                  "which vaults on other machines need");
}

#endif /* !HAVE_LIBSSH */
