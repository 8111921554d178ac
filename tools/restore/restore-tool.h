/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The parts of `nbdimage restore`:
 *
 *   ../cmd-restore.c   the command line, and the steps of it all
 *   target.c           what is written to: opening it, reading it again
 *   refuse.c           targets that are not written to
 *   show.c             the plan and the result, as text and JSON
 *   confirm.c          agreeing to the plan
 *   work.c             doing it
 *
 * What goes where, and in which order it is written, is lib/restore/.
 */

#ifndef NBDIMAGE_TOOLS_RESTORE_RESTORE_TOOL_H
#define NBDIMAGE_TOOLS_RESTORE_RESTORE_TOOL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/newfile.h"
#include "lib/format/create.h"
#include "lib/format/image.h"
#include "lib/repo/absent.h"
#include "lib/restore/device.h"
#include "lib/restore/plan.h"
#include "lib/restore/carry-out.h"
#include "tools/command.h"
#include "tools/progress.h"

enum restore_kind {
  RESTORE_DEVICE,
  RESTORE_IMAGE,                /* a file that is there */
  RESTORE_NEW,                  /* a file that is not */
  RESTORE_EXPORT,               /* of an NBD server */
};

struct restore_target {
  enum restore_kind kind;
  const char *format;           /* of an image: "raw", "vhd", "vhdx" */
  struct block *disk;           /* NULL: of a new file, before it is made */
  struct image *img;            /* of an image */
  bool has_children;            /* of an image: disks that differ from it */
  uint64_t size;                /* bytes */
  uint64_t unit;                /* in which it allocates; 0: not known */
  struct restore_device device; /* of a device */
  dev_t dev;
  struct restore_contents contents;     /* not of a new file */
  bool looked;                  /* at contents */
  struct new_file file;         /* of a new file */
};

#define RESTORE_TARGET_INIT { .file = NEW_FILE_INIT }

struct restore_command {
  struct image_option_values image;
  const char *target_format, *partition, *confirm, *progress;
  unsigned threads;
  bool dry_run, yes, json, no_verify, allow_unreadable;
  bool allow_absent;

  const char *source, *name;    /* name: the target's */
  struct image_options source_options;
  enum progress_mode mode;
  struct restore_choices choices;

  struct image *img;            /* the source */
  struct block *disk;
  struct absent_vector absent;  /* partitions that the image has not */
  struct restore_contents contents;
  bool looked;
  struct restore_target to;
  struct restore_plan plan;
  bool planned;

  struct restore_result result;
  struct restore_ranges lost;   /* zeros instead of what can't be read */
  bool cannot_be;               /* it failed for what was typed */
};

/*--- target.c --------------------------------------------------------------*/

/* Open it, a device for writing unless nothing is to be written, and find out
 * what it is and holds.  Nothing is written.
 */
int restore_target_look (struct restore_command *c, struct report *report,
                         struct err *err);

/* After the plan was agreed to: its disk can be written. */
int restore_target_begin (struct restore_command *c, struct report *report,
                          struct err *err);

/* After a flush: its disk, read from the medium as far as the kernel lets us;
 * the reference is the caller's.
 */
int restore_target_reread (const struct restore_command *c,
                           struct block **disk, struct err *err);

/* All was written: a new file gets its name, the kernel looks at the new
 * partitions.  *note, a literal, is what is to be said; or NULL.
 */
int restore_target_end (struct restore_command *c, const char **note,
                        struct err *err);

void restore_target_close (struct restore_target *to);

/*--- refuse.c --------------------------------------------------------------*/

/* Is it what the image lies on or in, or is made of?  -EINVAL, -EBUSY. */
int restore_refuse_source (const struct restore_command *c, struct err *err);

/*--- show.c ----------------------------------------------------------------*/

/* On stdout; nothing with --json. */
void restore_show_plan (const struct restore_command *c);

/* What was done, or would be with --dry-run; the exit status. */
int restore_show_result (const struct restore_command *c);

/* A range of the image's disk, and in which partition it lies, on stderr. */
void restore_warn_of_range (const struct restore_command *c,
                            const struct restore_range *range,
                            const char *what);

/*--- confirm.c -------------------------------------------------------------*/

/* Where it holds data, or others are differencing over it, whoever agrees names
 * its serial number, or its size if it has none: --yes does not do, as a script
 * that has it by heart was written for that target.  -EPERM or -ECANCELED with
 * what would agree.
 */
int restore_confirm (const struct restore_command *c, struct err *err);

/*--- work.c ----------------------------------------------------------------*/

/* Write, verify and finish it, with progress. */
int restore_work (struct restore_command *c, const char **note,
                  struct err *err);

#endif /* NBDIMAGE_TOOLS_RESTORE_RESTORE_TOOL_H */
