/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Sending clients away.
 *
 * Told to end, nbdkit 1.32 takes no more connections and no more requests,
 * but waits for the clients it has to hang up, which an idle one, a kernel
 * say, does not do.  So we end the receiving side of its sockets: it
 * finishes what it is doing, replies, reads the end of the connection, and
 * is done.
 *
 * The sockets are borrowed with pidfd_getfd, which a parent may.  Where it
 * may not, the caller's limit of time and SIGKILL remain.
 */

#include <config.h>

#include <ctype.h>
#include <dirent.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "server/internal.h"

/* What a socket was accepted on has its address, all of it (Unix) or the
 * port (TCP, where the address may have been any); what nbdkit opened to
 * other servers has not.
 */
static bool
same_address (int a, int b)
{
  struct sockaddr_storage sa = { 0 }, sb = { 0 };
  socklen_t la = sizeof sa, lb = sizeof sb;

  if (getsockname (a, (struct sockaddr *) &sa, &la) < 0 ||
      getsockname (b, (struct sockaddr *) &sb, &lb) < 0 ||
      sa.ss_family != sb.ss_family)
    return false;
  switch (sa.ss_family) {
  case AF_UNIX:
    return la == lb && memcmp (&sa, &sb, la) == 0;
  case AF_INET:
    return ((struct sockaddr_in *) &sa)->sin_port ==
      ((struct sockaddr_in *) &sb)->sin_port;
  case AF_INET6:
    return ((struct sockaddr_in6 *) &sa)->sin6_port ==
      ((struct sockaddr_in6 *) &sb)->sin6_port;
  }
  return false;
}

static bool
is_listening (int fd)
{
  int listening = 0;
  socklen_t len = sizeof listening;

  return getsockopt (fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0 ||
    listening;
}

void
server_disconnect_clients (const struct server *server)
{
  const struct dirent *entry;
  char path[64];
  DIR *dir;

  snprintf (path, sizeof path, "/proc/%ld/fd", (long) server->pid);
  dir = opendir (path);
  while (dir && (entry = readdir (dir)) != NULL) {
    CLEANUP_CLOSE int fd = -1;

    if (!isdigit ((unsigned char) entry->d_name[0]))
      continue;
    fd = (int) syscall (SYS_pidfd_getfd, server->pidfd,
                        atoi (entry->d_name), 0);
    if (fd >= 0 && !is_listening (fd) && same_address (fd, server->listen_fd))
      shutdown (fd, SHUT_RD);
  }
  if (dir)
    closedir (dir);
}
