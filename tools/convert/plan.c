/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/size.h"
#include "lib/block/nbd.h"
#include "tools/ask.h"
#include "tools/change/change.h"
#include "tools/convert/convert.h"
#include "tools/output.h"
#include "tools/report.h"

/*--- The plan ---------------------------------------------------------------*/

static void
show_export (const struct change_options *o, const struct convert_source *from,
             const struct convert_target *to)
{
  uint64_t size = block_size (from->disk);
  char str[SIZE_STRING_SIZE];

  change_say (o, "Holds", "%s", to->contents ? to->contents
              : "nothing, says its server");
  change_say (o, "Overwritten", "its first %s (%" PRIu64 " bytes)",
              size_to_string (size, str), size);
  if (to->start > 0)
    change_say (o, "Going on", "behind the first %s (%" PRIu64 " bytes), which "
                "are there", size_to_string (to->start, str), to->start);
  if (to->size > size)
    change_say (o, "Kept", "the %" PRIu64 " bytes behind that",
                to->size - size);
}

void
convert_show_plan (const struct convert *c, const struct convert_source *from,
                   const struct convert_target *to)
{
  const struct change_options o = { .name = c->target, .json = c->json };
  char source[SIZE_STRING_SIZE], target[SIZE_STRING_SIZE];

  change_say_name (&o);
  change_say (&o, "Disk of", "%s: %s, %s (%" PRIu64 " bytes)", c->source,
              image_format (from->img),
              size_to_string (block_size (from->disk), source),
              block_size (from->disk));
  if (block_nbd_is_uri (c->target)) {
    change_say (&o, "Target", "NBD export, %s (%" PRIu64 " bytes)",
                size_to_string (to->size, target), to->size);
    show_export (&o, from, to);
  }
  else
    change_say (&o, "New file", "%s%s, %s (%" PRIu64 " bytes)", c->format,
                c->create.kind == IMAGE_FIXED || c->azure ? ", fixed" : "",
                size_to_string (to->size, target), to->size);
  fflush (stdout);
}

/*--- Agreeing to it ---------------------------------------------------------*/

static int
confirm_empty (const struct convert *c, struct err *err)
{
  if (c->yes)
    return 0;
  if (!ask_is_possible ())
    return err_set (err, -EPERM, "nothing was written; --yes agrees to that");
  if (ask_yes ("Write to it?  [y/N] "))
    return 0;
  return err_set (err, -ECANCELED, "nothing was written");
}

static int
confirm_loss (const struct convert *c, const struct convert_target *to,
              struct err *err)
{
  char answer[40];
  uint64_t size;

  if (c->yes || !ask_is_possible ())
    return err_set (err, -EPERM, "nothing was written; it holds %s, and what "
                    "agrees to losing that is its size: --confirm=%" PRIu64,
                    to->contents, to->size);
  if (ask_line ("What it holds is lost.  Type its size to overwrite it: ",
                answer, sizeof answer) &&
      size_parse (answer, &size, NULL) == 0 && size == to->size)
    return 0;
  return err_set (err, -ECANCELED, "nothing was written");
}

int
convert_confirm (const struct convert *c, const struct convert_target *to,
                 struct err *err)
{
  if (c->confirm == to->size)
    return 0;
  if (c->confirm != CONVERT_NO_SIZE)
    return err_set (err, -EPERM, "nothing was written; its size is %" PRIu64
                    " bytes, and not %" PRIu64 " as --confirm says",
                    to->size, c->confirm);
  /* What it holds is what this command has written: samples have shown it. */
  if (to->contents == NULL || to->start > 0)
    return confirm_empty (c, err);
  return confirm_loss (c, to, err);
}
