/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Copying, verifying, and the result: what nbdimage convert does, and nbdimage
 * commit into a new file.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "lib/block/nbd.h"
#include "lib/copy/copy.h"
#include "tools/convert/convert.h"
#include "tools/image-options.h"
#include "tools/open.h"
#include "tools/output.h"
#include "tools/report.h"

/*--- Source -----------------------------------------------------------------*/

/* A disk that lost what made it a VHD is not copied as if that were nothing:
 * the copy would look whole.
 */
static int
check_source (const struct convert_source *from, struct err *err)
{
  struct err why = ERR_INIT;

  if (image_check_recognised (from->img, &why) == 0)
    return 0;
  return err_set (err, why.code, "%s; with %s=raw its bytes are copied as they "
                  "are", why.msg, image_format_option);
}

static int
open_source (struct convert *c, struct convert_source *from, struct err *err)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  int r = image_options_check_folders (&c->from, err);

  if (r == 0)
    r = tool_image_open (c->source, &c->source_options, c->mode, &from->img,
                         &report, err);
  if (r == 0) {
    r = check_source (from, err);
    if (r < 0)
      report_free (&report);    /* its warning says the same */
  }
  if (r == 0)
    r = image_to_block (from->img, &from->disk, err);
  tool_warnings (c->source, &report);
  return r;
}

/* A partition table counts in the sectors of its disk. */
static void
choose_sectors (struct convert *c, const struct convert_source *from)
{
  struct block_sizes sizes;

  image_get_sizes (from->img, &sizes);
  if (sizes.logical != 4096)
    return;
  if (strcmp (c->format, "vhdx") == 0 && c->create.sector_size == 0)
    c->create.sector_size = 4096;
  if (strcmp (c->format, "vhd") == 0)
    tool_warning ("%s: its disk has sectors of 4096 bytes, and a VHD has "
                  "sectors of 512: partition tables may not be understood",
                  c->source);
}

/*--- The work ---------------------------------------------------------------*/

static int
save_state (void *opaque, uint64_t done, struct err *err)
{
  return copy_state_save (opaque, done, err);
}

static int
copy (const struct convert *c, const struct convert_source *from,
      struct convert_target *to, struct copy_result *result, struct job *job,
      struct err *err)
{
  const struct copy_options options = {
    .threads = c->threads,
    .unit = to->unit,
    .start = to->start,
    .target_is_zero = to->is_zero,
    .job = job,
    .checkpoint = to->state ? save_state : NULL,
    .opaque = to->state,
  };

  return copy_disk (from->disk, to->disk, &options, result, err);
}

static int
verify (const struct convert *c, const struct convert_source *from,
        struct convert_target *to, struct job *job, struct err *err)
{
  const struct copy_options options = { .threads = c->threads, .job = job };
  bool is_file = to->file.fd >= 0;
  uint64_t differs_at;
  int r = is_file ? convert_file_reopen (c, to, err) : 0;

  if (r == 0)
    r = copy_compare (from->disk, to->disk, is_file, &options, &differs_at,
                      err);
  if (r < 0 || differs_at == COPY_SAME)
    return r;
  if (is_file)
    convert_file_discard (to);
  else if (to->state)
    copy_state_remove (to->state);
  return err_set (err, -EIO, "%s: has other bytes than the source at offset %"
                  PRIu64 "%s", c->target, differs_at,
                  is_file ? "; it was thrown away" : "");
}

static int
work (const struct convert *c, const struct convert_source *from,
      struct convert_target *to, struct copy_result *result, struct err *err)
{
  struct job job = JOB_INIT;
  struct progress *progress;
  int r = progress_start (&job, c->mode, c->target, &progress, err);

  if (r < 0)
    return r;
  r = copy (c, from, to, result, &job, err);
  if (r == 0 && c->verify)
    r = verify (c, from, to, &job, err);
  if (r == 0 && to->file.fd >= 0) {
    job_start (&job, "finishing", 0);
    r = convert_file_commit (to, err);
    if (r < 0)
      err_in (err, "%s", c->target);
  }
  else if (r == 0 && to->state)
    copy_state_remove (to->state);
  progress_stop (progress);
  return r;
}

/*--- The result -------------------------------------------------------------*/

static int
show (const struct convert *c, const struct convert_source *from,
      const struct convert_target *to, const struct copy_result *result)
{
  uint64_t size = block_size (from->disk);
  char text[SIZE_STRING_SIZE];

  if (c->json)
    return output_json (json_pack ("{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:b,s:o,s:b}",
      "source", output_json_text (c->source),
      "name", output_json_text (c->target),
      "format", output_json_text (c->format),
      "size", json_integer ((json_int_t) to->size),
      "source-size", json_integer ((json_int_t) size),
      "data", json_integer ((json_int_t) result->data),
      "resumed-at", to->start ? json_integer ((json_int_t) to->start)
                              : json_null (),
      "verified", c->verify && !c->dry_run,
      "held", output_json_text (to->contents),
      "changed", !c->dry_run));
  if (!c->dry_run && to->file.fd >= 0 && to->size != size) {
    output_text (c->target);
    printf (": a disk of %s (%" PRIu64 " bytes, %" PRIu64 " more than the "
            "source)\n", size_to_string (to->size, text), to->size,
            to->size - size);
  }
  return STATUS_DONE;
}

static int
fail (const struct convert *c, const struct convert_target *to,
      const struct err *err)
{
  int status = tool_fail (err->code == -ECANCELED ? c->target : NULL, err);
  bool nothing = to->state && copy_state_done (to->state) == 0;

  if (to->state && to->file.kept && to->file.partial)
    tool_note ("%s: %s beside it has what is done; the same command %s",
               c->target, to->file.partial, nothing ? "begins anew, as nothing "
               "of it could be noted" : "goes on");
  else if (c->state && access (c->state, F_OK) == 0)
    tool_note ("%s: %s says how far it is; the same command %s", c->target,
               c->state, nothing ? "begins anew, as nothing is done"
               : "goes on");
  return status;
}

/* The plan of what is made anew is what was typed. */
static int
look (const struct convert *c, const struct convert_source *from,
      struct convert_target *to, struct err *err)
{
  bool is_export = block_nbd_is_uri (c->target);
  int r = convert_check_not_same (c, from, err);

  if (r < 0 || (!is_export && !c->dry_run))
    return r;
  r = is_export ? convert_export_open (c, from, to, err)
                : convert_file_look (c, to, err);
  if (r == 0 && c->state)
    r = convert_state_look (c, from, to, err);
  if (r == 0)
    convert_show_plan (c, from, to);
  return r;
}

static int
begin (const struct convert *c, const struct convert_source *from,
       struct convert_target *to, struct err *err)
{
  int r;

  if (!block_nbd_is_uri (c->target))
    return convert_file_open (c, from, to, err);
  r = convert_confirm (c, to, err);
  return r == 0 && c->state ? convert_state_begin (c, from, to, err) : r;
}

static int
convert_to (const struct convert *c, const struct convert_source *from,
            struct convert_target *to)
{
  struct copy_result result = { .done = 0 };
  struct err err = ERR_INIT;
  int r = look (c, from, to, &err);

  if (r == 0 && !c->dry_run)
    r = begin (c, from, to, &err);
  if (r < 0) {
    int status = tool_fail (c->target, &err);

    return to->cannot_be ? STATUS_USAGE : status;
  }
  if (c->dry_run)
    return show (c, from, to, &result);
  if (work (c, from, to, &result, &err) < 0)
    return fail (c, to, &err);
  return show (c, from, to, &result);
}

int
convert_run (struct convert *c)
{
  struct convert_source from = { .img = NULL };
  struct convert_target to = CONVERT_TARGET_INIT;
  struct err err = ERR_INIT;
  int status;

  if (open_source (c, &from, &err) < 0)
    status = tool_fail (c->source, &err);
  else {
    c->create.size = block_size (from.disk);
    choose_sectors (c, &from);
    status = convert_to (c, &from, &to);
  }
  block_unref (to.disk);
  free (to.contents);
  copy_state_close (to.state);
  cleanup_close (&to.state_folder);
  new_file_close (&to.file);
  block_unref (from.disk);
  image_unref (from.img);
  return status;
}
