/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "tools/attach/clock.h"
#include "tools/attach/process.h"

extern char **environ;

/* Read /proc/PID/NAME, cut off at size - 1. */
static bool
read_proc (pid_t pid, const char *name, char *text, size_t size)
{
  CLEANUP_CLOSE int fd = -1;
  char path[64];
  ssize_t n;

  text[0] = '\0';
  snprintf (path, sizeof path, "/proc/%d/%s", (int) pid, name);
  fd = open (path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return false;
  n = read (fd, text, size - 1);
  if (n < 0)
    return false;
  text[n] = '\0';
  return true;
}

/* The 22nd field; the second is a name in parentheses and may hold anything,
 * parentheses and spaces included.
 */
uint64_t
process_parse_start (const char *stat)
{
  const char *p = strrchr (stat, ')');
  unsigned field;

  if (p == NULL)
    return 0;
  for (field = 2; field < 22; ++field) {
    p = strchr (p + 1, ' ');
    if (p == NULL)
      return 0;
  }
  return strtoull (p, NULL, 10);
}

/* A zombie has ended, though its number is still there. */
static bool
is_zombie (const char *stat)
{
  const char *p = strrchr (stat, ')');

  return p != NULL && p[1] == ' ' && (p[2] == 'Z' || p[2] == 'X');
}

struct process
process_of (pid_t pid)
{
  struct process process = { 0, 0 };
  char stat[1024];

  if (pid > 0 && read_proc (pid, "stat", stat, sizeof stat) &&
      !is_zombie (stat)) {
    process.start = process_parse_start (stat);
    process.pid = process.start > 0 ? pid : 0;
  }
  return process;
}

bool
process_alive (const struct process *process)
{
  return process->pid > 0 && process_of (process->pid).start == process->start;
}

void
process_name (pid_t pid, char *name, size_t size)
{
  read_proc (pid, "comm", name, size);
  name[strcspn (name, "\n")] = '\0';
}

int
process_open (const struct process *process)
{
  int fd;

  if (process->pid <= 0)
    return -1;
  fd = pidfd_open (process->pid, 0);
  /* Only now does the number stay what it is. */
  if (fd >= 0 && !process_alive (process)) {
    close (fd);
    fd = -1;
  }
  return fd;
}

bool
process_wait (int pidfd, unsigned milliseconds)
{
  uint64_t deadline = clock_deadline (milliseconds);
  struct pollfd p = { .fd = pidfd, .events = POLLIN };

  while (poll (&p, 1, clock_left (deadline)) < 0)
    if (errno != EINTR)
      return false;
  return p.revents != 0;
}

bool
process_signal (int pidfd, int signal)
{
  return pidfd_send_signal (pidfd, signal, NULL, 0) == 0;
}

void
process_end (const struct process *process)
{
  CLEANUP_CLOSE int pidfd = process_open (process);

  if (pidfd < 0)
    return;
  process_signal (pidfd, SIGTERM);
  if (process_wait (pidfd, 1000))
    return;
  process_signal (pidfd, SIGKILL);
  process_wait (pidfd, 5000);
}

#define LINE_SIZE 256

/* The last line that was written to the file, which says best why a program
 * ended: "" for none.
 */
static void
last_line (int fd, char line[LINE_SIZE])
{
  char text[4096];
  off_t end = lseek (fd, 0, SEEK_END);
  off_t from = end > (off_t) sizeof text - 1 ? end - (off_t) sizeof text + 1
    : 0;
  ssize_t n = end < 0 ? -1 : pread (fd, text, sizeof text - 1, from);
  const char *last;

  while (n > 0 && strchr (" \r\n", text[n - 1]) != NULL)
    n--;
  text[n > 0 ? n : 0] = '\0';
  last = strrchr (text, '\n');
  snprintf (line, LINE_SIZE, "%.*s", LINE_SIZE - 1,
            last != NULL ? last + 1 : text);
}

/* Programs begin with their name, most often. */
static int
run_failed (const char *name, int status, int stderr_fd, struct err *err)
{
  size_t len = strlen (name);
  char line[LINE_SIZE] = "";

  if (stderr_fd >= 0)
    last_line (stderr_fd, line);
  if (line[0] == '\0' && WIFEXITED (status))
    return err_set (err, -EIO, "%s ended with status %d", name,
                    WEXITSTATUS (status));
  if (line[0] == '\0')
    return err_set (err, -EIO, "%s was ended by signal %d", name,
                    WTERMSIG (status));
  if (strncmp (line, name, len) == 0 && line[len] == ':')
    return err_set (err, -EIO, "%s", line);
  return err_set (err, -EIO, "%s: %s", name, line);
}

int
process_run (const char *const argv[], unsigned milliseconds, struct err *err)
{
  posix_spawn_file_actions_t actions;
  CLEANUP_CLOSE int pidfd = -1;
  /* Not a pipe: nobody reads it while the program runs. */
  CLEANUP_CLOSE int stderr_fd = memfd_create ("stderr", MFD_CLOEXEC);
  const char *slash = strrchr (argv[0], '/');
  int status = 0, r;
  bool ended;
  pid_t pid;

  posix_spawn_file_actions_init (&actions);
  posix_spawn_file_actions_addopen (&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen (&actions, 1, "/dev/null", O_WRONLY, 0);
  if (stderr_fd >= 0)
    posix_spawn_file_actions_adddup2 (&actions, stderr_fd, 2);
  else
    posix_spawn_file_actions_addopen (&actions, 2, "/dev/null", O_WRONLY, 0);
  r = posix_spawnp (&pid, argv[0], &actions, NULL, (char *const *) argv,
                    environ);
  posix_spawn_file_actions_destroy (&actions);
  if (r != 0)
    return err_set (err, -r, "%s: %s", argv[0], strerror (r));
  pidfd = pidfd_open (pid, 0);
  ended = pidfd >= 0 && process_wait (pidfd, milliseconds);
  if (!ended)
    kill (pid, SIGKILL);        /* our child: the number is still its own */
  while (waitpid (pid, &status, 0) < 0 && errno == EINTR)
    ;
  if (!ended)
    return err_set (err, -ETIMEDOUT, "%s did not end in time", argv[0]);
  if (status != 0)
    return run_failed (slash != NULL ? slash + 1 : argv[0], status, stderr_fd,
                       err);
  return 0;
}

/*--- Calls that may hang in the kernel -------------------------------------*/

struct bounded {
  void (*function) (void *opaque);
  void *opaque;
  int fd;                       /* closed at the end: the other end of the
                                   pipe notices */
};

static void *
bounded_start (void *arg)
{
  struct bounded *bounded = arg;

  bounded->function (bounded->opaque);
  close (bounded->fd);
  free (bounded);
  return NULL;
}

/* A signal may come just before poll, or to the other thread. */
static bool
wait_for_end (int fd, unsigned milliseconds,
              const volatile bool *interrupted)
{
  uint64_t deadline = clock_deadline (milliseconds);
  struct pollfd p = { .fd = fd, .events = POLLIN };

  for (;;) {
    int left = clock_left (deadline);

    if (interrupted != NULL && left > 100)
      left = 100;
    if (poll (&p, 1, left) > 0)
      return true;
    if (clock_left (deadline) == 0 || (interrupted != NULL && *interrupted))
      return false;
  }
}

bool
process_bounded (void (*function) (void *opaque), void *opaque,
                 unsigned milliseconds, const volatile bool *interrupted)
{
  struct bounded *bounded = malloc (sizeof *bounded);
  pthread_attr_t attr;
  pthread_t thread;
  int fds[2], r;

  if (bounded == NULL || pipe2 (fds, O_CLOEXEC) < 0) {
    free (bounded);
    return false;
  }
  *bounded = (struct bounded) { function, opaque, fds[1] };
  pthread_attr_init (&attr);
  pthread_attr_setdetachstate (&attr, PTHREAD_CREATE_DETACHED);
  r = pthread_create (&thread, &attr, bounded_start, bounded);
  pthread_attr_destroy (&attr);
  if (r != 0) {
    close (fds[0]);
    close (fds[1]);
    free (bounded);
    return false;
  }
  r = wait_for_end (fds[0], milliseconds, interrupted);
  close (fds[0]);
  return r;
}
