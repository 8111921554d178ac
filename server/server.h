/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Running nbdkit with our plugin.
 *
 * nbdkit is the NBD server; this composes its command line, starts it,
 * watches it and ends it.  It knows nothing of formats: what is wrong with
 * an image the plugin says, and nbdkit's sentence comes back in err.
 *
 * The listening socket is made here and handed to nbdkit (socket
 * activation), so that the address is ours before nbdkit runs and stays ours
 * when nbdkit has to be started again.
 *
 * A struct server belongs to one thread.
 */

#ifndef NBDIMAGE_SERVER_SERVER_H
#define NBDIMAGE_SERVER_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lib/base/err.h"

#define SERVER_DEFAULT_ADDRESS "127.0.0.1"
#define SERVER_DEFAULT_PORT "10809"

struct server_config {
  /* What is served: images (paths or NBD URIs), each an export, or a folder
   * of images, or a vault.
   */
  const char *const *images;
  size_t nr_images;
  const char *folder;
  const char *vault;

  /* Parameters for the plugin as they are, "format=vhd"; NULL-terminated;
   * NULL: none.
   */
  const char *const *parameters;

  bool writable;                /* otherwise nbdkit -r */
  bool throw_away;              /* writes go to a temporary overlay (nbdkit's
                                   cow filter), gone with the server; for one
                                   image only, -EINVAL for more: the filter
                                   has one overlay for all exports */

  /* Where: a Unix socket (which must not exist), or TCP. */
  const char *unix_socket;      /* NULL: TCP */
  const char *address;          /* NULL: SERVER_DEFAULT_ADDRESS */
  const char *port;             /* NULL: SERVER_DEFAULT_PORT; "0": any free */

  /* nbdkit's messages; -1: our stderr. */
  int log_fd;
  bool verbose;                 /* nbdkit -v */

  /* Leave out what the plugin would say of the images while they are opened
   * for the start, and all is well: the caller opened them and said it.
   */
  bool quiet_start;

  /* End nbdkit when the calling thread dies, however it dies. */
  bool die_with_us;

  /* When this becomes readable while nbdkit is starting (a signalfd), give
   * up with -EINTR; -1: none.
   */
  int cancel_fd;
};

#define SERVER_CONFIG_INIT { .log_fd = -1, .cancel_fd = -1 }

struct server;

/* Does the name of an address stay within this machine?  -EINVAL when it
 * can't be resolved.
 */
int server_address_is_loopback (const char *address, bool *is_loopback,
                                struct err *err);

/* Start nbdkit and return when it accepts connections.  The strings in
 * config are copied.  When nbdkit refuses, err has its sentence (-EINVAL);
 * nothing is left behind.  -ENOENT: nbdkit or the plugin is not installed.
 */
int server_start (const struct server_config *config, struct server **out,
                  struct err *err);

pid_t server_pid (const struct server *server);         /* of nbdkit */

/* How many URIs an export has: one, but on all addresses of this machine one
 * for each that clients can use, as they were when the server started.
 */
size_t server_nr_uris (const struct server *server);

/* The n-th URI of an export ("" is the default one), percent-encoded: the
 * caller frees it; NULL when out of memory.  There is always the 0th, which
 * server_uri returns.
 */
char *server_uri_at (const struct server *server, size_t n,
                     const char *export_name);
char *server_uri (const struct server *server, const char *export_name);

/* A descriptor that becomes readable when nbdkit has ended (pidfd).  A
 * restart replaces it.
 */
int server_fd (const struct server *server);

/* How nbdkit ended, "was ended by signal 11 (Segmentation fault)"; NULL
 * while it runs.  Owned by server.
 */
const char *server_ended (struct server *server);

/* Start nbdkit, which has ended, again on the same socket.  Clients that
 * connect meanwhile wait.  The first time at once; when it ended within
 * SERVER_QUICK_END_S of its start, and again and again, after a pause that
 * grows up to SERVER_PAUSE_MAX_MS: somebody may be making it crash, and the
 * others are to be served all the same, at no great cost.
 *
 * -EINTR: cancel_fd became readable.  Any other error is for good: nbdkit
 * refused to start SERVER_START_TRIES times (-EINVAL, with its sentence), or
 * held, throw_away, what clients had written (-EIO).
 */
#define SERVER_QUICK_END_S 10
#define SERVER_PAUSE_MAX_MS 500
#define SERVER_START_TRIES 5
int server_restart (struct server *server, struct err *err);

/* End nbdkit (SIGTERM, then SIGKILL after 10 s), remove the socket, free. */
void server_stop (struct server *server);               /* NULL is fine */

/* Free the struct and leave nbdkit and its socket alone: somebody else now
 * answers for them, by pid and path.
 */
void server_release (struct server *server);

#endif /* NBDIMAGE_SERVER_SERVER_H */
