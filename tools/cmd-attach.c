/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdimage attach: an image or an export as /dev/nbdX.
 *
 * A local image is served by an nbdkit of its own on a Unix socket; from
 * there on it is the same as for the URI of an export.  The image is opened
 * here once before, which gives the same sentences and exit status as the
 * other commands.
 */

#include <config.h>

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "lib/block/nbd.h"
#include "tools/attach/connect.h"
#include "tools/attach/device.h"
#include "tools/attach/holders.h"
#include "tools/attach/netlink.h"
#include "tools/attach/partitions.h"
#include "tools/attach/process.h"
#include "tools/attach/state.h"
#include "tools/attach/supervisor.h"
#include "tools/attach/watch.h"
#include "tools/commands.h"
#include "tools/exports.h"
#include "tools/image-options.h"
#include "tools/keys.h"
#include "tools/nbdfuse-hint.h"
#include "tools/open.h"
#include "tools/open.h"
#include "tools/output.h"
#include "tools/report.h"

/* Milliseconds.  Each read of the disk has the bound of --timeout, and it
 * takes many.
 */
#define WAIT_MODPROBE 20000
#define WAIT_DISK 86400000
#define WAIT_IMAGE 60000

#define MODULE_FOLDER "/sys/module/nbd"

#define CONNECTIONS_UNSAID UINT_MAX

struct attach {
  struct image_option_values image;
  unsigned connections;         /* 0: as many as is good */
  unsigned timeout;
  bool write;
  bool json;

  const char *name;             /* as typed */
  int index;                    /* -1: any */
  char *source;                 /* URI, or absolute path; owned */
  char *parent_path;            /* --parent-path made absolute; owned */
  char *overlay;                /* --overlay, the same */
  bool private_server;
};

static const struct option_spec attach_options[] = {
  { "write", 'w', OPTION_FLAG, NULL,
    "the device can be written to, which changes the image",
    offsetof (struct attach, write) },
  OVERLAY_OPTION (struct attach, image),
  { "connections", 'c', OPTION_UNSIGNED, "N",
    "connections to the server [up to 4, as it allows]",
    offsetof (struct attach, connections) },
  { "timeout", 't', OPTION_SECONDS, "SECONDS",
    "when the server is gone, all I/O fails within this time [30]",
    offsetof (struct attach, timeout) },
  IMAGE_OPTIONS (struct attach, image),
  { "json", 0, OPTION_FLAG, NULL,
    "print device and partitions as JSON", offsetof (struct attach, json) },
  OPTION_END
};

static volatile bool interrupted;

/*--- parse and check -------------------------------------------------------*/

static void
parse (struct attach *a, int argc, char *argv[])
{
  struct image_options options;
  struct err err = ERR_INIT;
  unsigned index;
  int first;

  keys_never_ask ();
  command_parse (&command_attach, argc, argv, a, &first);
  if (argc - first < 1)
    command_usage_error (&command_attach, "expected an image");
  if (argc - first > 2)
    command_usage_error (&command_attach, "expected one image and perhaps "
                         "a device");
  a->name = argv[first];
  if (argc - first == 2) {
    if (device_parse (argv[first + 1], &index, &err) < 0)
      command_usage_error (&command_attach, "%s", err.msg);
    a->index = (int) index;
  }
  if (image_options_from_values (&a->image, &options, &err) < 0)
    command_usage_error (&command_attach, "%s", err.msg);
  if (a->image.overlay)
    a->write = true;
  if (a->connections == CONNECTIONS_UNSAID)
    a->connections = 0;
  else if (a->connections == 0 || a->connections > CONNECT_MAX_CONNECTIONS)
    command_usage_error (&command_attach, "--connections: expected 1 to %d",
                         CONNECT_MAX_CONNECTIONS);
  if (a->timeout < WATCH_MIN_TIMEOUT || a->timeout > WATCH_MAX_TIMEOUT)
    command_usage_error (&command_attach, "--timeout: expected %u to %u "
                         "seconds", WATCH_MIN_TIMEOUT, WATCH_MAX_TIMEOUT);
}

static int
check_device (const struct attach *a, struct err *err)
{
  CLEANUP_ATTACHMENT struct attachment state = ATTACHMENT_INIT;
  CLEANUP_HOLDERS struct holder_vector holders = VECTOR_INIT;
  unsigned index = (unsigned) a->index;
  char name[64];
  pid_t pid;

  if (a->index < 0)
    return 0;
  pid = device_pid (index);
  if (pid == 0) {
    /* A device that is not there yet has no holders. */
    if (holders_find_settled (index, 0, &holders, NULL) == 0 &&
        holders.len > 0)
      return holders_refuse (&holders, err);
    return 0;
  }
  if (state_load (index, &state, NULL) == 0 &&
      attachment_status (&state) != ATTACHMENT_STALE)
    return err_set (err, -EBUSY, "/dev/nbd%u is already attached to %s",
                    index, state.source);
  process_name (pid, name, sizeof name);
  return err_set (err, -EBUSY, "/dev/nbd%u is already connected, by process "
                  "%d%s%s%s", index, (int) pid, name[0] ? " (" : "", name,
                  name[0] ? ")" : ", which has ended");
}

static bool
has_image_options (const struct image_option_values *image)
{
  return image->format != NULL || image->parent_path != NULL ||
    image->size != NULL || image->overlay != NULL || image->ignore_checksums;
}

/* "a:b" → "/here/a:/here/b", because the server runs in another folder. */
static int
absolute_folders (const char *folders, char **out, struct err *err)
{
  CLEANUP_FREE char *copy = strdup (folders);
  CLEANUP_FREE char *list = strdup ("");
  char *folder, *rest = copy;

  if (copy == NULL || list == NULL)
    return err_nomem (err);
  while ((folder = strsep (&rest, ":")) != NULL) {
    CLEANUP_FREE char *path = realpath (folder, NULL);
    char *longer;

    if (path == NULL)
      return err_sys (err, "--parent-path: %s", folder);
    if (asprintf (&longer, "%s%s%s", list, *list ? ":" : "", path) < 0)
      return err_nomem (err);
    free (list);
    list = longer;
  }
  *out = steal_ptr (&list);
  return 0;
}

static int
check_image (struct attach *a, struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;
  CLEANUP_REPORT struct report report = REPORT_INIT;
  bool is_uri = block_nbd_is_uri (a->name);
  struct image_options options;
  int r;

  if (connection_uri_is_tls (a->name))
    return err_set (err, -ENOTSUP, "the kernel's NBD client does not speak "
                    "TLS");
  a->source = is_uri ? connection_uri_absolute (a->name)
    : image_name_absolute (a->name);
  if (a->source == NULL)
    return err_set (err, -errno, "%s", strerror (errno));
  if (a->image.parent_path != NULL) {
    r = absolute_folders (a->image.parent_path, &a->parent_path, err);
    if (r < 0)
      return r;
    a->image.parent_path = a->parent_path;
  }
  if (a->image.overlay != NULL) {
    r = overlay_make_absolute (a->image.overlay, &a->overlay, err);
    if (r < 0)
      return r;
    a->image.overlay = a->overlay;
  }
  r = image_options_from_values (&a->image, &options, err);
  if (r < 0)
    return r;
  options.writable = a->write;
  options.lock = true;          /* as the server will: it says why not */
  r = image_open (a->name, &options, &img, &report, err);
  tool_warnings (a->name, &report);
  if (r < 0) {
    exports_explain (a->name, err);
    return r;
  }
  a->private_server = !is_uri || has_image_options (&a->image) ||
    !image_is_plain (img);
  return 0;
}

/* The image may be on a server that does not answer, where neither Ctrl-C
 * nor an end of waiting would reach.
 */
struct check {
  struct attach a;
  struct err err;
  int r;
};

static void
check_in_thread (void *opaque)
{
  struct check *check = opaque;

  check->r = check_image (&check->a, &check->err);
}

/* A compressed image is read once as a whole, which may take longer than the
 * rest may, and is shown.
 */
static int
prepare_image (const struct attach *a, struct err *err)
{
  struct image_options options;
  int r = image_options_from_values (&a->image, &options, err);

  return r < 0 ? r : tool_image_prepare (a->name, &options, PROGRESS_AUTO,
                                         err);
}

static int
check_image_bounded (struct attach *a, struct err *err)
{
  struct check *check = calloc (1, sizeof *check);
  int r;

  if (check == NULL)
    return err_nomem (err);
  check->a = *a;
  if (!process_bounded (check_in_thread, check, WAIT_IMAGE, &interrupted))
    return interrupted ? err_set (err, -EINTR, "interrupted")
      : err_set (err, -ETIMEDOUT, "it could not be looked at in %d seconds",
                 WAIT_IMAGE / 1000);
  *a = check->a;
  r = check->r;
  if (r < 0)
    *err = check->err;
  free (check);
  return r;
}

/*--- the kernel ------------------------------------------------------------*/

static int
load_module (struct err *err)
{
  static const char *const argv[] = { "modprobe", "nbd", NULL };
  /* Where $PATH is that of a user (su without a dash). */
  static const char *const sbin_argv[] = { "/sbin/modprobe", "nbd", NULL };
  int r = process_run (argv, WAIT_MODPROBE, err);

  if (r == -ENOENT)
    r = process_run (sbin_argv, WAIT_MODPROBE, err);
  return r < 0 ? err_in (err, "the kernel has no NBD client, and its module "
                         "nbd could not be loaded") : 0;
}

/* Load the module if need be. */
static int
kernel_prepare (struct err *err)
{
  int r;

  if (access (MODULE_FOLDER, F_OK) < 0) {
    r = load_module (err);
    if (r < 0)
      return r;
    if (access (MODULE_FOLDER, F_OK) == 0)
      tool_note ("the kernel's module nbd was not loaded; it is now");
  }
  return netlink_available (err);
}

static void
offer_nbdfuse (const struct attach *a)
{
  nbdfuse_hint (a->name, &a->image, a->write);
}

/*--- what is there now -----------------------------------------------------*/

static void
show_partition (unsigned index, const struct disk_partition *p)
{
  char path[DEVICE_PATH_SIZE], size[SIZE_STRING_SIZE];

  if (p->number == 0)
    device_path (index, path);
  else
    device_partition_path (index, p->number, path);
  printf ("%-12s  %9s", path, size_to_string (p->len, size));
  if (p->type != NULL) {
    printf ("  ");
    output_text (p->type_name != NULL ? p->type_name : p->type);
  }
  if (p->fs.type != NULL) {
    printf ("  ");
    output_text (p->fs.type);
  }
  if (p->fs.label != NULL) {
    printf (" ‘");
    output_text (p->fs.label);
    printf ("’");
  }
}

static int
show (unsigned index, const struct disk_partition_vector *list)
{
  size_t i;

  for (i = 0; i < list->len; ++i) {
    show_partition (index, &list->ptr[i]);
    if (list->ptr[i].number == 0)
      printf ("  %s", device_read_only (index) ? "read-only" : "writable");
    putchar ('\n');
  }
  return STATUS_DONE;
}

/* The keys are those of `info --json`. */
static json_t *
fs_to_json (const struct fs_identity *fs)
{
  if (fs->type == NULL && fs->usage == NULL)
    return json_null ();
  return json_pack ("{s:o,s:o,s:o,s:o,s:o}",
                    "type", output_json_text (fs->type),
                    "usage", output_json_text (fs->usage),
                    "label", output_json_text (fs->label),
                    "uuid", output_json_text (fs->uuid),
                    "version", output_json_text (fs->version));
}

static json_t *
partition_to_json (unsigned index, const struct disk_partition *p)
{
  char path[DEVICE_PATH_SIZE];

  device_partition_path (index, p->number, path);
  return json_pack ("{s:s,s:i,s:I,s:I,s:o,s:o,s:o,s:o,s:o}",
                    "device", path, "number", (int) p->number,
                    "offset", (json_int_t) p->off,
                    "length", (json_int_t) p->len,
                    "type", output_json_text (p->type),
                    "type-name", output_json_text (p->type_name),
                    "name", output_json_text (p->name),
                    "uuid", output_json_text (p->uuid),
                    "file-system", fs_to_json (&p->fs));
}

static int
show_json (const struct attach *a, unsigned index,
           const struct disk_partition_vector *list)
{
  CLEANUP_ATTACHMENT struct attachment state = ATTACHMENT_INIT;
  json_t *partitions = json_array ();
  char path[DEVICE_PATH_SIZE];
  size_t i;

  for (i = 1; i < list->len; ++i)
    json_array_append_new (partitions,
                           partition_to_json (index, &list->ptr[i]));
  state_load (index, &state, NULL);
  device_path (index, path);
  return output_json (json_pack (
    "{s:s,s:o,s:I,s:I,s:I,s:b,s:i,s:o,s:o}",
    "device", path, "source", output_json_text (a->source),
    "size", (json_int_t) device_size (index),
    "sector-size",
    (json_int_t) device_number (index, "queue/logical_block_size", 512),
    "connections", (json_int_t) state.connections,
    "read-only", device_read_only (index),
    "timeout", (int) a->timeout,
    "file-system", fs_to_json (&list->ptr[0].fs),
    "partitions", partitions));
}

/*--- run -------------------------------------------------------------------*/

static void
on_signal (int signal_number)
{
  (void) signal_number;
  interrupted = true;
}

/* Not restarted: a wait ends, and what was begun is undone. */
static void
catch_signals (void)
{
  struct sigaction action = { .sa_handler = on_signal };

  sigemptyset (&action.sa_mask);
  sigaction (SIGINT, &action, NULL);
  sigaction (SIGTERM, &action, NULL);
  sigaction (SIGHUP, &action, NULL);
}

/* Looking at a disk whose server is slow or gone waits in the kernel, where
 * Ctrl-C does not reach; so a thread does it.
 */
struct look {
  unsigned index;
  struct disk_partition_vector list;
  struct report report;
  struct err err;
  int r;
};

static void
look_at_partitions (void *opaque)
{
  struct look *look = opaque;

  look->r = partitions_wait (look->index, &interrupted, &look->list,
                             &look->report, &look->err);
}

static int
show_all (const struct attach *a, unsigned index, struct err *err)
{
  static struct look look = { .list = VECTOR_INIT, .report = REPORT_INIT };

  look.index = index;
  if (!process_bounded (look_at_partitions, &look, WAIT_DISK, &interrupted))
    return interrupted ? err_set (err, -EINTR, "interrupted")
      : err_set (err, -ETIMEDOUT, "the disk could not be looked at in time");
  tool_warnings (a->name, &look.report);
  if (look.r == 0) {
    if (a->json)
      show_json (a, index, &look.list);
    else
      show (index, &look.list);
  }
  else
    *err = look.err;
  disk_partition_vector_free (&look.list);
  if (look.r == 0 && output_finish () != STATUS_DONE)
    return err_set (err, -EIO, "it was detached again");
  if (look.r == 0 && interrupted)
    return err_set (err, -EINTR, "interrupted");
  return look.r;
}

/* The supervisor keeps the device only when all of it was shown. */
static int
attach (const struct attach *a, const struct image_parameters *parameters,
        struct err *err)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct supervisor_request request = {
    .index = a->index,
    .source = a->source,
    .private_server = a->private_server,
    .parameters = (const char *const *) parameters->strings,
    .connections = a->connections,
    .timeout = a->timeout,
    .writable = a->write,
  };
  struct supervisor_link link;
  unsigned index;
  int r;

  r = supervisor_start (&request, &link, &index, &report, err);
  tool_warnings (a->name, &report);
  if (r < 0)
    return r;
  r = show_all (a, index, err);
  if (r == 0)
    r = supervisor_keep (&link, err);
  if (r < 0)
    supervisor_abandon (&link);
  return r;
}

/* Nothing of this machine changes before these are done. */
static int
check (struct attach *a, struct err *err)
{
  int r;

  state_reap ();
  r = check_device (a, err);
  if (r == 0)
    r = prepare_image (a, err);
  return r == 0 ? check_image_bounded (a, err) : r;
}

static int
check_and_attach (struct attach *a)
{
  CLEANUP_IMAGE_PARAMETERS struct image_parameters parameters = { { NULL } };
  struct err err = ERR_INIT;
  int r = 0, status;

  /* An overlay would be made for nothing where the kernel can't attach it. */
  if (a->image.overlay)
    r = kernel_prepare (&err);
  if (r < 0) {
    status = tool_fail (NULL, &err);
    offer_nbdfuse (a);
    return status;
  }
  r = check (a, &err);
  if (r == 0 && kernel_prepare (&err) < 0) {
    status = tool_fail (NULL, &err);
    offer_nbdfuse (a);
    return status;
  }
  if (r == 0)
    r = image_parameters_new (&a->image, &parameters, &err);
  if (r == 0)
    r = attach (a, &parameters, &err);
  if (r == 0)
    return STATUS_DONE;
  status = tool_fail (a->name, &err);
  if (r == -ENOTSUP && connection_uri_is_tls (a->name))
    offer_nbdfuse (a);
  return status;
}

static int
run (int argc, char *argv[])
{
  struct attach a = { .connections = CONNECTIONS_UNSAID,
                      .timeout = WATCH_DEFAULT_TIMEOUT, .index = -1 };
  int status;

  parse (&a, argc, argv);
  if (geteuid () != 0) {
    tool_error ("only root can attach");
    offer_nbdfuse (&a);
    return STATUS_FAILED;
  }
  catch_signals ();
  status = check_and_attach (&a);
  free (a.source);
  free (a.parent_path);
  free (a.overlay);
  return status;
}

const struct command command_attach = {
  .name = "attach",
  .operands = "IMAGE [/dev/nbdX]",
  .summary = "Attach an image or an export as a disk of this machine",
  .options = attach_options,
  .run = run,
};
