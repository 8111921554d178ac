/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "lib/format/below.h"
#include "lib/format/image-ops.h"

/* Images over images over images. */
#define MAX_DEPTH 8

int
below_check (struct image *base, const uint8_t expected[UUID_SIZE],
             struct err *err)
{
  char expected_id[UUID_STRING_SIZE], found_id[UUID_STRING_SIZE];
  uint8_t id[UUID_SIZE];
  int r = image_identity (base, id, err);

  if (r < 0 || memcmp (id, expected, UUID_SIZE) == 0)
    return r;
  if (base->ops->tell_other != NULL) {
    r = base->ops->tell_other (base, expected, err);
    if (r < 0)
      return r;
  }
  uuid_to_string (expected, expected_id);
  uuid_to_string (id, found_id);
  return err_set (err, -ENOENT, "found %s, but its identity is %s, expected "
                  "%s", image_title (base), found_id, expected_id);
}

bool
below_never_changes (const struct image *base)
{
  return base->ops->keep_for != NULL;
}

bool
below_format_never_changes (const char *format)
{
  for (size_t i = 0; image_formats[i] != NULL; ++i)
    if (strcmp (image_formats[i]->name, format) == 0)
      return image_formats[i]->keep_for != NULL;
  return false;
}

int
below_open (struct block *block, const struct image_options *options,
            struct image **out, struct report *report, struct err *err)
{
  struct image_options below = {
    .parent_path = options->parent_path,
    .lock = options->lock,
    .depth = options->depth + 1,
  };
  int r;

  if (below.depth > MAX_DEPTH)
    return err_set (err, -ENOTSUP, "more than %d disks of different formats "
                    "lie over each other", MAX_DEPTH);
  r = image_open_block (block, &below, out, report, err);
  return r < 0 ? err_in (err, "%s", block_name (block)) : 0;
}
