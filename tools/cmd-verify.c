/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdimage verify: is all of a vault, or of a generation, as it was saved? */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/newfile.h"
#include "lib/block/nbd.h"
#include "lib/repo/image-nbi.h"
#include "lib/repo/image-vault.h"
#include "lib/repo/store-at.h"
#include "lib/repo/vault-keys.h"
#include "lib/repo/verify-vault.h"
#include "tools/boot/boot.h"
#include "tools/commands.h"
#include "tools/keys.h"
#include "tools/open.h"
#include "tools/report.h"
#include "tools/verify/verify-tool.h"

#define CHUNKS_LIMIT ((size_t) 1024 * 1024)     /* each is read once */

static const struct option_spec verify_options[] = {
  { "structure", 0, OPTION_FLAG, NULL,
    "only tables and maps, not the data itself",
    offsetof (struct verify_command, structure) },
  { "sample", 0, OPTION_STRING, "N%|SIZE",
    "of the data, read so much, chosen by chance",
    offsetof (struct verify_command, sample_size) },
  { "seed", 0, OPTION_UNSIGNED, "N",
    "choose what was chosen with this number",
    offsetof (struct verify_command, seed) },
  { "state", 0, OPTION_STRING, "FILE",
    "go on where a verify with this file was interrupted",
    offsetof (struct verify_command, state_path) },
  { "source", 0, OPTION_STRING, "DEVICE|IMAGE|URI",
    "compare the generation with what this has now",
    offsetof (struct verify_command, source_name) },
  { "source-format", 0, OPTION_STRING, "FORMAT",
    "the format of that, instead of finding out",
    offsetof (struct verify_command, source_format) },
  { "boot", 0, OPTION_FLAG, NULL,
    "run the generation in QEMU, and forget what it writes",
    offsetof (struct verify_command, boot.wanted) },
  { "boot-marker", 0, OPTION_STRING, "TEXT",
    "until its serial port says this, instead of until the screen settles",
    offsetof (struct verify_command, boot.marker) },
  { "boot-settle", 0, OPTION_SECONDS, "SECONDS",
    "for so long the screen has to be the same [20]",
    offsetof (struct verify_command, boot.settle) },
  { "boot-timeout", 0, OPTION_SECONDS, "SECONDS",
    "wait no longer for that [600]",
    offsetof (struct verify_command, boot.timeout) },
  { "screenshot", 0, OPTION_STRING, "FILE",
    "keep what is on the screen then, as PPM or, by its name, PNG",
    offsetof (struct verify_command, boot.screenshot) },
  { "uefi", 'u', OPTION_FLAG, NULL,
    "boot by UEFI instead of BIOS",
    offsetof (struct verify_command, boot.uefi) },
  { "accel", 0, OPTION_STRING, "auto|kvm|tcg",
    "boot with KVM or not [auto: where it works]",
    offsetof (struct verify_command, boot.accel) },
  PROGRESS_OPTION (struct verify_command, progress),
  { "json", 0, OPTION_FLAG, NULL,
    "print the result as JSON", offsetof (struct verify_command, json) },
  KEY_OPTIONS (struct verify_command, keys),
  OPTION_END
};

/*--- What is looked at ------------------------------------------------------*/

/* The machine is another process, which can't ask for a key, nor read again
 * what was read from a descriptor.
 */
static int
check_boot (const struct verify_command *v, struct err *err)
{
  const struct nbi_header *h =
    generation_header (nbi_image_generation (v->image));

  if (!v->boot.wanted)
    return 0;
  if (h->encryption != 0 && v->keys.passphrase_file == NULL &&
      v->keys.key_file == NULL)
    return err_set (err, -EINVAL, "is encrypted: --boot needs "
                    "--passphrase-file or --key-file");
  if (v->boot.screenshot != NULL &&
      new_file_check (v->boot.screenshot, err) < 0)
    return err_in (err, "--screenshot: %s", v->boot.screenshot);
  return 0;
}

/* A folder that is a vault; anything else that is called so may be one of its
 * disks.
 */
static int
open_target (struct verify_command *v, struct report *report, struct err *err)
{
  const struct image_options options = { .format = NULL };
  bool remote = store_at_is_remote (v->path), plain = false;
  struct stat st;
  int r;

  if (vault_images_is_one (v->path))
    return v->source_name == NULL && !v->boot.wanted ? 0
      : err_set (err, -EISDIR, "is a vault; --source and --boot are for one "
                 "generation: %s/DISK, or %s/DISK@TIME", v->path, v->path);
  v->in_vault = remote || (!block_nbd_is_uri (v->path) &&
                           (stat (v->path, &st) < 0 || S_ISDIR (st.st_mode)));
  r = v->source_name == NULL
    ? image_open (v->path, &options, &v->image, report, err)
    : tool_image_open_of_two (v->path, &options, v->mode, &v->image, &plain,
                              report, err);
  if (r < 0)
    return r;
  if (nbi_image_generation (v->image) == NULL)
    return err_set (err, -EINVAL, "is no backup; nbdimage check --data reads "
                    "all of it");
  r = check_boot (v, err);
  if (r < 0)
    return r;
  return v->source_name != NULL ? verify_source_open (v, &plain, report, err)
    : 0;
}

static int
open_state (struct verify_command *v, bool vault,
            const uint8_t uuid[UUID_SIZE], struct err *err)
{
  return v->state_path == NULL ? 0
    : verify_state_open (v->state_path, vault, uuid, &v->state, err);
}

static int
verify_all (struct verify_command *v, const struct verify *verify,
            struct report *report, struct err *err)
{
  static const uint8_t none[UUID_SIZE];
  struct generation_caches caches;
  struct vault *vault = NULL;
  struct store *store = NULL;
  int r = generation_caches_init (&caches, CHUNKS_LIMIT, err);

  if (r < 0)
    return r;
  caches.keys = keys_get ();
  r = store_at (v->path, false, v->job, &store, err);
  if (r == 0)
    r = vault_open (store, 0, &vault, report, err);
  if (r == 0)
    r = vault_unlock (vault, keys_get (), report, err);
  if (r == 0)
    r = open_state (v, true, vault_about (vault) != NULL
                    ? vault_about (vault)->uuid : none, err);
  if (r == 0)
    r = verify_vault (vault, &caches, verify, &v->result, report, err);
  if (store != NULL)
    store_set_job (store, NULL);
  vault_close (vault);
  generation_caches_destroy (&caches);
  store_close (store);
  return r;
}

static int
verify_generation_of (struct verify_command *v, const struct verify *verify,
                      struct err *err)
{
  struct generation *gen = nbi_image_generation (v->image);
  int r = open_state (v, false, generation_header (gen)->run, err);

  /* A prune meanwhile shall take nothing away; who can't say so to others
   * verifies all the same.
   */
  if (r == 0 && v->in_vault)
    (void) nbi_image_hold (v->image, NULL);
  if (r == 0)
    r = verify_needs_new (gen, v->job, &v->needs, err);
  if (r == 0)
    r = nbi_image_verify (v->image, verify, &v->result, err);
  if (r == 0 && v->source != NULL)
    r = verify_source_compare (v, verify->threads, err);
  /* Of what is damaged it is no news that it does not boot. */
  if (r == 0 && v->boot.wanted && v->nr_found == 0)
    r = verify_boot_run (v, err);
  return r;
}

static int
work (struct verify_command *v, struct report *report, struct err *err)
{
  long cores = sysconf (_SC_NPROCESSORS_ONLN);
  struct verify verify = {
    .data = !v->structure, .threads = cores > 0 ? (unsigned) cores : 1,
    .job = v->job, .found = verify_found, .opaque = v,
  };

  verify_pieces_use (&verify);
  return v->image != NULL ? verify_generation_of (v, &verify, err)
    : verify_all (v, &verify, report, err);
}

/* Without its key nothing of a backup can be told from damage. */
static int
fail (const struct verify_command *v, int r, const struct err *err)
{
  struct err why = *err;

  if (r == -EACCES)
    err_set (&why, r, "%.400s; nothing was verified", err->msg);
  return tool_fail (v->path, &why);
}

static int
verify (struct verify_command *v)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct err err = ERR_INIT;
  struct job job = JOB_INIT;
  struct progress *progress = NULL;
  int r = open_target (v, &report, &err);

  v->job = &job;
  if (r == 0)
    r = progress_start (&job, v->mode, v->path, &progress, &err);
  if (r == 0)
    r = work (v, &report, &err);
  progress_stop (progress);
  tool_warnings (v->path, &report);
  verify_pieces_end (v, r);
  return r < 0 ? fail (v, r, &err) : verify_show (v);
}

/*--- The command line -------------------------------------------------------*/

static int
parse_sample (struct verify_command *v, struct err *err)
{
  int r;

  v->sampled = v->sample_size != NULL;
  if (!v->sampled)
    return v->seed == UINT_MAX ? 0
      : err_set (err, -EINVAL, "--seed is for --sample");
  if (v->structure)
    return err_set (err, -EINVAL, "either --structure or --sample");
  r = verify_sample_parse (v->sample_size, &v->sample, err);
  if (r < 0)
    return err_in (err, "--sample");
  if (v->seed == UINT_MAX) {
    if (getrandom (&v->seed, sizeof v->seed, 0) != sizeof v->seed)
      return err_sys (err, "getrandom");
    v->seed &= INT_MAX;
  }
  v->sample.random = v->seed;
  return 0;
}

static int
check_boot_options (const struct verify_boot *b, struct err *err)
{
  bool use_kvm;

  if (!b->wanted && (b->marker != NULL || b->screenshot != NULL || b->uefi))
    return err_set (err, -EINVAL, "--boot-marker, --screenshot and --uefi are "
                    "for --boot");
  if (b->marker != NULL && b->marker[0] == '\0')
    return err_set (err, -EINVAL, "--boot-marker: nothing to wait for");
  return accel_choose (b->accel, &use_kvm, err) < 0 ? err_in (err, "--accel")
    : 0;
}

static int
run (int argc, char *argv[])
{
  struct verify_command v = {
    .mode = PROGRESS_AUTO, .seed = UINT_MAX,
    .boot = { .accel = "auto", .timeout = VERIFY_BOOT_TIMEOUT_DEFAULT,
              .settle = VERIFY_BOOT_SETTLE_DEFAULT },
  };
  struct err err = ERR_INIT;
  int first, status;

  command_parse (&command_verify, argc, argv, &v, &first);
  if (argc - first != 1)
    command_usage_error (&command_verify, "expected one vault, disk in a "
                         "vault, or backup");
  if (v.source_format != NULL && v.source_name == NULL)
    command_usage_error (&command_verify, "--source-format is for --source");
  if (v.source_format != NULL &&
      image_format_check (v.source_format, &err) < 0)
    command_usage_error (&command_verify, "--source-format: %s", err.msg);
  if (v.state_path != NULL && (v.structure || v.sample_size != NULL))
    command_usage_error (&command_verify, "--state is for all of the data");
  if (check_boot_options (&v.boot, &err) < 0 ||
      parse_sample (&v, &err) < 0 ||
      progress_mode_parse (v.progress, &v.mode, &err) < 0 ||
      keys_use (&v.keys, &err) < 0)
    command_usage_error (&command_verify, "%s", err.msg);
  v.path = argv[first];
  v.findings = json_array ();
  v.hurt = json_object ();
  if (v.findings == NULL || v.hurt == NULL) {
    err_nomem (&err);
    return tool_fail (v.path, &err);
  }
  status = verify (&v);
  json_decref (v.findings);
  json_decref (v.hurt);
  verify_needs_free (v.needs);
  verify_state_close (v.state);
  verify_source_free (&v.compared);
  image_unref (v.source);
  image_unref (v.image);
  return status;
}

const struct command command_verify = {
  .name = "verify",
  .operands = "VAULT|VAULT/DISK[@GENERATION]|FILE.nbi",
  .summary = "Prove that a vault of backups, or one of them, is whole",
  .options = verify_options,
  .run = run,
};
