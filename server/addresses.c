/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The addresses by which clients reach a server that listens on all of them:
 * the name of this machine might be known to nobody else, and often means
 * 127.0.1.1 on the machine itself.
 */

#include <config.h>

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/base/cleanup.h"
#include "server/internal.h"

/* The address as text, if clients elsewhere could use it.  A link-local one
 * of IPv6 would need the name of an interface, which is the client's.
 */
static const char *
address_of (const struct ifaddrs *i, int family, char *buf, socklen_t size)
{
  if (i->ifa_addr == NULL || i->ifa_addr->sa_family != family ||
      !(i->ifa_flags & IFF_UP) || server_is_loopback_address (i->ifa_addr))
    return NULL;
  if (family == AF_INET) {
    const struct sockaddr_in *in = (const void *) i->ifa_addr;

    return inet_ntop (family, &in->sin_addr, buf, size);
  }
  else {
    const struct sockaddr_in6 *in6 = (const void *) i->ifa_addr;

    if (IN6_IS_ADDR_LINKLOCAL (&in6->sin6_addr))
      return NULL;
    return inet_ntop (family, &in6->sin6_addr, buf, size);
  }
}

static int
add_family (struct server *server, const struct ifaddrs *list, int family,
            uint16_t port, struct err *err)
{
  char buf[INET6_ADDRSTRLEN];
  int r = 0;

  for (const struct ifaddrs *i = list; r == 0 && i; i = i->ifa_next) {
    const char *address = address_of (i, family, buf, sizeof buf);

    if (address)
      r = server_add_authority (server, address, port, err);
  }
  return r;
}

int
server_add_authority (struct server *server, const char *address,
                      uint16_t port, struct err *err)
{
  return words_add (&server->authorities, err,
                    strchr (address, ':') ? "[%s]:%u" : "%s:%u", address,
                    port);
}

int
server_add_all_authorities (struct server *server, bool ipv4, bool ipv6,
                            uint16_t port, struct err *err)
{
  struct ifaddrs *list;
  int r = 0;

  if (getifaddrs (&list) < 0)
    return err_sys (err, "the addresses of this machine");
  if (ipv4)
    r = add_family (server, list, AF_INET, port, err);
  if (r == 0 && ipv6)
    r = add_family (server, list, AF_INET6, port, err);
  freeifaddrs (list);
  /* There is no network at the moment. */
  if (r == 0 && server->authorities.len == 0)
    r = server_add_authority (server, ipv4 ? "127.0.0.1" : "::1", port, err);
  return r;
}
