/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/ask.h"

bool
ask_is_possible (void)
{
  return isatty (STDIN_FILENO) && isatty (STDERR_FILENO);
}

bool
ask_line (const char *question, char *answer, int size)
{
  fflush (stdout);
  fputs (question, stderr);
  fflush (stderr);
  if (fgets (answer, size, stdin) == NULL)
    return false;
  answer[strcspn (answer, "\n")] = '\0';
  return true;
}

bool
ask_yes (const char *question)
{
  char answer[16];

  return ask_line (question, answer, sizeof answer) &&
    (answer[0] == 'y' || answer[0] == 'Y');
}
