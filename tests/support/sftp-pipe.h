/* SPDX-License-Identifier: GPL-2.0-or-later */

/* OpenSSH's sftp-server at the other end of a socket, without SSH: the way of a
 * store to a folder of this machine, which breaks, or falls silent, when it is
 * told to.
 */

#ifndef NBDIMAGE_TESTS_SFTP_PIPE_H
#define NBDIMAGE_TESTS_SFTP_PIPE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/repo/sftp-link.h"

struct sftp_pipe {
  /* Set by the test. */
  const char *without;          /* requests for its -P; NULL: none */
  bool refuse;                  /* the next dials fail */

  /* Bytes to the server, from the last dial on, after which it is killed; bytes
   * from it, after which what it did is done, and the answer never comes.  0:
   * none.  Once, or on each connection.
   */
  _Atomic uint64_t break_after, lose_after;
  bool each;

  /* Told. */
  _Atomic unsigned dials;
  pid_t pid;                    /* of the server */
  _Atomic uint64_t written, read;       /* since the last dial */
};

/* Is there a server to be had? */
bool sftp_pipe_can (void);

/* Of a pipe that stays the caller's. */
struct sftp_dialer sftp_pipe_dialer (struct sftp_pipe *pipe);

#endif /* NBDIMAGE_TESTS_SFTP_PIPE_H */
