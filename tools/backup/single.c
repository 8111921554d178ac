/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/kdf.h"
#include "lib/base/newfile.h"
#include "lib/repo/sink.h"
#include "tools/backup/backup-tool.h"

static int
begin (void *opaque, const struct nbi_header *header, struct sink **sink,
       struct err *err)
{
  struct sink_fd *fd = opaque;

  (void) header;
  (void) err;
  *sink = &fd->sink;
  return 0;
}

/* There is one file only, and it ends when the backup does. */
static int
end (void *opaque, const struct nbi_header *header, bool last,
     struct err *err)
{
  (void) opaque;
  (void) header;
  (void) last;
  (void) err;
  return 0;
}

static int
write_to (int fd, const char *name, struct block *disk,
          struct backup_options *options, struct backup_result *result,
          struct job *job, struct err *err)
{
  struct sink_fd sink;
  const struct run_place place = { begin, end, &sink };

  sink_fd_init (&sink, fd, name);
  options->file_limit = 0;
  return backup_disk (disk, options, &place, result, job, err);
}

static int
write_file (struct block *disk, struct backup_options *options,
            const char *path, struct backup_result *result, struct job *job,
            struct err *err)
{
  CLEANUP_NEW_FILE struct new_file file = NEW_FILE_INIT;
  int r;

  if (strcmp (path, "-") == 0 && isatty (STDOUT_FILENO))
    return err_set (err, -EINVAL, "a backup is not for terminals; redirect "
                    "standard output");
  if (strcmp (path, "-") == 0)
    return write_to (STDOUT_FILENO, "standard output", disk, options, result,
                     job, err);
  if (new_file_open (path, &file, err) < 0)
    return err_in (err, "%s", path);
  r = write_to (file.fd, path, disk, options, result, job, err);
  if (r < 0)
    return r;
  job_start (job, "flushing", 0);
  return new_file_commit (&file, err) < 0 ? err_in (err, "%s", path) : 0;
}

int
backup_to_file (struct block *disk, struct backup_options *options,
                const char *path, struct keyring *keys,
                struct backup_result *result, struct job *job,
                struct err *err)
{
  uint8_t master[CRYPT_KEY_SIZE];
  int r;

  if (keys == NULL)
    return write_file (disk, options, path, result, job, err);
  r = keyring_make (keys, &options->header, master, err);
  if (r == 0) {
    options->master = master;
    r = write_file (disk, options, path, result, job, err);
    options->master = NULL;
  }
  kdf_forget (master, sizeof master);
  return r;
}
