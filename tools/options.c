/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Options from a table: parsed, checked for their kind, and explained. */

#include <config.h>

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "tools/command.h"
#include "tools/nearest.h"
#include "tools/output.h"
#include "tools/report.h"

#define HELP_COLUMN 30

void
command_usage_error (const struct command *command, const char *fmt, ...)
{
  CLEANUP_FREE char *sentence = NULL;
  va_list ap;

  va_start (ap, fmt);
  if (vasprintf (&sentence, fmt, ap) < 0)
    sentence = NULL;
  va_end (ap);
  tool_error ("%s: %s; see ‘nbdimage %s --help’", command->name,
              sentence ? sentence : "out of memory", command->name);
  free (steal_ptr (&sentence));         /* exit runs no cleanup */
  exit (STATUS_USAGE);
}

/*--- --help ----------------------------------------------------------------*/

/* Columns of a UTF-8 string, for what occurs in our own tables. */
static int
width (const char *str)
{
  int n = 0;

  for (; *str; ++str)
    n += ((unsigned char) *str & 0xc0) != 0x80;
  return n;
}

static void
show_option (const struct option_spec *o)
{
  CLEANUP_FREE char *left = NULL;
  char letter[] = "    ";

  if (o->letter)
    snprintf (letter, sizeof letter, "-%c, ", o->letter);
  if (asprintf (&left, "  %s--%s%s%s", letter, o->name,
                o->argument ? "=" : "", o->argument ? o->argument : "") < 0) {
    left = NULL;
    return;
  }
  if (width (left) < HELP_COLUMN)
    printf ("%s%*s%s\n", left, HELP_COLUMN - width (left), "", o->help);
  else
    printf ("%s\n%*s%s\n", left, HELP_COLUMN, "", o->help);
}

static void __attribute__ ((__noreturn__))
show_help (const struct command *command)
{
  static const struct option_spec help = {
    "help", 'h', OPTION_FLAG, NULL, "show this help", 0
  };

  printf ("Usage: nbdimage %s [OPTION…]%s%s\n\n%s.\n\nOptions:\n",
          command->name, *command->operands ? " " : "", command->operands,
          command->summary);
  for (const struct option_spec *o = command->options; o->name; ++o)
    show_option (o);
  show_option (&help);
  printf ("\nThe manual: man nbdimage-%s\n", command->name);
  exit (output_finish ());
}

/*--- values ----------------------------------------------------------------*/

struct parse {
  const struct command *command;
  char *values;                 /* the command's struct */
  char *const *end;             /* behind the last word */
};

static void
set_unsigned (const struct parse *p, const struct option_spec *o,
              const char *str)
{
  unsigned long v;
  char *end;

  errno = 0;
  v = strtoul (str, &end, 10);
  if (o->kind == OPTION_SECONDS && end != str && strcmp (end, "s") == 0)
    end++;
  if (*str < '0' || *str > '9' || *end || errno || v > UINT_MAX)
    command_usage_error (p->command, "--%s: ‘%s’ is not %s", o->name, str,
                         o->kind == OPTION_SECONDS ? "a number of seconds"
                                                   : "a number");
  *(unsigned *) (void *) (p->values + o->offset) = (unsigned) v;
}

static void
add_to_list (const struct parse *p, const struct option_spec *o,
             const char *argument)
{
  struct option_list *list = (void *) (p->values + o->offset);

  if (list->nr == OPTION_LIST_MAX)
    command_usage_error (p->command, "--%s: given more than %d times", o->name,
                         OPTION_LIST_MAX);
  list->values[list->nr++] = argument;
}

static void
set_value (const struct parse *p, const struct option_spec *o,
           const char *argument)
{
  struct err err = ERR_INIT;
  char *to = p->values + o->offset;

  switch (o->kind) {
  case OPTION_FLAG:
    *(bool *) to = true;
    break;
  case OPTION_STRING:
    *(const char **) (void *) to = argument;
    break;
  case OPTION_LIST:
    add_to_list (p, o, argument);
    break;
  case OPTION_UNSIGNED:
  case OPTION_SECONDS:
    set_unsigned (p, o, argument);
    break;
  case OPTION_SIZE:
    if (size_parse (argument, (uint64_t *) (void *) to, &err) < 0)
      command_usage_error (p->command, "--%s: %s", o->name, err.msg);
    break;
  }
}

/*--- words -----------------------------------------------------------------*/

static const struct option_spec *
find_long (const struct command *command, const char *name, size_t len)
{
  for (const struct option_spec *o = command->options; o->name; ++o)
    if (strlen (o->name) == len && strncmp (o->name, name, len) == 0)
      return o;
  return NULL;
}

static void __attribute__ ((__noreturn__))
unknown_option (const struct command *command, const char *name, size_t len)
{
  CLEANUP_FREE char *typed = strndup (name, len);
  const char *best = NULL;
  size_t best_distance = SIZE_MAX;

  for (const struct option_spec *o = command->options; typed && o->name;
       ++o) {
    size_t distance = nearest_distance (typed, o->name);

    if (distance < best_distance) {
      best_distance = distance;
      best = o->name;
    }
  }
  if (best && nearest_is_near (typed, best_distance))
    command_usage_error (command, "there is no option ‘--%.*s’; did you "
                         "mean ‘--%s’?", (int) len, name, best);
  command_usage_error (command, "there is no option ‘--%.*s’", (int) len,
                       name);
}

/* "--name", "--name=value", "--name" "value".  Returns how many words. */
static int
parse_long (const struct parse *p, char *const *words)
{
  const char *name = words[0] + 2;
  const char *equals = strchr (name, '=');
  size_t len = equals ? (size_t) (equals - name) : strlen (name);
  const struct option_spec *o = find_long (p->command, name, len);

  if (o == NULL && strcmp (name, "help") == 0)
    show_help (p->command);
  if (o == NULL)
    unknown_option (p->command, name, len);
  if (o->kind == OPTION_FLAG) {
    if (equals)
      command_usage_error (p->command, "--%s takes no argument", o->name);
    set_value (p, o, NULL);
    return 1;
  }
  if (equals) {
    set_value (p, o, equals + 1);
    return 1;
  }
  if (words + 1 == p->end)
    command_usage_error (p->command, "--%s needs an argument, %s", o->name,
                         o->argument);
  set_value (p, o, words[1]);
  return 2;
}

/* "-r", "-rv", "-p10809", "-p" "10809".  Returns how many words. */
static int
parse_short (const struct parse *p, char *const *words)
{
  for (const char *c = words[0] + 1; *c; ++c) {
    const struct option_spec *o = p->command->options;

    while (o->name && o->letter != *c)
      ++o;
    if (o->name == NULL && *c == 'h')
      show_help (p->command);
    if (o->name == NULL)
      command_usage_error (p->command, "there is no option ‘-%c’", *c);
    if (o->kind == OPTION_FLAG) {
      set_value (p, o, NULL);
      continue;
    }
    if (c[1]) {
      set_value (p, o, c + 1);
      return 1;
    }
    if (words + 1 == p->end)
      command_usage_error (p->command, "-%c needs an argument, %s", *c,
                           o->argument);
    set_value (p, o, words[1]);
    return 2;
  }
  return 1;
}

/* "-5G" is an operand: no option is a digit. */
static bool
is_number (const char *word)
{
  return word[1] >= '0' && word[1] <= '9';
}

/* Operands move to the front of argv as they are met, and to its end when
 * all words were read.
 */
void
command_parse (const struct command *command, int argc, char *argv[],
               void *values, int *first)
{
  const struct parse p = { command, values, argv + argc };
  int nr_operands = 0, i = 1;

  while (i < argc) {
    if (strcmp (argv[i], "--") == 0) {
      for (++i; i < argc; ++i)
        argv[1 + nr_operands++] = argv[i];
      break;
    }
    if (argv[i][0] == '-' && argv[i][1] == '-')
      i += parse_long (&p, argv + i);
    else if (argv[i][0] == '-' && argv[i][1] && !is_number (argv[i]))
      i += parse_short (&p, argv + i);
    else
      argv[1 + nr_operands++] = argv[i++];
  }
  memmove (argv + argc - nr_operands, argv + 1,
           (size_t) nr_operands * sizeof *argv);
  *first = argc - nr_operands;
}
