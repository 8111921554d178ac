/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The parts of `nbdimage convert`, and of `nbdimage commit --into`:
 *
 *   ../cmd-convert.c   the command line
 *   run.c              copying, verifying, the result
 *   file.c             a new file as the target, and going on with one
 *   export.c           an NBD export as the target
 *   export-state.c     going on with one
 *   plan.c             what is going to be done, and whether it may be
 *   source.c           what the source is made of, and when it was changed
 */

#ifndef NBDIMAGE_TOOLS_CONVERT_CONVERT_H
#define NBDIMAGE_TOOLS_CONVERT_CONVERT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/newfile.h"
#include "lib/copy/state.h"
#include "lib/format/create.h"
#include "lib/format/image.h"
#include "tools/command.h"
#include "tools/progress.h"

#define CONVERT_NO_SIZE UINT64_MAX

/* What was asked for. */
struct convert {
  struct image_option_values from;
  const char *format;           /* of the target */
  const char *geometry;
  const char *progress;
  const char *state;            /* the file for the state of an export */
  uint64_t block_size, sector_size;
  unsigned threads;
  uint64_t confirm;             /* bytes; CONVERT_NO_SIZE: not said */
  bool fixed, azure, preallocate, resume, verify, yes, dry_run, json;

  const char *source, *target;
  struct image_options source_options;
  struct image_create_options create;   /* without size until it is known */
  enum progress_mode mode;
};

/* What is converted. */
struct convert_source {
  struct image *img;
  struct block *disk;
};

/* Where to. */
struct convert_target {
  struct block *disk;           /* writable */
  uint64_t size;                /* bytes of it */
  uint64_t unit;                /* in which it allocates; 0: not known */
  uint64_t start;               /* what lies in front of it is there already */
  bool is_zero;                 /* behind start */
  char *contents;               /* of an export, "ext4 ‘root’"; NULL: its
                                   server says that it is empty */

  /* Of a file. */
  bool cannot_be;               /* no such image can be made: it failed for
                                   what was typed */
  struct new_file file;
  struct copy_state *state;     /* NULL: what is interrupted is gone */
  int state_folder;             /* of an export's state; -1: none */
};

#define CONVERT_TARGET_INIT { .file = NEW_FILE_INIT, .state_folder = -1 }

/*--- run.c -----------------------------------------------------------------*/

/* All of it, with what there is to say; the exit status.  c is checked, but
 * for what can only be known of the source.
 */
int convert_run (struct convert *c);

/*--- source.c --------------------------------------------------------------*/

/* -EINVAL, with a sentence about the target, if that is one of the files
 * that the source is made of, by another name perhaps.
 */
int convert_check_not_same (const struct convert *c,
                            const struct convert_source *from,
                            struct err *err);

/* What changes when the source does: sizes, times, numbers of its files.  Of
 * an export, its size.  The caller frees it; NULL: see err.
 */
char *convert_describe_source (const struct convert_source *from,
                               struct err *err);

/* What has to be the same for a target to be gone on with, as text for the
 * state; of an export, what it is, too.
 */
char *convert_describe_how (const struct convert *c,
                            const struct convert_target *to, struct err *err);

/*--- file.c ----------------------------------------------------------------*/

/* Could the file be made?  Sets the size that its disk would get, and makes
 * nothing.
 */
int convert_file_look (const struct convert *c, struct convert_target *to,
                       struct err *err);

/* Make the file, or find how far it is and say so. */
int convert_file_open (const struct convert *c,
                       const struct convert_source *from,
                       struct convert_target *to, struct err *err);

/* The disk that was written, anew and for reading. */
int convert_file_reopen (const struct convert *c, struct convert_target *to,
                         struct err *err);

/* It gets its name. */
int convert_file_commit (struct convert_target *to, struct err *err);

/* It is not worth going on with. */
void convert_file_discard (struct convert_target *to);

/*--- export.c --------------------------------------------------------------*/

/* Open it, see that it is large enough, and find out what it holds; nothing is
 * written.
 */
int convert_export_open (const struct convert *c,
                         const struct convert_source *from,
                         struct convert_target *to, struct err *err);

/*--- export-state.c --------------------------------------------------------*/

/* With --state: how far is it?  Sets start.  Fails if that is of something
 * else, or the source or the export was changed since.  Writes nothing.
 */
int convert_state_look (const struct convert *c,
                        const struct convert_source *from,
                        struct convert_target *to, struct err *err);

/* Before the first write: there is a state that says how far it is. */
int convert_state_begin (const struct convert *c,
                         const struct convert_source *from,
                         struct convert_target *to, struct err *err);

/*--- plan.c ----------------------------------------------------------------*/

/* On stdout; nothing with --json. */
void convert_show_plan (const struct convert *c,
                        const struct convert_source *from,
                        const struct convert_target *to);

/* May the export be written to?  If it holds data, whoever says so has to name
 * its size, for which --yes does not do: a script that has it by heart was
 * written for that target.  It does where a copy goes on that was agreed to
 * when it was begun.  -EPERM or -ECANCELED with what would agree.
 */
int convert_confirm (const struct convert *c, const struct convert_target *to,
                     struct err *err);

#endif /* NBDIMAGE_TOOLS_CONVERT_CONVERT_H */
