/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/block/file.h"
#include "tools/keys.h"
#include "tools/salvage/salvage-tool.h"

/* One that can't be looked at does not keep the others from it. */
static bool
is_its_own (int r)
{
  return r == -EBADMSG || r == -ENOTSUP || r == -EIO || r == -EACCES ||
    r == -ENOENT;
}

static int
open_file (struct salvage_command *c, const char *path, struct report *report,
           struct job *job, struct err *err)
{
  const char *slash = strrchr (path, '/');
  CLEANUP_REPORT struct report its = REPORT_INIT;
  CLEANUP_BLOCK struct block *block = NULL;
  struct salvage_file *file = NULL;
  struct err why = ERR_INIT;
  int r = block_file_open (path, 0, &block, &its, &why);

  if (r == 0) {
    job_start (job, "reading", block_size (block));
    r = salvage_file_new (block, slash ? slash + 1 : path, keys_get (), &file,
                          &its, job, &why);
  }
  for (size_t i = 0; i < its.lines.len; ++i)
    report_warn (report, "%s: %s", path, its.lines.ptr[i]);
  if (is_its_own (r)) {
    report_warn (report, "%s: is left out: %s", path, why.msg);
    return 0;
  }
  if (r < 0)
    return err_set (err, r, "%s: %s", path, why.msg);
  if (vector_append (&c->files, &file) == 0)
    return 0;
  salvage_file_free (file);
  return err_nomem (err);
}

static bool
ends_in (const char *name, const char *ending)
{
  size_t len = strlen (name), n = strlen (ending);

  return len > n && strcmp (name + len - n, ending) == 0;
}

static int
compare_entries (const FTSENT **a, const FTSENT **b)
{
  return strcmp ((*a)->fts_name, (*b)->fts_name);
}

/* The files that were named are taken whatever they are called. */
int
salvage_open_files (struct salvage_command *c, struct report *report,
                    struct job *job, struct err *err)
{
  FTS *fts = fts_open (c->paths, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR,
                       compare_entries);
  FTSENT *e;
  int r = 0;

  if (fts == NULL)
    return err_sys (err, "looking for files");
  while (r == 0 && (e = fts_read (fts)) != NULL)
    switch (e->fts_info) {
    case FTS_F:
    case FTS_DEFAULT:
      if (e->fts_level == FTS_ROOTLEVEL || ends_in (e->fts_name, ".nbi") ||
          ends_in (e->fts_name, ".part"))
        r = open_file (c, e->fts_path, report, job, err);
      break;
    case FTS_NS:
    case FTS_DNR:
    case FTS_ERR:
      report_warn (report, "%s: is left out: %s", e->fts_path,
                   strerror (e->fts_errno));
      break;
    default:
      break;
    }
  fts_close (fts);
  if (r == 0 && c->files.len == 0)
    r = err_set (err, -ENOENT, "nothing of a backup image was found");
  return r;
}
