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
#include "tools/attached-json.h"
#include "tools/commands.h"
#include "tools/image-options.h"
#include "tools/output.h"
#include "tools/report.h"

struct detach {
  bool json;
};

static const struct option_spec detach_options[] = {
  { "json", 0, OPTION_FLAG, NULL, "print what was detached as JSON",
    offsetof (struct detach, json) },
  OPTION_END
};

static bool
is_at (const struct attachment *a, const char *source)
{
  return a->index >= 0 && strcmp (a->source, source) == 0;
}

/* "it is attached more than once, say which: /dev/nbd0, /dev/nbd1". */
static int
refuse_several (const struct attachment_vector *list, const char *source,
                struct err *err)
{
  CLEANUP_FREE char *devices = NULL;
  const char *separator = "";
  size_t i, size;
  FILE *fp = open_memstream (&devices, &size);

  if (fp == NULL)
    return err_nomem (err);
  for (i = 0; i < list->len; ++i)
    if (is_at (&list->ptr[i], source)) {
      fprintf (fp, "%s/dev/nbd%d", separator, list->ptr[i].index);
      separator = ", ";
    }
  if (fclose (fp) != 0)
    return err_nomem (err);
  return err_set (err, -EINVAL, "it is attached more than once, say which: "
                  "%s", devices);
}

/* Which device is attached to that image? */
static int
find_source (const char *name, unsigned *index, struct err *err)
{
  CLEANUP_ATTACHMENTS struct attachment_vector list = VECTOR_INIT;
  CLEANUP_FREE char *path =
    block_nbd_is_uri (name) ? connection_uri_absolute (name)
    : image_name_absolute (name);
  const char *source = path != NULL ? path : name;
  const struct attachment *found = NULL;
  size_t i;
  int r;

  r = state_list (&list, err);
  if (r < 0)
    return r;
  for (i = 0; i < list.len; ++i) {
    if (!is_at (&list.ptr[i], source))
      continue;
    if (found != NULL)
      return refuse_several (&list, source, err);
    found = &list.ptr[i];
  }
  if (found == NULL)
    return err_set (err, -ENODEV, "it is not attached");
  *index = (unsigned) found->index;
  return 0;
}

/* As `attached --json` says it, while it still can. */
static json_t *
describe (unsigned index)
{
  CLEANUP_ATTACHMENT struct attachment a = ATTACHMENT_INIT;
  bool ours = state_load (index, &a, NULL) == 0 &&
    attachment_status (&a) != ATTACHMENT_STALE;

  return attached_to_json (index, ours ? &a : NULL);
}

/* The device is added to list, unless that is NULL, when it was detached. */
static int
detach (const char *name, json_t *list, struct err *err)
{
  json_t *device = NULL;
  bool detached;
  unsigned index;
  int r;

  if (device_is_name (name))
    r = device_parse (name, &index, err);
  else
    r = find_source (name, &index, err);
  if (r < 0)
    return r;
  if (list != NULL) {
    device = describe (index);
    if (device == NULL)
      return err_nomem (err);
  }
  r = detach_device (index, &detached, err);
  if (list != NULL && detached) {
    json_object_set_new (device, "error",
                         output_json_text (r < 0 ? err->msg : NULL));
    json_array_append (list, device);
  }
  json_decref (device);
  return r;
}

static int
detach_all (const struct detach *d, char *const names[], int nr_names)
{
  json_t *list = d->json ? json_array () : NULL;
  int i, status = STATUS_DONE;

  state_reap ();
  for (i = 0; i < nr_names; ++i) {
    struct err err = ERR_INIT;

    if (detach (names[i], list, &err) < 0)
      status = tool_fail (names[i], &err);
  }
  if (d->json && output_json (list) != STATUS_DONE)
    status = STATUS_FAILED;
  return status;
}

static int
run (int argc, char *argv[])
{
  struct detach d = { .json = false };
  int first;

  command_parse (&command_detach, argc, argv, &d, &first);
  if (first == argc)
    command_usage_error (&command_detach, "expected a device or an image");
  if (geteuid () != 0) {
    tool_error ("only root can detach");
    return STATUS_FAILED;
  }
  return detach_all (&d, argv + first, argc - first);
}

const struct command command_detach = {
  .name = "detach",
  .operands = "DEVICE|IMAGE…",
  .summary = "Take attached disks off this machine",
  .options = detach_options,
  .run = run,
};
