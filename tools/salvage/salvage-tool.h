/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The parts of `nbdimage salvage`:
 *
 *   ../cmd-salvage.c   the command line, and the steps
 *   files.c            the files to look at, folders too
 *   hint.c             for info, of one that is damaged
 *   hits.c             which files are hit by what is lost
 *   show.c             what was had, and what is lost
 */

#ifndef NBDIMAGE_TOOLS_SALVAGE_SALVAGE_TOOL_H
#define NBDIMAGE_TOOLS_SALVAGE_SALVAGE_TOOL_H

#include <stdbool.h>

#include "lib/fsmap/files-hit.h"
#include "lib/repo/manifest.h"
#include "lib/repo/salvage.h"
#include "lib/repo/vault-backup.h"
#include "tools/backup/target-keys.h"
#include "tools/command.h"
#include "tools/progress.h"

struct salvage_command {
  const char *output, *into, *progress;
  struct salvage_choice choice;
  struct key_option_values keys;
  struct target_keys to;
  bool dry_run, init, json;

  char **paths;
  int nr_paths;
  enum progress_mode mode;
  struct salvage_files files;
  struct salvage *salvage;
  struct block *disk;
  struct manifest manifest;     /* the one that was found; or made anew */
  struct salvage_ranges lost;
  struct fs_hits *hits;         /* of each partition; of the disk if it has
                                   none; NULL: nothing is lost */
  size_t nr_hits;
  struct vault_backup_result result;
};

/*--- files.c ---------------------------------------------------------------*/

/* Scan the files; of folders all in them whose names end in .nbi or .part.
 * One that is none of ours is told, and passed over.  -ENOENT: none is left.
 */
int salvage_open_files (struct salvage_command *c, struct report *report,
                        struct job *job, struct err *err);

/*--- hits.c ----------------------------------------------------------------*/

/* Once c->lost is known.  -ENOMEM, -ECANCELED. */
int salvage_find_hits (struct salvage_command *c, struct job *job,
                       struct err *err);
void salvage_free_hits (struct salvage_command *c);

/*--- show.c ----------------------------------------------------------------*/

/* Says what was had; the exit status: done if all was. */
int salvage_show (const struct salvage_command *c);

#endif /* NBDIMAGE_TOOLS_SALVAGE_SALVAGE_TOOL_H */
