/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The listening socket, and how clients name it. */

#include <config.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "server/internal.h"

/* Clients may have another working folder than we. */
static char *
absolute_path (const char *path)
{
  CLEANUP_FREE char *cwd = NULL;
  char *absolute;

  if (path[0] == '/')
    return strdup (path);
  cwd = getcwd (NULL, 0);
  if (cwd == NULL || asprintf (&absolute, "%s/%s", cwd, path) < 0)
    return NULL;
  return absolute;
}

static int
listen_unix (struct server *server, const char *path, struct err *err)
{
  CLEANUP_CLOSE int fd = -1;
  struct sockaddr_un addr = { .sun_family = AF_UNIX };
  size_t len = strlen (path);

  if (len == 0 || len >= sizeof addr.sun_path)
    return err_set (err, -EINVAL, "%s: the path of a socket has from 1 to "
                    "%zu bytes, this one %zu", path,
                    sizeof addr.sun_path - 1, len);
  memcpy (addr.sun_path, path, len);
  fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return err_sys (err, "socket");
  /* Linux gives the file the mode of the socket: it is never open to
   * others, and the umask, which belongs to the whole process, stays.
   */
  if (fchmod (fd, 0600) < 0)
    return err_sys (err, "%s: setting its mode", path);
  if (bind (fd, (struct sockaddr *) &addr, sizeof addr) < 0) {
    if (errno == EADDRINUSE)
      return err_set (err, -EADDRINUSE, "%s: a file of that name exists",
                      path);
    return err_sys (err, "%s: making the socket", path);
  }
  server->unix_socket = absolute_path (path);
  if (server->unix_socket == NULL) {
    unlink (path);
    return err_nomem (err);
  }
  if (listen (fd, SOMAXCONN) < 0)
    return err_sys (err, "%s: listening", path);
  server->listen_fd = steal_fd (&fd);
  return 0;
}

static int
bind_tcp (const struct addrinfo *ai)
{
  CLEANUP_CLOSE int fd = -1;
  const int on = 1;

  fd = socket (ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC,
               ai->ai_protocol);
  if (fd < 0)
    return -1;
  setsockopt (fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind (fd, ai->ai_addr, ai->ai_addrlen) < 0 ||
      listen (fd, SOMAXCONN) < 0) {
    int saved = errno;

    close (steal_fd (&fd));
    errno = saved;
    return -1;
  }
  return steal_fd (&fd);
}

/* Is this the address that means all of this machine's? */
static bool
is_wildcard (const struct sockaddr_storage *addr)
{
  if (addr->ss_family == AF_INET)
    return ((const struct sockaddr_in *) addr)->sin_addr.s_addr == INADDR_ANY;
  if (addr->ss_family == AF_INET6)
    return IN6_IS_ADDR_UNSPECIFIED (&((const struct sockaddr_in6 *) addr)
                                    ->sin6_addr);
  return false;
}

bool
server_is_loopback_address (const struct sockaddr *addr)
{
  if (addr->sa_family == AF_INET) {
    const struct sockaddr_in *in = (const void *) addr;

    return ntohl (in->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
  }
  if (addr->sa_family == AF_INET6) {
    const struct sockaddr_in6 *in6 = (const void *) addr;

    return IN6_IS_ADDR_LOOPBACK (&in6->sin6_addr);
  }
  return false;
}

/* A name that stands for several addresses must stay within in all. */
int
server_address_is_loopback (const char *address, bool *is_loopback,
                            struct err *err)
{
  static const struct addrinfo hints = {
    .ai_family = AF_UNSPEC,
    .ai_socktype = SOCK_STREAM,
  };
  struct addrinfo *found;
  int r = getaddrinfo (address, NULL, &hints, &found);

  if (r != 0)
    return err_set (err, -EINVAL, "address %s: %s", address,
                    r == EAI_SYSTEM ? strerror (errno) : gai_strerror (r));
  *is_loopback = true;
  for (struct addrinfo *ai = found; ai; ai = ai->ai_next)
    if (!server_is_loopback_address (ai->ai_addr))
      *is_loopback = false;
  freeaddrinfo (found);
  return 0;
}

static uint16_t
port_of (const struct sockaddr_storage *addr)
{
  if (addr->ss_family == AF_INET6)
    return ntohs (((const struct sockaddr_in6 *) addr)->sin6_port);
  return ntohs (((const struct sockaddr_in *) addr)->sin_port);
}

/* The address as it was asked for, or what it stands for when it means all of
 * them; the port that it really is.
 */
static int
set_authorities (struct server *server, const char *address, struct err *err)
{
  struct sockaddr_storage addr = { 0 };
  socklen_t len = sizeof addr;
  int v6only = 1;
  uint16_t port;

  if (getsockname (server->listen_fd, (struct sockaddr *) &addr, &len) < 0)
    return err_sys (err, "getsockname");
  port = port_of (&addr);
  if (!is_wildcard (&addr))
    return server_add_authority (server, address, port, err);
  if (addr.ss_family == AF_INET)
    return server_add_all_authorities (server, true, false, port, err);
  len = sizeof v6only;
  if (getsockopt (server->listen_fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only,
                  &len) < 0)
    return err_sys (err, "getsockopt");
  return server_add_all_authorities (server, !v6only, true, port, err);
}

static int
listen_tcp (struct server *server, const char *address, const char *port,
            struct err *err)
{
  static const struct addrinfo hints = {
    .ai_family = AF_UNSPEC,
    .ai_socktype = SOCK_STREAM,
    .ai_flags = AI_PASSIVE,
  };
  struct addrinfo *found, *ai;
  int r, saved = EADDRNOTAVAIL;

  r = getaddrinfo (address, port, &hints, &found);
  if (r != 0)
    return err_set (err, -EINVAL, "address %s, port %s: %s", address, port,
                    r == EAI_SYSTEM ? strerror (errno) : gai_strerror (r));
  for (ai = found; ai; ai = ai->ai_next) {
    server->listen_fd = bind_tcp (ai);
    if (server->listen_fd >= 0)
      break;
    saved = errno;
  }
  freeaddrinfo (found);
  if (server->listen_fd >= 0)
    return set_authorities (server, address, err);
  if (saved == EADDRINUSE)
    return err_set (err, -EADDRINUSE, "port %s on %s is in use: some other "
                    "server listens there", port, address);
  errno = saved;
  return err_sys (err, "listening on %s, port %s", address, port);
}

int
server_listen (struct server *server, const struct server_config *config,
               struct err *err)
{
  if (config->unix_socket)
    return listen_unix (server, config->unix_socket, err);
  return listen_tcp (server,
                     config->address ? config->address
                                     : SERVER_DEFAULT_ADDRESS,
                     config->port ? config->port : SERVER_DEFAULT_PORT, err);
}
