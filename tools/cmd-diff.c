/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdimage diff: where one disk is another than a second one.  Of two backups
 * by their maps, without reading data; of anything else by reading both.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "lib/copy/differences.h"
#include "lib/repo/generation-diff.h"
#include "lib/repo/image-nbi.h"
#include "tools/commands.h"
#include "tools/image-options.h"
#include "tools/open.h"
#include "tools/output.h"
#include "tools/progress.h"
#include "tools/report.h"

#define UNIT 4096               /* bytes that are compared, where they are read;
                                   what file systems write at a time */
#define EXTENTS_AT_ONCE 4096

struct diff {
  struct image_option_values image;
  const char *progress;
  bool json;

  const char *names[2];
  struct image *images[2];
  struct generation *gens[2];   /* both, or NULLs */
  uint32_t unit;                /* bytes */

  struct extent_vector changed; /* EXTENT_ZERO: zeros now; EXTENT_DATA */
};

static const struct option_spec diff_options[] = {
  PROGRESS_OPTION (struct diff, progress),
  { "json", 0, OPTION_FLAG, NULL,
    "print an object as JSON", offsetof (struct diff, json) },
  IMAGE_OPTIONS (struct diff, image),
  OPTION_END
};

/*--- What differs -----------------------------------------------------------*/

static int
add (void *opaque, uint64_t off, uint64_t len, bool zero, struct err *err)
{
  struct diff *d = opaque;
  struct extent *last = d->changed.len > 0
    ? &d->changed.ptr[d->changed.len - 1] : NULL;
  const struct extent extent = {
    .off = off, .len = len, .kind = zero ? EXTENT_ZERO : EXTENT_DATA,
  };

  if (last != NULL && last->off + last->len == off &&
      last->kind == extent.kind) {
    last->len += len;
    return 0;
  }
  return vector_append (&d->changed, &extent) < 0 ? err_nomem (err) : 0;
}

static int
by_maps (struct diff *d, struct job *job, struct err *err)
{
  uint64_t off = 0, end = image_size (d->images[1]);
  int r = 0;

  job_start (job, "comparing", end);
  while (r == 0 && off < end) {
    CLEANUP_EXTENT_LIST struct extent_list list = { .limit = EXTENTS_AT_ONCE };
    uint64_t next;

    r = generation_diff_extents (d->gens[0], d->gens[1], end - off, off,
                                 &list, err);
    for (size_t i = 0; r == 0 && i < list.v.len; ++i) {
      const struct extent *e = &list.v.ptr[i];

      if (e->kind != EXTENT_UNALLOCATED)
        r = add (d, e->off, e->len, e->kind == EXTENT_ZERO, err);
    }
    next = extent_list_end (&list, off);
    if (r == 0)
      r = job_advance (job, next - off, err);
    off = next;
  }
  return r;
}

static int
by_content (struct diff *d, struct job *job, struct err *err)
{
  CLEANUP_BLOCK struct block *a = NULL, *b = NULL;
  int r = image_to_block (d->images[0], &a, err);

  if (r == 0)
    r = image_to_block (d->images[1], &b, err);
  return r < 0 ? r : copy_differences (a, b, d->unit, add, d, job, err);
}

static int
compare (struct diff *d, struct job *job, struct err *err)
{
  return d->gens[0] != NULL ? by_maps (d, job, err)
    : by_content (d, job, err);
}

/*--- The result -------------------------------------------------------------*/

/* Bytes, and how many of them are zeros now. */
static uint64_t
sum (const struct diff *d, uint64_t *zeros)
{
  uint64_t all = 0;

  *zeros = 0;
  for (size_t i = 0; i < d->changed.len; ++i) {
    const struct extent *e = &d->changed.ptr[i];

    all += e->len;
    *zeros += e->kind == EXTENT_ZERO ? e->len : 0;
  }
  return all;
}

static json_t *
extents_to_json (const struct diff *d)
{
  json_t *list = json_array ();

  for (size_t i = 0; i < d->changed.len; ++i) {
    const struct extent *e = &d->changed.ptr[i];

    json_array_append_new (list, json_pack ("{s:I,s:I,s:b}",
      "offset", (json_int_t) e->off,
      "length", (json_int_t) e->len,
      "zeros", e->kind == EXTENT_ZERO));
  }
  return list;
}

static int
show_json (const struct diff *d)
{
  uint64_t zeros, all = sum (d, &zeros);

  return output_json (json_pack (
    "{s:o,s:o,s:I,s:I,s:s,s:I,s:I,s:I,s:o}",
    "from", output_json_text (d->names[0]),
    "to", output_json_text (d->names[1]),
    "from-size", (json_int_t) image_size (d->images[0]),
    "to-size", (json_int_t) image_size (d->images[1]),
    "compared", d->gens[0] != NULL ? "maps" : "bytes",
    "unit", (json_int_t) d->unit,
    "changed", (json_int_t) all,
    "zeros", (json_int_t) zeros,
    "extents", extents_to_json (d)));
}

static void
show_extents (const struct diff *d)
{
  if (d->changed.len > 0)
    printf ("%15s  %15s  %s\n", "OFFSET", "LENGTH", "NOW");
  for (size_t i = 0; i < d->changed.len; ++i) {
    const struct extent *e = &d->changed.ptr[i];

    printf ("%15" PRIu64 "  %15" PRIu64 "  %s\n", e->off, e->len,
            e->kind == EXTENT_ZERO ? "zeros" : "data");
  }
}

static int
show_text (const struct diff *d)
{
  uint64_t from = image_size (d->images[0]), to = image_size (d->images[1]);
  char changed[SIZE_STRING_SIZE], zeros[SIZE_STRING_SIZE];
  char a[SIZE_STRING_SIZE], b[SIZE_STRING_SIZE];
  uint64_t now_zeros, all = sum (d, &now_zeros);

  show_extents (d);
  printf ("%s of %s changed, %s of it to zeros, in %zu place%s (%s, in units "
          "of %" PRIu32 " bytes)\n", size_to_string (all, changed),
          size_to_string (to, b), size_to_string (now_zeros, zeros),
          d->changed.len, d->changed.len == 1 ? "" : "s",
          d->gens[0] != NULL ? "by their maps" : "both were read", d->unit);
  if (from != to)
    printf ("The size changed from %s (%" PRIu64 " bytes) to %s (%" PRIu64
            ").\n", size_to_string (from, a), from, b, to);
  return output_finish ();
}

/*--- All of it --------------------------------------------------------------*/

static int
open_both (struct diff *d, enum progress_mode mode)
{
  struct image_options options;
  struct err err = ERR_INIT;
  bool plain = false;

  if (image_options_from_values (&d->image, &options, &err) < 0)
    command_usage_error (&command_diff, "%s", err.msg);
  if (image_options_check_folders (&d->image, &err) < 0)
    return tool_fail (NULL, &err);
  for (int i = 0; i < 2; ++i) {
    CLEANUP_REPORT struct report report = REPORT_INIT;

    if (tool_image_open_of_two (d->names[i], &options, mode, &d->images[i],
                                &plain, &report, &err) < 0)
      return tool_fail (d->names[i], &err);
    tool_warnings (d->names[i], &report);
    d->gens[i] = nbi_image_generation (d->images[i]);
  }
  if (tool_images_check_key (d->images[0], d->images[1], plain, &err) < 0)
    return tool_fail (NULL, &err);
  d->unit = UNIT;
  if (d->gens[0] == NULL || d->gens[1] == NULL ||
      generation_diff_check (d->gens[0], d->gens[1], NULL) < 0)
    d->gens[0] = d->gens[1] = NULL;
  else
    d->unit = generation_header (d->gens[1])->chunk_size;
  return STATUS_DONE;
}

static int
diff (struct diff *d, enum progress_mode mode)
{
  struct progress *progress = NULL;
  struct job job = JOB_INIT;
  struct err err = ERR_INIT;
  int status = open_both (d, mode), r;

  if (status != STATUS_DONE)
    return status;
  r = progress_start (&job, mode, d->names[1], &progress, &err);
  if (r == 0)
    r = compare (d, &job, &err);
  progress_stop (progress);
  if (r < 0)
    return tool_fail (NULL, &err);
  return d->json ? show_json (d) : show_text (d);
}

static int
run (int argc, char *argv[])
{
  struct diff d = { .json = false };
  enum progress_mode mode;
  struct err err = ERR_INIT;
  int first, status;

  command_parse (&command_diff, argc, argv, &d, &first);
  if (argc - first != 2)
    command_usage_error (&command_diff, "expected two images");
  if (progress_mode_parse (d.progress, &mode, &err) < 0)
    command_usage_error (&command_diff, "%s", err.msg);
  d.names[0] = argv[first];
  d.names[1] = argv[first + 1];
  status = diff (&d, mode);
  vector_free (&d.changed);
  image_unref (d.images[0]);
  image_unref (d.images[1]);
  return status;
}

const struct command command_diff = {
  .name = "diff",
  .operands = "IMAGE IMAGE",
  .summary = "Show where a disk changed",
  .options = diff_options,
  .run = run,
};
