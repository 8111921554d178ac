/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdimage info: what is in an image. */

#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "lib/block/nbd.h"
#include "tools/commands.h"
#include "tools/exports.h"
#include "tools/image-options.h"
#include "tools/info/info.h"
#include "tools/open.h"
#include "tools/output.h"
#include "tools/report.h"
#include "tools/salvage/hint.h"

/* How long the data of a disk is counted unless its picture is asked for. */
#define COUNT_SECONDS 3

struct info_command {
  struct image_option_values image;
  bool map;
  bool picture;
  bool json;
};

static const struct option_spec info_options[] = {
  { "map", 'm', OPTION_FLAG, NULL,
    "list the extents of the disk", offsetof (struct info_command, map) },
  { "picture", 'p', OPTION_FLAG, NULL,
    "draw the disk, even when not on a terminal",
    offsetof (struct info_command, picture) },
  { "json", 0, OPTION_FLAG, NULL,
    "print everything as JSON", offsetof (struct info_command, json) },
  OVERLAY_OPTION (struct info_command, image),
  IMAGE_OPTIONS (struct info_command, image),
  OPTION_END
};

/*--- an NBD server ---------------------------------------------------------*/

static int
show_exports (const char *uri, const struct export_vector *exports)
{
  for (size_t i = 0; i < exports->len; ++i) {
    const struct export *e = &exports->ptr[i];
    CLEANUP_FREE char *full = exports_uri (uri, e->name);
    char size[SIZE_STRING_SIZE];

    output_text (full ? full : e->name);
    if (e->has_size)
      printf ("  %s", size_to_string (e->size, size));
    if (e->description) {
      printf ("  ");
      output_text (e->description);
    }
    putchar ('\n');
  }
  return STATUS_DONE;
}

static json_t *
exports_to_json (const char *uri, const struct export_vector *exports)
{
  json_t *list = json_array ();

  for (size_t i = 0; i < exports->len; ++i) {
    const struct export *e = &exports->ptr[i];
    CLEANUP_FREE char *full = exports_uri (uri, e->name);

    json_array_append_new (list, json_pack ("{s:o,s:o,s:o,s:o}",
      "name", output_json_text (e->name),
      "uri", output_json_text (full),
      "description", output_json_text (e->description),
      "size", e->has_size ? json_integer ((json_int_t) e->size)
                          : json_null ()));
  }
  return json_pack ("{s:o}", "exports", list);
}

/* A URI without a name on a server with several exports: true, and they were
 * shown.  With one, *only becomes its URI.
 */
static bool
list_server (const struct info_command *c, const char *uri, char **only,
             int *status)
{
  CLEANUP_EXPORTS struct export_vector exports = VECTOR_INIT;

  if (!block_nbd_is_uri (uri) || exports_uri_has_name (uri) ||
      exports_list (uri, true, &exports, NULL) < 0)
    return false;
  if (exports.len == 1)
    *only = exports_uri (uri, exports.ptr[0].name);
  if (exports.len < 2)
    return false;
  *status = c->json ? output_json (exports_to_json (uri, &exports))
                    : show_exports (uri, &exports);
  return true;
}

/*--- an image --------------------------------------------------------------*/

/* Cells of the picture that fit, or 0 when none is wanted. */
static unsigned
picture_width (const struct info_command *c)
{
  const char *columns = getenv ("COLUMNS");
  struct winsize ws = { 0 };
  unsigned width = 80;

  if (c->json || (!c->picture && !isatty (STDOUT_FILENO)))
    return 0;
  if (ioctl (STDOUT_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 0)
    width = ws.ws_col;
  else if (columns && atoi (columns) > 0)
    width = (unsigned) atoi (columns);
  return width > 14 ? width - 4 : 10;
}

static int
show_map (const struct info_command *c, struct image *img)
{
  struct err err = ERR_INIT;
  json_t *map;

  if (!c->json)
    return info_show_map (img, &err) < 0
      ? tool_fail (image_name (img), &err) : STATUS_DONE;
  map = info_map_to_json (img, &err);
  if (map == NULL)
    return tool_fail (image_name (img), &err);
  return output_json (json_pack ("{s:o,s:o,s:o}",
    "name", output_json_text (image_name (img)),
    "size", json_integer ((json_int_t) image_size (img)), "map", map));
}

static int
show_image (const struct info_command *c, struct image *img,
            struct report *report)
{
  struct err err = ERR_INIT;
  struct info info;
  int status = STATUS_DONE;

  if (info_collect (&info, img, picture_width (c),
                    c->picture ? 0 : COUNT_SECONDS, report, &err) < 0)
    status = err.code == -EBADMSG ? STATUS_DAMAGED : STATUS_FAILED;
  if (info.img == NULL)
    return tool_fail (image_name (img), &err);
  if (c->json) {
    int r = output_json (info_to_json (&info));

    status = r == STATUS_DONE ? status : r;
  }
  else {
    info_show (&info);
    info_show_picture (&info);
  }
  tool_warnings (image_name (img), &info.report);
  info_free (&info);
  return status;
}

static int
open_and_show (const struct info_command *c, const char *name)
{
  CLEANUP_IMAGE struct image *img = NULL;
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct image_options options;
  struct err err = ERR_INIT;
  bool is_rest;
  int status;

  if (image_options_from_values (&c->image, &options, &err) < 0)
    command_usage_error (&command_info, "%s", err.msg);
  options.overlay_must_exist = true;
  if (image_options_check_folders (&c->image, &err) < 0)
    return tool_fail (NULL, &err);
  if (tool_image_open (name, &options, PROGRESS_AUTO, &img, &report,
                       &err) < 0) {
    tool_warnings (name, &report);
    status = tool_fail (name, &err);
    if (status == STATUS_DAMAGED)
      salvage_hint (name);
    return status;
  }
  is_rest = image_check_recognised (img, NULL) < 0;
  if (!c->map)
    status = show_image (c, img, &report);
  else {
    tool_warnings (name, &report);
    status = show_map (c, img);
  }
  return status == STATUS_DONE && is_rest ? STATUS_DAMAGED : status;
}

static int
run (int argc, char *argv[])
{
  CLEANUP_FREE char *only = NULL;
  struct info_command c = { .json = false };
  int first, status;

  command_parse (&command_info, argc, argv, &c, &first);
  if (argc - first != 1)
    command_usage_error (&command_info, "expected one image");
  if (list_server (&c, argv[first], &only, &status))
    return status;
  return open_and_show (&c, only ? only : argv[first]);
}

const struct command command_info = {
  .name = "info",
  .operands = "IMAGE",
  .summary = "Show what is in an image",
  .options = info_options,
  .run = run,
};
