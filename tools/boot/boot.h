/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The parts of `nbdimage boot`. */

#ifndef NBDIMAGE_TOOLS_BOOT_BOOT_H
#define NBDIMAGE_TOOLS_BOOT_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/words.h"

#define QEMU_PROGRAM "qemu-system-x86_64"

/* Where the machine's screen is. */
struct display {
  char qemu[32];                /* for -display; "": the user's arguments for
                                   QEMU say it */
  char vnc_uri[32];             /* "vnc://127.0.0.1:5900"; "": not there */
  const char *why_no_window;    /* of VNC, half a sentence; not owned */
  int port_fd;                  /* keeps others like us from the port while it
                                   is open, but not QEMU; -1: no VNC */
};

#define DISPLAY_INIT { .port_fd = -1 }

struct machine {
  /* The disk: an NBD URI for QEMU itself, or the socket of a server of
   * ours.
   */
  const char *uri;              /* NULL: socket */
  const char *socket;
  bool is_cd;
  bool writable;                /* otherwise a disk's writes are forgotten */
  uint32_t sector_size;         /* 0: 512 */

  bool use_kvm;
  const struct display *display;
  bool serial;                  /* the first serial port is our terminal */
  uint64_t memory;              /* bytes */
  unsigned cpus;
  const char *firmware;         /* UEFI's code; NULL: BIOS */
  const char *firmware_vars;    /* our own copy */
  char *const *more;            /* the user's, NULL-terminated */
};

/* QEMU's command line, NULL-terminated; QEMU_PROGRAM first. */
int machine_command (const struct machine *m, struct words *argv,
                     struct err *err);

/* Can QEMU connect to this URI itself? */
bool machine_takes_uri (const char *uri);

/* Decide where the screen is: nowhere with none, where `more` (the user's
 * arguments for QEMU, NULL-terminated, or NULL) says, in a window, or by VNC on
 * the loopback.  -EADDRINUSE when no port is free for that.  The caller closes
 * port_fd when the machine has ended.
 */
int display_choose (bool none, char *const *more, struct display *d,
                    struct err *err);

/* "auto", "kvm", "tcg" → use KVM or not; -EINVAL for other words. */
int accel_choose (const char *wish, bool *use_kvm, struct err *err);

/* Find the firmware and copy its variables to FOLDER/vars.fd.  The caller
 * frees both.
 */
int firmware_prepare (const char *folder, char **code, char **vars,
                      struct err *err);

/* A folder of our own below $TMPDIR or /var/tmp, mode 0700.  It is locked by
 * *lock_fd, which the caller closes when it is removed: what others of this
 * user left behind without a lock, because they were killed, is removed first.
 */
int private_folder_new (char **folder, int *lock_fd, struct err *err);
/* Remove it with the files in it. */
void private_folder_remove (const char *folder);

#endif /* NBDIMAGE_TOOLS_BOOT_BOOT_H */
