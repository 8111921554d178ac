/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Where the machine's screen is.
 *
 * QEMU decides that itself: it tries to load one window after the other,
 * complains about each that is not installed, and then opens VNC somewhere.
 * So it is decided here, and QEMU told.
 */

#include <config.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/base/cleanup.h"
#include "tools/boot/boot.h"

/* As VNC counts: display 0 is this port. */
#define VNC_FIRST_PORT 5900
#define VNC_DISPLAYS 100

/* Do the user's arguments for QEMU say where the screen is? */
static bool
is_said (char *const *more)
{
  static const char *const options[] = {
    "display", "vnc", "nographic", "curses", "spice", "sdl",
  };

  for (; more && *more; ++more) {
    const char *word = *more;

    if (*word++ != '-')
      continue;
    if (*word == '-')
      word++;
    for (size_t i = 0; i < sizeof options / sizeof options[0]; ++i)
      if (strcmp (word, options[i]) == 0)
        return true;
  }
  return false;
}

static bool
is_set (const char *variable)
{
  const char *value = getenv (variable);

  return value && *value;
}

/* QEMU's list of what can be loaded has one name on a line, behind a heading,
 * and complaints about the others on stderr.  The window that it would take
 * by itself, or NULL; false when it has no list.
 */
static bool
find_window (const char **window)
{
  static const char *const windows[] = { "gtk", "sdl" };
  const size_t nr_windows = sizeof windows / sizeof windows[0];
  FILE *fp = popen (QEMU_PROGRAM " -display help 2>/dev/null </dev/null",
                    "re");
  CLEANUP_FREE char *line = NULL;
  size_t size = 0, best = nr_windows;
  bool listed = false;

  if (fp == NULL)
    return false;
  while (getline (&line, &size, fp) > 0) {
    line[strcspn (line, "\n")] = '\0';
    if (strcmp (line, "none") == 0)
      listed = true;
    for (size_t i = 0; i < best; ++i)
      if (strcmp (line, windows[i]) == 0)
        best = i;
  }
  pclose (fp);
  *window = best < nr_windows ? windows[best] : NULL;
  return listed;
}

/* The first display whose port nobody has.
 *
 * It is ours from now on.  Without SO_REUSEADDR the port is refused when
 * anybody has it, be it only to keep it as we do; with it from then on, Linux
 * lets those who set it, too, listen there, and QEMU does.  So two that look
 * at the same time don't tell their users the same port, where one of them
 * would see the other's screen.  Should some other program take it before
 * QEMU does, QEMU says so.
 */
static int
find_vnc_display (unsigned *display, int *port_fd, struct err *err)
{
  struct sockaddr_in addr = {
    .sin_family = AF_INET,
    .sin_addr.s_addr = htonl (INADDR_LOOPBACK),
  };
  const int on = 1;

  for (unsigned n = 0; n < VNC_DISPLAYS; ++n) {
    CLEANUP_CLOSE int fd = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
      return err_sys (err, "socket");
    addr.sin_port = htons ((uint16_t) (VNC_FIRST_PORT + n));
    if (bind (fd, (struct sockaddr *) &addr, sizeof addr) < 0)
      continue;
    if (setsockopt (fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
      return err_sys (err, "setsockopt");
    *display = n;
    *port_fd = steal_fd (&fd);
    return 0;
  }
  return err_set (err, -EADDRINUSE, "there is no port for VNC: 127.0.0.1 has "
                  "none free from %d to %d", VNC_FIRST_PORT,
                  VNC_FIRST_PORT + VNC_DISPLAYS - 1);
}

static int
use_vnc (struct display *d, const char *why, struct err *err)
{
  unsigned n = 0;
  int r = find_vnc_display (&n, &d->port_fd, err);

  if (r < 0)
    return r;
  d->why_no_window = why;
  snprintf (d->qemu, sizeof d->qemu, "vnc=127.0.0.1:%u", n);
  snprintf (d->vnc_uri, sizeof d->vnc_uri, "vnc://127.0.0.1:%u",
            VNC_FIRST_PORT + n);
  return 0;
}

int
display_choose (bool none, char *const *more, struct display *d,
                struct err *err)
{
  const char *window = NULL;

  *d = (struct display) DISPLAY_INIT;
  if (none)
    snprintf (d->qemu, sizeof d->qemu, "none");
  if (none || is_said (more))
    return 0;
  if (!is_set ("DISPLAY") && !is_set ("WAYLAND_DISPLAY"))
    return use_vnc (d, "neither DISPLAY nor WAYLAND_DISPLAY is set", err);
  if (!find_window (&window))   /* running it will say what is wrong */
    return 0;
  if (window == NULL)
    return use_vnc (d, "the package qemu-system-gui is not installed", err);
  snprintf (d->qemu, sizeof d->qemu, "%s", window);
  return 0;
}
