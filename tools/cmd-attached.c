/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdimage attached: the NBD devices of this machine, whoever connected
 * them.
 */

#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/size.h"
#include "tools/attach/device.h"
#include "tools/attach/process.h"
#include "tools/attach/state.h"
#include "tools/attached-json.h"
#include "tools/commands.h"
#include "tools/output.h"
#include "tools/report.h"

struct attached {
  bool json;
};

static const struct option_spec attached_options[] = {
  { "json", 0, OPTION_FLAG, NULL, "print a list as JSON",
    offsetof (struct attached, json) },
  OPTION_END
};

#define SINCE_SIZE 32

static const char *
since_to_string (int64_t since, char str[SINCE_SIZE])
{
  time_t t = (time_t) since;
  struct tm tm;

  if (gmtime_r (&t, &tm) == NULL ||
      strftime (str, SINCE_SIZE, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
    strcpy (str, "-");
  return str;
}

/* NULL: not ours. */
static const struct attachment *
find_attachment (const struct attachment_vector *list, unsigned index)
{
  size_t i;

  for (i = 0; i < list->len; ++i)
    if (list->ptr[i].index == (int) index &&
        attachment_status (&list->ptr[i]) != ATTACHMENT_STALE)
      return &list->ptr[i];
  return NULL;
}

static void
show_device (unsigned index, const struct attachment *a)
{
  char path[DEVICE_PATH_SIZE], size[SIZE_STRING_SIZE], since[SINCE_SIZE];
  char connections[16] = "-";

  device_path (index, path);
  if (a != NULL)
    snprintf (connections, sizeof connections, "%u", a->connections);
  printf ("%-11s  %9s  %11s  %-10s  %-12s  %-23s  ", path,
          size_to_string (device_size (index), size), connections,
          device_read_only (index) ? "read-only" : "writable",
          attached_state (a),
          a == NULL ? "-" : since_to_string (a->since, since));
  output_text (a == NULL ? "-" : a->source);
  if (a != NULL && a->dead != NULL) {
    printf (" (");
    output_text (a->dead);
    putchar (')');
  }
  putchar ('\n');
}

static void
show (const struct device_indexes *devices,
      const struct attachment_vector *list)
{
  size_t i;

  if (devices->len == 0) {
    if (isatty (STDOUT_FILENO))
      tool_note ("nothing is attached");
    return;
  }
  printf ("%-11s  %9s  %11s  %-10s  %-12s  %-23s  %s\n", "DEVICE", "SIZE",
          "CONNECTIONS", "MODE", "STATE", "SINCE", "SOURCE");
  for (i = 0; i < devices->len; ++i)
    show_device (devices->ptr[i], find_attachment (list, devices->ptr[i]));
}

static int
show_json (const struct device_indexes *devices,
           const struct attachment_vector *list)
{
  json_t *array = json_array ();
  size_t i;

  for (i = 0; i < devices->len; ++i)
    json_array_append_new (array,
      attached_to_json (devices->ptr[i],
                        find_attachment (list, devices->ptr[i])));
  return output_json (array);
}

static int
run (int argc, char *argv[])
{
  CLEANUP_ATTACHMENTS struct attachment_vector list = VECTOR_INIT;
  struct device_indexes devices = VECTOR_INIT;
  struct attached a = { false };
  struct err err = ERR_INIT;
  int first, r, status = STATUS_DONE;

  command_parse (&command_attached, argc, argv, &a, &first);
  if (first < argc)
    command_usage_error (&command_attached, "expected nothing but options");
  if (geteuid () == 0)
    state_reap ();
  r = device_list_connected (&devices, &err);
  if (r == 0) {
    r = state_list (&list, &err);
    if (r == -EACCES) {
      tool_warning ("only root can see what the devices are attached to");
      r = 0;
    }
  }
  if (r < 0)
    status = tool_fail (NULL, &err);
  else if (a.json)
    status = show_json (&devices, &list);
  else
    show (&devices, &list);
  vector_free (&devices);
  return status;
}

const struct command command_attached = {
  .name = "attached",
  .operands = "",
  .summary = "List the disks that are attached",
  .options = attached_options,
  .run = run,
};
