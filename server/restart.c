/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Starting nbdkit again after it crashed.
 *
 * There is no number of crashes after which we give up: that would let one
 * client, who can make nbdkit crash, end the service for all others.  The
 * pause between restarts bounds what that costs us, and is short enough that
 * whoever connects is served within a second.  The socket is ours and stays,
 * so that they wait and are not turned away.
 *
 * An nbdkit that does not even become ready is another matter: an image is
 * gone, say.  That is tried a few times and then said.
 *
 * What clients wrote to images is in the files, or at the least in the
 * kernel's cache of them, before nbdkit acknowledges it.  Only what --filter
 * cow holds is lost with the process, and then the disk under the clients'
 * feet would become an older one.
 */

#include <config.h>

#include <errno.h>
#include <poll.h>
#include <time.h>

#include "server/internal.h"

#define FIRST_PAUSE_MS 10U

static void
count_quick_ends (struct server *server)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  if (now.tv_sec - server->ready_at.tv_sec < SERVER_QUICK_END_S)
    server->quick_ends++;
  else
    server->quick_ends = 1;
}

/* None for the first, then 10 ms, 20 ms, ... */
static unsigned
pause_ms (unsigned quick_ends)
{
  unsigned ms = FIRST_PAUSE_MS;

  if (quick_ends <= 1)
    return 0;
  while (quick_ends-- > 2 && ms < SERVER_PAUSE_MAX_MS)
    ms *= 2;
  return ms < SERVER_PAUSE_MAX_MS ? ms : SERVER_PAUSE_MAX_MS;
}

static int
pause_for (const struct server *server, unsigned ms, struct err *err)
{
  struct pollfd p = { .fd = server->cancel_fd, .events = POLLIN };

  if (poll (&p, 1, (int) ms) > 0)
    return err_set (err, -EINTR, "interrupted before nbdkit was started "
                    "again");
  return 0;
}

int
server_restart (struct server *server, struct err *err)
{
  const char *how = server_ended (server);
  unsigned ms;
  int r;

  if (server->throw_away)
    return err_set (err, -EIO, "nbdkit %s, and what clients wrote, which is "
                    "thrown away at the end, was lost with it",
                    how ? how : "runs");
  server_end_processes (server);
  count_quick_ends (server);
  ms = pause_ms (server->quick_ends);
  for (unsigned tries = 1; ; ++tries) {
    r = pause_for (server, ms, err);
    if (r == 0)
      r = server_run (server, err);
    if (r == 0 || r == -EINTR || tries >= SERVER_START_TRIES)
      return r;
    ms = SERVER_PAUSE_MAX_MS;
  }
}
