/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdkit is run with this preloaded, for clients that hang up.
 *
 * When a reply can't be sent because its client is gone, nbdkit 1.32 closes
 * its sending side, and another of its threads that has a reply for the same
 * client ends the process with an assertion ("connections.c: raw_send_socket:
 * Assertion `sock >= 0' failed").  It takes no malice: it is enough to
 * interrupt a program that reads with two requests under way, and all other
 * clients of the server lose their connections.
 *
 * A client that closes when all was sent to it does no harm, so that is what
 * nbdkit is made to see of the others: a reply that can't be sent counts as
 * sent, and the next thing that is read is the end of the connection.  For
 * that its socket is replaced by one whose other end is closed; what the
 * client had still asked for goes with it, instead of being read from the
 * disk for nobody.
 *
 * Only nbdkit's own calls are meant: its plugins and libraries have
 * connections too (we to other NBD servers), which must see their errors.
 * What a client can still do to nbdkit is in docs/NBDKIT.md.
 */

#include <config.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* The errors of a connection whose other end is gone. */
static bool
means_gone (int error)
{
  return error == EPIPE || error == ECONNRESET || error == ECONNABORTED ||
    error == ETIMEDOUT || error == EHOSTUNREACH || error == ENETUNREACH ||
    error == ENETDOWN || error == EHOSTDOWN;
}

/* Was it called from the program, and not from a library? */
static bool
is_of_program (void *return_address)
{
  Dl_info caller, program;

  /* The program's headers lie in the program. */
  return dladdr (return_address, &caller) != 0 &&
    dladdr ((void *) getauxval (AT_PHDR), &program) != 0 &&
    caller.dli_fbase == program.dli_fbase;
}

/* Make fd a connection that has ended.  Other threads may be using it: they
 * see the same.  Without descriptors to do it with, it is at least shut.
 */
static void
hang_up (int fd)
{
  int ends[2];

  shutdown (fd, SHUT_RDWR);     /* wakes who waits for it */
  if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
    return;
  dup3 (ends[0], fd, O_CLOEXEC);
  close (ends[0]);
  close (ends[1]);
}

ssize_t
send (int fd, const void *buf, size_t len, int flags)
{
  ssize_t r = sendto (fd, buf, len, flags, NULL, 0);

  if (r < 0 && means_gone (errno) &&
      is_of_program (__builtin_return_address (0))) {
    hang_up (fd);
    return (ssize_t) len;
  }
  return r;
}

ssize_t
read (int fd, void *buf, size_t len)
{
  struct iovec iov = { .iov_base = buf, .iov_len = len };
  ssize_t r = readv (fd, &iov, 1);

  if (r < 0 && means_gone (errno) &&
      is_of_program (__builtin_return_address (0))) {
    hang_up (fd);
    return 0;
  }
  return r;
}
