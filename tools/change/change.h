/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the commands share that change an image as a whole: resize, compact,
 * rebase, commit.  Each looks first and says what it would do, asks where
 * something would be rewritten or lost, and then does it, with progress.
 */

#ifndef NBDIMAGE_TOOLS_CHANGE_CHANGE_H
#define NBDIMAGE_TOOLS_CHANGE_CHANGE_H

#include <stdbool.h>

#include "lib/format/offline.h"
#include "tools/command.h"
#include "tools/progress.h"

struct change_options {
  const char *format;
  const char *parent_path;
  const char *progress;
  bool yes;
  bool dry_run;
  bool json;

  const char *name;             /* of the image */
  struct image_options image;
  enum progress_mode mode;
};

/* For the table of a command whose struct has them as this member. */
#define CHANGE_OPTIONS(type, member)                                    \
  { "format", 'f', OPTION_STRING, "FORMAT",                             \
    "the format of the image, instead of finding out",                  \
    offsetof (type, member.format) },                                   \
  { "parent-path", 0, OPTION_STRING, "FOLDER[:FOLDER…]",                \
    "where parents of differencing disks may lie besides",              \
    offsetof (type, member.parent_path) },                              \
  { "dry-run", 'n', OPTION_FLAG, NULL,                                  \
    "say what would be done, and do nothing",                           \
    offsetof (type, member.dry_run) },                                  \
  { "yes", 'y', OPTION_FLAG, NULL,                                      \
    "do it without asking",                                             \
    offsetof (type, member.yes) },                                      \
  PROGRESS_OPTION (type, member.progress),                              \
  { "json", 0, OPTION_FLAG, NULL,                                       \
    "print what was done as JSON",                                      \
    offsetof (type, member.json) }

/* Check the options, and set the rest but the name; a usage error ends the
 * program.
 */
void change_check (const struct command *command, struct change_options *o);

/* Was the plan confirmed?  By --yes, or by who is asked on the terminal; if
 * not, says that nothing was changed.
 */
bool change_confirm (const struct change_options *o);

/* Run fn with a job whose progress is shown, and that ends early on Ctrl-C. */
int change_run (const struct change_options *o,
                int (*fn) (void *opaque, struct job *job, struct err *err),
                void *opaque, struct err *err);

/* A line of the plan on stdout, with label and colon; nothing with --json. */
void change_say (const struct change_options *o, const char *label,
                 const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 3, 4)));

/* The name, the first line of it. */
void change_say_name (const struct change_options *o);

/* May a disk become another one of which files in the folder of the image say
 * that it is their parent?  With --force, or if there are none; with --dry-run
 * nothing happens to them.  Says why not, after naming them.
 */
bool change_may_damage_children (const struct change_options *o,
                                 struct image *img, bool force);

#endif /* NBDIMAGE_TOOLS_CHANGE_CHANGE_H */
