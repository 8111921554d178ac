/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdio.h>

#include "lib/base/cleanup.h"
#include "lib/repo/manifest.h"
#include "lib/repo/verify-vault.h"

struct all {
  struct vault *vault;
  struct vault_view *view;
  const struct verify *v;
  struct verify_result *result;
  struct report *report;
};

/* About something that could not be opened.  What nobody lets us read (EACCES)
 * may be whole: that ends it.
 */
static int
tell_or_fail (struct all *a, int r, const char *kind, const struct err *what,
              struct err *err)
{
  const struct verify_finding finding = {
    .kind = kind, .off = VERIFY_NOWHERE, .what = what,
  };

  if (vault_is_damage (r))
    return a->v->found (a->v->opaque, NULL, &finding, err);
  if (err != NULL)
    *err = *what;
  return r;
}

static int
check_file (struct all *a, const struct vault_run *run,
            const struct vault_file *name, struct err *err)
{
  struct file_reader *file;
  struct err why = ERR_INIT;
  int r = vault_view_open_file (a->view, run, name, &file, a->report, &why);

  if (r == -ENOENT)             /* a prune took it, with its run or edition */
    return 0;
  if (r < 0)
    return tell_or_fail (a, r, "nbi-file", &why, err);
  ++a->result->nr_files;
  a->result->bytes += file_reader_trailer (file)->size;
  r = verify_file (file, a->v, err);
  file_reader_unref (file);
  return r;
}

/* What can't be opened now is told later. */
static int
survey_file (struct all *a, const struct vault_run *run,
             const struct vault_file *name, struct err *err)
{
  struct file_reader *file;
  int r;

  if (vault_view_open_file (a->view, run, name, &file, NULL, NULL) < 0)
    return job_check (a->v->job, err);
  r = a->v->survey (a->v->opaque, file, err);
  file_reader_unref (file);
  return r < 0 ? r : job_check (a->v->job, err);
}

static int
check_generation (struct all *a, size_t i, struct err *err)
{
  struct manifest m = { .time = 0 };
  struct vault_opened opened;
  struct err why = ERR_INIT;
  const char *json;
  size_t len;
  int r = vault_view_open (a->view, i, false, &opened, a->report, &why);

  if (r == -ENOENT)
    return 0;
  if (r < 0)
    return tell_or_fail (a, r, "nbi-generation", &why, err);
  ++a->result->nr_generations;
  json = generation_manifest (opened.gen, &len);
  r = manifest_read (json, len, generation_header (opened.gen), &m, &why);
  if (r < 0)
    r = tell_or_fail (a, r, "nbi-manifest", &why, err);
  else
    r = verify_generation (opened.gen, opened.last, &m, a->v, err);
  manifest_destroy (&m);
  vault_opened_close (&opened);
  return r;
}

static int
check_run (struct all *a, size_t i,
           int (*fn) (struct all *a, const struct vault_run *run,
                      const struct vault_file *name, struct err *err),
           struct err *err)
{
  CLEANUP_VAULT_FOLDER struct vault_folder names = { .dropped = false };
  const struct vault_run *run = &vault_view_runs (a->view)->ptr[i];
  char path[STORE_PATH_SIZE];
  int r;

  snprintf (path, sizeof path, "files/%s", run->folder);
  r = vault_look_in (a->vault, path, 0, &names, err);
  if (r == -ENOENT)
    return 0;
  for (size_t k = 0; r == 0 && k < names.files.len; ++k)
    r = fn (a, run, &names.files.ptr[k], err);
  if (r == 0 && fn == check_file && !vault_folder_is_hidden (&names))
    r = check_generation (a, i, err);
  return r;
}

static int
survey (struct all *a, struct err *err)
{
  size_t n = vault_view_runs (a->view)->len;
  int r = 0;

  if (a->v->begin == NULL)
    return 0;
  job_start (a->v->job, "opening files", 0);
  for (size_t i = 0; r == 0 && i < n; ++i)
    r = check_run (a, i, survey_file, err);
  return r < 0 ? r : a->v->begin (a->v->opaque, err);
}

static int
tell_name (void *opaque, const struct err *what, struct err *err)
{
  return tell_or_fail (opaque, what->code, "nbi-name", what, err);
}

int
verify_vault (struct vault *vault, const struct generation_caches *caches,
              const struct verify *v, struct verify_result *result,
              struct report *report, struct err *err)
{
  struct all a = {
    .vault = vault, .v = v, .result = result, .report = report,
  };
  int r = vault_view_new (vault, caches, &a.view, err);

  *result = (struct verify_result) { 0, 0, 0 };
  if (r == 0)
    r = vault_view_names (a.view, tell_name, &a, err);
  if (r == 0)
    r = survey (&a, err);
  for (size_t i = 0; r == 0 && i < vault_view_runs (a.view)->len; ++i)
    r = check_run (&a, i, check_file, err);
  vault_view_free (a.view);
  return r;
}
