/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The kernel's NBD client, spoken to through generic netlink.  This is the
 * only place that knows the kernel's numbers.
 *
 * Every call asks and waits for the kernel's answer.  The kernel serves one
 * generic netlink command at a time on the whole machine, so whatever keeps
 * one of these waiting keeps everybody waiting: see netlink_disconnect.
 */

#ifndef NBDIMAGE_ATTACH_NETLINK_H
#define NBDIMAGE_ATTACH_NETLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

struct netlink_device {
  int index;                    /* X of /dev/nbdX; -1: the kernel picks */
  uint64_t size;                /* bytes */
  uint32_t block_size;          /* power of 2, 512 to 4096 */
  bool read_only;
  bool can_flush, can_fua, can_trim, multi_conn;
  unsigned timeout;             /* seconds a request may take */
  const char *backend;          /* shown in /sys/block/nbdX/backend */
  const int *fds;               /* sockets after the handshake, blocking */
  size_t nr_fds;
};

/* -ENODEV when the kernel has no NBD client (now). */
int netlink_available (struct err *err);

/* Hand the sockets over.  The caller keeps its descriptors.  -EBUSY: the
 * device is in use.
 */
int netlink_connect (const struct netlink_device *device, unsigned *index,
                     struct err *err);

/* End the connection of nbdX; all requests under way fail.  No error when
 * there is none.  The kernel first tells the server, which can wait for as
 * long as the timeout when the server does not read: shut the sockets down
 * first unless the device is idle.
 */
int netlink_disconnect (unsigned index, struct err *err);

#endif /* NBDIMAGE_ATTACH_NETLINK_H */
