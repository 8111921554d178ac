/* SPDX-License-Identifier: GPL-2.0-or-later */

/* All commands, each defined in its cmd-NAME.c; main.c has their table. */

#ifndef NBDIMAGE_TOOLS_COMMANDS_H
#define NBDIMAGE_TOOLS_COMMANDS_H

#include "tools/command.h"

extern const struct command command_attach;
extern const struct command command_attached;
extern const struct command command_backup;
extern const struct command command_boot;
extern const struct command command_check;
extern const struct command command_commit;
extern const struct command command_compact;
extern const struct command command_convert;
extern const struct command command_copy;
extern const struct command command_create;
extern const struct command command_detach;
extern const struct command command_diff;
extern const struct command command_generations;
extern const struct command command_info;
extern const struct command command_prune;
extern const struct command command_rebase;
extern const struct command command_repair;
extern const struct command command_resize;
extern const struct command command_restore;
extern const struct command command_salvage;
extern const struct command command_serve;
extern const struct command command_verify;

#endif /* NBDIMAGE_TOOLS_COMMANDS_H */
