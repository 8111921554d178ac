/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Where the bytes of a backup image go: front to back, never back.  A file in
 * a vault, a file of its own, a pipe.
 */

#ifndef NBDIMAGE_REPO_SINK_H
#define NBDIMAGE_REPO_SINK_H

#include <stddef.h>

#include "lib/base/err.h"

struct sink {
  /* All of it, or an error, after which nothing more is written.  By one
   * thread at a time.
   */
  int (*write) (struct sink *sink, const void *buf, size_t len,
                struct err *err);
};

/* A descriptor, which stays the caller's: a file, a pipe, a terminal. */
struct sink_fd {
  struct sink sink;
  int fd;
  const char *name;             /* for messages; the caller's */
};

void sink_fd_init (struct sink_fd *sink, int fd, const char *name);

#endif /* NBDIMAGE_REPO_SINK_H */
