/* SPDX-License-Identifier: GPL-2.0-or-later */

/* How an attachment never hangs.
 *
 * What the kernel does by itself (drivers/block/nbd.c, 6.1) is not enough.
 * Its timeout is for one request on one connection.  When it passes, the
 * connection ends and the request goes to the next connection, for another
 * timeout; with N connections, N times.  When a connection ends because the
 * server died, the requests that were sent on it still wait for their
 * timeout.  When the server stops reading, a write blocks in the socket, and
 * the handling of an older request's timeout waits for that write, up to
 * another timeout.  So the kernel alone takes up to 2 * N * timeout, and a
 * timeout short enough to keep the promise that way would cut off servers
 * that are only slow.
 *
 * Hence this process looks at the device twice a second.  When requests are
 * under way and none is completed for nearly the whole --timeout, the server
 * is taken for gone (watch.c has the numbers).  Then
 *
 *   1. our copies of the sockets are shut down, which ends at once every
 *      wait in a send or receive, without a lock of the kernel's driver;
 *   2. the kernel is told to disconnect, which fails all requests under way.
 *      It never waits now: its farewell to the server fails in the dead
 *      sockets.  (Without step 1 it would wait, and with it every user of
 *      generic netlink on the machine.)
 *
 * The same happens at once when all connections end.  The kernel's own
 * timeout is a little shorter than ours.  It covers what is not counted as
 * under way (a flush alone), and it is what remains when this process is
 * killed.
 *
 * Between the two steps the device is opened and kept open.  Otherwise a
 * device that nobody uses would turn into a free one with no sectors, where
 * reading is no error but the end of the file; as it is, all I/O fails until
 * `detach`.
 *
 * When this process is killed, a private nbdkit ends with it: given a socket
 * to listen on, nbdkit 1.32 asks the kernel for a SIGTERM when its parent
 * dies, and there is no option against that.  Then I/O fails at once.  What
 * is attached by URI goes on, unwatched.  Both come off with `detach`.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "tools/attach/clock.h"
#include "tools/attach/guard.h"
#include "tools/attach/holders.h"
#include "tools/attach/netlink.h"
#include "tools/attach/process.h"

/* Milliseconds.  A farewell to a server that is well takes no time. */
#define POLITE 3000
#define WAIT_OPEN 500
#define GLANCE 2000

/* Bytes.  The log lies in memory (/run) and starts anew at this size. */
#define MAX_LOG (1 << 20)

static unsigned
device_of (const struct guard *g)
{
  return (unsigned) g->attachment.index;
}

void
guard_log (struct guard *g, const char *fmt, ...)
{
  char text[1024], now[32] = "";
  time_t t = time (NULL);
  struct stat st;
  struct tm tm;
  va_list ap;

  if (fstat (g->log_fd, &st) == 0 && st.st_size > MAX_LOG &&
      ftruncate (g->log_fd, 0) < 0)
    return;
  va_start (ap, fmt);
  vsnprintf (text, sizeof text, fmt, ap);
  va_end (ap);
  if (gmtime_r (&t, &tm) != NULL)
    strftime (now, sizeof now, "%Y%m%dT%H%M%SZ", &tm);
  dprintf (g->log_fd, "%s nbdimage: %s\n", now, text);
}

/*--- The end ---------------------------------------------------------------*/

/* In a thread of its own, because it may wait in the kernel. */
static void
disconnect (void *opaque)
{
  struct guard *g = opaque;
  struct err err = ERR_INIT;

  if (netlink_disconnect (device_of (g), &err) < 0)
    guard_log (g, "%s", err.msg);
}

static bool
is_our_device (const struct guard *g)
{
  char backend[128];

  device_backend (device_of (g), backend, sizeof backend);
  return strcmp (backend, g->attachment.backend) == 0;
}

/* To a server that is well and a device at rest the kernel may say goodbye;
 * everything was flushed before.  A device that somebody else disconnected
 * may be connected to something else by now.
 */
static void
disconnect_device (struct guard *g)
{
  struct device_activity activity = { 0, 1 };

  if (!is_our_device (g))
    return;
  device_activity (device_of (g), &activity);
  if (activity.inflight == 0 && g->attachment.dead == NULL &&
      process_bounded (disconnect, g, POLITE, NULL))
    return;
  connection_shutdown (&g->connection);
  if (!process_bounded (disconnect, g, POLITE, NULL))
    guard_log (g, "the kernel does not let go of the device");
}

/* All of it: device, server, files.  The device is free when the last user
 * closes it.
 */
void
guard_end (struct guard *g)
{
  if (g->attachment.index >= 0)
    disconnect_device (g);
  connection_close (&g->connection);
  cleanup_close (&g->keep_fd);
  g->keep_fd = -1;
  /* A server that is taken for gone would let us wait. */
  if (g->server != NULL && g->attachment.dead != NULL &&
      server_ended (g->server) == NULL)
    process_signal (server_fd (g->server), SIGKILL);
  server_stop (g->server);
  g->server = NULL;
  state_remove (&g->attachment);
}

static void
open_device (void *opaque)
{
  struct guard *g = opaque;
  char path[DEVICE_PATH_SIZE];

  device_path (device_of (g), path);
  g->keep_fd = open (path, O_RDONLY | O_CLOEXEC);
}

/* The server is gone: nothing may wait for it any more.
 *
 * This is the place to try the server again for a while instead: start a
 * private nbdkit again on its socket (which stays ours), make new
 * connections and hand them to the kernel in place of the old ones.  Not
 * done yet, because requests would have to wait in the kernel meanwhile,
 * under a bound of their own.
 *
 * True: the attachment has ended, because it was on trial, or because nobody
 * used the device and it could not be kept.
 */
static bool
server_lost (struct guard *g, const char *reason)
{
  struct err err = ERR_INIT;

  guard_log (g, "%s; I/O on /dev/nbd%u fails from now on", reason,
             device_of (g));
  g->attachment.dead = strdup (reason);
  connection_shutdown (&g->connection);
  process_bounded (open_device, g, WAIT_OPEN, NULL);
  process_bounded (disconnect, g, POLITE, NULL);
  if (g->server != NULL && server_ended (g->server) == NULL)
    process_signal (server_fd (g->server), SIGTERM);
  if (g->link_fd >= 0 || !is_our_device (g))
    return true;
  if (state_save (&g->attachment, &err) < 0)
    guard_log (g, "%s", err.msg);
  return false;
}

/*--- Watching --------------------------------------------------------------*/

/* One small read for a living server to answer. */
static void *
probe (void *opaque)
{
  unsigned index = *(unsigned *) opaque;
  char path[DEVICE_PATH_SIZE];
  void *buf = NULL;
  int fd;

  free (opaque);
  device_path (index, path);
  fd = open (path, O_RDONLY | O_DIRECT | O_CLOEXEC);
  /* Whatever comes back was progress. */
  if (fd >= 0 && posix_memalign (&buf, 4096, 4096) == 0 &&
      pread (fd, buf, 4096, 0) < 0)
    errno = 0;
  free (buf);
  if (fd >= 0)
    close (fd);
  return NULL;
}

static void
start_probe (struct guard *g)
{
  unsigned *index = malloc (sizeof *index);
  pthread_t thread;

  if (index == NULL)
    return;
  *index = device_of (g);
  if (pthread_create (&thread, NULL, probe, index) == 0)
    pthread_detach (thread);
  else
    free (index);
}

/* Another program may have disconnected the device (nbd-client -d), which
 * looks the same from here until the kernel is done with it.
 */
static bool
device_taken_away (const struct guard *g)
{
  uint64_t deadline = clock_deadline (300);

  do {
    if (!is_our_device (g))
      return true;
    clock_sleep (20);
  }
  while (clock_left (deadline) > 0);
  return false;
}

/* True: the attachment has ended. */
static bool
connection_lost (struct guard *g)
{
  bool silent = watch_connection_lost (&g->watch, clock_now ());

  g->live--;
  if (g->live > 0) {
    guard_log (g, "a connection was lost, %zu left", g->live);
    if (silent)
      start_probe (g);
    return false;
  }
  if (device_taken_away (g)) {
    guard_log (g, "somebody else disconnected /dev/nbd%u", device_of (g));
    return true;
  }
  return server_lost (g, g->server_gone ? "the server ended"
                      : silent ? "the server does not answer"
                      : "the server closed the connection");
}

/* True: the attachment has ended. */
static bool
look_at_device (struct guard *g)
{
  struct device_activity activity;

  if (device_activity (device_of (g), &activity) < 0)
    return true;                /* the module was unloaded */
  if (watch_stalled (&g->watch, &activity, clock_now ()))
    return server_lost (g, "the server does not answer");
  return false;
}

/* Does nobody use the device?  To open it may wait for the server. */
struct question {
  unsigned index;
  int r;
  struct err err;
};

static void
ask_for_holders (void *opaque)
{
  CLEANUP_HOLDERS struct holder_vector holders = VECTOR_INIT;
  struct question *q = opaque;
  CLEANUP_CLOSE int fd = -1;

  q->r = holders_find (q->index, 0, &holders, &q->err);
  if (q->r == 0 && holders.len > 0)
    q->r = holders_refuse (&holders, &q->err);
  if (q->r == 0)
    q->r = holders_claim (q->index, &fd, &q->err);
}

static int
check_unused (const struct guard *g, struct err *err)
{
  struct question *q = calloc (1, sizeof *q);
  int r;

  if (q == NULL)
    return err_nomem (err);
  q->index = device_of (g);
  if (!process_bounded (ask_for_holders, q, GLANCE, NULL))
    return err_set (err, -ETIMEDOUT, "the device does not open");
  r = q->r;
  if (r < 0)
    *err = q->err;
  free (q);
  return r;
}

/* True: end the attachment. */
static bool
handle_signal (struct guard *g)
{
  struct signalfd_siginfo info;
  struct err err = ERR_INIT;

  if (read (g->signal_fd, &info, sizeof info) != sizeof info)
    return false;
  if (info.ssi_signo == SIGUSR1 || check_unused (g, &err) == 0)
    return true;
  guard_log (g, "signal %u ignored: %s", info.ssi_signo, err.msg);
  return false;
}

/* True: whoever started us went away before it said that all is well. */
static bool
handle_link (struct guard *g)
{
  char keep;
  ssize_t n = read (g->link_fd, &keep, 1);

  close (steal_fd (&g->link_fd));
  return n != 1;
}

static void
handle_server (struct guard *g)
{
  g->server_gone = true;
  guard_log (g, "nbdkit %s", server_ended (g->server));
}

enum { POLL_SIGNAL, POLL_LINK, POLL_SERVER, POLL_SOCKETS };

void
guard_device (struct guard *g)
{
  struct pollfd p[POLL_SOCKETS + CONNECT_MAX_CONNECTIONS];
  size_t i, n = POLL_SOCKETS + g->connection.nr_fds;

  g->live = g->connection.nr_fds;
  watch_init (&g->watch, g->attachment.timeout, clock_now ());
  /* The kernel reads from the sockets; only their end is ours. */
  for (i = 0; i < g->connection.nr_fds; ++i)
    p[POLL_SOCKETS + i] = (struct pollfd) { .fd = g->connection.fds[i],
                                            .events = POLLRDHUP };
  for (;;) {
    bool dead = g->attachment.dead != NULL;
    bool ended = false;

    p[POLL_SIGNAL] = (struct pollfd) { .fd = g->signal_fd, .events = POLLIN };
    p[POLL_LINK] = (struct pollfd) { .fd = g->link_fd, .events = POLLIN };
    p[POLL_SERVER] = (struct pollfd) {
      .fd = g->server != NULL && !g->server_gone ? server_fd (g->server) : -1,
      .events = POLLIN,
    };
    if (poll (p, dead ? POLL_SOCKETS : n, dead ? -1 : (int) WATCH_TICK) < 0 &&
        errno != EINTR)
      return;
    if (p[POLL_SERVER].revents != 0)
      handle_server (g);
    if ((p[POLL_SIGNAL].revents != 0 && handle_signal (g)) ||
        (p[POLL_LINK].revents != 0 && handle_link (g)))
      return;
    for (i = POLL_SOCKETS; i < n && !dead && !ended; ++i)
      if (p[i].fd >= 0 && p[i].revents != 0) {
        p[i].fd = -1;
        ended = connection_lost (g);
      }
    if (ended || (g->attachment.dead == NULL && look_at_device (g)))
      return;
  }
}
