/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <libnbd.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/crc32.h"
#include "lib/block/nbd-connect.h"

/* The least that is looked at, at each end. */
#define END_SIZE 4096

/* libnbd's text is "FUNCTION: what happened". */
int
err_libnbd (struct err *err)
{
  int code = nbd_get_errno ();
  const char *text = nbd_get_error ();
  const char *rest = text ? strstr (text, ": ") : NULL;

  return err_set (err, code > 0 ? -code : -EIO, "%s", rest ? rest + 2
                  : text ? text : "libnbd failed");
}

static int64_t
now_ms (void)
{
  struct timespec ts;

  clock_gettime (CLOCK_MONOTONIC, &ts);
  return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int
nbd_connect_wait (struct nbd_handle *h, unsigned seconds, struct err *err)
{
  const int64_t deadline = now_ms () + (int64_t) seconds * 1000;

  while (nbd_aio_is_connecting (h) == 1) {
    int64_t left = deadline - now_ms ();

    if (left <= 0)
      return err_set (err, -ETIMEDOUT, "the server did not answer within %u "
                      "seconds", seconds);
    if (nbd_poll (h, (int) left) < 0)
      return err_libnbd (err);
  }
  return 0;
}

int
nbd_connect_bounded (struct nbd_handle *h, const char *uri, unsigned seconds,
                     struct err *err)
{
  int r;

  if (nbd_aio_connect_uri (h, uri) < 0)
    return err_libnbd (err);
  r = nbd_connect_wait (h, seconds, err);
  if (r < 0)
    return r;
  if (nbd_aio_is_ready (h) != 1 && nbd_aio_is_negotiating (h) != 1)
    return err_set (err, -EIO, "the server ended the connection during the "
                    "handshake");
  return 0;
}

/* A server whose machine or network is gone fails requests instead of
 * leaving them to wait for ever: the kernel asks after it when it is silent,
 * and gives up when nothing comes back for a minute.  Sockets of other
 * families don't need it and refuse.
 */
static void
notice_dead_peers (struct nbd_handle *h)
{
  const int on = 1, idle_s = 20, interval_s = 10, probes = 4;
  const unsigned unanswered_ms = 60 * 1000;
  int fd = nbd_aio_get_fd (h);

  if (fd < 0 || setsockopt (fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unanswered_ms,
                            sizeof unanswered_ms) < 0)
    return;
  setsockopt (fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt (fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
  setsockopt (fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
  setsockopt (fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

int
nbd_connect_export (const char *uri, struct nbd_handle **out,
                    struct err *err)
{
  struct nbd_handle *h = nbd_create ();
  int r;

  if (h == NULL)
    return err_libnbd (err);
  if (nbd_set_uri_allow_local_file (h, true) < 0 ||
      nbd_add_meta_context (h, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0 ||
      nbd_set_full_info (h, true) < 0)
    r = err_libnbd (err);
  else
    r = nbd_connect_bounded (h, uri, NBD_CONNECT_SECONDS, err);
  if (r < 0) {
    nbd_close (h);
    /* Whatever the reason, it is the connection that failed; only what a
     * person can act on keeps its own number.
     */
    if (r != -ENOENT && r != -EACCES && r != -ECONNREFUSED)
      r = -EIO;
    return err_code (err, r);
  }
  notice_dead_peers (h);
  *out = h;
  return 0;
}

/* 1 when something happened, 0 when nothing did within the time. */
static int
poll_handle (struct nbd_handle *h, int64_t ms, struct err *err)
{
  int r = nbd_poll (h, (int) ms);

  if (r < 0 && nbd_get_errno () == EINTR)
    return 1;
  return r < 0 ? err_libnbd (err) : r;
}

int
nbd_command_wait (struct nbd_handle *h, int64_t cookie, unsigned silence_s,
                  unsigned total_s, struct err *err)
{
  const int64_t deadline = now_ms () + (int64_t) total_s * 1000;

  if (cookie < 0)
    return err_libnbd (err);
  for (;;) {
    int r = nbd_aio_command_completed (h, (uint64_t) cookie);
    int64_t left = deadline - now_ms ();

    if (r < 0)
      return err_libnbd (err);
    if (r > 0)
      return 0;
    if (left <= 0)
      return err_set (err, -ETIMEDOUT, "the server was not done with a "
                      "request after %u seconds", total_s);
    r = poll_handle (h, left < (int64_t) silence_s * 1000
                     ? left : (int64_t) silence_s * 1000, err);
    if (r < 0)
      return r;
    if (r == 0 && left > (int64_t) silence_s * 1000)
      return err_set (err, -ETIMEDOUT, "the server said nothing for %u "
                      "seconds while it owed an answer", silence_s);
  }
}

int
nbd_ends_read (struct nbd_handle *h, uint64_t size, uint32_t unit,
               struct nbd_ends *ends, struct err *err)
{
  const size_t len = (size_t) min_u64 (size, max_u64 (unit, END_SIZE));
  const uint64_t offsets[] = { 0, size - len };
  CLEANUP_FREE char *buf = malloc (len ? len : 1);
  struct nbd_ends found = { .known = true };

  if (buf == NULL)
    return err_nomem (err);
  for (size_t i = 0; len > 0 && found.known && i < 2; ++i) {
    int64_t cookie = nbd_aio_pread (h, buf, len, offsets[i],
                                    NBD_NULL_COMPLETION, 0);
    int r = nbd_command_wait (h, cookie, NBD_CONNECT_SECONDS,
                              NBD_CONNECT_SECONDS, err);

    if (r == -ETIMEDOUT || (r < 0 && nbd_aio_is_ready (h) != 1))
      return r;
    found.known = r == 0;
    found.crc = crc32_update (found.crc, buf, len);
  }
  *ends = found;
  return 0;
}
