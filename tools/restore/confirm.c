/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/size.h"
#include "tools/ask.h"
#include "tools/restore/restore-tool.h"

/* Is that its serial number, or its size if it has none? */
static bool
names_it (const struct restore_command *c, const char *text)
{
  const char *serial = c->to.device.serial;
  uint64_t size;

  if (serial != NULL)
    return strcmp (text, serial) == 0;
  return size_parse (text, &size, NULL) == 0 && size == c->to.size;
}

/* "its serial number: --confirm=S123" */
static int
refuse (const struct restore_command *c, int code, const char *why,
        struct err *err)
{
  if (c->to.device.serial != NULL)
    return err_set (err, code, "nothing was written; %s its serial number: "
                    "--confirm='%s'", why, c->to.device.serial);
  return err_set (err, code, "nothing was written; %s its size: --confirm=%"
                  PRIu64, why, c->to.size);
}

static int
confirm_empty (const struct restore_command *c, struct err *err)
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
confirm_loss (const struct restore_command *c, struct err *err)
{
  char answer[300];

  if (c->yes || !ask_is_possible ())
    return refuse (c, -EPERM, c->to.has_children
                   ? "others are differencing over it, and what agrees to "
                     "losing them is"
                   : "it holds data, and what agrees to losing that is", err);
  if (ask_line (c->to.device.serial ? "What it holds is lost.  Type its serial "
                "number to overwrite it: "
                : "What it holds is lost.  Type its size to overwrite it: ",
                answer, sizeof answer) && names_it (c, answer))
    return 0;
  return err_set (err, -ECANCELED, "nothing was written");
}

int
restore_confirm (const struct restore_command *c, struct err *err)
{
  if (c->to.kind == RESTORE_NEW)
    return 0;                   /* nothing is lost */
  if (c->confirm && names_it (c, c->confirm))
    return 0;
  if (c->confirm)
    return refuse (c, -EPERM, "--confirm is not", err);
  return c->to.contents.is_empty && !c->to.has_children
    ? confirm_empty (c, err) : confirm_loss (c, err);
}
