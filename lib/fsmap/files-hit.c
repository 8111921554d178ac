/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/fsmap/files-hit.h"
#include "lib/fsmap/files-protocol.h"

#define PROGRAM "nbdimage-files"

struct asking {
  struct block *partition;
  struct fs_hits *out;
  struct job *job;
  int fd;
  pid_t pid;
  uint8_t *buf; /* FILES_READ_MAX */
  bool done;    /* it has said all */
};

static int
set_note (struct fs_hits *hits, const char *text, struct err *err)
{
  if (hits->note != NULL) /* the first one tells more */
    return 0;
  hits->note = strdup (text);
  return hits->note ? 0 : err_nomem (err);
}

void
fs_hits_free (struct fs_hits *hits)
{
  for (size_t i = 0; i < hits->v.len; ++i)
    free (hits->v.ptr[i].path);
  vector_free (&hits->v);
  free (hits->note);
  hits->note = NULL;
}

/*--- The program ------------------------------------------------------------*/

/* In a build folder beside the one that runs. */
static char *
find_program (void)
{
  char exe[4096];
  ssize_t n = readlink ("/proc/self/exe", exe, sizeof exe - 1);
  char *slash, *path = NULL;

  exe[n < 0 ? 0 : n] = '\0';
  slash = strrchr (exe, '/');
  if (slash && asprintf (&path, "%.*s/" PROGRAM, (int) (slash - exe), exe) < 0)
    return NULL;
  if (path && access (path, X_OK) == 0)
    return path;
  free (path);
  return strdup (PKGLIBEXECDIR "/" PROGRAM);
}

static int
spawn (struct asking *a, const char *program, int theirs)
{
  char *argv[] = { (char *) PROGRAM, NULL };
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attr;
  sigset_t none;
  int r;

  sigemptyset (&none);
  posix_spawn_file_actions_init (&actions);
  posix_spawnattr_init (&attr);
  posix_spawn_file_actions_adddup2 (&actions, theirs, STDIN_FILENO);
  posix_spawnattr_setsigmask (&attr, &none);
  posix_spawnattr_setflags (&attr, POSIX_SPAWN_SETSIGMASK);
  r = posix_spawn (&a->pid, program, &actions, &attr, argv, environ);
  posix_spawnattr_destroy (&attr);
  posix_spawn_file_actions_destroy (&actions);
  return -r;
}

/* 1: it is not here. */
static int
start (struct asking *a, const char *program, struct err *err)
{
  CLEANUP_FREE char *found = program ? strdup (program) : find_program ();
  int fds[2], r;

  if (found == NULL)
    return err_nomem (err);
  if (access (found, X_OK) < 0)
    return 1;
  if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
    return err_sys (err, "socketpair");
  a->fd = fds[0];
  r = spawn (a, found, fds[1]);
  close (fds[1]);
  return r < 0 ? err_set (err, r, "%s: %s", found, strerror (-r)) : 0;
}

/*--- What goes to it --------------------------------------------------------*/

/* -EPIPE: it has ended. */
static int
put (struct asking *a, const void *data, size_t len)
{
  const char *p = data;

  while (len > 0) {
    ssize_t n = send (a->fd, p, len, MSG_NOSIGNAL);

    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return -EPIPE;
    p += n;
    len -= (size_t) n;
  }
  return 0;
}

static int
get (struct asking *a, void *data, size_t len)
{
  char *p = data;

  while (len > 0) {
    ssize_t n = recv (a->fd, p, len, 0);

    if (n < 0 && errno == EINTR && job_check (a->job, NULL) == 0)
      continue;
    if (n <= 0)
      return -EPIPE;
    p += n;
    len -= (size_t) n;
  }
  return 0;
}

static void
ask (struct asking *a, const struct fs_range *ranges, size_t nr_ranges)
{
  struct files_question question = {
    .size = block_size (a->partition),
    .nr_ranges = nr_ranges,
  };
  struct block_sizes sizes;

  block_get_sizes (a->partition, &sizes);
  question.sector_size = sizes.logical;
  if (put (a, &question, sizeof question) == 0)
    put (a, ranges, nr_ranges * sizeof *ranges);
}

/*--- What it says -----------------------------------------------------------*/

static int
answer_read (struct asking *a, const struct files_message *m, struct err *err)
{
  struct err why = ERR_INIT;
  int32_t r = m->b > FILES_READ_MAX
                  ? -EINVAL
                  : block_pread (a->partition, a->buf, m->b, m->a, &why);

  if (r == -ENOMEM)
    return err_nomem (err);
  if (put (a, &r, sizeof r) < 0)
    return -EPIPE;
  return r < 0 ? 0 : put (a, a->buf, m->b);
}

static int
add_hit (struct asking *a, const struct files_message *m, struct err *err)
{
  struct fs_hit hit = { strndup ((const char *) a->buf, m->len), m->b, m->a };

  if (hit.path != NULL && vector_append (&a->out->v, &hit) == 0)
    return 0;
  free (hit.path);
  return err_nomem (err);
}

static int
hear (struct asking *a, const struct files_message *m, struct err *err)
{
  if (m->len > FILES_TEXT_MAX || get (a, a->buf, m->len) < 0)
    return -EPIPE;
  switch (m->kind) {
  case FILES_READ:
    return answer_read (a, m, err);
  case FILES_HIT:
    return add_hit (a, m, err);
  case FILES_NOTE:
    a->buf[m->len] = '\0';
    return set_note (a->out, (const char *) a->buf, err);
  case FILES_DONE:
    a->done = true;
    return 0;
  }
  return -EPIPE;
}

/* -EPIPE: it has ended too soon. */
static int
listen_to_it (struct asking *a, struct err *err)
{
  struct files_message m;
  int r = 0;

  while (r == 0 && !a->done) {
    r = get (a, &m, sizeof m);
    if (r == 0)
      r = hear (a, &m, err);
    if (r == 0)
      r = job_check (a->job, err);
  }
  return r;
}

static int
tell_end (struct asking *a, int status, struct err *err)
{
  char text[200];

  if (WIFSIGNALED (status))
    snprintf (text, sizeof text,
              "the program that looks for files was ended "
              "by signal %d (%s)",
              WTERMSIG (status), strsignal (WTERMSIG (status)));
  else
    snprintf (text, sizeof text,
              "the program that looks for files ended with "
              "status %d",
              WEXITSTATUS (status));
  return set_note (a->out, text, err);
}

/* What it found until it crashed are files that are hit.  It gets the
 * terminal's Ctrl-C as we do, and ends by it.
 */
static int
run (struct asking *a, const struct fs_range *ranges, size_t nr_ranges,
     struct err *err)
{
  int status = 0, r;

  /* Has it ended already, it may have said something all the same. */
  ask (a, ranges, nr_ranges);
  r = listen_to_it (a, err);
  close (a->fd);
  /* Has it said all there is nothing to wait for. */
  kill (a->pid, SIGKILL);
  while (waitpid (a->pid, &status, 0) < 0 && errno == EINTR)
    ;
  if (r == 0 || r == -EPIPE) {
    int cancelled = job_check (a->job, err);

    if (cancelled < 0)
      return cancelled;
  }
  return r == -EPIPE ? tell_end (a, status, err) : r;
}

int
fs_files_hit (struct block *partition, const struct fs_range *ranges,
              size_t nr_ranges, const char *program, struct fs_hits *out,
              struct job *job, struct err *err)
{
  CLEANUP_FREE uint8_t *buf = malloc (FILES_READ_MAX);
  struct asking a = {
    .partition = partition,
    .out = out,
    .job = job,
    .fd = -1,
    .buf = buf,
  };
  int r;

  *out = (struct fs_hits) FS_HITS_INIT;
  if (buf == NULL)
    return err_nomem (err);
  r = start (&a, program, err);
  if (r == 0)
    r = run (&a, ranges, nr_ranges, err);
  else if (r > 0)
    r = set_note (out, "this build has no " PROGRAM ", which would know", err);
  else if (a.fd >= 0)
    close (a.fd);
  if (r < 0)
    fs_hits_free (out);
  return r;
}
