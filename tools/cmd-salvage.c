/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdimage salvage: what can be read of damaged backup images.
 * tools/salvage/salvage-tool.h says where the parts are.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/repo/survey.h"
#include "tools/backup/backup-tool.h"
#include "tools/commands.h"
#include "tools/keys.h"
#include "tools/report.h"
#include "tools/salvage/salvage-tool.h"

static const struct option_spec salvage_options[] = {
  { "output", 'o', OPTION_STRING, "FILE",
    "into one new backup image; - for standard output",
    offsetof (struct salvage_command, output) },
  { "into", 0, OPTION_STRING, "VAULT",
    "as a generation of a vault",
    offsetof (struct salvage_command, into) },
  { "init", 0, OPTION_FLAG, NULL,
    "make that vault, if there is none",
    offsetof (struct salvage_command, init) },
  { "dry-run", 'n', OPTION_FLAG, NULL,
    "say what can be had, and write nothing",
    offsetof (struct salvage_command, dry_run) },
  { "name", 0, OPTION_STRING, "DISK",
    "of which disk, if the files are of several",
    offsetof (struct salvage_command, choice.disk) },
  { "generation", 0, OPTION_STRING, "TIME|UUID",
    "which one of it, or the beginning of that; the newest unless said",
    offsetof (struct salvage_command, choice.generation) },
  PROGRESS_OPTION (struct salvage_command, progress),
  { "json", 0, OPTION_FLAG, NULL,
    "print the result as JSON", offsetof (struct salvage_command, json) },
  KEY_OPTIONS (struct salvage_command, keys),
  TARGET_KEY_OPTIONS (struct salvage_command, to),
  OPTION_END
};

static void
check (struct salvage_command *c)
{
  struct err err = ERR_INIT;
  int n = (c->output != NULL) + (c->into != NULL) + c->dry_run;

  if (c->nr_paths < 1)
    command_usage_error (&command_salvage, "expected files, or folders of "
                         "them");
  if (n != 1)
    command_usage_error (&command_salvage, "expected one of --output, --into "
                         "and --dry-run");
  if (c->init && c->into == NULL)
    command_usage_error (&command_salvage, "--init goes with --into");
  if (progress_mode_parse (c->progress, &c->mode, &err) < 0 ||
      target_keys_check (&c->to, c->into, c->init, &err) < 0 ||
      keys_use (&c->keys, &err) < 0)
    command_usage_error (&command_salvage, "%s", err.msg);
}

/*--- What is told beside the bytes ------------------------------------------*/

/* The manifest that was found, or else what the disk itself says, as far as
 * it can be read.
 */
static int
find_manifest (struct salvage_command *c, struct report *report,
               struct job *job, struct err *err)
{
  const struct survey_options options = {
    .sector_size = salvage_header (c->salvage)->logical, .everything = true,
    .damaged = true,
  };
  CLEANUP_REPORT struct report unused = REPORT_INIT;
  struct used_map used;
  size_t len;
  const char *json = salvage_manifest (c->salvage, &len);
  int r;

  if (json != NULL && manifest_read (json, len, salvage_header (c->salvage),
                                     &c->manifest, NULL) == 0)
    return 0;
  manifest_destroy (&c->manifest);
  c->manifest = (struct manifest) { .time = 0 };
  report_warn (report, "the manifest is lost: partitions are what the disk's "
               "table says, if that is there");
  r = survey_disk (c->disk, &options, &c->manifest, &used, &unused, job, err);
  if (r == 0)
    used_map_free (&used);
  else if (r == -EIO)
    manifest_destroy (&c->manifest);
  return r < 0 && r != -EIO ? r
    : salvage_find_absent (c->salvage, &c->manifest, report, err);
}

/* What was done to it is part of what is saved. */
static int
add_warning (struct salvage_command *c, struct err *err)
{
  struct salvage_counts n;
  char *text;

  salvage_get_counts (c->salvage, &n);
  if (asprintf (&text, "salvaged from %zu damaged files: %" PRIu64 " of %"
                PRIu64 " pages of the map were lost, %" PRIu64 " unproven",
                c->files.len, n.pages_lost, n.pages, n.pages_unproven) < 0)
    return err_nomem (err);
  if (vector_append (&c->manifest.warnings, &text) == 0)
    return 0;
  free (text);
  return err_nomem (err);
}

/*--- The work ---------------------------------------------------------------*/

/* So that all that is lost is known. */
static int
read_all (struct salvage_command *c, struct job *job, struct err *err)
{
  const struct nbi_header *h = salvage_header (c->salvage);
  CLEANUP_FREE uint8_t *buf = malloc (h->chunk_size);
  int r = buf == NULL ? err_nomem (err) : 0;

  job_start (job, "reading", h->disk_size);
  for (uint64_t off = 0; r == 0 && off < h->disk_size; off += h->chunk_size) {
    uint64_t len = min_u64 (h->chunk_size, h->disk_size - off);

    if (block_pread (c->disk, buf, len, off, err) == -ENOMEM)
      return -ENOMEM;
    r = job_advance (job, len, err);
  }
  return r;
}

static int
fill_header (const struct salvage_command *c, struct nbi_header *h,
             struct err *err)
{
  const struct nbi_header *from = salvage_header (c->salvage);

  *h = (struct nbi_header) {
    .disk_size = from->disk_size, .chunk_size = from->chunk_size,
    .logical = from->logical, .physical = from->physical,
    .time = from->time > 1 ? from->time : (uint64_t) time (NULL),
  };
  memcpy (h->name, from->name, sizeof h->name);
  snprintf (h->creator, sizeof h->creator, "nbdimage %s", PACKAGE_VERSION);
  return uuid_new (h->run, err);
}

static int
write_it (struct salvage_command *c, struct report *report, struct job *job,
          struct err *err)
{
  CLEANUP_USED_MAP struct used_map used = { .size = 0 };
  struct backup_vault vault = { .path = c->into, .init = c->init };
  struct backup_options options = {
    .codec = NBI_LZ4, .used = &used, .manifest = &c->manifest,
  };
  int r = fill_header (c, &options.header, err);

  if (r == 0)
    r = salvage_used (c->salvage, &used, err);
  if (r == 0)
    r = add_warning (c, err);
  if (r == 0)
    r = target_keys_choose (&c->to, salvage_header (c->salvage), &options,
                            err);
  if (r < 0)
    return r;
  vault.encrypt = target_keys_do_encrypt (&c->to);
  vault.keys = c->to.ring;
  vault.like = c->to.is_kept ? &options.header : NULL;
  return c->into != NULL
    ? backup_to_vault (c->disk, &options, &vault, &c->result, report, job, err)
    : backup_to_file (c->disk, &options, c->output,
                      target_keys_of_file (&c->to), &c->result.backup, job,
                      err);
}

static int
work (struct salvage_command *c, struct report *report, struct job *job,
      struct err *err)
{
  int r = salvage_open_files (c, report, job, err);

  if (r == 0)
    r = salvage_new (&c->files, &c->choice, &c->salvage, err);
  if (r == 0)
    r = salvage_to_block (c->salvage, &c->disk, err);
  if (r == 0)
    r = find_manifest (c, report, job, err);
  if (r == 0)
    r = c->dry_run ? read_all (c, job, err)
                   : write_it (c, report, job, err);
  if (r == 0)
    r = salvage_lost (c->salvage, &c->lost, err);
  return r < 0 ? r : salvage_find_hits (c, job, err);
}

static int
salvage (struct salvage_command *c)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct err err = ERR_INIT;
  struct job job = JOB_INIT;
  struct progress *progress = NULL;
  int r = progress_start (&job, c->mode, c->paths[0], &progress, &err);

  if (r == 0)
    r = work (c, &report, &job, &err);
  progress_stop (progress);
  tool_warnings (NULL, &report);
  return r < 0 ? tool_fail (NULL, &err) : salvage_show (c);
}

static void
close_all (struct salvage_command *c)
{
  salvage_free_hits (c);
  manifest_destroy (&c->manifest);
  vector_free (&c->lost);
  block_unref (c->disk);
  salvage_free (c->salvage);
  for (size_t i = 0; i < c->files.len; ++i)
    salvage_file_free (c->files.ptr[i]);
  vector_free (&c->files);
}

static int
run (int argc, char *argv[])
{
  struct salvage_command c = { .mode = PROGRESS_AUTO };
  int first, status;

  command_parse (&command_salvage, argc, argv, &c, &first);
  c.paths = argv + first;       /* which ends with NULL */
  c.nr_paths = argc - first;
  check (&c);
  status = salvage (&c);
  close_all (&c);
  target_keys_forget (&c.to);
  return status;
}

const struct command command_salvage = {
  .name = "salvage",
  .operands = "FILE…",
  .summary = "Save what can be read of damaged backup images",
  .options = salvage_options,
  .run = run,
};
