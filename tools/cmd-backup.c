/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdimage backup: disks, what is used of them, compressed, in a file or as one
 * more generation each in a vault.
 */

#include <config.h>

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/block/nbd.h"
#include "lib/repo/image-nbi.h"
#include "lib/repo/ssh-uri.h"
#include "tools/backup/backup-command.h"
#include "tools/commands.h"
#include "tools/keys.h"
#include "tools/output.h"
#include "tools/report.h"

#define FREEZE_SECONDS 300      /* unless something else is said */

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
  { "partition", 0, OPTION_LIST, "N[,N…]",
    "only these partitions, with the table and what lies between; repeatable",
    offsetof (struct backup_command, partition) },
  { "everything", 0, OPTION_FLAG, NULL,
    "also what no file system uses",
    offsetof (struct backup_command, everything) },
  { "prove", 0, OPTION_FLAG, NULL,
    "read what of the vault would be referred to; what is damaged, save anew",
    offsetof (struct backup_command, prove) },
  { "freeze", 0, OPTION_FLAG, NULL,
    "let those who write to what is mounted of the disk wait while it is read",
    offsetof (struct backup_command, freeze) },
  { "freeze-limit", 0, OPTION_SECONDS, "SECONDS",
    "how long they may have to; 300 unless said, then the backup fails",
    offsetof (struct backup_command, freeze_limit) },
  { "snapshot", 0, OPTION_STRING, "lvm",
    "of a logical volume that is mounted: save a snapshot, and remove it",
    offsetof (struct backup_command, snapshot) },
  { "snapshot-size", 0, OPTION_SIZE, "SIZE",
    "its room for what is written meanwhile; a tenth of the volume unless said",
    offsetof (struct backup_command, snapshot_size) },
  { "bitmap", 0, OPTION_STRING, "NAME",
    "of a running VM's export: read only what this bitmap has, if it is safe",
    offsetof (struct backup_command, bitmap) },
  { "checkpoint", 0, OPTION_STRING, "NAME",
    "the bitmap that began at the moment of this backup, with a UUID in it",
    offsetof (struct backup_command, checkpoint) },
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

/* "1,3", each time. */
static void
parse_partitions (struct backup_command *b)
{
  size_t room = 0;

  for (size_t i = 0; i < b->partition.nr; ++i)
    room += strlen (b->partition.values[i]);
  if (room == 0 && b->partition.nr > 0)
    command_usage_error (&command_backup, "--partition: expected numbers");
  b->partitions = room > 0 ? calloc (room, sizeof *b->partitions) : NULL;
  for (size_t i = 0; b->partitions != NULL && i < b->partition.nr; ++i)
    for (const char *p = b->partition.values[i]; ; ) {
      unsigned long n;
      char *end;

      errno = 0;
      n = strtoul (p, &end, 10);
      if (*p < '1' || *p > '9' || errno != 0 || n > UINT_MAX ||
          (*end != ',' && *end != '\0'))
        command_usage_error (&command_backup, "--partition: ‘%s’ are no "
                             "numbers of partitions; expected 1 or 1,3",
                             b->partition.values[i]);
      b->partitions[b->nr_partitions++] = (unsigned) n;
      if (*end == '\0')
        break;
      p = end + 1;
    }
}

/* What is about one disk can't be said of several. */
static void
check_several (const struct backup_command *b, int nr)
{
  const char *option = b->single != NULL ? "--single"
    : b->name != NULL ? "--name" : b->partition.nr > 0 ? "--partition"
    : b->bitmap != NULL ? "--bitmap"
    : b->checkpoint != NULL ? "--checkpoint" : NULL;

  if (nr > 1 && option != NULL)
    command_usage_error (&command_backup, "%s is for one disk at a time",
                         option);
}

static void
check_bitmaps (const struct backup_command *b, const char *source)
{
  const char *option = b->bitmap != NULL ? "--bitmap" : "--checkpoint";

  if (b->bitmap == NULL && b->checkpoint == NULL)
    return;
  if (b->vault == NULL)
    command_usage_error (&command_backup, "%s is for vaults", option);
  if (!block_nbd_is_uri (source))
    command_usage_error (&command_backup, "%s is for exports of QEMU: expected "
                         "an NBD URI", option);
  if (b->checkpoint != NULL && !changes_name_has_uuid (b->checkpoint))
    command_usage_error (&command_backup, "--checkpoint: the name ‘%s’ has no "
                         "UUID in it, and might have been used before",
                         b->checkpoint);
  if (b->checkpoint != NULL && b->bitmap != NULL &&
      strcmp (b->checkpoint, b->bitmap) == 0)
    command_usage_error (&command_backup, "--checkpoint and --bitmap are the "
                         "same, but one begins now and the other did before");
}

static void
check (struct backup_command *b)
{
  struct err err = ERR_INIT;
  struct nbi_header *h = &b->options.header;
  uint64_t size = b->chunk_size;

  if (b->single == NULL && b->vault == NULL)
    command_usage_error (&command_backup, "expected a vault, or --single");
  if (b->live + b->freeze + (b->snapshot != NULL) > 1)
    command_usage_error (&command_backup, "expected --live, --freeze or "
                         "--snapshot, not several");
  if (b->snapshot != NULL && strcmp (b->snapshot, "lvm") != 0)
    command_usage_error (&command_backup, "‘%s’ is no kind of snapshot; "
                         "expected lvm", b->snapshot);
  if (b->snapshot == NULL && b->snapshot_size != 0)
    command_usage_error (&command_backup, "--snapshot-size is for --snapshot");
  if (b->freeze_limit == 0)
    command_usage_error (&command_backup, "--freeze-limit: expected 1 second "
                         "or more");
  if (b->init && b->vault == NULL)
    command_usage_error (&command_backup, "--init is for vaults");
  if (b->prove && b->vault == NULL)
    command_usage_error (&command_backup, "--prove is for vaults");
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
  parse_partitions (b);
  if (progress_mode_parse (b->progress, &b->mode, &err) < 0 ||
      image_options_from_values (&b->image, &b->from, &err) < 0)
    command_usage_error (&command_backup, "%s", err.msg);
  if (b->encrypt && keys_get () == NULL)
    command_usage_error (&command_backup, "--encrypt needs a passphrase or a "
                         "key file, and there is no terminal to ask at");
  check_name (b);
  b->options.threads = b->threads;
  b->options.prove = b->prove;
}

/*--- What the header says ---------------------------------------------------*/

static int
fill_header (struct backup_work *w, struct err *err)
{
  struct nbi_header *h = &w->options.header;
  const char *given = w->command->name;
  CLEANUP_FREE char *name = NULL;
  struct block_sizes sizes;
  int r = 0;

  image_get_sizes (w->disk.img, &sizes);
  h->disk_size = block_size (w->disk.disk);
  h->logical = sizes.logical != 0 ? sizes.logical : 512;
  h->physical = h->logical > 4096 ? h->logical : 4096;
  h->time = (uint64_t) time (NULL);
  if (h->disk_size == 0)
    return err_set (err, -EINVAL, "the disk has 0 bytes: there is nothing to "
                    "back up");
  if (given == NULL)
    r = backup_source_disk_name (w->source, &w->disk, &w->manifest, &name,
                                 err);
  if (r < 0)
    return r;
  snprintf (h->name, sizeof h->name, "%s", given ? given : name);
  snprintf (h->creator, sizeof h->creator, "nbdimage %s", PACKAGE_VERSION);
  if (!nbi_name_is_right (h->name))
    return err_set (err, -EINVAL, "‘%s’ can't be the name of a disk; give it "
                    "one with --name", h->name);
  if (json_object_get (w->command->names, h->name) != NULL)
    return err_set (err, -EINVAL, "it is called ‘%s’ like the disk before, and "
                    "would be the next generation of it; back it up alone, "
                    "with --name", h->name);
  if (w->command->names != NULL)
    json_object_set_new (w->command->names, h->name, json_true ());
  return uuid_new (h->run, err);
}

/*--- The work ---------------------------------------------------------------*/

static int
survey (struct backup_work *w, struct job *job, struct err *err)
{
  const struct backup_command *b = w->command;
  const struct survey_options options = {
    .sector_size = w->options.header.logical, .everything = b->everything,
    .partitions = b->partitions, .nr_partitions = b->nr_partitions,
  };
  int r = survey_disk (w->disk.disk, &options, &w->manifest, &w->used,
                       w->options.report, job, err);

  return r < 0 ? err_in (err, "%s", w->source) : 0;
}

/* What is frozen is not to be so a moment longer than need be: not while
 * somebody types a passphrase, or others let go of the vault.
 */
static int
hold_and_survey (void *opaque, struct job *job, struct err *err)
{
  struct backup_work *w = opaque;
  const struct backup_command *b = w->command;
  int r = backup_hold (image_block (w->disk.img), b->vault ? b->vault
                       : b->single, b->freeze_limit, &w->held, job, err);

  return r < 0 ? err_in (err, "%s", w->source) : survey (w, job, err);
}

/* Was it held?  What nobody held may have been mounted meanwhile. */
static int
let_go (void *opaque, struct err *err)
{
  struct backup_work *w = opaque;
  int r = w->snapshot != NULL ? snapshot_check (w->snapshot, err)
    : w->command->freeze
    ? backup_hold_end (image_block (w->disk.img), &w->held, err)
    : w->command->live ? 0
    : backup_device_check_still (image_block (w->disk.img), err);

  return r < 0 ? err_in (err, "%s", w->source) : 0;
}

/* An error may only be the consequence of another. */
static int
why (struct backup_work *w, int r, struct err *err)
{
  struct err first = ERR_INIT;

  if (let_go (w, &first) == 0)
    return r;
  *err = first;
  return err->code;
}

/* in_vault: what is said of the vault, not of the disk. */
static int
back_up (struct backup_work *w, struct report *report,
         struct report *in_vault, struct job *job, struct err *err)
{
  const struct backup_command *b = w->command;
  const struct backup_vault vault = {
    .path = b->vault, .init = b->init, .encrypt = b->encrypt,
    .keys = keys_get (),
  };
  int r = 0;

  w->options.used = &w->used;
  w->options.manifest = &w->manifest;
  w->options.changes = w->changes.bitmap != NULL ? &w->changes : NULL;
  w->options.report = report;
  w->options.opaque = w;
  w->options.all_read = let_go;
  if (b->freeze)
    w->options.before_read = hold_and_survey;
  else
    r = survey (w, job, err);
  if (r < 0)
    return r;
  r = b->vault != NULL
    ? backup_to_vault (w->disk.disk, &w->options, &vault, &w->result, in_vault,
                       job, err)
    : backup_to_file (w->disk.disk, &w->options, b->single,
                      b->encrypt ? keys_get () : NULL, &w->result.backup, job,
                      err);
  /* Canceled by whom?  Or gone, like a snapshot that was full? */
  return (r == -ECANCELED && b->freeze) || (r == -EIO && w->snapshot != NULL)
    ? why (w, r, err) : r;
}

/* subject: NULL where the message has its own. */
static int
fail (struct backup_work *w, const char *subject, const struct err *err)
{
  w->canceled = err->code == -ECANCELED;
  backup_show_failure (w, err);
  return tool_fail (subject, err);
}

static int
open_source (struct backup_work *w, struct report *report, struct err *err)
{
  const struct backup_command *b = w->command;
  enum backup_stillness how = b->live ? BACKUP_LIVE
    : b->freeze ? BACKUP_FROZEN : b->snapshot ? BACKUP_LVM : BACKUP_OFFLINE;
  int r = b->snapshot == NULL ? 0
    : snapshot_take (w->source, b->snapshot_size, &w->snapshot, err);

  return r < 0 ? r
    : backup_source_open (w->snapshot ? snapshot_path (w->snapshot) : w->source,
                          w->source, &b->from, how, &w->disk, &w->manifest,
                          report, err);
}

/* A key that nothing needs was meant to encrypt what is made. */
static int
check_key (const struct backup_work *w, struct err *err)
{
  const struct backup_command *b = w->command;
  struct generation *gen = nbi_image_generation (w->disk.img);
  char about[PATH_MAX];

  if (b->encrypt || !keys_are_named (&b->image.keys) ||
      (gen != NULL && nbi_encrypted (generation_header (gen))))
    return 0;
  if (b->vault != NULL) {
    snprintf (about, sizeof about, "%s/vault", b->vault);
    if (!b->init || ssh_uri_is_one (b->vault) || access (about, F_OK) == 0)
      return 0;
  }
  return err_set (err, -EINVAL, "there is a key, and nothing that it is for: "
                  "with --encrypt, what is made is encrypted with it");
}

static int
backup (struct backup_work *w)
{
  const struct backup_command *b = w->command;
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_REPORT struct report in_vault = REPORT_INIT;
  struct err err = ERR_INIT;
  struct job job = JOB_INIT;
  struct progress *progress = NULL;
  int r, status;

  r = image_options_check_folders (&b->image, &err);
  if (r == 0 && b->bitmap != NULL)
    r = backup_source_changes (w->source, b->bitmap, &w->changes, &report,
                               &err);
  if (r == 0)
    r = open_source (w, &report, &err);
  if (r == 0)
    r = check_key (w, &err);
  if (r == 0 && b->freeze)
    r = backup_hold_new (image_block (w->disk.img), b->vault ? b->vault
                         : b->single, &w->held, &err);
  if (r == 0)
    r = fill_header (w, &err);
  if (r == 0 && b->checkpoint != NULL &&
      (w->manifest.checkpoint = strdup (b->checkpoint)) == NULL)
    r = err_nomem (&err);
  tool_warnings (w->source, &report);
  if (r < 0)
    return fail (w, w->source, &err);
  r = progress_start (&job, b->mode, w->source, &progress, &err);
  if (r == 0)
    r = back_up (w, &report, &in_vault, &job, &err);
  progress_stop (progress);
  tool_warnings (w->source, &report);
  tool_warnings (b->vault, &in_vault);
  if (r == 0)
    return backup_show_result (w);
  status = fail (w, NULL, &err);
  if (r == -ECANCELED && job_check (&job, NULL) < 0)
    backup_tell_interrupted (b->vault, b->single);
  else if (r == -ENOSPC && b->vault != NULL)
    backup_tell_full (b->vault, &job);
  return status;
}

static int
backup_one (const struct backup_command *b, const char *source,
            bool *canceled)
{
  struct backup_work w = {
    .command = b, .source = source, .options = b->options,
  };
  struct err err = ERR_INIT;
  int status = backup (&w);

  *canceled = w.canceled;
  backup_hold_free (&w.held);
  backup_source_close (&w.disk);
  if (snapshot_remove (w.snapshot, &err) < 0)
    status = status > STATUS_FAILED ? status : tool_fail (source, &err);
  used_map_free (&w.used);
  used_map_free (&w.changes.written);
  manifest_destroy (&w.manifest);
  return status;
}

/* One that fails is no reason not to save the others. */
static int
backup_all (struct backup_command *b, char *sources[], int nr)
{
  int worst = STATUS_DONE;
  bool canceled = false;

  if (nr == 1)
    return backup_one (b, sources[0], &canceled);
  b->list = b->json ? json_array () : NULL;
  b->names = json_object ();
  for (int i = 0; i < nr && !canceled; ++i) {
    int status = backup_one (b, sources[i], &canceled);

    if (status > worst)         /* damaged is more than failed */
      worst = status;
  }
  json_decref (b->names);
  if (b->json && output_json (b->list) != STATUS_DONE)
    worst = STATUS_FAILED;
  return worst;
}

static int
run (int argc, char *argv[])
{
  struct backup_command b = {
    .mode = PROGRESS_AUTO, .freeze_limit = FREEZE_SECONDS,
  };
  int first, nr, status;

  command_parse (&command_backup, argc, argv, &b, &first);
  nr = argc - first;
  if (b.single == NULL && nr > 1) {
    b.vault = argv[argc - 1];
    --nr;
  }
  /* A vault that is called like that is ./-. */
  if (b.vault != NULL && strcmp (b.vault, "-") == 0) {
    b.single = b.vault;
    b.vault = NULL;
  }
  if (nr < 1)
    command_usage_error (&command_backup, "expected a disk and a vault");
  check_several (&b, nr);
  check_bitmaps (&b, argv[first]);
  check (&b);
  status = backup_all (&b, argv + first, nr);
  free (b.partitions);
  return status;
}

const struct command command_backup = {
  .name = "backup",
  .operands = "SOURCE… [VAULT]",
  .summary = "Save disks, compressed",
  .options = backup_options,
  .run = run,
};
