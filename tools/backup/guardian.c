/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tools/backup/guardian.h"

struct guardian {
  int sock;
  int signals;                  /* signalfd: SIGTERM */
  int *folders;
  size_t nr;
  unsigned seconds;
  int64_t until;                /* of now_ms: when they have passed */
};

int
guardian_thaw (const int *folders, size_t nr, size_t *which)
{
  int error = 0;

  while (nr-- > 0)
    if (ioctl (folders[nr], FITHAW, 0) < 0 && errno != EINVAL) {
      error = errno;
      *which = nr;
    }
  return error;
}

/* Nothing of what the other has open stays so in here; the messages of neither
 * terminal nor service get here; and neither a page that is missing nor the
 * kernel's choice when memory is short ends it.
 */
static void
settle_down (struct guardian *g)
{
  int null = open ("/dev/null", O_RDWR | O_CLOEXEC), adj;
  sigset_t set;

  sigfillset (&set);
  sigprocmask (SIG_SETMASK, &set, NULL);
  sigemptyset (&set);
  sigaddset (&set, SIGTERM);
  setsid ();
  for (int fd = 0; fd <= 2; ++fd)
    dup2 (null, fd);
  if (g->sock > 3)
    close_range (3, (unsigned) g->sock - 1, 0);
  close_range ((unsigned) g->sock + 1, ~0U, 0);
  g->signals = signalfd (-1, &set, SFD_CLOEXEC);
  mlockall (MCL_CURRENT | MCL_FUTURE);
  adj = open ("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (adj >= 0) {
    (void) !write (adj, "-1000", 5);
    close (adj);
  }
}

/*--- Orders -----------------------------------------------------------------*/

static int64_t
now_ms (void)
{
  struct timespec ts;

  clock_gettime (CLOCK_MONOTONIC, &ts);
  return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

enum event { NOTHING, TOLD, TERMINATED };

/* Wait for a message, the other's end or SIGTERM, until then at most; -1: for
 * ever.
 */
static enum event
wait_for (const struct guardian *g, int64_t until)
{
  struct pollfd fds[] = {
    { .fd = g->sock, .events = POLLIN },
    { .fd = g->signals, .events = POLLIN },
  };

  for (;;) {
    int64_t left = until < 0 ? 1000000 : until - now_ms ();
    int r;

    left = left < 0 ? 0 : left > 1000000 ? 1000000 : left;
    r = poll (fds, 2, (int) left);
    if (r > 0)
      return fds[0].revents != 0 ? TOLD : TERMINATED;
    if (r == 0 && until >= 0 && now_ms () >= until)
      return NOTHING;
  }
}

static void
take_folders (struct guardian *g, struct msghdr *msg)
{
  struct cmsghdr *c = CMSG_FIRSTHDR (msg);
  size_t n;

  if (c == NULL || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
    return;
  n = (c->cmsg_len - CMSG_LEN (0)) / sizeof *g->folders;
  g->folders = realloc (g->folders, (g->nr + n) * sizeof *g->folders);
  if (g->folders == NULL)
    _exit (1);
  memcpy (g->folders + g->nr, CMSG_DATA (c), n * sizeof *g->folders);
  g->nr += n;
}

/* Whoever is not wanted any more ends here. */
static void
take_orders (struct guardian *g)
{
  union {
    char bytes[CMSG_SPACE (GUARDIAN_FOLDERS * sizeof (int))];
    struct cmsghdr align;
  } control;
  struct guardian_order order = { .last = false };

  while (!order.last) {
    struct iovec iov = { &order, sizeof order };
    struct msghdr msg = {
      .msg_iov = &iov, .msg_iovlen = 1,
      .msg_control = control.bytes, .msg_controllen = sizeof control.bytes,
    };

    if (wait_for (g, -1) != TOLD ||
        recvmsg (g->sock, &msg, MSG_CMSG_CLOEXEC) != sizeof order ||
        (msg.msg_flags & MSG_CTRUNC))
      _exit (1);
    take_folders (g, &msg);
  }
  g->seconds = order.seconds;
}

static void
say (const struct guardian *g, int error, size_t which)
{
  const struct guardian_answer answer = { error, which };

  (void) !send (g->sock, &answer, sizeof answer, MSG_NOSIGNAL);
}

/*--- Freezing ---------------------------------------------------------------*/

/* It takes back what it did, and ends. */
static void __attribute__ ((__noreturn__))
give_up (const struct guardian *g, size_t done, int error, size_t which)
{
  size_t ignored;

  guardian_thaw (g->folders, done, &ignored);
  say (g, error, which);
  _exit (1);
}

/* To freeze is to write what is in memory: most of that is done before. */
static void
freeze_all (struct guardian *g)
{
  for (size_t i = 0; i < g->nr; ++i)
    syncfs (g->folders[i]);
  say (g, 0, 0);
  g->until = now_ms () + (int64_t) g->seconds * 1000;
  for (size_t i = 0; i < g->nr; ++i) {
    if (wait_for (g, 0) != NOTHING)
      give_up (g, i, ETIMEDOUT, i);
    /* This one is somebody else's, if it is frozen. */
    if (ioctl (g->folders[i], FIFREEZE, 0) < 0)
      give_up (g, i, errno, i);
  }
  say (g, 0, 0);
}

void
guardian_run (int sock)
{
  struct guardian g = { .sock = sock };
  size_t which = 0;
  int why, error;

  settle_down (&g);
  take_orders (&g);
  freeze_all (&g);
  why = wait_for (&g, g.until) == TOLD ? 0 : ETIMEDOUT;
  error = guardian_thaw (g.folders, g.nr, &which);
  say (&g, error != 0 ? error : why, which);
  _exit (0);
}
