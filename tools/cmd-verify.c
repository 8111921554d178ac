/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdimage verify: is all of a vault, or of a generation, as it was saved? */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/size.h"
#include "lib/repo/store-at.h"
#include "lib/repo/vault-keys.h"
#include "lib/repo/verify-vault.h"
#include "tools/commands.h"
#include "tools/keys.h"
#include "tools/output.h"
#include "tools/progress.h"
#include "tools/report.h"

#define CHUNKS_LIMIT ((size_t) 1024 * 1024)     /* each is read once */

struct verify_command {
  const char *progress;
  bool structure, json;
  struct key_option_values keys;

  const char *path;
  enum progress_mode mode;
  struct generation_caches caches;
  struct store *store;
  struct vault *vault;
  struct verify_vault_result result;
  json_t *findings;             /* with --json */
  uint64_t nr;                  /* of findings */
};

static const struct option_spec verify_options[] = {
  { "structure", 0, OPTION_FLAG, NULL,
    "only tables and maps, not the data itself",
    offsetof (struct verify_command, structure) },
  PROGRESS_OPTION (struct verify_command, progress),
  { "json", 0, OPTION_FLAG, NULL,
    "print the result as JSON", offsetof (struct verify_command, json) },
  KEY_OPTIONS (struct verify_command, keys),
  OPTION_END
};

/* What was found is printed at the end, not across the progress. */
static int
found (void *opaque, struct file_reader *file,
       const struct verify_finding *finding, struct err *err)
{
  struct verify_command *v = opaque;
  json_t *object;

  ++v->nr;
  object = json_pack ("{s:o,s:s,s:o,s:o}",
    "file", output_json_text (file != NULL ? file_reader_name (file)
                              : v->path),
    "kind", finding->kind,
    "offset", finding->off == VERIFY_NOWHERE ? json_null ()
    : json_integer ((json_int_t) finding->off),
    "sentence", output_json_text (finding->what->msg));
  return object == NULL || json_array_append_new (v->findings, object) < 0
    ? err_nomem (err) : 0;
}

static int
work (struct verify_command *v, struct report *report, struct job *job,
      struct err *err)
{
  const struct verify verify = {
    .data = !v->structure, .job = job, .found = found, .opaque = v,
  };
  int r = generation_caches_init (&v->caches, CHUNKS_LIMIT, err);

  if (r == 0)
    r = store_at (v->path, false, job, &v->store, err);
  if (r == 0)
    r = vault_open (v->store, 0, &v->vault, report, err);
  v->caches.keys = keys_get ();
  if (r == 0)
    r = vault_unlock (v->vault, keys_get (), report, err);
  if (r == 0)
    r = verify_vault (v->vault, &v->caches, &verify, &v->result, report, err);
  if (v->store != NULL)
    store_set_job (v->store, NULL);
  return r;
}

static void
show_findings (const struct verify_command *v)
{
  const json_t *finding;
  size_t i;

  json_array_foreach (v->findings, i, finding) {
    output_text (json_string_value (json_object_get (finding, "file")));
    printf (": ");
    output_text (json_string_value (json_object_get (finding, "sentence")));
    putchar ('\n');
  }
}

static int
show_result (const struct verify_command *v)
{
  const struct verify_vault_result *res = &v->result;
  int status = v->nr > 0 ? STATUS_DAMAGED : STATUS_DONE, r;
  char size[SIZE_STRING_SIZE];

  if (v->json) {
    r = output_json (json_pack ("{s:o,s:o,s:o,s:o,s:b,s:o}",
      "vault", output_json_text (v->path),
      "generations", json_integer ((json_int_t) res->nr_generations),
      "files", json_integer ((json_int_t) res->nr_files),
      "bytes", json_integer ((json_int_t) res->bytes),
      "whole", v->nr == 0,
      "findings", json_incref (v->findings)));
    return r == STATUS_DONE ? status : r;
  }
  show_findings (v);
  output_text (v->path);
  printf (": %" PRIu64 " generation%s in %" PRIu64 " file%s, %s, %s",
          res->nr_generations, res->nr_generations == 1 ? "" : "s",
          res->nr_files, res->nr_files == 1 ? "" : "s",
          size_to_string (res->bytes, size),
          v->structure ? "tables and maps looked at: " : "all read: ");
  if (v->nr == 0)
    printf ("whole\n");
  else
    printf ("%" PRIu64 " thing%s wrong\n", v->nr, v->nr == 1 ? " is" : "s are");
  return status;
}

static int
verify (struct verify_command *v)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct err err = ERR_INIT;
  struct job job = JOB_INIT;
  struct progress *progress = NULL;
  int r;

  v->findings = json_array ();
  if (v->findings == NULL) {
    err_nomem (&err);
    return tool_fail (v->path, &err);
  }
  r = progress_start (&job, v->mode, v->path, &progress, &err);
  if (r == 0)
    r = work (v, &report, &job, &err);
  progress_stop (progress);
  tool_warnings (v->path, &report);
  if (r == -ENOTDIR)
    err_set (&err, r, "is no folder, and so no vault; nbdimage check looks at "
             "one image");
  return r < 0 ? tool_fail (v->path, &err) : show_result (v);
}

static int
run (int argc, char *argv[])
{
  struct verify_command v = { .mode = PROGRESS_AUTO };
  struct err err = ERR_INIT;
  int first, status;

  command_parse (&command_verify, argc, argv, &v, &first);
  if (argc - first != 1)
    command_usage_error (&command_verify, "expected one vault");
  if (progress_mode_parse (v.progress, &v.mode, &err) < 0 ||
      keys_use (&v.keys, &err) < 0)
    command_usage_error (&command_verify, "%s", err.msg);
  v.path = argv[first];
  status = verify (&v);
  json_decref (v.findings);
  vault_close (v.vault);
  generation_caches_destroy (&v.caches);
  store_close (v.store);
  return status;
}

const struct command command_verify = {
  .name = "verify",
  .operands = "VAULT",
  .summary = "Prove that a vault of backups is whole",
  .options = verify_options,
  .run = run,
};
