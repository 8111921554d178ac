/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the files of server/ share. */

#ifndef NBDIMAGE_SERVER_INTERNAL_H
#define NBDIMAGE_SERVER_INTERNAL_H

#include <signal.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>

#include "lib/base/words.h"
#include "server/server.h"

struct server {
  /* How nbdkit is run; set once, so that it can be run again. */
  struct words argv;            /* ends with NULL */
  char *preload;                /* "LD_PRELOAD=..."; NULL: as in ours */
  bool die_with_us;
  bool throw_away;
  bool quiet_start;
  int cancel_fd;                /* not ours; -1: none */
  int log_fd;                   /* our own duplicate */

  /* Where it is reached. */
  int listen_fd;
  char *unix_socket;            /* absolute; NULL: TCP */
  struct words authorities;     /* "127.0.0.1:10810" as URIs have them, at
                                   least one with TCP */

  /* The process; relay carries its messages to log_fd. */
  pid_t pid;
  int pidfd;                    /* -1: never started */
  bool reaped;
  siginfo_t end;                /* how it ended, when reaped */
  pid_t relay;                  /* 0: none */
  char end_message[80];

  /* For restarts. */
  struct timespec ready_at;     /* CLOCK_MONOTONIC */
  unsigned quick_ends;          /* in a row, each soon after ready_at */
};

/*--- listen.c --------------------------------------------------------------*/

/* Make the socket; fills listen_fd, unix_socket, authorities. */
int server_listen (struct server *server, const struct server_config *config,
                   struct err *err);
bool server_is_loopback_address (const struct sockaddr *addr);

/*--- addresses.c -----------------------------------------------------------*/

/* Append one to the authorities. */
int server_add_authority (struct server *server, const char *address,
                          uint16_t port, struct err *err);
/* Append those of this machine's interfaces that other machines can use, IPv4
 * first; at least one, that of the loopback if there is no other.
 */
int server_add_all_authorities (struct server *server, bool ipv4, bool ipv6,
                                uint16_t port, struct err *err);

/*--- command.c -------------------------------------------------------------*/

/* Compose nbdkit's command line into argv, and preload. */
int server_command (struct server *server, const struct server_config *config,
                    struct err *err);

/* The descriptors nbdkit finds. */
enum {
  CHILD_LISTEN_FD = 3,          /* socket activation begins there */
  CHILD_READY_FD = 4,           /* its "pid file": a pipe to us */
};

/*--- launch.c --------------------------------------------------------------*/

/* Run server->argv.  ready becomes readable when nbdkit is ready; what it
 * prints comes out of messages.  Both are the caller's to close; pid and
 * pidfd are set.
 */
int server_launch (struct server *server, int *ready, int *messages,
                   struct err *err);

/* Start a process that copies messages to log_fd until their end; closes
 * nothing here.
 */
int server_start_relay (struct server *server, int messages,
                        struct err *err);

/* SIGTERM, a while for it to go, SIGKILL; reaped if it is our child. */
void server_end_process (pid_t pid, int pidfd, int timeout_ms,
                         siginfo_t *end);

/*--- server.c --------------------------------------------------------------*/

/* Run nbdkit on the socket that we have; 0 when it is ready.  When it refuses
 * or ends before that, its sentence is in err and nothing is left.
 */
int server_run (struct server *server, struct err *err);

/* End nbdkit and its relay, if they run. */
void server_end_processes (struct server *server);

/*--- disconnect.c ----------------------------------------------------------*/

/* Make nbdkit, which runs, read the end of every client's connection. */
void server_disconnect_clients (const struct server *server);

/*--- messages.c ------------------------------------------------------------*/

/* What nbdkit printed until it was ready, or until it gave up. */
struct messages {
  char *text;
  size_t len;
};

#define MESSAGES_MAX 65536U     /* more is dropped at the front */

/* Read what there is; 0 at the end, 1 if there may be more. */
int messages_read (struct messages *m, int fd);

/* nbdkit's sentence about why it did not start; -EINVAL. */
int messages_to_err (const struct messages *m, const char *how_it_ended,
                     struct err *err);

#endif /* NBDIMAGE_SERVER_INTERNAL_H */
