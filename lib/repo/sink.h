/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Where the bytes of a backup image go: front to back, never back.  A file in
 * a vault, a file of its own, a pipe.
 */

#ifndef NBDIMAGE_REPO_SINK_H
#define NBDIMAGE_REPO_SINK_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

#define SINK_BUFFER ((size_t) 1024 * 1024)

struct sink {
  /* All of it, or an error, after which nothing more is written.  By one
   * thread at a time.
   */
  int (*write) (struct sink *sink, const void *buf, size_t len,
                struct err *err);

  /* NULL, or what is called instead, so that bytes need not be copied: as
   * write, of the first len bytes (0: of nothing) of the buffer that the last
   * call gave; *buf becomes one of SINK_BUFFER bytes to fill, which is the
   * sink's, and the same one after len 0.
   */
  int (*swap) (struct sink *sink, size_t len, uint8_t **buf, struct err *err);
};

/* A descriptor, which stays the caller's: a file, a pipe, a terminal. */
struct sink_fd {
  struct sink sink;
  int fd;
  const char *name;             /* for messages; the caller's */
};

void sink_fd_init (struct sink_fd *sink, int fd, const char *name);

#endif /* NBDIMAGE_REPO_SINK_H */
