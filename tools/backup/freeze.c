/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/backup/freeze.h"
#include "tools/backup/guardian.h"

/* How long the guardian may take to answer, besides the time that file systems
 * may be frozen: to freeze one is to write what it has in memory.
 */
#define ANSWER_SECONDS 120

#define TICK_MS 100             /* between looks at the job */

struct freeze {
  int sock;
  pid_t guardian;

  const struct mount_vector *mounts;    /* the caller's */
  int *folders;                 /* or a file of each, opened */
  size_t nr;
  struct job *job;

  /* Of the thread, until it was joined. */
  bool ended;
  struct err result;            /* once it has ended; code 0: all is well */

  pthread_t thread;
  bool has_thread;
  int stop;                     /* eventfd; the thread is to end */
};

/*--- Talking to the guardian ------------------------------------------------*/

/* 0, or -EPIPE: the guardian has ended without a word; -ETIMEDOUT after so many
 * seconds, 0: never; -ECANCELED.
 */
static int
listen_to (const struct freeze *f, uint64_t seconds, struct job *job,
           struct guardian_answer *answer)
{
  struct pollfd fd = { .fd = f->sock, .events = POLLIN };
  const uint64_t ticks = seconds * 1000 / TICK_MS;
  uint64_t i = 0;
  ssize_t n;
  int r;

  do {
    r = poll (&fd, 1, TICK_MS);
    if (r <= 0 && job_check (job, NULL) < 0)
      return -ECANCELED;
    if (r <= 0 && seconds > 0 && ++i > ticks)
      return -ETIMEDOUT;
  } while (r <= 0);
  n = recv (f->sock, answer, sizeof *answer, 0);
  /* It ended without reading what it was told last, which is an error, once;
   * what it said is still there.
   */
  if (n < 0 && errno == ECONNRESET)
    n = recv (f->sock, answer, sizeof *answer, 0);
  return n == sizeof *answer ? 0 : -EPIPE;
}

static int
order (const struct freeze *f, const int *folders, size_t nr, bool last,
       unsigned seconds)
{
  union {
    char bytes[CMSG_SPACE (GUARDIAN_FOLDERS * sizeof (int))];
    struct cmsghdr align;
  } control = { .bytes = { 0 } };
  struct guardian_order what = { .last = last, .seconds = seconds };
  struct iovec iov = { &what, sizeof what };
  struct msghdr msg = {
    .msg_iov = &iov, .msg_iovlen = 1,
    .msg_control = control.bytes,
    .msg_controllen = CMSG_SPACE (nr * sizeof *folders),
  };
  struct cmsghdr *c = CMSG_FIRSTHDR (&msg);

  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN (nr * sizeof *folders);
  memcpy (CMSG_DATA (c), folders, nr * sizeof *folders);
  return sendmsg (f->sock, &msg, MSG_NOSIGNAL) == sizeof what ? 0 : -errno;
}

static int
order_all (const struct freeze *f, unsigned seconds)
{
  int r = 0;

  for (size_t i = 0; r == 0 && i < f->nr; i += GUARDIAN_FOLDERS) {
    size_t left = f->nr - i;
    bool last = left <= GUARDIAN_FOLDERS;

    r = order (f, f->folders + i, last ? left : GUARDIAN_FOLDERS, last,
               seconds);
  }
  return r;
}

/*--- The end ----------------------------------------------------------------*/

/* The guardian's word for it, or, if it is gone, our own hand. */
static int
thaw (const struct freeze *f, struct err *err)
{
  struct guardian_answer answer = { 0, 0 };
  bool told;

  (void) !send (f->sock, "", 1, MSG_NOSIGNAL);
  told = listen_to (f, ANSWER_SECONDS, NULL, &answer) == 0;
  if (!told)
    answer.error = guardian_thaw (f->folders, f->nr, &answer.which);
  if (told && answer.error == ETIMEDOUT)
    return err_set (err, -ETIMEDOUT, "file systems were thawed before all of "
                    "the disk was read, as they may not be frozen any longer "
                    "(--freeze-limit), or because of SIGTERM");
  if (answer.error != 0)
    return err_set (err, -EIO, "the file system at %s can't be thawed: %s",
                    mount_where (&f->mounts->ptr[answer.which]),
                    strerror (answer.error));
  return told ? 0
    : err_set (err, -ETIMEDOUT, "the process that keeps file systems from "
               "staying frozen was killed: they may not have been frozen all "
               "the time");
}

static void
settle (struct freeze *f)
{
  f->result.code = thaw (f, &f->result);
  f->ended = true;
}

/* Until it is to end, or the guardian has something to say that nobody asked
 * for, or is gone: whoever reads then reads in vain.
 */
static void *
look_after (void *opaque)
{
  struct freeze *f = opaque;
  struct pollfd fds[] = {
    { .fd = f->sock, .events = POLLIN },
    { .fd = f->stop, .events = POLLIN },
  };
  int r;

  do
    r = poll (fds, 2, -1);
  while (r < 0 && errno == EINTR);
  if (r > 0 && fds[1].revents == 0) {
    settle (f);
    job_cancel (f->job);
  }
  return NULL;
}

static int
start_thread (struct freeze *f, struct err *err)
{
  f->stop = eventfd (0, EFD_CLOEXEC);
  if (f->stop < 0)
    return err_sys (err, "eventfd");
  errno = pthread_create (&f->thread, NULL, look_after, f);
  if (errno != 0)
    return err_sys (err, "pthread_create");
  f->has_thread = true;
  return 0;
}

static void
stop_thread (struct freeze *f)
{
  const uint64_t one = 1;

  if (f->has_thread && write (f->stop, &one, sizeof one) == sizeof one)
    pthread_join (f->thread, NULL);
  f->has_thread = false;
}

int
freeze_end (struct freeze *f, struct err *err)
{
  stop_thread (f);
  if (!f->ended)
    settle (f);
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
  close (f->sock);
  waitpid (f->guardian, NULL, 0);
  if (f->stop >= 0)
    close (f->stop);
  for (size_t i = 0; i < f->nr; ++i)
    close (f->folders[i]);
  free (f->folders);
  free (f);
}

/*--- The beginning ----------------------------------------------------------*/

int
freeze_new (struct freeze **out, struct err *err)
{
  struct freeze *f = calloc (1, sizeof *f);
  int socks[2], r;

  if (f == NULL)
    return err_nomem (err);
  f->ended = true;
  f->stop = -1;
  if (socketpair (AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) < 0) {
    r = err_sys (err, "socketpair");
    free (f);
    return r;
  }
  f->sock = socks[0];
  f->guardian = fork ();
  if (f->guardian == 0)
    guardian_run (socks[1]);
  r = f->guardian < 0 ? err_sys (err, "fork") : 0;
  close (socks[1]);
  if (r == 0)
    *out = f;
  else {
    close (f->sock);
    free (f);
  }
  return r;
}

static int
open_folders (struct freeze *f, struct err *err)
{
  f->folders = calloc (f->mounts->len, sizeof *f->folders);
  if (f->folders == NULL)
    return err_nomem (err);
  for (; f->nr < f->mounts->len; ++f->nr) {
    int fd = mount_open (&f->mounts->ptr[f->nr], err);

    if (fd < 0)
      return fd;
    f->folders[f->nr] = fd;
  }
  return 0;
}

/* It has taken back what it did. */
static int
explain (struct freeze *f, const struct guardian_answer *answer,
         struct err *err)
{
  const char *where = mount_where (&f->mounts->ptr[answer->which]);

  f->ended = true;
  return answer->error == ETIMEDOUT
    ? err_set (err, -ETIMEDOUT, "freezing the file systems was ended by "
               "SIGTERM")
    : answer->error == EBUSY
    ? err_set (err, -EBUSY, "the file system at %s is frozen already, by "
               "somebody else", where)
    : err_set (err, -answer->error, "the file system at %s can't be frozen: %s",
               where, strerror (answer->error));
}

/* It answers twice: all was written, which takes what it takes; all is frozen.
 */
static int
wait_until_frozen (struct freeze *f, unsigned seconds, struct err *err)
{
  struct guardian_answer answer = { 0, 0 };
  int r = listen_to (f, 0, f->job, &answer);

  if (r == 0 && answer.error == 0)
    r = listen_to (f, (uint64_t) seconds + ANSWER_SECONDS, f->job, &answer);
  if (r == -ECANCELED)
    return job_check (f->job, err);
  if (r == -EPIPE)
    return err_set (err, r, "the process that freezes file systems was ended");
  if (r < 0)
    return err_set (err, r, "freezing the file systems did not end");
  return answer.error != 0 ? explain (f, &answer, err) : 0;
}

int
freeze_begin (struct freeze *f, const struct mount_vector *mounts,
              unsigned seconds, struct job *job, struct err *err)
{
  int r;

  f->mounts = mounts;
  f->job = job;
  r = open_folders (f, err);
  if (r < 0)
    return r;
  f->ended = false;
  if (order_all (f, seconds) < 0)
    r = err_set (err, -EPIPE, "the process that freezes file systems was "
                 "ended");
  else
    r = wait_until_frozen (f, seconds, err);
  if (r == 0)
    r = start_thread (f, err);
  if (r < 0)
    freeze_end (f, NULL);
  return r;
}
