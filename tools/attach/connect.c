/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <libnbd.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/uri.h"
#include "tools/attach/clock.h"
#include "tools/attach/connect.h"

/* As many as the kernel uses well without being asked. */
#define DEFAULT_CONNECTIONS 4

/* Milliseconds between two looks at whether to give up. */
#define CANCEL_TICK 100

struct limits {
  uint64_t deadline;
  int cancel_fd;                /* -1: none */
};

static void
handle_cleanup (struct nbd_handle **nbd)
{
  nbd_close (*nbd);             /* NULL is fine; sends nothing */
}

#define CLEANUP_HANDLE __attribute__ ((__cleanup__ (handle_cleanup)))

bool
connection_uri_is_tls (const char *uri)
{
  return strncmp (uri, "nbds:", 5) == 0 || strncmp (uri, "nbds+", 5) == 0;
}

/* The value of "socket=" in the query; NULL: none. */
static const char *
find_socket (const char *uri)
{
  const char *p = strchr (uri, '?');

  while (p != NULL && strncmp (p + 1, "socket=", 7) != 0)
    p = strpbrk (p + 1, "&;");
  return p == NULL ? NULL : p + 8;
}

char *
connection_uri_absolute (const char *uri)
{
  const char *socket = find_socket (uri);
  CLEANUP_FREE char *folder = NULL, *encoded = NULL;
  char *out;

  if (socket == NULL || *socket == '\0' || *socket == '/' ||
      strncasecmp (socket, "%2f", 3) == 0 ||
      (folder = getcwd (NULL, 0)) == NULL)
    return strdup (uri);
  encoded = uri_encode (folder);
  if (encoded == NULL ||
      asprintf (&out, "%.*s%s/%s", (int) (socket - uri), uri, encoded,
                socket) < 0)
    return NULL;
  return out;
}

int
connection_block_size (uint64_t minimum, uint32_t *block_size,
                       struct err *err)
{
  if (minimum <= 512) {
    *block_size = 512;
    return 0;
  }
  if (!is_power_of_2 (minimum) || minimum > 4096)
    return err_set (err, -ENOTSUP, "the server takes requests in multiples of "
                    "%" PRIu64 " bytes, the kernel's NBD client can do powers "
                    "of 2 from 512 to 4096", minimum);
  *block_size = (uint32_t) minimum;
  return 0;
}

static int
nbd_failed (struct err *err)
{
  int code = nbd_get_errno ();

  return err_set (err, code > 0 ? -code : -EIO, "%s", nbd_get_error ());
}

static bool
is_cancelled (const struct limits *limits)
{
  struct pollfd p = { .fd = limits->cancel_fd, .events = POLLIN };

  return poll (&p, 1, 0) > 0;
}

/* Connecting is done with the calls that do not block, because the others
 * wait for a silent server as long as it is silent.
 */
static int
handshake (const char *uri, const struct limits *limits,
           struct nbd_handle **out, struct err *err)
{
  CLEANUP_HANDLE struct nbd_handle *nbd = nbd_create ();

  if (nbd == NULL)
    return nbd_failed (err);
  if (nbd_set_request_structured_replies (nbd, false) == -1 ||
      nbd_set_tls (nbd, LIBNBD_TLS_DISABLE) == -1 ||
      nbd_aio_connect_uri (nbd, uri) == -1)
    return nbd_failed (err);
  while (nbd_aio_is_connecting (nbd) == 1) {
    int left = clock_left (limits->deadline);

    if (is_cancelled (limits))
      return err_set (err, -EINTR, "interrupted");
    if (left == 0)
      return err_set (err, -ETIMEDOUT, "the server did not finish the "
                      "handshake in time");
    if (nbd_poll (nbd, left < CANCEL_TICK ? left : CANCEL_TICK) == -1)
      return nbd_failed (err);
  }
  if (nbd_aio_is_ready (nbd) != 1)
    return err_set (err, -ECONNREFUSED, "the server ended the connection "
                    "during the handshake");
  if (nbd_get_structured_replies_negotiated (nbd) == 1)
    return err_set (err, -ENOTSUP, "the server insists on structured replies, "
                    "which the kernel does not speak");
  *out = steal_ptr (&nbd);
  return 0;
}

static int
read_facts (struct nbd_handle *nbd, struct connection *connection,
            struct err *err)
{
  int64_t size = nbd_get_size (nbd);
  int64_t minimum = nbd_get_block_size (nbd, LIBNBD_SIZE_MINIMUM);
  int64_t maximum = nbd_get_block_size (nbd, LIBNBD_SIZE_MAXIMUM);

  if (size < 0 || minimum < 0 || maximum < 0)
    return nbd_failed (err);
  connection->size = (uint64_t) size;
  connection->max_request = (uint32_t) min_u64 ((uint64_t) maximum,
                                                UINT32_MAX);
  connection->read_only = nbd_is_read_only (nbd) == 1;
  connection->can_flush = nbd_can_flush (nbd) == 1;
  connection->can_fua = nbd_can_fua (nbd) == 1;
  connection->can_trim = nbd_can_trim (nbd) == 1;
  connection->multi_conn = nbd_can_multi_conn (nbd) == 1;
  return connection_block_size ((uint64_t) minimum, &connection->block_size,
                                err);
}

/* libnbd closes its descriptor with the handle, so the kernel gets a copy.
 * It is made blocking: the kernel's threads take EAGAIN for a dead server.
 */
static int
take_socket (struct nbd_handle *nbd, struct connection *connection,
             struct err *err)
{
  CLEANUP_CLOSE int fd = -1;
  int flags, their_fd = nbd_aio_get_fd (nbd);

  if (their_fd == -1)
    return nbd_failed (err);
  fd = fcntl (their_fd, F_DUPFD_CLOEXEC, 3);
  if (fd < 0)
    return err_sys (err, "keeping the socket");
  flags = fcntl (fd, F_GETFL);
  if (flags < 0 || fcntl (fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
    return err_sys (err, "making the socket blocking");
  connection->fds[connection->nr_fds++] = steal_fd (&fd);
  return 0;
}

static int
connect_once (const char *uri, const struct limits *limits,
              struct connection *connection, struct err *err)
{
  CLEANUP_HANDLE struct nbd_handle *nbd = NULL;
  uint64_t size = connection->size;
  int r;

  r = handshake (uri, limits, &nbd, err);
  if (r < 0)
    return r;
  r = read_facts (nbd, connection, err);
  if (r < 0)
    return r;
  if (connection->nr_fds > 0 && connection->size != size)
    return err_set (err, -EIO, "the size of the export changed from %" PRIu64
                    " to %" PRIu64 " bytes between two connections", size,
                    connection->size);
  return take_socket (nbd, connection, err);
}

static unsigned
how_many (const struct connection *connection, unsigned wanted,
          struct report *report)
{
  if (wanted == 0)
    return connection->multi_conn ? DEFAULT_CONNECTIONS : 1;
  if (wanted > 1 && !connection->multi_conn) {
    report_warn (report, "one connection instead of %u: the server does not "
                 "promise that several see the same bytes (multi-conn)",
                 wanted);
    return 1;
  }
  return wanted;
}

int
connection_open (const char *uri, unsigned wanted, unsigned seconds,
                 int cancel_fd, struct connection *connection,
                 struct report *report, struct err *err)
{
  struct limits limits = { clock_deadline (seconds * 1000), cancel_fd };
  struct connection c = { .nr_fds = 0 };
  unsigned n;
  int r;

  if (connection_uri_is_tls (uri))
    return err_set (err, -ENOTSUP, "the kernel's NBD client does not speak "
                    "TLS");
  r = connect_once (uri, &limits, &c, err);
  if (r < 0)
    return r;
  for (n = how_many (&c, wanted, report); c.nr_fds < n; ) {
    limits.deadline = clock_deadline (seconds * 1000);
    r = connect_once (uri, &limits, &c, err);
    if (r < 0) {
      connection_close (&c);
      return r;
    }
  }
  *connection = c;
  return 0;
}

void
connection_shutdown (const struct connection *connection)
{
  size_t i;

  for (i = 0; i < connection->nr_fds; ++i)
    shutdown (connection->fds[i], SHUT_RDWR);
}

void
connection_close (struct connection *connection)
{
  while (connection->nr_fds > 0)
    close (connection->fds[--connection->nr_fds]);
}
