/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include "tools/attach/device.h"
#include "tools/attached-json.h"
#include "tools/output.h"

const char *
attached_state (const struct attachment *a)
{
  return a == NULL ? "foreign"
    : attachment_status_to_string (attachment_status (a));
}

json_t *
attached_to_json (unsigned index, const struct attachment *a)
{
  char path[DEVICE_PATH_SIZE];

  device_path (index, path);
  return json_pack ("{s:s,s:o,s:o,s:I,s:o,s:b,s:s,s:o,s:o,s:o}",
    "device", path,
    "source", output_json_text (a == NULL ? NULL : a->source),
    "uri", output_json_text (a == NULL ? NULL : a->uri),
    "size", (json_int_t) device_size (index),
    "connections", a == NULL ? json_null ()
                   : json_integer (a->connections),
    "read-only", device_read_only (index),
    "state", attached_state (a),
    "since", a == NULL ? json_null () : output_json_time (a->since),
    "timeout", a == NULL ? json_null () : json_integer (a->timeout),
    "reason", output_json_text (a == NULL ? NULL : a->dead));
}
