/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdimage backup: a disk, what is used of it, compressed, in a file or as one
 * more generation in a vault.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "lib/repo/survey.h"
#include "tools/backup/backup-tool.h"
#include "tools/commands.h"
#include "tools/image-options.h"
#include "tools/keys.h"
#include "tools/output.h"
#include "tools/progress.h"
#include "tools/report.h"

struct backup_command {
  struct image_option_values image;
  const char *single, *name, *codec, *progress;
  uint64_t chunk_size;
  unsigned threads;
  bool init, encrypt, everything, live, json;

  const char *source, *vault;   /* vault: NULL with --single */
  enum progress_mode mode;
  struct image_options from;
  struct backup_options options;
  struct manifest manifest;
  struct used_map used;
  struct backup_source disk;
  struct vault_backup_result result;    /* of a file: its first member */
};

static const struct option_spec backup_options[] = {
  { "single", 0, OPTION_STRING, "FILE",
    "into one new file, not a vault; - for standard output",
    offsetof (struct backup_command, single) },
  { "init", 0, OPTION_FLAG, NULL,
    "make the vault, if there is none",
    offsetof (struct backup_command, init) },
  { "encrypt", 0, OPTION_FLAG, NULL,
    "encrypt a new vault or file, with a passphrase or --key-file",
    offsetof (struct backup_command, encrypt) },
  { "name", 0, OPTION_STRING, "NAME",
    "what the disk is called in backups; host and serial number, or the file's",
    offsetof (struct backup_command, name) },
  { "codec", 0, OPTION_STRING, "lz4|zstd[:LEVEL]|none",
    "how to compress; lz4 unless said",
    offsetof (struct backup_command, codec) },
  { "chunk-size", 0, OPTION_SIZE, "16K|32K|…|1M",
    "the unit of comparing and compressing; 64K unless said",
    offsetof (struct backup_command, chunk_size) },
  { "everything", 0, OPTION_FLAG, NULL,
    "also what no file system uses",
    offsetof (struct backup_command, everything) },
  { "live", 0, OPTION_FLAG, NULL,
    "also a disk that is mounted for writing, or an image that is written",
    offsetof (struct backup_command, live) },
  { "threads", 0, OPTION_UNSIGNED, "N",
    "how many at once; as many as there are processors",
    offsetof (struct backup_command, threads) },
  PROGRESS_OPTION (struct backup_command, progress),
  { "json", 0, OPTION_FLAG, NULL,
    "print what was done as JSON", offsetof (struct backup_command, json) },
  IMAGE_OPTIONS (struct backup_command, image),
  OPTION_END
};

/*--- The command line -------------------------------------------------------*/

static void
parse_codec (struct backup_command *b)
{
  const char *codec = b->codec != NULL ? b->codec : "lz4", *level;
  char *end;
  long n;

  if (strcmp (codec, "lz4") == 0)
    b->options.codec = NBI_LZ4;
  else if (strcmp (codec, "none") == 0)
    b->options.codec = NBI_STORED;
  else if (strcmp (codec, "zstd") == 0)
    b->options.codec = NBI_ZSTD;
  else if (strncmp (codec, "zstd:", 5) == 0) {
    level = codec + 5;
    errno = 0;
    n = strtol (level, &end, 10);
    if (*level == '\0' || *end != '\0' || errno != 0 || n < -100 || n > 19 ||
        n == 0)
      command_usage_error (&command_backup, "‘%s’ is no level of zstd; "
                           "expected 1 to 19, or -100 to -1", level);
    b->options.codec = NBI_ZSTD;
    b->options.level = (int) n;
  }
  else
    command_usage_error (&command_backup, "‘%s’ is no codec; expected lz4, "
                         "zstd, zstd:LEVEL or none", codec);
}

/* nbi_name_is_right wants it as the header has it, with zeros behind it. */
static void
check_name (struct backup_command *b)
{
  char *name = b->options.header.name;

  if (b->name == NULL)
    return;
  if (strlen (b->name) < NBI_NAME_SIZE)
    strcpy (name, b->name);
  if (!nbi_name_is_right (name))
    command_usage_error (&command_backup, "‘%s’ is no name for a disk: 1 to "
                         "255 bytes of UTF-8 without ‘/’, ‘@’ and control "
                         "characters, and not . or ..", b->name);
}

static void
check (struct backup_command *b)
{
  struct err err = ERR_INIT;
  struct nbi_header *h = &b->options.header;
  uint64_t size = b->chunk_size;

  if (b->single != NULL && b->vault != NULL)
    command_usage_error (&command_backup, "expected a vault or --single, not "
                         "both");
  if (b->single == NULL && b->vault == NULL)
    command_usage_error (&command_backup, "expected a vault, or --single");
  if (b->init && b->vault == NULL)
    command_usage_error (&command_backup, "--init is for vaults");
  if (b->encrypt && b->vault != NULL && !b->init)
    command_usage_error (&command_backup, "--encrypt is for --single, or for a "
                         "new vault with --init: a vault has it or not");
  if (b->encrypt)
    keys_are_new ();
  /* A vault knows that of a disk it has already. */
  if (size == 0 && b->vault == NULL)
    size = BACKUP_CHUNK_SIZE;
  if (b->chunk_size != 0 &&
      (size < NBI_CHUNK_MIN || size > NBI_CHUNK_MAX ||
       (size & (size - 1)) != 0))
    command_usage_error (&command_backup, "a chunk has 16K, 32K, 64K, 128K, "
                         "256K, 512K or 1M");
  h->chunk_size = (uint32_t) size;
  parse_codec (b);
  if (progress_mode_parse (b->progress, &b->mode, &err) < 0 ||
      image_options_from_values (&b->image, &b->from, &err) < 0)
    command_usage_error (&command_backup, "%s", err.msg);
  if (b->encrypt && keys_get () == NULL)
    command_usage_error (&command_backup, "--encrypt needs a passphrase or a "
                         "key file, and there is no terminal to ask at");
  check_name (b);
  b->options.threads = b->threads;
}

/*--- What the header says ---------------------------------------------------*/

static int
fill_header (struct backup_command *b, struct err *err)
{
  struct nbi_header *h = &b->options.header;
  CLEANUP_FREE char *name = NULL;
  struct block_sizes sizes;
  int r = 0;

  image_get_sizes (b->disk.img, &sizes);
  h->disk_size = block_size (b->disk.disk);
  h->logical = sizes.logical != 0 ? sizes.logical : 512;
  h->physical = h->logical > 4096 ? h->logical : 4096;
  h->time = (uint64_t) time (NULL);
  if (h->disk_size == 0)
    return err_set (err, -EINVAL, "the disk has 0 bytes: there is nothing to "
                    "back up");
  if (b->name == NULL)
    r = backup_source_disk_name (b->source, &b->disk, &b->manifest, &name,
                                 err);
  if (r < 0)
    return r;
  snprintf (h->name, sizeof h->name, "%s", b->name ? b->name : name);
  snprintf (h->creator, sizeof h->creator, "nbdimage %s", PACKAGE_VERSION);
  if (!nbi_name_is_right (h->name))
    return err_set (err, -EINVAL, "‘%s’ can't be the name of a disk; give it "
                    "one with --name", h->name);
  return uuid_new (h->run, err);
}

/*--- The result -------------------------------------------------------------*/

static uint64_t
bytes_of (const struct backup_command *b, uint64_t chunks)
{
  uint64_t bytes = chunks * b->options.header.chunk_size;

  return bytes < b->options.header.disk_size ? bytes
    : b->options.header.disk_size;
}

static int
show_json (const struct backup_command *b, int status)
{
  const struct manifest_counts *c = &b->result.backup.counts;
  char id[UUID_STRING_SIZE];
  int r;

  uuid_to_string (b->options.header.run, id);
  r = output_json (json_pack (
    "{s:o,s:o,s:o,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}",
    "source", output_json_text (b->source),
    "target", output_json_text (b->vault ? b->vault : b->single),
    "disk", output_json_text (b->options.header.name),
    "generation", id,
    "size", json_integer ((json_int_t) b->options.header.disk_size),
    "chunk-size", json_integer (b->options.header.chunk_size),
    "data", json_integer ((json_int_t) bytes_of (b, c->data)),
    "new", json_integer ((json_int_t) bytes_of (b, c->fresh)),
    "adopted", json_integer (
      (json_int_t) bytes_of (b, b->result.backup.adopted)),
    "zero", json_integer ((json_int_t) bytes_of (b, c->zero)),
    "unallocated", json_integer ((json_int_t) bytes_of (b, c->unallocated)),
    "unreadable", json_integer ((json_int_t) c->unreadable_bytes),
    "file-size", json_integer ((json_int_t) b->result.backup.bytes)));
  return r == STATUS_DONE ? status : r;
}

/* What an interrupted backup had written of it. */
static void
show_adopted (const struct backup_command *b)
{
  char adopted[SIZE_STRING_SIZE];

  if (b->result.backup.adopted > 0)
    printf (", %s of that adopted from a backup that was interrupted",
            size_to_string (bytes_of (b, b->result.backup.adopted), adopted));
}

static void
show_text (const struct backup_command *b)
{
  const struct manifest_counts *c = &b->result.backup.counts;
  char size[SIZE_STRING_SIZE], data[SIZE_STRING_SIZE], file[SIZE_STRING_SIZE];
  char fresh[SIZE_STRING_SIZE], time[VAULT_TIME_SIZE];

  if (b->vault != NULL) {
    vault_time_to_string (b->result.time, time);
    output_text (b->vault);
    putchar ('/');
    output_text (b->options.header.name);
    printf ("@%s: %s, of which %s hold data, %s of it new", time,
            size_to_string (b->options.header.disk_size, size),
            size_to_string (bytes_of (b, c->data), data),
            size_to_string (bytes_of (b, c->fresh), fresh));
    show_adopted (b);
    printf (", in %s\n", size_to_string (b->result.backup.bytes, file));
    return;
  }
  if (strcmp (b->single, "-") == 0)
    return;
  output_text (b->source);
  printf (": %s, of which %s hold data, in %s: ",
          size_to_string (b->options.header.disk_size, size),
          size_to_string (bytes_of (b, c->data), data),
          size_to_string (b->result.backup.bytes, file));
  output_text (b->single);
  putchar ('\n');
}

/* What could not be read is in the backup as that, and no success. */
static int
show_result (const struct backup_command *b)
{
  const struct manifest_counts *c = &b->result.backup.counts;
  char bad[SIZE_STRING_SIZE];
  int status = c->unreadable_bytes > 0 ? STATUS_FAILED : STATUS_DONE;

  if (b->json)
    status = show_json (b, status);
  else
    show_text (b);
  if (c->unreadable_bytes > 0)
    tool_error ("%s: %s (%" PRIu64 " bytes) of the disk could not be read; all "
                "else is in the backup, which gives an error for these",
                b->source, size_to_string (c->unreadable_bytes, bad),
                c->unreadable_bytes);
  return status;
}

/*--- The work ---------------------------------------------------------------*/

/* in_vault: what is said of the vault, not of the disk. */
static int
back_up (struct backup_command *b, struct report *report,
         struct report *in_vault, struct job *job, struct err *err)
{
  const struct survey_options survey = {
    .sector_size = b->options.header.logical, .everything = b->everything,
  };
  const struct backup_vault vault = {
    .path = b->vault, .init = b->init, .encrypt = b->encrypt,
    .keys = keys_get (),
  };
  int r;

  r = survey_disk (b->disk.disk, &survey, &b->manifest, &b->used, report, job,
                   err);
  if (r < 0)
    return r;
  b->options.used = &b->used;
  b->options.manifest = &b->manifest;
  return b->vault != NULL
    ? backup_to_vault (b->disk.disk, &b->options, &vault, &b->result, in_vault,
                       job, err)
    : backup_to_file (b->disk.disk, &b->options, b->single,
                      b->encrypt ? keys_get () : NULL, &b->result.backup, job,
                      err);
}

static int
backup (struct backup_command *b)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_REPORT struct report in_vault = REPORT_INIT;
  struct err err = ERR_INIT;
  struct job job = JOB_INIT;
  struct progress *progress = NULL;
  int r;

  r = image_options_check_folders (&b->image, &err);
  if (r == 0)
    r = backup_source_open (b->source, &b->from, b->live, &b->disk,
                            &b->manifest, &report, &err);
  if (r == 0)
    r = fill_header (b, &err);
  tool_warnings (b->source, &report);
  if (r < 0)
    return tool_fail (b->source, &err);
  r = progress_start (&job, b->mode, b->source, &progress, &err);
  if (r == 0)
    r = back_up (b, &report, &in_vault, &job, &err);
  progress_stop (progress);
  tool_warnings (b->source, &report);
  tool_warnings (b->vault, &in_vault);
  return r < 0 ? tool_fail (NULL, &err) : show_result (b);
}

static int
run (int argc, char *argv[])
{
  struct backup_command b = { .mode = PROGRESS_AUTO };
  int first, status;

  command_parse (&command_backup, argc, argv, &b, &first);
  if (argc - first < 1 || argc - first > 2)
    command_usage_error (&command_backup, "expected a disk and a vault");
  b.source = argv[first];
  b.vault = argc - first == 2 ? argv[first + 1] : NULL;
  check (&b);
  status = backup (&b);
  backup_source_close (&b.disk);
  used_map_free (&b.used);
  manifest_destroy (&b.manifest);
  return status;
}

const struct command command_backup = {
  .name = "backup",
  .operands = "SOURCE [VAULT]",
  .summary = "Save a disk, compressed",
  .options = backup_options,
  .run = run,
};
