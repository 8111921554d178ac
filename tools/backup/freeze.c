/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "tools/backup/freeze.h"

/* How long whoever asks waits for an answer, besides the time that file systems
 * may be frozen: to freeze one is to write what it has in memory.
 */
#define ANSWER_SECONDS 120

struct freeze {
  struct mount_vector mounts;   /* of the caller, as long as this is */
  int *folders;                 /* or a file of each, opened */
  size_t nr;
  int sock;
  pid_t guardian;
  bool ended;
  struct err result;            /* once it has ended; code 0: all is well */
};

/* What the guardian says. */
struct answer {
  int error;                    /* errno; 0: done */
  size_t which;                 /* the folder; of an error */
};

/*--- The guardian -----------------------------------------------------------*/

/* One that is not frozen is EINVAL. */
static int
thaw_all (const int *folders, size_t nr, size_t *which)
{
  int error = 0;

  while (nr-- > 0)
    if (ioctl (folders[nr], FITHAW, 0) < 0 && errno != EINVAL) {
      error = errno;
      *which = nr;
    }
  return error;
}

static void
say (int sock, int error, size_t which)
{
  const struct answer answer = { error, which };

  (void) !send (sock, &answer, sizeof answer, MSG_NOSIGNAL);
}

/* Nothing of what the other has open stays so in here; the messages of neither
 * terminal nor service get here; and neither a page that is missing nor the
 * kernel's choice when memory is short ends it.
 */
static void
settle_down (struct freeze *f)
{
  int null = open ("/dev/null", O_RDWR | O_CLOEXEC), adj;
  unsigned last = (unsigned) f->sock;

  setsid ();
  for (int fd = 0; fd <= 2; ++fd)
    dup2 (null, fd);
  for (size_t i = 0; i < f->nr; ++i)
    last = (unsigned) f->folders[i] > last ? (unsigned) f->folders[i] : last;
  for (unsigned fd = 3; fd < last; ++fd) {
    bool ours = (int) fd == f->sock;

    for (size_t i = 0; i < f->nr; ++i)
      ours = ours || f->folders[i] == (int) fd;
    if (!ours)
      close ((int) fd);
  }
  close_range (last + 1, ~0U, 0);
  mlockall (MCL_CURRENT | MCL_FUTURE);
  adj = open ("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (adj >= 0) {
    (void) !write (adj, "-1000", 5);
    close (adj);
  }
}

/* Until it is time to thaw; ETIMEDOUT: nobody said so. */
static int
watch (const struct freeze *f, int signals, unsigned seconds)
{
  struct pollfd fds[] = {
    { .fd = f->sock, .events = POLLIN },
    { .fd = signals, .events = POLLIN },
  };
  int r;

  do
    r = poll (fds, 2, (int) (seconds < 1000000 ? seconds : 1000000) * 1000);
  while (r < 0 && errno == EINTR);
  return r > 0 && fds[0].revents != 0 ? 0 : ETIMEDOUT;
}

static void __attribute__ ((__noreturn__))
guard (struct freeze *f, unsigned seconds)
{
  sigset_t ignored, ending;
  int signals, why = 0, error;
  size_t which = 0;

  sigfillset (&ignored);
  sigprocmask (SIG_SETMASK, &ignored, NULL);
  settle_down (f);
  sigemptyset (&ending);
  sigaddset (&ending, SIGTERM);
  signals = signalfd (-1, &ending, SFD_CLOEXEC);
  for (size_t i = 0; i < f->nr; ++i)
    if (ioctl (f->folders[i], FIFREEZE, 0) < 0) {
      /* This one is somebody else's, if it is frozen. */
      error = errno;
      thaw_all (f->folders, i, &which);
      say (f->sock, error, i);
      _exit (1);
    }
  say (f->sock, 0, 0);
  why = watch (f, signals, seconds);
  error = thaw_all (f->folders, f->nr, &which);
  say (f->sock, error != 0 ? error : why, which);
  _exit (0);
}

/*--- Who starts it ----------------------------------------------------------*/

/* 0, or -EPIPE: the guardian has ended without a word; -ETIMEDOUT. */
static int
listen_to (struct freeze *f, unsigned seconds, struct answer *answer)
{
  struct pollfd fd = { .fd = f->sock, .events = POLLIN };
  ssize_t n;
  int r;

  do
    r = poll (&fd, 1, (int) (seconds < 1000000 ? seconds : 1000000) * 1000);
  while (r < 0 && errno == EINTR);
  if (r <= 0)
    return -ETIMEDOUT;
  n = recv (f->sock, answer, sizeof *answer, 0);
  /* It ended without reading what it was told last, which is an error, once;
   * what it said is still there.
   */
  if (n < 0 && errno == ECONNRESET)
    n = recv (f->sock, answer, sizeof *answer, 0);
  return n == sizeof *answer ? 0 : -EPIPE;
}

static int
open_folders (struct freeze *f, struct err *err)
{
  f->folders = calloc (f->mounts.len, sizeof *f->folders);
  if (f->folders == NULL)
    return err_nomem (err);
  for (; f->nr < f->mounts.len; ++f->nr) {
    int fd = mount_open (&f->mounts.ptr[f->nr], err);

    if (fd < 0)
      return fd;
    f->folders[f->nr] = fd;
  }
  return 0;
}

static int
start_guardian (struct freeze *f, unsigned seconds, struct err *err)
{
  int socks[2];

  if (socketpair (AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) < 0)
    return err_sys (err, "socketpair");
  f->guardian = fork ();
  if (f->guardian == 0) {
    close (socks[0]);
    f->sock = socks[1];
    guard (f, seconds);
  }
  close (socks[1]);
  f->sock = socks[0];
  return f->guardian < 0 ? err_sys (err, "fork") : 0;
}

static int
explain (const struct freeze *f, const struct answer *answer, struct err *err)
{
  const char *where = mount_where (&f->mounts.ptr[answer->which]);

  return answer->error == EBUSY
    ? err_set (err, -EBUSY, "the file system at %s is frozen already, by "
               "somebody else", where)
    : err_set (err, -answer->error, "the file system at %s can't be frozen: %s",
               where, strerror (answer->error));
}

int
freeze_begin (const struct mount_vector *mounts, unsigned seconds,
              struct freeze **out, struct err *err)
{
  struct freeze *f = calloc (1, sizeof *f);
  struct answer answer = { 0, 0 };
  int r;

  if (f == NULL)
    return err_nomem (err);
  f->mounts = *mounts;
  f->sock = -1;
  f->guardian = -1;
  r = open_folders (f, err);
  if (r == 0)
    r = start_guardian (f, seconds, err);
  if (r < 0)
    f->ended = true;
  else if (listen_to (f, seconds + ANSWER_SECONDS, &answer) < 0)
    r = err_set (err, -ETIMEDOUT, "freezing the file systems did not end");
  else if (answer.error != 0) {
    f->ended = true;
    r = explain (f, &answer, err);
  }
  if (r < 0)
    freeze_free (f);
  else
    *out = f;
  return r;
}

/* The guardian's word for it, or, if it is gone, our own hand. */
static int
thaw (struct freeze *f, struct err *err)
{
  struct answer answer = { 0, 0 };
  bool told;

  (void) !send (f->sock, "", 1, MSG_NOSIGNAL);
  told = listen_to (f, ANSWER_SECONDS, &answer) == 0;
  if (!told)
    answer.error = thaw_all (f->folders, f->nr, &answer.which);
  if (told && answer.error == ETIMEDOUT)
    return err_set (err, -ETIMEDOUT, "file systems were thawed before all of "
                    "the disk was read, as they may not be frozen any longer "
                    "(--freeze-limit), or because of SIGTERM");
  if (answer.error != 0)
    return err_set (err, -EIO, "the file system at %s can't be thawed: %s",
                    mount_where (&f->mounts.ptr[answer.which]),
                    strerror (answer.error));
  return told ? 0
    : err_set (err, -ETIMEDOUT, "the process that keeps file systems from "
               "staying frozen was killed: they may not have been frozen all "
               "the time");
}

int
freeze_end (struct freeze *f, struct err *err)
{
  if (!f->ended)
    f->result.code = thaw (f, &f->result);
  f->ended = true;
  if (f->result.code < 0 && err != NULL)
    *err = f->result;
  return f->result.code;
}

void
freeze_free (struct freeze *f)
{
  if (f == NULL)
    return;
  freeze_end (f, NULL);
  if (f->sock >= 0)
    close (f->sock);
  if (f->guardian > 0)
    waitpid (f->guardian, NULL, 0);
  for (size_t i = 0; i < f->nr; ++i)
    close (f->folders[i]);
  free (f->folders);
  free (f);
}
