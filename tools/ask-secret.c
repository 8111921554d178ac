/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Asking for what must not be shown.  Whatever ends or stops us meanwhile, the
 * terminal is as it was when that happens: signals are only noted while it is
 * quiet, and come again once it isn't.  Where another thread waits for them
 * (tools/progress.c) either may get one: it says so by ask_give_up.  A pipe
 * wakes the one who waits for the answer.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

#include "tools/ask.h"

static const int noted[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP };

#define NR_NOTED (sizeof noted / sizeof noted[0])

struct quiet {
  struct termios shown;
  struct sigaction actions[NR_NOTED];
  sigset_t mask;
};

static int wake[2] = { -1, -1 };        /* stays, so that anybody may write */
static bool is_open;                    /* atomic */

/* byte: a signal that is to come again, or 0. */
static void
wake_up (unsigned char byte)
{
  ssize_t n = write (wake[1], &byte, 1);

  (void) n;
}

static void
note (int sig)
{
  int saved = errno;

  wake_up ((unsigned char) sig);
  errno = saved;
}

bool
ask_is_open (void)
{
  return __atomic_load_n (&is_open, __ATOMIC_ACQUIRE);
}

void
ask_give_up (void)
{
  if (ask_is_open ())
    wake_up (0);
}

static int
make_pipe (struct err *err)
{
  unsigned char byte;

  if (wake[0] < 0 && pipe2 (wake, O_CLOEXEC | O_NONBLOCK) < 0)
    return err_sys (err, "pipe2");
  while (read (wake[0], &byte, 1) == 1)
    ;                           /* of the question before */
  return 0;
}

/* What is ignored stays ignored; what is blocked (by ending_signals) is not,
 * until it is noted.
 */
static void
note_signals (struct quiet *q)
{
  struct sigaction action = { .sa_handler = note };
  sigset_t set;

  sigemptyset (&action.sa_mask);
  sigemptyset (&set);
  for (size_t i = 0; i < NR_NOTED; ++i) {
    sigaction (noted[i], NULL, &q->actions[i]);
    if (q->actions[i].sa_handler != SIG_IGN)
      sigaction (noted[i], &action, NULL);
    sigaddset (&set, noted[i]);
  }
  __atomic_store_n (&is_open, true, __ATOMIC_RELEASE);
  pthread_sigmask (SIG_UNBLOCK, &set, &q->mask);
}

/* The first one that came meanwhile, or 0. */
static int
leave_signals (const struct quiet *q)
{
  unsigned char byte;

  pthread_sigmask (SIG_SETMASK, &q->mask, NULL);
  for (size_t i = 0; i < NR_NOTED; ++i)
    sigaction (noted[i], &q->actions[i], NULL);
  __atomic_store_n (&is_open, false, __ATOMIC_RELEASE);
  return read (wake[0], &byte, 1) == 1 ? byte : 0;
}

/* Up to the end of the line.  -ECANCELED: there is none, or a signal came. */
static int
read_line (int tty, char *buf, size_t size, size_t *len, struct err *err)
{
  struct pollfd fds[] = {
    { .fd = tty, .events = POLLIN }, { .fd = wake[0], .events = POLLIN },
  };

  for (*len = 0; *len < size; ++*len) {
    int n;

    do
      n = poll (fds, 2, -1);
    while (n < 0 && errno == EINTR);
    if (n < 0 || fds[1].revents != 0 || read (tty, buf + *len, 1) != 1)
      return err_set (err, -ECANCELED, "nothing was typed");
    if (buf[*len] == '\n')
      return 0;
  }
  return err_set (err, -EFBIG, "more than %zu bytes were typed", size - 1);
}

/* *sig: what came meanwhile, or 0. */
static int
ask_once (int tty, const char *question, char *buf, size_t size, size_t *len,
          int *sig, struct err *err)
{
  struct termios hidden;
  struct quiet q;
  int r = make_pipe (err);

  if (r < 0)
    return r;
  if (tcgetattr (tty, &q.shown) < 0)
    return err_sys (err, "the terminal");
  hidden = q.shown;
  hidden.c_lflag &= ~(tcflag_t) (ECHO | ECHONL);
  note_signals (&q);
  /* What was typed before is not meant; what is typed from here on is. */
  if (tcsetattr (tty, TCSAFLUSH, &hidden) < 0)
    r = err_sys (err, "the terminal");
  else {
    dprintf (tty, "%s", question);
    r = read_line (tty, buf, size, len, err);
    (void) tcsetattr (tty, TCSAFLUSH, &q.shown);
    dprintf (tty, "\n");
  }
  *sig = leave_signals (&q);
  return r;
}

int
ask_secret (const char *question, char *buf, size_t size, size_t *len,
            struct err *err)
{
  int tty = open ("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY), sig, r;

  if (tty < 0)
    return err_sys (err, "/dev/tty");
  do {
    sig = 0;
    r = ask_once (tty, question, buf, size, len, &sig, err);
    /* To the process, as whoever waits for it may be another thread. */
    if (sig != 0)
      kill (getpid (), sig);
    /* Who was stopped, and goes on, is asked again. */
  } while (sig == SIGTSTP);
  close (tty);
  return r;
}
