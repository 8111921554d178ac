/* SPDX-License-Identifier: GPL-2.0-or-later */

/* UEFI firmware for QEMU: code that all share, variables of our own. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/fdio.h"
#include "tools/boot/boot.h"

#define VARS_MAX (16U << 20)

/* Where distributions put it, the larger flash first: a pair belongs
 * together.
 */
static const struct {
  const char *code, *vars;
} pairs[] = {
  { "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd" },
  { "/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd" },
  { "/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd" },
  { "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
    "/usr/share/edk2/x64/OVMF_VARS.4m.fd" },
};

static int
copy_file (const char *from, const char *to, struct err *err)
{
  CLEANUP_CLOSE int in = open (from, O_RDONLY | O_CLOEXEC);
  CLEANUP_CLOSE int out = -1;
  CLEANUP_FREE void *bytes = NULL;
  uint64_t size;
  int r;

  if (in < 0)
    return err_sys (err, "%s", from);
  r = fd_size (in, &size, err);
  if (r < 0)
    return err_in (err, "%s", from);
  if (size > VARS_MAX)
    return err_set (err, -EINVAL, "%s is too large", from);
  bytes = malloc (size + 1);
  if (bytes == NULL)
    return err_nomem (err);
  r = fd_pread (in, bytes, size, 0, err);
  if (r < 0)
    return err_in (err, "%s", from);
  out = open (to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (out < 0)
    return err_sys (err, "%s", to);
  r = fd_pwrite (out, bytes, size, 0, err);
  return r < 0 ? err_in (err, "%s", to) : 0;
}

int
firmware_prepare (const char *folder, char **code, char **vars,
                  struct err *err)
{
  CLEANUP_FREE char *copy = NULL;
  CLEANUP_FREE char *found = NULL;
  int r;

  for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; ++i) {
    if (access (pairs[i].code, R_OK) < 0 || access (pairs[i].vars, R_OK) < 0)
      continue;
    found = strdup (pairs[i].code);
    if (asprintf (&copy, "%s/vars.fd", folder) < 0)
      copy = NULL;
    if (found == NULL || copy == NULL)
      return err_nomem (err);
    r = copy_file (pairs[i].vars, copy, err);
    if (r < 0)
      return r;
    *code = steal_ptr (&found);
    *vars = steal_ptr (&copy);
    return 0;
  }
  return err_set (err, -ENOENT, "there is no UEFI firmware for QEMU here: is "
                  "the package ovmf installed?");
}
