/* SPDX-License-Identifier: GPL-2.0-or-later */

/* VAULT/DISK where a vault is expected. */

#ifndef NBDIMAGE_TOOLS_VAULT_OPERAND_H
#define NBDIMAGE_TOOLS_VAULT_OPERAND_H

#include <stdbool.h>

/* Is it the name of a disk in a vault, as images are named?  Then the slash
 * before the disk becomes the end of path, which is the vault, and *disk is
 * what was behind it.  Generations of a disk (DISK@TIME) are left as they are.
 */
bool vault_operand_cut (char *path, const char **disk);

#endif /* NBDIMAGE_TOOLS_VAULT_OPERAND_H */
