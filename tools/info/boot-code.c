/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Whose boot code is in sector 0? */

#include <config.h>

#include <string.h>

#include "tools/info/info.h"

#define CODE_SIZE 440           /* behind it: disk signature, table */

/* What the loaders say when they fail is what they are known by. */
static const struct {
  const char *text;
  const char *loader;
} known[] = {
  { "GRUB ", "GRUB" },
  { "isolinux.bin", "ISOLINUX" },
  { "SYSLINUX", "SYSLINUX" },
  { "EXTLINUX", "SYSLINUX" },
  { "Missing operating system.\r\n", "SYSLINUX" },
  { "BOOTMGR is missing", "Windows" },
  { "NTLDR is missing", "Windows" },
  { "Error loading operating system", "Windows" },
  { "LILO", "LILO" },
};

int
info_find_boot_code (struct info *info, struct err *err)
{
  uint8_t sector[512];
  int r;

  if (block_size (info->disk) < sizeof sector)
    return 0;
  r = block_pread (info->disk, sector, sizeof sector, 0, err);
  if (r < 0)
    return r;
  /* A partition table alone has the signature but no code. */
  if (sector[510] != 0x55 || sector[511] != 0xaa)
    return 0;
  for (size_t i = 0; i < CODE_SIZE; ++i)
    if (sector[i] != 0)
      info->has_boot_code = true;
  for (size_t i = 0; i < sizeof known / sizeof known[0]; ++i)
    if (memmem (sector, sizeof sector, known[i].text,
                strlen (known[i].text))) {
      info->boot_loader = known[i].loader;
      break;
    }
  return 0;
}
