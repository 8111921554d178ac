/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the parts of nbdimage backup know of the command line. */

#ifndef NBDIMAGE_TOOLS_BACKUP_BACKUP_COMMAND_H
#define NBDIMAGE_TOOLS_BACKUP_BACKUP_COMMAND_H

#include <jansson.h>

#include "lib/repo/survey.h"
#include "tools/backup/backup-tool.h"
#include "tools/backup/snapshot.h"
#include "tools/image-options.h"
#include "tools/progress.h"

struct backup_command {
  struct image_option_values image;
  const char *single, *name, *codec, *progress, *bitmap, *checkpoint,
    *snapshot;
  struct option_list partition;
  uint64_t chunk_size, snapshot_size;
  unsigned threads;
  bool init, encrypt, everything, prove, live, freeze, json;
  unsigned freeze_limit;        /* seconds */

  const char *vault;            /* NULL with --single */
  enum progress_mode mode;
  struct image_options from;
  unsigned *partitions;         /* NULL: all of them */
  size_t nr_partitions;
  json_t *list;                 /* what was done; NULL: it is one object */
  json_t *names;                /* of several disks, so far; or NULL */
  struct backup_options options;        /* what all sources have in common */
};

/* One of its sources. */
struct backup_work {
  const struct backup_command *command;
  const char *source;
  struct backup_options options;
  struct manifest manifest;
  struct used_map used;
  struct backup_source disk;
  struct backup_held held;      /* with --freeze */
  struct snapshot *snapshot;    /* with --snapshot */
  struct changes changes;       /* with --bitmap */
  struct vault_backup_result result;    /* of a file: its first member */
  bool canceled;                /* by whoever runs it */
};

/*--- show.c: what was done --------------------------------------------------*/

/* On stdout and stderr; the exit status.  What could not be read is in the
 * backup as that, and no success.
 */
int backup_show_result (const struct backup_work *w);

/* With several sources and --json: one that failed, among the others. */
void backup_show_failure (const struct backup_work *w, const struct err *err);

#endif /* NBDIMAGE_TOOLS_BACKUP_BACKUP_COMMAND_H */
