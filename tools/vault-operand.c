/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <string.h>

#include "lib/repo/image-vault.h"
#include "tools/vault-operand.h"

bool
vault_operand_cut (char *path, const char **disk)
{
  char *slash = strrchr (path, '/');

  if (slash == NULL || slash == path || slash[1] == '\0' ||
      strchr (slash, '@') != NULL || vault_images_is_one (path))
    return false;
  *slash = '\0';
  if (vault_images_is_one (path)) {
    *disk = slash + 1;
    return true;
  }
  *slash = '/';
  return false;
}
