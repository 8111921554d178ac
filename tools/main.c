/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdimage COMMAND: find the command and run it. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/format/image.h"
#include "lib/repo/image-nbi.h"
#include "lib/repo/keyring.h"
#include "tools/commands.h"
#include "tools/nearest.h"
#include "tools/output.h"
#include "tools/report.h"

static const struct command *const commands[] = {
  &command_info,
  &command_serve,
  &command_attach,
  &command_detach,
  &command_attached,
  &command_boot,
  &command_create,
  &command_check,
  &command_repair,
  &command_resize,
  &command_compact,
  &command_convert,
  &command_rebase,
  &command_commit,
  &command_backup,
  &command_restore,
  &command_generations,
  &command_verify,
  &command_prune,
  &command_diff,
  &command_copy,
  &command_salvage,
};

#define NR_COMMANDS (sizeof commands / sizeof commands[0])

static bool
is_called (const struct command *command, const char *name)
{
  return strcmp (command->name, name) == 0 ||
    (command->alias && strcmp (command->alias, name) == 0);
}

static const struct command *
find_command (const char *name)
{
  for (size_t i = 0; i < NR_COMMANDS; ++i)
    if (is_called (commands[i], name))
      return commands[i];
  return NULL;
}

static int
unknown_command (const char *name)
{
  const char *best = NULL;
  size_t best_distance = SIZE_MAX;

  for (size_t i = 0; i < NR_COMMANDS; ++i) {
    size_t distance = nearest_distance (name, commands[i]->name);

    if (distance < best_distance) {
      best_distance = distance;
      best = commands[i]->name;
    }
  }
  if (best && nearest_is_near (name, best_distance))
    tool_error ("there is no command ‘%s’; did you mean ‘%s’?", name, best);
  else
    tool_error ("there is no command ‘%s’; ‘nbdimage --help’ lists them",
                name);
  return STATUS_USAGE;
}

static int
help (void)
{
  printf ("Usage: nbdimage COMMAND [OPTION…] [ARGUMENT…]\n"
          "\n"
          "Disk images as real disks: VHD, VHDX, ISO, raw, backups over NBD.\n"
          "\n"
          "Commands:\n");
  for (size_t i = 0; i < NR_COMMANDS; ++i)
    printf ("  %-10s  %s\n", commands[i]->name, commands[i]->summary);
  printf ("\n"
          "  nbdimage COMMAND --help   the options of a command\n"
          "  nbdimage help COMMAND     the same\n"
          "  nbdimage --version        the version\n"
          "  man nbdimage              the manual\n");
  return STATUS_DONE;
}

/* For the shell's completion: the commands, or the options of one, each on
 * a line; options that take an argument end with "=".
 */
static int
complete (const char *name)
{
  const struct command *command = name ? find_command (name) : NULL;

  if (name && command == NULL)
    return STATUS_USAGE;
  for (size_t i = 0; name == NULL && i < NR_COMMANDS; ++i)
    printf ("%s\n", commands[i]->name);
  for (const struct option_spec *o = name ? command->options : NULL;
       o && o->name; ++o)
    printf ("--%s%s\n", o->name, o->argument ? "=" : "");
  if (name)
    printf ("--help\n");
  return STATUS_DONE;
}

/* `help COMMAND` is `COMMAND --help`. */
static int
run_help (const char *name)
{
  const struct command *command = find_command (name);
  char help_option[] = "--help";
  char *argv[] = { (char *) name, help_option, NULL };

  if (command == NULL)
    return unknown_command (name);
  return command->run (2, argv);
}

static int
run (int argc, char *argv[])
{
  const char *word = argv[1];
  const struct command *command;

  if (strcmp (word, "--help") == 0 || strcmp (word, "-h") == 0)
    return help ();
  if (strcmp (word, "--version") == 0) {
    printf ("nbdimage %s\n", PACKAGE_VERSION);
    return STATUS_DONE;
  }
  if (strcmp (word, "help") == 0)
    return argc > 2 ? run_help (argv[2]) : help ();
  if (strcmp (word, "--complete") == 0)
    return complete (argv[2]);
  if (word[0] == '-') {
    tool_error ("expected a command before the option ‘%s’; ‘nbdimage "
                "--help’ lists them", word);
    return STATUS_USAGE;
  }
  command = find_command (word);
  if (command == NULL)
    return unknown_command (word);
  return command->run (argc - 1, argv + 1);
}

/* A descriptor that the caller closed must not become a disk or a socket of
 * ours, to which the output then goes.  Opened the wrong way round, it still
 * fails to be read or written.
 */
static void
open_standard_descriptors (void)
{
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd)
    if (fcntl (fd, F_GETFD) < 0 &&
        open ("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
      _exit (STATUS_FAILED);
}

int
main (int argc, char *argv[])
{
  int status;

  open_standard_descriptors ();
  setlocale (LC_CTYPE, "");
  image_option_dashes = "--";
  image_format_option = "--format";
  keyring_options = "--passphrase-file or --key-file";
  nbi_register ();
  if (argc < 2) {
    tool_error ("expected a command; ‘nbdimage --help’ lists them");
    return STATUS_USAGE;
  }
  status = run (argc, argv);
  if (output_finish () != STATUS_DONE && status == STATUS_DONE)
    status = STATUS_FAILED;
  return status;
}
