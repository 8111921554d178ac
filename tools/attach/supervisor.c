/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The supervisor's process: how it begins, connects the device, and answers
 * the one who started it.  What it does from then on is in guard.c.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "server/server.h"
#include "tools/attach/clock.h"
#include "tools/attach/connect.h"
#include "tools/attach/device.h"
#include "tools/attach/guard.h"
#include "tools/attach/netlink.h"
#include "tools/attach/process.h"
#include "tools/attach/state.h"
#include "tools/attach/supervisor.h"
#include "tools/attach/watch.h"

/* Seconds for the handshake of each connection. */
#define HANDSHAKE 15

/* Milliseconds. */
#define WAIT_CLOSED 2000
#define UNDO 30000

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
  struct guard guard;
};

static void
send_answer (struct supervisor *s, int kind, int code, const char *text)
{
  struct answer answer = { .kind = kind, .code = code };

  if (s->guard.attachment.index >= 0)
    answer.index = (unsigned) s->guard.attachment.index;
  snprintf (answer.text, sizeof answer.text, "%s", text);
  send (s->guard.link_fd, &answer, sizeof answer, MSG_NOSIGNAL);
}

/*--- Setting up ------------------------------------------------------------*/

static int
start_server (struct supervisor *s, struct err *err)
{
  const char *images[] = { s->request->source };
  struct server_config config = SERVER_CONFIG_INIT;
  struct guard *g = &s->guard;
  int r;

  if (asprintf (&g->attachment.socket, STATE_FOLDER "/server-%d.sock",
                (int) getpid ()) < 0) {
    g->attachment.socket = NULL;
    return err_nomem (err);
  }
  unlink (g->attachment.socket);        /* of a process long gone */
  config.images = images;
  config.nr_images = 1;
  config.parameters = s->request->parameters;
  config.writable = s->request->writable;
  config.unix_socket = g->attachment.socket;
  config.log_fd = g->log_fd;
  config.cancel_fd = g->link_fd;
  r = server_start (&config, &g->server, err);
  if (r < 0)
    return r;
  g->attachment.server = process_of (server_pid (g->server));
  g->attachment.uri = server_uri (g->server, "");
  return g->attachment.uri == NULL ? err_nomem (err) : 0;
}

/* What a kernel's block device can't say about this disk. */
static int
check_disk (const struct supervisor *s, struct report *report,
            struct err *err)
{
  const struct connection *c = &s->guard.connection;

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
  struct connection *c = &s->guard.connection;
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
    .backend = s->guard.attachment.backend,
    .fds = c->fds,
    .nr_fds = c->nr_fds,
  };
  uint64_t deadline = clock_deadline (WAIT_CLOSED);
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
  s->guard.attachment.index = (int) index;
  s->guard.attachment.connections = (unsigned) c->nr_fds;
  s->guard.attachment.since = (int64_t) time (NULL);
  return 0;
}

/* The kernel's largest request must not be larger than the server's. */
static int
limit_requests (struct supervisor *s, struct err *err)
{
  unsigned index = (unsigned) s->guard.attachment.index;
  uint32_t max = s->guard.connection.max_request;

  if (max == 0 ||
      device_number (index, "queue/max_sectors_kb", 0) <= max / 1024)
    return 0;
  return device_set_number (index, "queue/max_sectors_kb", max / 1024, err);
}

static int
set_up (struct supervisor *s, struct report *report, struct err *err)
{
  struct attachment *a = &s->guard.attachment;
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
                         s->guard.link_fd, &s->guard.connection, report, err);
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
  s->guard.log_fd = open (path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC
                          | O_NOFOLLOW, 0600);
  if (s->guard.log_fd < 0)
    return err_sys (err, "making %s", path);
  sigemptyset (&set);
  sigaddset (&set, SIGTERM);
  sigaddset (&set, SIGINT);
  sigaddset (&set, SIGHUP);
  sigaddset (&set, SIGUSR1);
  sigprocmask (SIG_BLOCK, &set, NULL);
  signal (SIGPIPE, SIG_IGN);
  s->guard.signal_fd = signalfd (-1, &set, SFD_CLOEXEC);
  if (s->guard.signal_fd < 0)
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

  *s = (struct supervisor) { .request = request, .guard = GUARD_INIT };
  s->guard.link_fd = link_fd;
  r = become_daemon (s, &err);
  if (r == 0)
    r = set_up (s, &report, &err);
  send_warnings (s, &report);
  if (r < 0) {
    guard_end (&s->guard);
    send_answer (s, KIND_FAILED, r, err.msg);
    _exit (1);
  }
  guard_log (&s->guard, "attached %s as /dev/nbd%d",
             s->guard.attachment.source, s->guard.attachment.index);
  send_answer (s, KIND_READY, 0, "");
  guard_device (&s->guard);
  if (s->guard.link_fd >= 0 && s->guard.attachment.dead != NULL)
    send_answer (s, KIND_FAILED, -EIO, s->guard.attachment.dead);
  guard_end (&s->guard);
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
  close (steal_fd (&link->fd));
  close (steal_fd (&link->pidfd));
  return 0;
}

void
supervisor_abandon (struct supervisor_link *link)
{
  close (steal_fd (&link->fd));
  if (link->pidfd >= 0)
    process_wait (link->pidfd, UNDO);
  close (steal_fd (&link->pidfd));
}
