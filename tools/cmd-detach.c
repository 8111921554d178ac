/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdimage detach: take devices off, by device or by what is attached. */

#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/block/nbd.h"
#include "tools/attach/connect.h"
#include "tools/attach/detach.h"
#include "tools/attach/device.h"
#include "tools/attach/state.h"
#include "tools/commands.h"
#include "tools/report.h"

static const struct option_spec detach_options[] = {
  OPTION_END
};

/* Which device is attached to that image? */
static int
find_source (const char *name, unsigned *index, struct err *err)
{
  CLEANUP_ATTACHMENTS struct attachment_vector list = VECTOR_INIT;
  CLEANUP_FREE char *path =
    block_nbd_is_uri (name) ? connection_uri_absolute (name)
    : realpath (name, NULL);
  const struct attachment *found = NULL;
  size_t i;
  int r;

  r = state_list (&list, err);
  if (r < 0)
    return r;
  for (i = 0; i < list.len; ++i) {
    const struct attachment *a = &list.ptr[i];

    if (a->index < 0 ||
        strcmp (a->source, path != NULL ? path : name) != 0)
      continue;
    if (found != NULL)
      return err_set (err, -EINVAL, "it is attached more than once, as "
                      "/dev/nbd%d and /dev/nbd%d: say which", found->index,
                      a->index);
    found = a;
  }
  if (found == NULL)
    return err_set (err, -ENODEV, "it is not attached");
  *index = (unsigned) found->index;
  return 0;
}

static int
detach (const char *name, struct err *err)
{
  unsigned index;
  int r;

  if (device_is_name (name))
    r = device_parse (name, &index, err);
  else
    r = find_source (name, &index, err);
  return r < 0 ? r : detach_device (index, err);
}

static int
run (int argc, char *argv[])
{
  char no_values;
  int first, i, status = STATUS_DONE;

  command_parse (&command_detach, argc, argv, &no_values, &first);
  if (first == argc)
    command_usage_error (&command_detach, "expected a device or an image");
  if (geteuid () != 0) {
    tool_error ("only root can detach");
    return STATUS_FAILED;
  }
  state_reap ();
  for (i = first; i < argc; ++i) {
    struct err err = ERR_INIT;

    if (detach (argv[i], &err) < 0)
      status = tool_fail (argv[i], &err);
  }
  return status;
}

const struct command command_detach = {
  .name = "detach",
  .operands = "DEVICE|IMAGE…",
  .summary = "Take attached disks off this machine",
  .options = detach_options,
  .run = run,
};
