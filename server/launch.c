/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Processes: nbdkit, and the relay that carries its messages.
 *
 * The caller may have other threads, so between fork and exec the child only
 * does what a signal handler may; everything is prepared before.
 *
 * nbdkit's stderr is a pipe, because its first lines, if it fails, are the
 * reason that server_start returns.  Once it runs, somebody must empty that
 * pipe as long as nbdkit lives, perhaps longer than we do (server_release):
 * a small process of its own, which ends at the end of the pipe.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "server/internal.h"

extern char **environ;

#define LISTEN_PID_SIZE 32

struct child {
  char *const *argv;
  char **envp;
  char *listen_pid;             /* "LISTEN_PID=" in envp, to be completed */
  int listen_fd, ready_fd, stderr_fd, null_fd;
  bool die_with_us;
  pid_t parent;
  struct rlimit files;
};

/*--- in the child: only what is async-signal-safe ---------------------------*/

static void
reset_signals (void)
{
  sigset_t none;

  for (int sig = 1; sig < NSIG; ++sig)
    signal (sig, SIG_DFL);
  sigemptyset (&none);
  sigprocmask (SIG_SETMASK, &none, NULL);
}

static void
put_decimal (char *to, unsigned n)
{
  char digits[10];
  size_t len = 0;

  do
    digits[len++] = (char) ('0' + n % 10);
  while ((n /= 10) > 0);
  while (len > 0)
    *to++ = digits[--len];
  *to = '\0';
}

/* The sources may be among the targets: all move out of the way first. */
static int
place_descriptors (const struct child *c)
{
  const int from[] = { c->null_fd, c->null_fd, c->stderr_fd, c->listen_fd,
                       c->ready_fd };
  const int to[] = { STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO,
                     CHILD_LISTEN_FD, CHILD_READY_FD };
  int moved[5];

  for (int i = 0; i < 5; ++i) {
    moved[i] = fcntl (from[i], F_DUPFD_CLOEXEC, 10);
    if (moved[i] < 0)
      return -1;
  }
  for (int i = 0; i < 5; ++i)
    if (dup2 (moved[i], to[i]) < 0)
      return -1;
  /* Nothing else of ours is nbdkit's: not a lock on an image, not a
   * kernel's nbd device.
   */
  close_range (CHILD_READY_FD + 1, ~0U, 0);
  return 0;
}

static void __attribute__ ((__noreturn__))
run_child (const struct child *c)
{
  static const char failed[] = "nbdkit: error: nbdkit could not be run\n";

  reset_signals ();
  /* Ctrl-C is ours to handle; nbdkit ends when we say so. */
  setpgid (0, 0);
  if (c->die_with_us) {
    prctl (PR_SET_PDEATHSIG, SIGTERM);
    if (getppid () != c->parent)
      _exit (127);
  }
  setrlimit (RLIMIT_NOFILE, &c->files);
  put_decimal (c->listen_pid + strlen (c->listen_pid), (unsigned) getpid ());
  if (place_descriptors (c) == 0)
    execve (c->argv[0], c->argv, c->envp);
  if (write (STDERR_FILENO, failed, sizeof failed - 1) < 0)
    _exit (126);
  _exit (127);
}

static void __attribute__ ((__noreturn__))
run_relay (int messages, int log_fd)
{
  char buf[4096];
  ssize_t n;

  /* It outlives the signals that end nbdkit, to carry the last words. */
  setpgid (0, 0);
  for (int sig = 1; sig < NSIG; ++sig)
    signal (sig, sig == SIGCHLD ? SIG_DFL : SIG_IGN);
  if (dup2 (messages, STDIN_FILENO) < 0 || dup2 (log_fd, STDOUT_FILENO) < 0)
    _exit (1);
  close_range (STDERR_FILENO, ~0U, 0);
  if (chdir ("/") < 0)          /* holds no file system busy */
    _exit (1);
  while ((n = read (STDIN_FILENO, buf, sizeof buf)) != 0) {
    /* A log that nobody reads any more is no reason to stop nbdkit. */
    if (n > 0 && write (STDOUT_FILENO, buf, (size_t) n) < 0)
      continue;
  }
  _exit (0);
}

/*--- in the parent ----------------------------------------------------------*/

/* Whoever runs us knows our options, and not the parameters of the plugin,
 * which tells how to do a thing in these words (plugin_load).
 */
static char spelling[] = "NBDIMAGE_SPELLING=options";

/* And it may have said what is odd about the image (exports_prepare). */
static char quiet_start[] = "NBDIMAGE_START=quiet";

/* Our environment without a LISTEN_* of our own, with nbdkit's. */
static int
make_environment (const struct server *server, struct child *c,
                  struct err *err)
{
  static char listen_fds[] = "LISTEN_FDS=1";
  size_t n = 0, count = 0;

  while (environ[n])
    n++;
  c->envp = calloc (n + 6, sizeof *c->envp);
  c->listen_pid = calloc (1, LISTEN_PID_SIZE);
  if (c->envp == NULL || c->listen_pid == NULL)
    return err_nomem (err);
  for (size_t i = 0; i < n; ++i)
    if (strncmp (environ[i], "LISTEN_", 7) != 0 &&
        (server->preload == NULL ||
         strncmp (environ[i], "LD_PRELOAD=", 11) != 0))
      c->envp[count++] = environ[i];
  if (server->preload)
    c->envp[count++] = server->preload;
  strcpy (c->listen_pid, "LISTEN_PID=");
  c->envp[count++] = spelling;
  if (server->quiet_start)
    c->envp[count++] = quiet_start;
  c->envp[count++] = c->listen_pid;
  c->envp[count] = listen_fds;
  return 0;
}

/* Fork with all signals blocked: a handler of ours must not run in the child
 * before it has its own.
 */
static pid_t
fork_quietly (sigset_t *before)
{
  sigset_t all;
  pid_t pid;

  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, before);
  pid = fork ();
  if (pid != 0) {
    int saved = errno;

    pthread_sigmask (SIG_SETMASK, before, NULL);
    errno = saved;
  }
  return pid;
}

static int
fork_child (struct server *server, const struct child *c, struct err *err)
{
  sigset_t before;
  pid_t pid = fork_quietly (&before);

  if (pid < 0)
    return err_sys (err, "fork");
  if (pid == 0)
    run_child (c);
  server->pid = pid;
  server->reaped = false;
  server->pidfd = (int) syscall (SYS_pidfd_open, pid, 0);
  if (server->pidfd < 0) {
    int r = err_sys (err, "pidfd_open");

    kill (pid, SIGKILL);
    waitpid (pid, NULL, 0);
    server->reaped = true;
    return r;
  }
  return 0;
}

int
server_launch (struct server *server, int *ready, int *messages,
               struct err *err)
{
  CLEANUP_CLOSE int ready_read = -1, ready_write = -1;
  CLEANUP_CLOSE int messages_read_fd = -1, messages_write = -1;
  CLEANUP_CLOSE int null_fd = -1;
  struct child c = {
    .argv = server->argv.ptr,
    .listen_fd = server->listen_fd,
    .die_with_us = server->die_with_us,
    .parent = getpid (),
  };
  int fds[2], r;

  /* Out of descriptors, nbdkit prints that millions of times a second.  It
   * needs three for a connection: it gets what the system allows.
   */
  if (getrlimit (RLIMIT_NOFILE, &c.files) < 0)
    return err_sys (err, "getrlimit");
  c.files.rlim_cur = c.files.rlim_max;

  if (pipe2 (fds, O_CLOEXEC) < 0)
    return err_sys (err, "pipe");
  ready_read = fds[0];
  c.ready_fd = ready_write = fds[1];
  if (pipe2 (fds, O_CLOEXEC) < 0)
    return err_sys (err, "pipe");
  messages_read_fd = fds[0];
  c.stderr_fd = messages_write = fds[1];
  c.null_fd = null_fd = open ("/dev/null", O_RDWR | O_CLOEXEC);
  if (null_fd < 0)
    return err_sys (err, "/dev/null");
  r = make_environment (server, &c, err);
  if (r == 0)
    r = fork_child (server, &c, err);
  free (c.envp);
  free (c.listen_pid);
  if (r < 0)
    return r;
  *ready = steal_fd (&ready_read);
  *messages = steal_fd (&messages_read_fd);
  return 0;
}

int
server_start_relay (struct server *server, int messages, struct err *err)
{
  sigset_t before;
  pid_t pid;

  pid = fork_quietly (&before);
  if (pid < 0)
    return err_sys (err, "fork");
  if (pid == 0)
    run_relay (messages, server->log_fd);
  server->relay = pid;
  return 0;
}

static bool
wait_for_end (int pidfd, int timeout_ms)
{
  struct pollfd p = { .fd = pidfd, .events = POLLIN };
  int r;

  do
    r = poll (&p, 1, timeout_ms);
  while (r < 0 && errno == EINTR);
  return r > 0;
}

void
server_end_process (pid_t pid, int pidfd, int timeout_ms, siginfo_t *end)
{
  siginfo_t info = { 0 };
  int r;

  if (!wait_for_end (pidfd, 0)) {
    kill (pid, SIGTERM);
    if (!wait_for_end (pidfd, timeout_ms)) {
      kill (pid, SIGKILL);
      wait_for_end (pidfd, -1);
    }
  }
  do
    r = waitid (P_PIDFD, (id_t) pidfd, &info, WEXITED);
  while (r < 0 && errno == EINTR);
  if (r == 0 && end)
    *end = info;
}
