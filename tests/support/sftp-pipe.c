/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/sftp-pipe.h"

static const char server[] = "/usr/lib/openssh/sftp-server";

struct pipe_way {
  struct sftp_way base;
  struct sftp_pipe *pipe;
  int fd;
  pid_t pid;
};

bool
sftp_pipe_can (void)
{
  return access (server, X_OK) == 0;
}

static int
broken (struct pipe_way *w, struct err *err)
{
  kill (w->pid, SIGKILL);
  return err_set (err, -EPIPE, "the pipe broke");
}

static ssize_t
pipe_read (struct sftp_way *way, void *buf, size_t len, struct err *err)
{
  struct pipe_way *w = (struct pipe_way *) way;
  ssize_t n = recv (w->fd, buf, len, MSG_DONTWAIT);

  if (n < 0 && (errno == EAGAIN || errno == EINTR))
    return 0;
  if (n <= 0)
    return broken (w, err);
  w->pipe->read += (uint64_t) n;
  if (w->pipe->lose_after > 0 && w->pipe->read >= w->pipe->lose_after) {
    if (!w->pipe->each)
      w->pipe->lose_after = 0;
    return broken (w, err);
  }
  return n;
}

static ssize_t
pipe_write (struct sftp_way *way, const void *buf, size_t len,
            struct err *err)
{
  struct pipe_way *w = (struct pipe_way *) way;
  ssize_t n = send (w->fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);

  if (n < 0 && (errno == EAGAIN || errno == EINTR))
    return 0;
  if (n < 0)
    return broken (w, err);
  w->pipe->written += (uint64_t) n;
  if (w->pipe->break_after > 0 && w->pipe->written >= w->pipe->break_after) {
    if (!w->pipe->each)
      w->pipe->break_after = 0;
    return broken (w, err);
  }
  return n;
}

static void
pipe_poll (struct sftp_way *way, bool more, struct pollfd *out)
{
  out->fd = ((struct pipe_way *) way)->fd;
  out->events = (short) (POLLIN | (more ? POLLOUT : 0));
}

static void
pipe_close (struct sftp_way *way, bool forked)
{
  struct pipe_way *w = (struct pipe_way *) way;

  close (w->fd);
  if (!forked) {
    kill (w->pid, SIGCONT);
    kill (w->pid, SIGKILL);
    waitpid (w->pid, NULL, 0);
  }
  free (w);
}

static const struct sftp_way_ops pipe_ops = {
  .read = pipe_read,
  .write = pipe_write,
  .poll = pipe_poll,
  .close = pipe_close,
};

static void
run_server (int fd, const char *without)
{
  dup2 (fd, 0);
  dup2 (fd, 1);
  if (without)
    execl (server, server, "-P", without, (char *) NULL);
  else
    execl (server, server, (char *) NULL);
  _exit (127);
}

static int
pipe_dial (void *opaque, struct job *const *job, struct sftp_way **out,
           struct err *err)
{
  struct sftp_pipe *p = opaque;
  struct pipe_way *w;
  int fds[2];

  (void) job;
  if (p->refuse)
    return err_set (err, -EIO, "nobody is there");
  if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
    return err_sys (err, "socketpair");
  w = calloc (1, sizeof *w);
  if (w == NULL)
    return err_nomem (err);
  w->base.ops = &pipe_ops;
  w->pipe = p;
  w->fd = fds[0];
  w->pid = fork ();
  if (w->pid == 0)
    run_server (fds[1], p->without);
  close (fds[1]);
  p->dials++;
  p->pid = w->pid;
  p->written = p->read = 0;
  *out = &w->base;
  return 0;
}

static void
keep (void *opaque)
{
  (void) opaque;
}

struct sftp_dialer
sftp_pipe_dialer (struct sftp_pipe *pipe)
{
  return (struct sftp_dialer) { pipe_dial, keep, pipe, 5, 2 };
}
