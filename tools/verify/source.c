/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>

#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "lib/repo/image-nbi.h"
#include "tools/open.h"
#include "tools/output.h"
#include "tools/verify/verify-tool.h"

int
verify_source_open (struct verify_command *v, bool *plain,
                    struct report *report, struct err *err)
{
  const struct image_options options = { .format = v->source_format };
  int r = tool_image_open_of_two (v->source_name, &options, v->mode,
                                  &v->source, plain, report, err);

  return r < 0 ? err_in (err, "--source: %s", v->source_name)
    : tool_images_check_key (v->image, v->source, *plain, err);
}

int
verify_source_compare (struct verify_command *v, unsigned threads,
                       struct err *err)
{
  CLEANUP_BLOCK struct block *block = NULL;
  int r = image_to_block (v->source, &block, err);

  if (r == 0)
    r = verify_source (nbi_image_generation (v->image), block, threads,
                       v->job, &v->compared, err);
  return r < 0 ? err_in (err, "--source: %s", v->source_name) : 0;
}

static bool
has_same_size (const struct verify_command *v)
{
  return image_size (v->source) == image_size (v->image);
}

bool
verify_source_is_same (const struct verify_command *v)
{
  return v->compared.differing == 0 && v->compared.unknown == 0 &&
    has_same_size (v);
}

/*--- What is said of it -----------------------------------------------------*/

json_t *
verify_source_json (const struct verify_command *v)
{
  const struct verify_source *c = &v->compared;
  json_t *extents;

  if (v->source == NULL)
    return json_null ();
  extents = json_array ();
  for (size_t i = 0; i < c->extents.len; ++i)
    json_array_append_new (extents, json_pack ("{s:I,s:I}",
      "offset", (json_int_t) c->extents.ptr[i].off,
      "length", (json_int_t) c->extents.ptr[i].len));
  return json_pack ("{s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:b,s:o}",
    "name", output_json_text (v->source_name),
    "size", (json_int_t) image_size (v->source),
    "compared", (json_int_t) c->compared,
    "not-saved", (json_int_t) c->not_saved,
    "unreadable", (json_int_t) c->unreadable,
    "unknown", (json_int_t) c->unknown,
    "differing", (json_int_t) c->differing,
    "same", verify_source_is_same (v),
    "more", c->more,
    "extents", extents);
}

static void
show_extents (const struct verify_source *c)
{
  if (c->extents.len > 0)
    printf ("%15s  %15s\n", "OFFSET", "LENGTH");
  for (size_t i = 0; i < c->extents.len; ++i)
    printf ("%15" PRIu64 "  %15" PRIu64 "\n", c->extents.ptr[i].off,
            c->extents.ptr[i].len);
  if (c->more)
    printf ("%15s  %15s\n", "...", "...");
}

static void
show_rest (const char *what, uint64_t bytes)
{
  char size[SIZE_STRING_SIZE];

  if (bytes > 0)
    printf ("; %s %s", size_to_string (bytes, size), what);
}

void
verify_source_show (const struct verify_command *v)
{
  const struct verify_source *c = &v->compared;
  char compared[SIZE_STRING_SIZE], differing[SIZE_STRING_SIZE];

  show_extents (c);
  output_text (v->source_name);
  printf (": %s of %s compared ", c->differing > 0
          ? size_to_string (c->differing, differing) : "nothing",
          size_to_string (c->compared, compared));
  printf (c->differing > 0 ? "differs from what was saved"
          : "differs");
  show_rest ("were not saved", c->not_saved);
  show_rest ("could not be read when it was saved", c->unreadable);
  show_rest ("can't be told, as the backup is damaged", c->unknown);
  if (!has_same_size (v))
    printf ("; it has %" PRIu64 " bytes, the backup %" PRIu64,
            image_size (v->source), image_size (v->image));
  putchar ('\n');
}
