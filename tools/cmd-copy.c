/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdimage copy: a backup, as it is, into a file or another vault. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "lib/repo/image-nbi.h"
#include "lib/repo/store-at.h"
#include "tools/backup/backup-tool.h"
#include "tools/backup/target-keys.h"
#include "tools/commands.h"
#include "tools/keys.h"
#include "tools/output.h"
#include "tools/progress.h"
#include "tools/report.h"

struct copy {
  const char *name, *progress;
  unsigned threads;
  bool init, json;
  struct key_option_values keys;
  struct target_keys to;

  const char *source, *target;
  bool to_file;                 /* not a vault */
  enum progress_mode mode;
  struct image *img;
  struct backup_options options;
  struct manifest manifest;
  struct vault_backup_result result;    /* of a file: its first member */
};

static const struct option_spec copy_options[] = {
  { "init", 0, OPTION_FLAG, NULL,
    "make the vault, if there is none", offsetof (struct copy, init) },
  { "name", 0, OPTION_STRING, "NAME",
    "what the disk is called there; what it is called here unless said",
    offsetof (struct copy, name) },
  { "threads", 0, OPTION_UNSIGNED, "N",
    "how many at once; as many as there are processors",
    offsetof (struct copy, threads) },
  PROGRESS_OPTION (struct copy, progress),
  { "json", 0, OPTION_FLAG, NULL,
    "print what was done as JSON", offsetof (struct copy, json) },
  KEY_OPTIONS (struct copy, keys),
  TARGET_KEY_OPTIONS (struct copy, to),
  OPTION_END
};

/*--- What is copied, and where ----------------------------------------------*/

static bool
is_folder (const char *path)
{
  struct stat st;

  return stat (path, &st) == 0 && S_ISDIR (st.st_mode);
}

static bool
is_file_name (const char *path)
{
  size_t len = strlen (path);

  return strcmp (path, "-") == 0 ||
    (len > 4 && strcmp (path + len - 4, ".nbi") == 0);
}

static int
choose_target (struct copy *c, struct err *err)
{
  bool is_vault = c->init || store_at_is_remote (c->target) ||
    is_folder (c->target);

  c->to_file = !is_vault && is_file_name (c->target);
  if (!is_vault && !c->to_file)
    return err_set (err, -ENOENT, "there is no vault; --init makes one (and a "
                    "file is called NAME.nbi)");
  return target_keys_check (&c->to, c->to_file ? NULL : c->target, c->init,
                            err);
}

static int
fill_header (struct copy *c, struct generation *from, struct err *err)
{
  struct nbi_header *h = &c->options.header;
  const struct nbi_header *was = generation_header (from);

  h->disk_size = was->disk_size;
  h->chunk_size = was->chunk_size;
  h->logical = was->logical;
  h->physical = was->physical;
  h->time = was->time;
  if (h->name[0] == '\0')
    snprintf (h->name, sizeof h->name, "%s", was->name);
  snprintf (h->creator, sizeof h->creator, "nbdimage %s", PACKAGE_VERSION);
  return uuid_new (h->run, err);
}

static int
open_source (struct copy *c, struct report *report, struct err *err)
{
  struct generation *from;
  const char *json;
  size_t len;
  int r = image_open (c->source, NULL, &c->img, report, err);

  if (r < 0)
    return r;
  from = nbi_image_generation (c->img);
  if (from == NULL)
    return err_set (err, -EINVAL, "it is no backup (its format is %s); ‘backup’"
                    " makes one", image_format (c->img));
  json = generation_manifest (from, &len);
  r = manifest_read (json, len, generation_header (from), &c->manifest, err);
  if (r < 0)
    return err_in (err, "manifest");
  c->options.from = from;
  c->options.manifest = &c->manifest;
  c->options.codec = NBI_STORED;
  c->options.threads = c->threads;
  r = fill_header (c, from, err);
  return r < 0 ? r
    : target_keys_choose (&c->to, generation_header (from), &c->options, err);
}

/*--- The result -------------------------------------------------------------*/

static uint64_t
bytes_of (const struct copy *c, uint64_t chunks)
{
  uint64_t bytes = chunks * c->options.header.chunk_size;

  return bytes < c->options.header.disk_size ? bytes
    : c->options.header.disk_size;
}

static int
show_json (const struct copy *c)
{
  const struct manifest_counts *n = &c->result.backup.counts;
  const struct nbi_header *h = &c->options.header;
  char id[UUID_STRING_SIZE], time[VAULT_TIME_SIZE];

  uuid_to_string (h->run, id);
  vault_time_to_string (h->time, time);
  return output_json (json_pack (
    "{s:o,s:o,s:o,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I}",
    "source", output_json_text (c->source),
    "target", output_json_text (c->target),
    "disk", output_json_text (h->name),
    "generation", time,
    "id", id,
    "size", (json_int_t) h->disk_size,
    "data", (json_int_t) bytes_of (c, n->data),
    "new", (json_int_t) bytes_of (c, n->fresh),
    "stored", (json_int_t) n->stored,
    "unreadable", (json_int_t) n->unreadable_bytes,
    "file-size", (json_int_t) c->result.backup.bytes));
}

static int
show_text (const struct copy *c)
{
  const struct manifest_counts *n = &c->result.backup.counts;
  char data[SIZE_STRING_SIZE], fresh[SIZE_STRING_SIZE], file[SIZE_STRING_SIZE];
  char time[VAULT_TIME_SIZE];

  if (strcmp (c->target, "-") == 0)
    return STATUS_DONE;
  if (c->to_file)
    output_text (c->target);
  else {
    vault_time_to_string (c->options.header.time, time);
    output_generation (c->target, c->options.header.name, time);
  }
  printf (": %s of data, %s of it copied, in %s\n",
          size_to_string (bytes_of (c, n->data), data),
          size_to_string (bytes_of (c, n->fresh), fresh),
          size_to_string (c->result.backup.bytes, file));
  return output_finish ();
}

/*--- The work ---------------------------------------------------------------*/

static int
copy_it (struct copy *c, struct report *in_target, struct job *job,
         struct err *err)
{
  CLEANUP_BLOCK struct block *disk = NULL;
  const struct backup_vault vault = {
    .path = c->target, .init = c->init,
    .encrypt = target_keys_do_encrypt (&c->to), .keys = c->to.ring,
    .like = c->to.is_kept ? &c->options.header : NULL,
  };
  int r = image_to_block (c->img, &disk, err);

  if (r < 0)
    return r;
  return c->to_file
    ? backup_to_file (disk, &c->options, c->target,
                      target_keys_of_file (&c->to), &c->result.backup, job, err)
    : backup_to_vault (disk, &c->options, &vault, &c->result, in_target, job,
                       err);
}

static int
copy (struct copy *c)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_REPORT struct report in_target = REPORT_INIT;
  struct progress *progress = NULL;
  struct job job = JOB_INIT;
  struct err err = ERR_INIT;
  int r, status;

  if (choose_target (c, &err) < 0)
    return tool_fail (c->target, &err);
  r = open_source (c, &report, &err);
  tool_warnings (c->source, &report);
  if (r < 0)
    return tool_fail (c->source, &err);
  r = progress_start (&job, c->mode, c->source, &progress, &err);
  if (r == 0)
    r = copy_it (c, &in_target, &job, &err);
  progress_stop (progress);
  tool_warnings (c->target, &in_target);
  if (r == 0)
    return c->json ? show_json (c) : show_text (c);
  status = tool_fail (NULL, &err);
  if (r == -ECANCELED && job_check (&job, NULL) < 0)
    backup_tell_interrupted (c->to_file ? NULL : c->target, c->target);
  else if (r == -ENOSPC && !c->to_file)
    backup_tell_full (c->target, &job);
  return status;
}

/* nbi_name_is_right wants it as the header has it, with zeros behind it. */
static void
check (struct copy *c)
{
  char *name = c->options.header.name;
  struct err err = ERR_INIT;

  if (progress_mode_parse (c->progress, &c->mode, &err) < 0)
    command_usage_error (&command_copy, "%s", err.msg);
  if (keys_use (&c->keys, &err) < 0)
    command_usage_error (&command_copy, "%s", err.msg);
  if (c->name == NULL)
    return;
  if (strlen (c->name) < NBI_NAME_SIZE)
    strcpy (name, c->name);
  if (!nbi_name_is_right (name))
    command_usage_error (&command_copy, "‘%s’ is no name for a disk: 1 to 255 "
                         "bytes of UTF-8 without ‘/’, ‘@’ and control "
                         "characters, and not . or ..", c->name);
}

static int
run (int argc, char *argv[])
{
  struct copy c = { .mode = PROGRESS_AUTO };
  int first, status;

  command_parse (&command_copy, argc, argv, &c, &first);
  if (argc - first != 2)
    command_usage_error (&command_copy, "expected a backup, and where to");
  c.source = argv[first];
  c.target = argv[first + 1];
  check (&c);
  status = copy (&c);
  manifest_destroy (&c.manifest);
  image_unref (c.img);
  target_keys_forget (&c.to);
  return status;
}

const struct command command_copy = {
  .name = "copy",
  .operands = "VAULT/DISK[@GENERATION] VAULT|FILE.nbi",
  .summary = "Copy a backup as it is",
  .options = copy_options,
  .run = run,
};
