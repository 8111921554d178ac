/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <unistd.h>

#include "lib/repo/sink.h"

static int
write_fd (struct sink *sink, const void *buf, size_t len, struct err *err)
{
  const struct sink_fd *to = (const struct sink_fd *) sink;
  const char *p = buf;

  while (len > 0) {
    ssize_t n = write (to->fd, p, len);

    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return err_sys (err, "%s: writing", to->name);
    p += n;
    len -= (size_t) n;
  }
  return 0;
}

void
sink_fd_init (struct sink_fd *sink, int fd, const char *name)
{
  *sink = (struct sink_fd) {
    .sink.write = write_fd, .fd = fd, .name = name,
  };
}
