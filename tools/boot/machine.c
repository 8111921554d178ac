/* SPDX-License-Identifier: GPL-2.0-or-later */

/* QEMU's command line.
 *
 * The machine is the plain PC, whose IDE disk and CD the oldest systems know
 * as well as the newest.  It has no network unless asked for: the image may
 * be the clone of a machine that lives there.
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "tools/boot/boot.h"

/* A server that nbdimage starts again is back within this time. */
#define RECONNECT_SECONDS 20

/* In QEMU's options a comma within a value is doubled. */
static char *
double_commas (const char *str)
{
  char *out = malloc (2 * strlen (str) + 1), *p = out;

  if (out == NULL)
    return NULL;
  for (; *str; ++str) {
    *p++ = *str;
    if (*str == ',')
      *p++ = ',';
  }
  *p = '\0';
  return out;
}

bool
machine_takes_uri (const char *uri)
{
  const char *query;

  if (strncmp (uri, "nbd://", 6) != 0 && strncmp (uri, "nbd+unix://", 11) != 0)
    return false;
  query = strchr (uri, '?');
  return query == NULL ||
    (strncmp (query, "?socket=", 8) == 0 && strchr (query, '&') == NULL);
}

static int
add_disk (const struct machine *m, struct words *argv, struct err *err)
{
  CLEANUP_FREE char *where = double_commas (m->uri ? m->uri : m->socket);
  CLEANUP_FREE char *file = NULL;
  const char *mode = m->is_cd ? "readonly=on" : m->writable ? "snapshot=off"
                                                            : "snapshot=on";
  /* Where a PC has them: old systems look nowhere else. */
  const char *device = m->is_cd ? "ide-cd,bus=ide.1,unit=0"
                                : "ide-hd,bus=ide.0,unit=0";
  int r;

  if (where == NULL)
    return err_nomem (err);
  if (m->uri)
    r = asprintf (&file, "file=%s", where);
  else
    r = asprintf (&file, "file.driver=nbd,file.server.type=unix,"
                  "file.server.path=%s,file.reconnect-delay=%d", where,
                  RECONNECT_SECONDS);
  if (r < 0) {
    file = NULL;
    return err_nomem (err);
  }
  r = words_option (argv, err, "-drive",
                    "if=none,id=image,media=%s,format=raw,%s,%s",
                    m->is_cd ? "cdrom" : "disk", mode, file);
  if (r < 0)
    return r;
  /* IDE has no sectors of 4096 bytes. */
  if (!m->is_cd && m->sector_size > 512)
    return words_option (argv, err, "-device", "virtio-blk-pci,drive=image,"
                         "bootindex=0,logical_block_size=%" PRIu32
                         ",physical_block_size=%" PRIu32, m->sector_size,
                         m->sector_size);
  return words_option (argv, err, "-device", "%s,drive=image,bootindex=0",
                       device);
}

static int
add_firmware (const struct machine *m, struct words *argv, struct err *err)
{
  CLEANUP_FREE char *vars = NULL;
  int r;

  if (m->firmware == NULL)
    return 0;
  vars = double_commas (m->firmware_vars);
  if (vars == NULL)
    return err_nomem (err);
  r = words_option (argv, err, "-drive",
                    "if=pflash,unit=0,format=raw,readonly=on,file=%s",
                    m->firmware);
  if (r == 0)
    r = words_option (argv, err, "-drive",
                      "if=pflash,unit=1,format=raw,file=%s", vars);
  return r;
}

/* With a serial port on the terminal, Ctrl-C still ends QEMU. */
static int
add_console (const struct machine *m, struct words *argv, struct err *err)
{
  int r = 0;

  if (m->display->qemu[0])
    r = words_option (argv, err, "-display", "%s", m->display->qemu);
  if (r == 0 && strcmp (m->display->qemu, "none") != 0) {
    r = words_add (argv, err, "-usb");
    if (r == 0)
      r = words_option (argv, err, "-device", "usb-tablet");
  }
  if (r < 0 || !m->serial)
    return r;
  r = words_option (argv, err, "-chardev", "stdio,id=terminal,signal=on");
  return r == 0 ? words_option (argv, err, "-serial", "chardev:terminal") : r;
}

int
machine_command (const struct machine *m, struct words *argv, struct err *err)
{
  int r;

  r = words_add (argv, err, QEMU_PROGRAM);
  if (r == 0)
    r = words_option (argv, err, "-name", "nbdimage");
  if (r == 0)
    r = words_option (argv, err, "-machine", "pc,accel=%s",
                      m->use_kvm ? "kvm" : "tcg");
  if (r == 0)
    r = words_option (argv, err, "-cpu", "max");
  if (r == 0)
    r = words_option (argv, err, "-smp", "%u", m->cpus);
  if (r == 0)
    r = words_option (argv, err, "-m", "%" PRIu64 "M", m->memory >> 20);
  if (r == 0)
    r = words_option (argv, err, "-nic", "none");
  if (r == 0)
    r = add_console (m, argv, err);
  if (r == 0)
    r = add_firmware (m, argv, err);
  if (r == 0)
    r = add_disk (m, argv, err);
  for (size_t i = 0; r == 0 && m->more && m->more[i]; ++i)
    r = words_add (argv, err, "%s", m->more[i]);
  return r == 0 ? words_end (argv, err) : r;
}
