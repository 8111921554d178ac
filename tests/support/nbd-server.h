/* SPDX-License-Identifier: GPL-2.0-or-later */

/* An NBD server of our own, for tests of what no server should say.  All
 * functions are for the child process that serves one connection; it ends
 * when its client is gone.
 */

#ifndef NBDIMAGE_TESTS_NBD_SERVER_H
#define NBDIMAGE_TESTS_NBD_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define NBD_SERVER_REQUEST_SIZE 28

/* What the handshake says. */
struct nbd_server_export {
  uint64_t size;
  uint16_t flags;               /* NBD_FLAG_*; 3: reading only */
  uint32_t minimum, preferred, maximum;         /* minimum 0: not said */
  bool no_extents;              /* base:allocation is not known */
};

/* Serve on a Unix socket of this path, which is made anew: a child process
 * accepts connections and forks one more for each.  nth counts them from 0.
 * Returns the pid; ending it (SIGKILL) ends those that it forked, too.
 */
pid_t nbd_server_start (const char *sock, void (*serve) (int fd,
                                                         unsigned nth));

bool nbd_server_receive (int fd, void *buf, size_t len);
void nbd_server_send (int fd, const void *buf, size_t len);

/* Up to and with NBD_OPT_GO. */
void nbd_server_shake_hands (int fd, const struct nbd_server_export *e);

/* NBD_CMD_*. */
enum {
  NBD_SERVER_READ = 0, NBD_SERVER_WRITE = 1, NBD_SERVER_FLUSH = 3,
  NBD_SERVER_STATUS = 7,
};

/* The next request; false at the end of the connection.  What is written is
 * received and dropped.
 */
struct nbd_server_request {
  uint8_t raw[NBD_SERVER_REQUEST_SIZE];
  uint16_t flags, command;
  uint64_t off;
  uint32_t len;
};
bool nbd_server_next (int fd, struct nbd_server_request *req);

/* A chunk of a structured reply; flags 1: the last.  type: 0 none, 1 data
 * behind 8 bytes of offset, 2 hole, 5 block status, 0x8001 error.
 */
void nbd_server_chunk (int fd, const struct nbd_server_request *req,
                       uint16_t flags, uint16_t type, const void *data,
                       uint32_t len);

/* The whole reply to a read: len bytes from data. */
void nbd_server_data (int fd, const struct nbd_server_request *req,
                      const void *data);

#endif /* NBDIMAGE_TESTS_NBD_SERVER_H */
