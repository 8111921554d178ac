/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "lib/block/file.h"
#include "lib/repo/nbi-header.h"
#include "lib/repo/vault-names.h"
#include "tools/report.h"
#include "tools/salvage/hint.h"

void
salvage_hint (const char *path)
{
  CLEANUP_BLOCK struct block *block = NULL;
  char when[VAULT_TIME_SIZE], size[SIZE_STRING_SIZE];
  uint8_t buf[NBI_HEADER_SIZE];
  struct nbi_header h;

  if (block_file_open (path, 0, &block, NULL, NULL) < 0 ||
      block_size (block) < sizeof buf ||
      block_pread (block, buf, sizeof buf, 0, NULL) < 0 ||
      nbi_header_decode (buf, &h, NULL) < 0)
    return;
  vault_time_to_string (h.time, when);
  tool_note ("%s: is what is left of a backup of ‘%s’ of %s, a disk of %s; "
             "nbdimage salvage --dry-run says what can be had of it", path,
             h.name, when, size_to_string (h.disk_size, size));
}
