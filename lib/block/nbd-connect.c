/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <libnbd.h>

#include "lib/block/nbd-connect.h"

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
