/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdimage serve: an NBD server until a signal ends it.
 *
 * The images are opened here once before nbdkit does, which gives the same
 * sentences and exit status as the other commands; a folder or a vault is
 * opened by the plugin alone, because what is in it changes.
 */

#include <config.h>

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "lib/format/children.h"
#include "lib/repo/image-vault.h"
#include "lib/repo/store-at.h"
#include "server/server.h"
#include "tools/commands.h"
#include "tools/exports.h"
#include "tools/image-options.h"
#include "tools/keys.h"
#include "tools/open.h"
#include "tools/output.h"
#include "tools/report.h"
#include "tools/signals.h"

struct serve {
  struct image_option_values image;
  const char *listen;
  const char *port;
  const char *unix_socket;
  bool write;
  bool throw_away;
  bool no_tls;
  bool json;
  bool verbose;

  char *address;                /* out of --listen; owned */
  char *const *images;
  size_t nr_images;
  bool is_folder;               /* of images, or a vault */
  bool is_vault;
};

static const struct option_spec serve_options[] = {
  { "listen", 'l', OPTION_STRING, "ADDRESS[:PORT]",
    "where to listen [127.0.0.1:10809]", offsetof (struct serve, listen) },
  { "port", 'p', OPTION_STRING, "PORT",
    "TCP port to listen on; 0: any that is free",
    offsetof (struct serve, port) },
  { "unix", 'u', OPTION_STRING, "SOCKET",
    "listen on a Unix socket instead", offsetof (struct serve, unix_socket) },
  { "write", 'w', OPTION_FLAG, NULL,
    "clients may write to the images", offsetof (struct serve, write) },
  OVERLAY_OPTION (struct serve, image),
  { "overlay-dir", 0, OPTION_STRING, "FOLDER",
    "the same for each client of IMAGE@NAME, in a VHD in FOLDER",
    offsetof (struct serve, image.overlay_dir) },
  { "throw-away", 't', OPTION_FLAG, NULL,
    "clients may write, and it is all forgotten at the end",
    offsetof (struct serve, throw_away) },
  { "no-tls", 0, OPTION_FLAG, NULL,
    "others may read along and nobody is asked who they are",
    offsetof (struct serve, no_tls) },
  IMAGE_OPTIONS (struct serve, image),
  { "json", 0, OPTION_FLAG, NULL,
    "print the exports as JSON", offsetof (struct serve, json) },
  { "verbose", 'v', OPTION_FLAG, NULL,
    "show nbdkit's debugging messages", offsetof (struct serve, verbose) },
  OPTION_END
};

/*--- parse and check -------------------------------------------------------*/

/* "ADDRESS", "ADDRESS:PORT", "[V6]:PORT", "V6". */
static void
split_listen (struct serve *s)
{
  char *a = strdup (s->listen), *colon, *end;

  if (a == NULL)
    command_usage_error (&command_serve, "out of memory");
  s->address = a;
  if (a[0] == '[' && (end = strchr (a, ']')) != NULL) {
    memmove (a, a + 1, (size_t) (end - a) - 1);
    end[-1] = '\0';
    colon = end[1] == ':' ? end + 1 : NULL;
    if (end[1] && colon == NULL)
      command_usage_error (&command_serve, "--listen: expected "
                           "[ADDRESS]:PORT, not ‘%s’", s->listen);
  }
  else {
    colon = strchr (a, ':');
    if (colon && strchr (colon + 1, ':'))
      colon = NULL;             /* IPv6 without brackets */
    if (colon)
      *colon = '\0';
  }
  if (colon && s->port)
    command_usage_error (&command_serve, "the port is both in --listen and "
                         "in --port");
  if (colon)
    s->port = colon + 1;
  if (*a == '\0')
    command_usage_error (&command_serve, "--listen: expected an address");
}

static void
check_port (const char *port)
{
  char *end;
  unsigned long n = strtoul (port, &end, 10);

  if (*port < '0' || *port > '9' || *end || n > 65535)
    command_usage_error (&command_serve, "‘%s’ is not a port: expected a "
                         "number from 0 to 65535", port);
}

static bool
is_folder (const char *name)
{
  struct stat st;

  return stat (name, &st) == 0 && S_ISDIR (st.st_mode);
}

static void
parse (struct serve *s, int argc, char *argv[])
{
  int first;

  keys_never_ask ();
  command_parse (&command_serve, argc, argv, s, &first);
  s->images = argv + first;
  s->nr_images = (size_t) (argc - first);
  if (s->nr_images == 0)
    command_usage_error (&command_serve, "expected images, a folder "
                         "or a vault");
  for (size_t i = 0; i < s->nr_images; ++i)
    if (is_folder (s->images[i]))
      s->is_folder = true;
  if (s->is_folder && s->nr_images > 1)
    command_usage_error (&command_serve, "a folder is served alone");
  /* A URI is a vault's, or a generation's: who has to look connects. */
  if (s->nr_images == 1 && store_at_is_remote (s->images[0]))
    s->is_folder = vault_images_is_one (s->images[0]);
  s->is_vault = s->is_folder && vault_images_is_one (s->images[0]);
  if (s->is_vault && s->write)
    command_usage_error (&command_serve, "what is in a vault never changes; "
                         "serve one generation with --overlay");
  if (s->unix_socket && (s->listen || s->port))
    command_usage_error (&command_serve, "either --unix or --listen and "
                         "--port");
  if (s->write && s->throw_away)
    command_usage_error (&command_serve, "either --write or --throw-away");
  if (s->image.overlay && s->throw_away)
    command_usage_error (&command_serve, "either --overlay or --throw-away");
  if (s->image.overlay_dir && (s->image.overlay || s->write || s->throw_away))
    command_usage_error (&command_serve, "--overlay-dir goes with none of "
                         "--overlay, --write and --throw-away");
  if ((s->image.overlay || s->image.overlay_dir) &&
      (s->is_folder || s->nr_images > 1))
    command_usage_error (&command_serve, "overlays are for one image; serve "
                         "each by itself");
  if (s->image.overlay)
    s->write = true;
  if (s->throw_away && (s->is_folder || s->nr_images > 1))
    command_usage_error (&command_serve, "--throw-away is for one image; "
                         "serve each by itself");
  if (s->listen)
    split_listen (s);
  if (s->port)
    check_port (s->port);
}

/* Off this machine there is TLS, or a decision to go without. */
static int
check_address (const struct serve *s, struct err *err)
{
  bool is_loopback = true;
  int r = 0;

  if (s->address)
    r = server_address_is_loopback (s->address, &is_loopback, err);
  if (r == 0 && !is_loopback && !s->no_tls)
    r = err_set (err, -EINVAL, "%s can be reached from other machines, and "
                 "the connection would be neither encrypted nor "
                 "authenticated: say --no-tls if that is meant", s->address);
  return r;
}

/* Each image opens as the plugin will open it. */
/* Whoever writes to it is told; nobody is kept from it, as there are chains
 * whose children are thrown away then.
 */
static void
warn_of_children (const char *name, struct image *img)
{
  struct name_list children = VECTOR_INIT;

  if (image_find_children (img, &children, NULL) < 0)
    return;                     /* nobody can tell */
  for (size_t i = 0; i < children.len; ++i)
    tool_warning ("%s: %s is differencing over this disk, and is damaged when "
                  "it is written; --overlay keeps what is written apart", name,
                  children.ptr[i]);
  name_list_free (&children);
}

static int
check_images (const struct serve *s)
{
  struct image_options options;
  struct err err = ERR_INIT;

  if (image_options_from_values (&s->image, &options, &err) < 0)
    command_usage_error (&command_serve, "%s", err.msg);
  if (image_options_check_folders (&s->image, &err) < 0)
    return tool_fail (NULL, &err);
  options.writable = s->write;
  options.lock = true;          /* who can't have it now has no use for us */
  for (size_t i = 0; i < s->nr_images && !s->is_folder; ++i) {
    CLEANUP_IMAGE struct image *img = NULL;
    CLEANUP_REPORT struct report report = REPORT_INIT;

    if (tool_image_open (s->images[i], &options, PROGRESS_AUTO, &img, &report,
                         &err) < 0)
      return tool_fail (s->images[i], &err);
    tool_warnings (s->images[i], &report);
    if (s->write && s->image.overlay == NULL)
      warn_of_children (s->images[i], img);
  }
  return STATUS_DONE;
}

/*--- what clients can open -------------------------------------------------*/

/* The server knows; one that serves nothing yet still has its address. */
static int
list_exports (const struct serve *s, const struct server *server,
              struct export_vector *exports, struct err *err)
{
  CLEANUP_FREE char *uri = server_uri (server, "");

  if (uri == NULL)
    return err_nomem (err);
  /* In a folder, asking for sizes would open everything in it. */
  return exports_list (uri, !s->is_folder, exports, err);
}

static void
show_export (const struct export *e, const char *uri)
{
  char size[SIZE_STRING_SIZE];

  printf ("%s", uri);
  if (e->description) {         /* our plugin's has the size */
    printf ("  ");
    output_text (e->description);
  }
  else if (e->has_size)
    printf ("  %s", size_to_string (e->size, size));
  putchar ('\n');
}

/* All exports are at each of them. */
static void
show_other_addresses (const struct server *server)
{
  for (size_t i = 1; i < server_nr_uris (server); ++i) {
    CLEANUP_FREE char *uri = server_uri_at (server, i, "");

    if (uri)
      printf ("%s%s", i == 1 ? "The same at " : ", ", uri);
  }
  if (server_nr_uris (server) > 1)
    putchar ('\n');
}

static int
show_exports (const struct serve *s, const struct server *server,
              const struct export_vector *exports, struct err *err)
{
  const char *access_text =
    s->image.overlay ? " (what is written goes into the overlay)"
    : s->image.overlay_dir ? " (to IMAGE@NAME clients may write)"
    : s->write ? " (clients may write)"
    : s->throw_away ? " (writes are thrown away)" : " read-only";

  for (size_t i = 0; i < exports->len; ++i) {
    CLEANUP_FREE char *uri = server_uri (server, exports->ptr[i].name);

    if (uri == NULL)
      return err_nomem (err);
    show_export (&exports->ptr[i], uri);
  }
  if (exports->len == 0) {
    printf (s->is_vault ? "No generation in " : "No image in ");
    output_text (s->images[0]);
    printf (" can be served yet.\n");
  }
  show_other_addresses (server);
  printf ("Serving%s until Ctrl-C.  To attach: nbdimage attach URI\n",
          access_text);
  fflush (stdout);
  return 0;
}

static json_t *
exports_to_json (const struct server *server,
                 const struct export_vector *exports)
{
  json_t *list = json_array ();

  for (size_t i = 0; i < exports->len; ++i) {
    const struct export *e = &exports->ptr[i];
    CLEANUP_FREE char *uri = server_uri (server, e->name);

    json_array_append_new (list, json_pack ("{s:o,s:o,s:o,s:o,s:o}",
      "name", output_json_text (e->name),
      "uri", output_json_text (uri),
      "description", output_json_text (e->description),
      "size", e->has_size ? json_integer ((json_int_t) e->size)
                          : json_null (),
      "read-only", e->has_size ? json_boolean (e->read_only)
                               : json_null ()));
  }
  return list;
}

static json_t *
uris_to_json (const struct server *server)
{
  json_t *list = json_array ();

  for (size_t i = 0; i < server_nr_uris (server); ++i) {
    CLEANUP_FREE char *uri = server_uri_at (server, i, "");

    json_array_append_new (list, output_json_text (uri));
  }
  return list;
}

static int
announce (const struct serve *s, const struct server *server,
          struct err *err)
{
  CLEANUP_EXPORTS struct export_vector exports = VECTOR_INIT;
  CLEANUP_FREE char *uri = server_uri (server, "");
  int r;

  r = list_exports (s, server, &exports, err);
  if (r < 0)
    return r;
  if (!s->json)
    return show_exports (s, server, &exports, err);
  r = output_json (json_pack ("{s:o,s:o,s:i,s:o}",
                              "uri", output_json_text (uri),
                              "uris", uris_to_json (server),
                              "pid", (int) getpid (),
                              "exports", exports_to_json (server, &exports)));
  return r == STATUS_DONE ? 0 : err_set (err, -EIO, "nothing is served");
}

/*--- run -------------------------------------------------------------------*/

/* Until a signal: 0.  nbdkit may crash (its 1.32 can be made to by clients,
 * see docs/NBDKIT.md), and then runs again at once; its clients connect
 * again.
 */
static int
watch (const struct serve *s, struct server *server, int signal_fd,
       struct err *err)
{
  for (;;) {
    struct pollfd p[2] = {
      { .fd = signal_fd, .events = POLLIN },
      { .fd = server_fd (server), .events = POLLIN },
    };
    int r;

    if (poll (p, 2, -1) < 0) {
      if (errno == EINTR)
        continue;
      return err_sys (err, "poll");
    }
    if (p[0].revents)
      return 0;
    if (!p[1].revents)
      continue;
    if (!s->throw_away)
      tool_warning ("nbdkit %s; starting it again", server_ended (server));
    r = server_restart (server, err);
    if (r < 0)
      return r == -EINTR ? 0 : r;
  }
}

static int
serve (const struct serve *s, const struct image_parameters *parameters,
       struct err *err)
{
  CLEANUP_CLOSE int signal_fd = -1;
  struct server_config config = SERVER_CONFIG_INIT;
  struct server *server;
  int r;

  r = signal_fd = ending_signals (err);
  if (r < 0)
    return r;
  if (s->is_vault)
    config.vault = s->images[0];
  else if (s->is_folder)
    config.folder = s->images[0];
  else {
    config.images = (const char *const *) s->images;
    config.nr_images = s->nr_images;
  }
  config.parameters = (const char *const *) parameters->strings;
  config.writable = s->write || s->image.overlay_dir != NULL;
  config.throw_away = s->throw_away;
  config.unix_socket = s->unix_socket;
  config.address = s->address;
  config.port = s->port;
  config.verbose = s->verbose;
  config.quiet_start = !s->is_folder;
  config.die_with_us = true;
  config.cancel_fd = signal_fd;
  r = server_start (&config, &server, err);
  if (r < 0)
    return r == -EINTR ? 0 : r;
  r = announce (s, server, err);
  if (r == 0)
    r = watch (s, server, signal_fd, err);
  server_stop (server);
  return r;
}

static int
run (int argc, char *argv[])
{
  CLEANUP_IMAGE_PARAMETERS struct image_parameters parameters = { { NULL } };
  CLEANUP_FREE char *address = NULL;
  struct serve s = { 0 };
  struct err err = ERR_INIT;
  int status;

  parse (&s, argc, argv);
  address = s.address;
  if (check_address (&s, &err) < 0)
    return tool_fail (NULL, &err);
  status = check_images (&s);
  if (status != STATUS_DONE)
    return status;
  if (image_parameters_new (&s.image, &parameters, &err) < 0 ||
      serve (&s, &parameters, &err) < 0)
    return tool_fail (NULL, &err);
  return STATUS_DONE;
}

const struct command command_serve = {
  .name = "serve",
  .operands = "IMAGE… | FOLDER | VAULT",
  .summary = "Serve images over NBD until a signal",
  .options = serve_options,
  .run = run,
};
