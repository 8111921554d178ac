/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The life of a server: start, ready, watched, ended. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/uri.h"
#include "server/internal.h"

#define STOP_TIMEOUT_MS 10000
#define STOP_STEP_MS 100
#define RELAY_TIMEOUT_MS 2000

/* Closes and frees what is ours; the process and the socket's file stay. */
static void
server_free (struct server *server)
{
  words_free (&server->argv);
  free (server->preload);
  cleanup_close (&server->listen_fd);
  cleanup_close (&server->log_fd);
  cleanup_close (&server->pidfd);
  free (server->unix_socket);
  words_free (&server->authorities);
  free (server);
}

/* Ask nbdkit to end; it waits for its clients, so send them away too. */
static void
end_nbdkit (struct server *server)
{
  struct pollfd p = { .fd = server->pidfd, .events = POLLIN };

  if (poll (&p, 1, 0) == 0)
    kill (server->pid, SIGTERM);
  for (int ms = 0; ms < STOP_TIMEOUT_MS; ms += STOP_STEP_MS) {
    if (poll (&p, 1, STOP_STEP_MS) > 0)
      break;
    server_disconnect_clients (server);
  }
  server_end_process (server->pid, server->pidfd, 0, &server->end);
  server->reaped = true;
}

void
server_end_processes (struct server *server)
{
  if (server->pidfd >= 0 && !server->reaped)
    end_nbdkit (server);
  if (server->pidfd >= 0)
    close (steal_fd (&server->pidfd));
  if (server->relay > 0) {
    CLEANUP_CLOSE int fd = (int) syscall (SYS_pidfd_open, server->relay, 0);
    struct pollfd p = { .fd = fd, .events = POLLIN };

    /* It ends by itself with nbdkit, unless some child of nbdkit lives. */
    if (fd >= 0) {
      if (poll (&p, 1, RELAY_TIMEOUT_MS) <= 0)
        kill (server->relay, SIGKILL);
      server_end_process (server->relay, fd, 0, NULL);
    }
    server->relay = 0;
  }
}

/* Wait until nbdkit is ready or has given up; collects its messages. */
static int
wait_until_ready (struct server *server, int ready, int messages_fd,
                  struct messages *m, struct err *err)
{
  enum { READY, MESSAGES, ENDED, CANCEL };
  struct pollfd p[] = {
    [READY] = { .fd = ready, .events = POLLIN },
    [MESSAGES] = { .fd = messages_fd, .events = POLLIN },
    [ENDED] = { .fd = server->pidfd, .events = POLLIN },
    [CANCEL] = { .fd = server->cancel_fd, .events = POLLIN },
  };

  for (;;) {
    if (poll (p, sizeof p / sizeof p[0], -1) < 0) {
      if (errno == EINTR)
        continue;
      return err_sys (err, "poll");
    }
    if (p[MESSAGES].revents && !messages_read (m, messages_fd))
      p[MESSAGES].fd = -1;
    if (p[CANCEL].revents)
      return err_set (err, -EINTR, "interrupted while nbdkit was starting");
    if (p[READY].revents & POLLIN)
      break;
    if (p[ENDED].revents)
      break;
  }
  while (p[MESSAGES].fd >= 0 && poll (&p[MESSAGES], 1, 0) > 0)
    if (!messages_read (m, messages_fd))
      break;
  if (p[READY].revents & POLLIN)
    return 0;
  server_end_processes (server);
  return messages_to_err (m, server_ended (server), err);
}

/* What nbdkit said although all is well: after a quiet start, which is the
 * plugin's matter, it is all news.
 */
static void
pass_on (struct server *server, const struct messages *m)
{
  size_t done = 0;

  while (done < m->len) {
    ssize_t n = write (server->log_fd, m->text + done, m->len - done);

    if (n < 0 && errno != EINTR)
      return;
    if (n > 0)
      done += (size_t) n;
  }
}

int
server_run (struct server *server, struct err *err)
{
  CLEANUP_CLOSE int ready = -1;
  CLEANUP_CLOSE int messages_fd = -1;
  struct messages m = { NULL, 0 };
  int r;

  r = server_launch (server, &ready, &messages_fd, err);
  if (r < 0)
    return r;
  r = wait_until_ready (server, ready, messages_fd, &m, err);
  if (r == 0) {
    pass_on (server, &m);
    r = server_start_relay (server, messages_fd, err);
  }
  free (m.text);
  if (r < 0)
    server_end_processes (server);
  else
    clock_gettime (CLOCK_MONOTONIC, &server->ready_at);
  return r;
}

int
server_start (const struct server_config *config, struct server **out,
              struct err *err)
{
  struct server *server = calloc (1, sizeof *server);
  int r;

  if (server == NULL)
    return err_nomem (err);
  server->listen_fd = server->pidfd = -1;
  server->die_with_us = config->die_with_us;
  server->throw_away = config->throw_away;
  server->quiet_start = config->quiet_start && !config->verbose;
  server->cancel_fd = config->cancel_fd;
  server->log_fd = fcntl (config->log_fd >= 0 ? config->log_fd
                                              : STDERR_FILENO,
                          F_DUPFD_CLOEXEC, 3);
  if (server->log_fd < 0)
    server->log_fd = open ("/dev/null", O_WRONLY | O_CLOEXEC);
  r = server->log_fd < 0 ? err_sys (err, "/dev/null") : 0;
  if (r == 0)
    r = server_command (server, config, err);
  if (r == 0)
    r = server_listen (server, config, err);
  if (r == 0)
    r = server_run (server, err);
  if (r < 0) {
    server_stop (server);
    return r;
  }
  *out = server;
  return 0;
}

pid_t
server_pid (const struct server *server)
{
  return server->pid;
}

int
server_fd (const struct server *server)
{
  return server->pidfd;
}

const char *
server_ended (struct server *server)
{
  if (!server->reaped) {
    struct pollfd p = { .fd = server->pidfd, .events = POLLIN };

    if (server->pidfd < 0 || poll (&p, 1, 0) <= 0)
      return NULL;
    server_end_process (server->pid, server->pidfd, 0, &server->end);
    server->reaped = true;
  }
  if (server->end.si_code == CLD_EXITED)
    snprintf (server->end_message, sizeof server->end_message,
              "ended with status %d", server->end.si_status);
  else if (server->end.si_code == 0)    /* not our child: we can't know */
    snprintf (server->end_message, sizeof server->end_message, "ended");
  else
    snprintf (server->end_message, sizeof server->end_message,
              "was ended by signal %d (%s)", server->end.si_status,
              strsignal (server->end.si_status));
  return server->end_message;
}

size_t
server_nr_uris (const struct server *server)
{
  return server->unix_socket ? 1 : server->authorities.len;
}

char *
server_uri (const struct server *server, const char *export_name)
{
  return server_uri_at (server, 0, export_name);
}

char *
server_uri_at (const struct server *server, size_t n,
               const char *export_name)
{
  CLEANUP_FREE char *name = uri_encode (export_name);
  CLEANUP_FREE char *socket_path = NULL;
  char *uri;
  int r;

  if (name == NULL)
    return NULL;
  if (server->unix_socket) {
    socket_path = uri_encode (server->unix_socket);
    if (socket_path == NULL)
      return NULL;
    r = asprintf (&uri, "nbd+unix:///%s?socket=%s", name, socket_path);
  }
  else
    r = asprintf (&uri, "nbd://%s/%s", server->authorities.ptr[n], name);
  return r < 0 ? NULL : uri;
}

void
server_stop (struct server *server)
{
  if (server == NULL)
    return;
  server_end_processes (server);
  if (server->unix_socket)
    unlink (server->unix_socket);
  server_free (server);
}

void
server_release (struct server *server)
{
  if (server)
    server_free (server);
}
