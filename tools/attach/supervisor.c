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
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "server/server.h"
#include "tools/attach/clock.h"
#include "tools/attach/connect.h"
#include "tools/attach/device.h"
#include "tools/attach/holders.h"
#include "tools/attach/netlink.h"
#include "tools/attach/process.h"
#include "tools/attach/state.h"
#include "tools/attach/supervisor.h"
#include "tools/attach/watch.h"

/* Seconds for the handshake of each connection. */
#define HANDSHAKE 15

/* Milliseconds.  A farewell to a server that is well takes no time. */
#define POLITE 3000
#define WAIT_OPEN 500
#define GLANCE 2000
#define UNDO 30000

/* Bytes.  The log lies in memory (/run) and starts anew at this size. */
#define MAX_LOG (1 << 20)

enum { KIND_WARNING, KIND_READY, KIND_FAILED };

/* From the supervisor to the one who started it. */
struct answer {
  int kind;
  int code;
  unsigned index;
  char text[ERR_MSG_SIZE];
};

struct supervisor {
  const struct supervisor_request *request;
  struct attachment attachment;
  struct connection connection;
  size_t live;                  /* connections that still are */
  struct server *server;        /* NULL: a URI */
  struct watch watch;
  int link_fd;                  /* -1: nobody waits for us any more */
  int signal_fd;
  int log_fd;
  int keep_fd;                  /* the device of a dead attachment */
  bool server_gone;             /* nbdkit ended and was told about */
};

static void
close_fd (int *fd)
{
  cleanup_close (fd);
  *fd = -1;
}

static unsigned
device_of (const struct supervisor *s)
{
  return (unsigned) s->attachment.index;
}

static void __attribute__ ((__format__ (__printf__, 2, 3)))
log_line (struct supervisor *s, const char *fmt, ...)
{
  char text[1024], now[32] = "";
  time_t t = time (NULL);
  struct stat st;
  struct tm tm;
  va_list ap;

  if (fstat (s->log_fd, &st) == 0 && st.st_size > MAX_LOG &&
      ftruncate (s->log_fd, 0) < 0)
    return;
  va_start (ap, fmt);
  vsnprintf (text, sizeof text, fmt, ap);
  va_end (ap);
  if (gmtime_r (&t, &tm) != NULL)
    strftime (now, sizeof now, "%Y%m%dT%H%M%SZ", &tm);
  dprintf (s->log_fd, "%s nbdimage: %s\n", now, text);
}

static void
send_answer (struct supervisor *s, int kind, int code, const char *text)
{
  struct answer answer = { .kind = kind, .code = code };

  if (s->attachment.index >= 0)
    answer.index = device_of (s);
  snprintf (answer.text, sizeof answer.text, "%s", text);
  send (s->link_fd, &answer, sizeof answer, MSG_NOSIGNAL);
}

/*--- Setting up ------------------------------------------------------------*/

static int
start_server (struct supervisor *s, struct err *err)
{
  const char *images[] = { s->request->source };
  struct server_config config = SERVER_CONFIG_INIT;
  int r;

  if (asprintf (&s->attachment.socket, STATE_FOLDER "/server-%d.sock",
                (int) getpid ()) < 0) {
    s->attachment.socket = NULL;
    return err_nomem (err);
  }
  unlink (s->attachment.socket);        /* of a process long gone */
  config.images = images;
  config.nr_images = 1;
  config.parameters = s->request->parameters;
  config.writable = s->request->writable;
  config.unix_socket = s->attachment.socket;
  config.log_fd = s->log_fd;
  config.cancel_fd = s->link_fd;
  r = server_start (&config, &s->server, err);
  if (r < 0)
    return r;
  s->attachment.server = process_of (server_pid (s->server));
  s->attachment.uri = server_uri (s->server, "");
  return s->attachment.uri == NULL ? err_nomem (err) : 0;
}

/* What a kernel's block device can't say about this disk. */
static int
check_disk (const struct supervisor *s, struct report *report,
            struct err *err)
{
  const struct connection *c = &s->connection;

  if (s->request->writable && c->read_only)
    return err_set (err, -EROFS, "it can only be read");
  if (c->size == 0)
    return err_set (err, -ENOTSUP, "it is empty: there is no disk of 0 bytes");
  if (c->size % 512 != 0 && s->request->writable)
    return err_set (err, -ENOTSUP, "its size, %" PRIu64 " bytes, is not a "
                    "multiple of 512; the kernel could not write its end",
                    c->size);
  if (c->size < 512)
    return err_set (err, -ENOTSUP, "it has %" PRIu64 " bytes, less than a "
                    "sector", c->size);
  if (c->size % 512 != 0)
    report_warn (report, "the last %" PRIu64 " bytes can't be seen in the "
                 "device: the size, %" PRIu64 " bytes, is not a multiple of "
                 "512", c->size % 512, c->size);
  return 0;
}

static int
connect_device (struct supervisor *s, struct err *err)
{
  struct connection *c = &s->connection;
  struct netlink_device device = {
    .index = s->request->index,
    .size = c->size - c->size % 512,
    .block_size = c->block_size,
    .read_only = !s->request->writable,
    .can_flush = c->can_flush,
    .can_fua = c->can_fua,
    .can_trim = c->can_trim,
    .multi_conn = c->multi_conn,
    .timeout = watch_kernel_timeout (s->request->timeout),
    .backend = s->attachment.backend,
    .fds = c->fds,
    .nr_fds = c->nr_fds,
  };
  uint64_t deadline = clock_deadline (GLANCE);
  unsigned index;
  int r;

  /* A device that somebody has open can't be connected, and udev opens what
   * was just disconnected.
   */
  while ((r = netlink_connect (&device, &index, err)) == -EBUSY &&
         device.index >= 0 && device_pid ((unsigned) device.index) == 0 &&
         clock_left (deadline) > 0)
    clock_sleep (50);
  if (r < 0)
    return r;
  s->attachment.index = (int) index;
  s->attachment.connections = (unsigned) c->nr_fds;
  s->attachment.since = (int64_t) time (NULL);
  s->live = c->nr_fds;
  watch_init (&s->watch, s->request->timeout, clock_now ());
  return 0;
}

/* The kernel's largest request must not be larger than the server's. */
static int
limit_requests (struct supervisor *s, struct err *err)
{
  uint32_t max = s->connection.max_request;

  if (max == 0 ||
      device_number (device_of (s), "queue/max_sectors_kb", 0) <= max / 1024)
    return 0;
  return device_set_number (device_of (s), "queue/max_sectors_kb", max / 1024,
                            err);
}

static int
set_up (struct supervisor *s, struct report *report, struct err *err)
{
  struct attachment *a = &s->attachment;
  int r;

  a->supervisor = process_of (getpid ());
  a->source = strdup (s->request->source);
  a->timeout = s->request->timeout;
  a->writable = s->request->writable;
  if (a->source == NULL ||
      asprintf (&a->backend, "nbdimage %d %" PRIu64, (int) a->supervisor.pid,
                a->supervisor.start) < 0)
    return err_nomem (err);
  if (s->request->private_server)
    r = start_server (s, err);
  else {
    a->uri = strdup (s->request->source);
    r = a->uri == NULL ? err_nomem (err) : 0;
  }
  if (r == 0)
    r = state_save (a, err);
  if (r == 0)
    r = connection_open (a->uri, s->request->connections, HANDSHAKE,
                         s->link_fd, &s->connection, report, err);
  if (r == 0)
    r = check_disk (s, report, err);
  if (r == 0)
    r = connect_device (s, err);
  if (r == 0)
    r = limit_requests (s, err);
  if (r == 0)
    r = state_save (a, err);
  return r;
}

/*--- The end ---------------------------------------------------------------*/

/* In a thread of its own, because it may wait in the kernel. */
static void
disconnect (void *opaque)
{
  struct supervisor *s = opaque;
  struct err err = ERR_INIT;

  if (netlink_disconnect (device_of (s), &err) < 0)
    log_line (s, "%s", err.msg);
}

static bool
is_our_device (const struct supervisor *s)
{
  char backend[128];

  device_backend (device_of (s), backend, sizeof backend);
  return strcmp (backend, s->attachment.backend) == 0;
}

/* To a server that is well and a device at rest the kernel may say goodbye;
 * everything was flushed before.  A device that somebody else disconnected
 * may be connected to something else by now.
 */
static void
disconnect_device (struct supervisor *s)
{
  struct device_activity activity = { 0, 1 };

  if (!is_our_device (s))
    return;
  device_activity (device_of (s), &activity);
  if (activity.inflight == 0 && s->attachment.dead == NULL &&
      process_bounded (disconnect, s, POLITE, NULL))
    return;
  connection_shutdown (&s->connection);
  if (!process_bounded (disconnect, s, POLITE, NULL))
    log_line (s, "the kernel does not let go of the device");
}

/* All of it: device, server, files.  The device is free when the last user
 * closes it.
 */
static void
end_attachment (struct supervisor *s)
{
  if (s->attachment.index >= 0)
    disconnect_device (s);
  connection_close (&s->connection);
  close_fd (&s->keep_fd);
  /* A server that is taken for gone would let us wait. */
  if (s->server != NULL && s->attachment.dead != NULL &&
      server_ended (s->server) == NULL)
    process_signal (server_fd (s->server), SIGKILL);
  server_stop (s->server);
  s->server = NULL;
  state_remove (&s->attachment);
}

static void
open_device (void *opaque)
{
  struct supervisor *s = opaque;
  char path[DEVICE_PATH_SIZE];

  device_path (device_of (s), path);
  s->keep_fd = open (path, O_RDONLY | O_CLOEXEC);
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
server_lost (struct supervisor *s, const char *reason)
{
  struct err err = ERR_INIT;

  log_line (s, "%s; I/O on /dev/nbd%u fails from now on", reason,
            device_of (s));
  s->attachment.dead = strdup (reason);
  connection_shutdown (&s->connection);
  process_bounded (open_device, s, WAIT_OPEN, NULL);
  process_bounded (disconnect, s, POLITE, NULL);
  if (s->server != NULL && server_ended (s->server) == NULL)
    process_signal (server_fd (s->server), SIGTERM);
  if (s->link_fd >= 0) {
    send_answer (s, KIND_FAILED, -EIO, reason);
    return true;
  }
  if (!is_our_device (s))
    return true;
  if (state_save (&s->attachment, &err) < 0)
    log_line (s, "%s", err.msg);
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
start_probe (struct supervisor *s)
{
  unsigned *index = malloc (sizeof *index);
  pthread_t thread;

  if (index == NULL)
    return;
  *index = device_of (s);
  if (pthread_create (&thread, NULL, probe, index) == 0)
    pthread_detach (thread);
  else
    free (index);
}

/* Another program may have disconnected the device (nbd-client -d), which
 * looks the same from here until the kernel is done with it.
 */
static bool
device_taken_away (const struct supervisor *s)
{
  uint64_t deadline = clock_deadline (300);

  do {
    if (!is_our_device (s))
      return true;
    clock_sleep (20);
  }
  while (clock_left (deadline) > 0);
  return false;
}

/* True: the attachment has ended. */
static bool
connection_lost (struct supervisor *s)
{
  bool silent = watch_connection_lost (&s->watch, clock_now ());

  s->live--;
  if (s->live > 0) {
    log_line (s, "a connection was lost, %zu left", s->live);
    if (silent)
      start_probe (s);
    return false;
  }
  if (device_taken_away (s)) {
    log_line (s, "somebody else disconnected /dev/nbd%u", device_of (s));
    return true;
  }
  return server_lost (s, s->server_gone ? "the server ended"
                      : silent ? "the server does not answer"
                      : "the server closed the connection");
}

/* True: the attachment has ended. */
static bool
look_at_device (struct supervisor *s)
{
  struct device_activity activity;

  if (device_activity (device_of (s), &activity) < 0)
    return true;                /* the module was unloaded */
  if (watch_stalled (&s->watch, &activity, clock_now ()))
    return server_lost (s, "the server does not answer");
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
check_unused (const struct supervisor *s, struct err *err)
{
  struct question *q = calloc (1, sizeof *q);
  int r;

  if (q == NULL)
    return err_nomem (err);
  q->index = device_of (s);
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
handle_signal (struct supervisor *s)
{
  struct signalfd_siginfo info;
  struct err err = ERR_INIT;

  if (read (s->signal_fd, &info, sizeof info) != sizeof info)
    return false;
  if (info.ssi_signo == SIGUSR1 || check_unused (s, &err) == 0)
    return true;
  log_line (s, "signal %u ignored: %s", info.ssi_signo, err.msg);
  return false;
}

/* True: whoever started us went away before it said that all is well. */
static bool
handle_link (struct supervisor *s)
{
  char keep;
  ssize_t n = read (s->link_fd, &keep, 1);

  close_fd (&s->link_fd);
  return n != 1;
}

static void
handle_server (struct supervisor *s)
{
  s->server_gone = true;
  log_line (s, "nbdkit %s", server_ended (s->server));
}

enum { POLL_SIGNAL, POLL_LINK, POLL_SERVER, POLL_SOCKETS };

static void
watch_device (struct supervisor *s)
{
  struct pollfd p[POLL_SOCKETS + CONNECT_MAX_CONNECTIONS];
  size_t i, n = POLL_SOCKETS + s->connection.nr_fds;

  /* The kernel reads from the sockets; only their end is ours. */
  for (i = 0; i < s->connection.nr_fds; ++i)
    p[POLL_SOCKETS + i] = (struct pollfd) { .fd = s->connection.fds[i],
                                            .events = POLLRDHUP };
  for (;;) {
    bool dead = s->attachment.dead != NULL;
    bool ended = false;

    p[POLL_SIGNAL] = (struct pollfd) { .fd = s->signal_fd, .events = POLLIN };
    p[POLL_LINK] = (struct pollfd) { .fd = s->link_fd, .events = POLLIN };
    p[POLL_SERVER] = (struct pollfd) {
      .fd = s->server != NULL && !s->server_gone ? server_fd (s->server) : -1,
      .events = POLLIN,
    };
    if (poll (p, dead ? POLL_SOCKETS : n, dead ? -1 : (int) WATCH_TICK) < 0 &&
        errno != EINTR)
      return;
    if (p[POLL_SERVER].revents != 0)
      handle_server (s);
    if ((p[POLL_SIGNAL].revents != 0 && handle_signal (s)) ||
        (p[POLL_LINK].revents != 0 && handle_link (s)))
      return;
    for (i = POLL_SOCKETS; i < n && !dead && !ended; ++i)
      if (p[i].fd >= 0 && p[i].revents != 0) {
        p[i].fd = -1;
        ended = connection_lost (s);
      }
    if (ended || (s->attachment.dead == NULL && look_at_device (s)))
      return;
  }
}

/*--- Its process -----------------------------------------------------------*/

static void
send_warnings (struct supervisor *s, struct report *report)
{
  size_t i;

  for (i = 0; i < report->lines.len; ++i)
    send_answer (s, KIND_WARNING, 0, report->lines.ptr[i]);
  report_free (report);
}

/* Nothing of the shell that started us stays open or busy.  The log comes
 * before everything that may fail.
 */
static int
become_daemon (struct supervisor *s, struct err *err)
{
  struct attachment self = { .supervisor.pid = getpid () };
  CLEANUP_CLOSE int null_fd = -1;
  char path[64];
  sigset_t set;
  FILE *fp;

  setsid ();
  prctl (PR_SET_NAME, "nbdimage-attach");
  if (chdir ("/") < 0)
    return err_sys (err, "chdir to /");
  umask (077);
  null_fd = open ("/dev/null", O_RDWR | O_CLOEXEC);
  if (null_fd < 0 || dup2 (null_fd, STDIN_FILENO) < 0 ||
      dup2 (null_fd, STDOUT_FILENO) < 0 || dup2 (null_fd, STDERR_FILENO) < 0)
    return err_sys (err, "/dev/null");
  state_log_path (&self, path, sizeof path);
  s->log_fd = open (path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC
                    | O_NOFOLLOW, 0600);
  if (s->log_fd < 0)
    return err_sys (err, "making %s", path);
  sigemptyset (&set);
  sigaddset (&set, SIGTERM);
  sigaddset (&set, SIGINT);
  sigaddset (&set, SIGHUP);
  sigaddset (&set, SIGUSR1);
  sigprocmask (SIG_BLOCK, &set, NULL);
  signal (SIGPIPE, SIG_IGN);
  s->signal_fd = signalfd (-1, &set, SFD_CLOEXEC);
  if (s->signal_fd < 0)
    return err_sys (err, "signalfd");
  /* The kernel can't write to the disk without us and nbdkit (which inherits
   * this), so ending one of us for want of memory would free none.
   */
  fp = fopen ("/proc/self/oom_score_adj", "we");
  if (fp != NULL) {
    fprintf (fp, "-900");
    fclose (fp);
  }
  return 0;
}

static void __attribute__ ((__noreturn__))
run (const struct supervisor_request *request, int link_fd)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  static struct supervisor supervisor;  /* outlives threads that hang */
  struct supervisor *s = &supervisor;
  struct err err = ERR_INIT;
  int r;

  *s = (struct supervisor) {
    .request = request, .attachment = ATTACHMENT_INIT,
    .link_fd = link_fd, .signal_fd = -1, .log_fd = -1, .keep_fd = -1,
  };
  r = become_daemon (s, &err);
  if (r == 0)
    r = set_up (s, &report, &err);
  send_warnings (s, &report);
  if (r < 0) {
    end_attachment (s);
    send_answer (s, KIND_FAILED, r, err.msg);
    _exit (1);
  }
  log_line (s, "attached %s as /dev/nbd%u", s->attachment.source,
            device_of (s));
  send_answer (s, KIND_READY, 0, "");
  watch_device (s);
  end_attachment (s);
  _exit (0);
}

/*--- The one who starts it -------------------------------------------------*/

/* The child keeps the link as descriptor 3 and nothing else of ours. */
static void __attribute__ ((__noreturn__))
run_child (const struct supervisor_request *request, int link_fd)
{
  int fd = link_fd;

  if (fd != 3) {
    fd = dup3 (link_fd, 3, O_CLOEXEC);
    if (fd < 0)
      _exit (1);
  }
  close_range (4, ~0U, 0);
  signal (SIGINT, SIG_IGN);
  run (request, fd);
}

static int
receive_answer (struct supervisor_link *link, struct answer *answer,
                struct err *err)
{
  ssize_t n = recv (link->fd, answer, sizeof *answer, 0);

  if (n < 0 && errno == EINTR)
    return err_set (err, -EINTR, "interrupted");
  if (n < 0)
    return err_sys (err, "waiting for the supervisor");
  if (n != sizeof *answer)
    return err_set (err, -EIO, "the supervisor ended unexpectedly");
  answer->text[sizeof answer->text - 1] = '\0';
  return 0;
}

int
supervisor_start (const struct supervisor_request *request,
                  struct supervisor_link *link, unsigned *index,
                  struct report *report, struct err *err)
{
  struct answer answer = { .kind = KIND_WARNING };
  int fds[2], r;
  pid_t pid;

  r = state_prepare (err);
  if (r < 0)
    return r;
  if (socketpair (AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
    return err_sys (err, "socketpair");
  pid = fork ();
  if (pid < 0) {
    r = err_sys (err, "fork");
    close (fds[0]);
    close (fds[1]);
    return r;
  }
  if (pid == 0)
    run_child (request, fds[1]);
  close (fds[1]);
  link->fd = fds[0];
  link->pidfd = pidfd_open (pid, 0);
  do {
    r = receive_answer (link, &answer, err);
    if (r == 0 && answer.kind == KIND_WARNING)
      report_warn (report, "%s", answer.text);
  }
  while (r == 0 && answer.kind == KIND_WARNING);
  if (r == 0 && answer.kind == KIND_FAILED)
    r = err_set (err, answer.code < 0 ? answer.code : -EIO, "%s",
                 answer.text);
  if (r < 0)
    supervisor_abandon (link);
  else
    *index = answer.index;
  return r;
}

/* A server that was lost meanwhile is told about first. */
int
supervisor_keep (struct supervisor_link *link, struct err *err)
{
  struct answer answer;

  if (recv (link->fd, &answer, sizeof answer, MSG_DONTWAIT) == sizeof answer &&
      answer.kind == KIND_FAILED) {
    answer.text[sizeof answer.text - 1] = '\0';
    return err_set (err, -EIO, "%s", answer.text);
  }
  if (send (link->fd, "k", 1, MSG_NOSIGNAL) != 1)
    return err_sys (err, "the supervisor ended unexpectedly");
  close_fd (&link->fd);
  close_fd (&link->pidfd);
  return 0;
}

void
supervisor_abandon (struct supervisor_link *link)
{
  close_fd (&link->fd);
  if (link->pidfd >= 0)
    process_wait (link->pidfd, UNDO);
  close_fd (&link->pidfd);
}
