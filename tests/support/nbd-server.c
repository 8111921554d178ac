/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "tests/support/nbd-server.h"

enum {
  OPT_GO = 7, OPT_STRUCTURED_REPLY = 8, OPT_SET_META_CONTEXT = 10,
  REP_ACK = 1, REP_INFO = 3, REP_META_CONTEXT = 4,
};
#define REP_ERR_UNSUP UINT32_C (0x80000001)

bool
nbd_server_receive (int fd, void *buf, size_t len)
{
  return recv (fd, buf, len, MSG_WAITALL) == (ssize_t) len;
}

void
nbd_server_send (int fd, const void *buf, size_t len)
{
  const char *p = buf;

  while (len > 0) {
    ssize_t n = send (fd, p, len, MSG_NOSIGNAL);

    if (n < 0)
      _exit (1);
    p += n;
    len -= (size_t) n;
  }
}

static void
send_option_reply (int fd, uint32_t option, uint32_t type, const void *data,
                   uint32_t len)
{
  uint8_t reply[20];

  put_be64 (reply, UINT64_C (0x3e889045565a9));
  put_be32 (reply + 8, option);
  put_be32 (reply + 12, type);
  put_be32 (reply + 16, len);
  nbd_server_send (fd, reply, sizeof reply);
  nbd_server_send (fd, data, len);
}

static void
send_infos (int fd, const struct nbd_server_export *e)
{
  uint8_t info[14];

  put_be16 (info, 0);           /* NBD_INFO_EXPORT */
  put_be64 (info + 2, e->size);
  put_be16 (info + 10, e->flags);
  send_option_reply (fd, OPT_GO, REP_INFO, info, 12);
  if (e->minimum == 0)
    return;
  put_be16 (info, 3);           /* NBD_INFO_BLOCK_SIZE */
  put_be32 (info + 2, e->minimum);
  put_be32 (info + 6, e->preferred);
  put_be32 (info + 10, e->maximum);
  send_option_reply (fd, OPT_GO, REP_INFO, info, 14);
}

void
nbd_server_shake_hands (int fd, const struct nbd_server_export *e)
{
  uint8_t buf[1024];
  uint32_t option = 0, len;
  bool known;

  nbd_server_send (fd, "NBDMAGICIHAVEOPT\0\3", 18);
  if (!nbd_server_receive (fd, buf, 4))
    _exit (0);
  while (option != OPT_GO) {
    if (!nbd_server_receive (fd, buf, 16))
      _exit (0);
    option = get_be32 (buf + 8);
    len = get_be32 (buf + 12);
    if (len > sizeof buf || (len > 0 && !nbd_server_receive (fd, buf, len)))
      _exit (1);
    known = option == OPT_GO || option == OPT_STRUCTURED_REPLY ||
      option == OPT_SET_META_CONTEXT;
    if (option == OPT_SET_META_CONTEXT && !e->no_extents)
      send_option_reply (fd, option, REP_META_CONTEXT,
                         "\0\0\0\1base:allocation", 19);
    if (option == OPT_GO)
      send_infos (fd, e);
    send_option_reply (fd, option, known ? REP_ACK : REP_ERR_UNSUP, "", 0);
  }
}

bool
nbd_server_next (int fd, struct nbd_server_request *req)
{
  char dropped[4096];

  if (!nbd_server_receive (fd, req->raw, sizeof req->raw))
    return false;
  req->flags = get_be16 (req->raw + 4);
  req->command = get_be16 (req->raw + 6);
  req->off = get_be64 (req->raw + 16);
  req->len = get_be32 (req->raw + 24);
  for (uint32_t left = req->command == 1 ? req->len : 0; left > 0; ) {
    uint32_t n = left < sizeof dropped ? left : sizeof dropped;

    if (!nbd_server_receive (fd, dropped, n))
      return false;
    left -= n;
  }
  return req->command != 2;     /* NBD_CMD_DISC */
}

void
nbd_server_chunk (int fd, const struct nbd_server_request *req,
                  uint16_t flags, uint16_t type, const void *data,
                  uint32_t len)
{
  uint8_t chunk[20];

  put_be32 (chunk, 0x668e33ef);
  put_be16 (chunk + 4, flags);
  put_be16 (chunk + 6, type);
  memcpy (chunk + 8, req->raw + 8, 8);
  put_be32 (chunk + 16, len);
  nbd_server_send (fd, chunk, sizeof chunk);
  nbd_server_send (fd, data, len);
}

void
nbd_server_data (int fd, const struct nbd_server_request *req,
                 const void *data)
{
  uint8_t *payload = malloc (8 + (size_t) req->len);

  if (payload == NULL)
    _exit (1);
  put_be64 (payload, req->off);
  memcpy (payload + 8, data, req->len);
  nbd_server_chunk (fd, req, 1, 1, payload, 8 + req->len);
  free (payload);
}

static void __attribute__ ((__noreturn__))
accept_all (int listening, void (*serve) (int fd, unsigned nth))
{
  signal (SIGCHLD, SIG_IGN);
  for (unsigned nth = 0; ; ++nth) {
    int fd = accept (listening, NULL, NULL);

    if (fd < 0)
      _exit (1);
    if (fork () == 0) {
      prctl (PR_SET_PDEATHSIG, SIGKILL);
      close (listening);
      serve (fd, nth);
      _exit (0);
    }
    close (fd);
  }
}

pid_t
nbd_server_start (const char *sock, void (*serve) (int fd, unsigned nth))
{
  struct sockaddr_un addr = { .sun_family = AF_UNIX };
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  pid_t pid;

  unlink (sock);
  strncpy (addr.sun_path, sock, sizeof addr.sun_path - 1);
  if (fd < 0 || bind (fd, (struct sockaddr *) &addr, sizeof addr) < 0 ||
      listen (fd, 20) < 0)
    return -1;
  pid = fork ();
  if (pid == 0)
    accept_all (fd, serve);
  close (fd);
  return pid;
}
