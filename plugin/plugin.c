/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The table that nbdkit reads, and what is too small to live elsewhere. */

#include <config.h>

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "lib/format/compressed/compressed.h"
#include "lib/format/image.h"
#include "lib/repo/image-nbi.h"
#include "lib/repo/keyring.h"
#include "plugin/config.h"
#include "plugin/export.h"
#include "plugin/folder.h"
#include "plugin/io.h"
#include "plugin/keys.h"
#include "plugin/report.h"
#include "plugin/vault.h"

#if NBDKIT_VERSION_MAJOR == 1 && NBDKIT_VERSION_MINOR < 32
#error "nbdkit 1.32 or later is needed"
#endif

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

struct nbdkit_plugin *plugin_init (void);

/* Advice names our parameters, or the options of the command that runs us
 * (server/launch.c).
 */
static void
choose_spelling (void)
{
  const char *spelling = getenv ("NBDIMAGE_SPELLING");

  if (spelling == NULL || strcmp (spelling, "options") != 0)
    return;
  image_option_dashes = "--";
  image_format_option = "--format";
  keyring_options = "--passphrase-file or --key-file";
}

/* glibc gives each thread memory of its own, up to eight times as often as
 * there are processors.  What is cached moves with the threads, and each of
 * these would end as large as the caches.  With one, memory stays what they
 * are limited to; malloc is not where time goes.
 */
static void
bound_memory (void)
{
#ifdef M_ARENA_MAX
  mallopt (M_ARENA_MAX, 1);
#endif
}

static void
plugin_load (void)
{
  bound_memory ();
  choose_spelling ();
  nbi_register ();
}

static void
plugin_unload (void)
{
  exports_free ();
  folder_free ();
  vault_free ();
  config_free ();
  keys_free ();
}

static void
plugin_dump (void)
{
  printf ("image_version=%s\n", PACKAGE_VERSION);
  printf ("image_formats=");
  for (size_t i = 0; image_format_name (i) != NULL; ++i)
    printf ("%s%s", i ? " " : "", image_format_name (i));
  printf ("\n");
  printf ("image_compressions=");
  for (size_t i = 0; compressed_name (i) != NULL; ++i)
    printf ("%s%s", i ? " " : "", compressed_name (i));
  printf ("\n");
}

/*--- exports ---------------------------------------------------------------*/

static void *
plugin_open (int readonly)
{
  const char *name = nbdkit_export_name ();
  struct connection *conn;
  struct err err = ERR_INIT;

  if (name == NULL)             /* nbdkit has said why */
    return NULL;
  conn = export_connect (name, readonly, &err);
  if (conn == NULL)
    plugin_fail (NULL, &err);
  return conn;
}

static void
plugin_close (void *handle)
{
  export_disconnect (handle);
}

static int
add_export (void *opaque, const char *name, const char *description)
{
  return nbdkit_add_export (opaque, name, description) < 0 ? 1 : 0;
}

static int
plugin_list_exports (int readonly, int is_tls, struct nbdkit_exports *list)
{
  struct err err = ERR_INIT;
  int r;

  (void) readonly;
  (void) is_tls;
  r = exports_list (add_export, list, &err);
  if (r < 0)
    return plugin_fail (config.folder ? config.folder : config.vault, &err);
  return r == 0 ? 0 : -1;
}

/* With none to choose, plugin_open gets "" and says why that will not do. */
static const char *
plugin_default_export (int readonly, int is_tls)
{
  char *name = exports_only_name ();
  const char *kept;

  (void) readonly;
  (void) is_tls;
  if (name == NULL)
    return "";
  kept = nbdkit_strdup_intern (name);
  free (name);
  return kept;
}

static const char *
plugin_export_description (void *handle)
{
  return ((struct connection *) handle)->description;
}

/*--- what is so for every image --------------------------------------------*/

static int
always (void *handle)
{
  (void) handle;
  return 1;
}

/* All connections share one image, and a flush is for the whole file; but the
 * newest generation of a disk may be another one by the next connection.
 */
static int
can_multi_conn (void *handle)
{
  return ((struct connection *) handle)->is_one_state;
}

static int
never (void *handle)
{
  (void) handle;
  return 0;
}

static int
fua_native (void *handle)
{
  (void) handle;
  return NBDKIT_FUA_NATIVE;
}

static int
cache_native (void *handle)
{
  (void) handle;
  return NBDKIT_CACHE_NATIVE;
}

static struct nbdkit_plugin plugin = {
  .name = "image",
  .longname = "disk images (VHD, VHDX, ISO, raw, backups)",
  .version = PACKAGE_VERSION,
  .description = "Serve the disks inside image files.",
  .load = plugin_load,
  .unload = plugin_unload,
  .dump_plugin = plugin_dump,

  .config = config_set,
  .config_complete = config_complete,
  .config_help = CONFIG_HELP,
  .magic_config_key = "file",
  .get_ready = exports_prepare,
  .after_fork = exports_hold,

  .list_exports = plugin_list_exports,
  .default_export = plugin_default_export,
  .export_description = plugin_export_description,
  .open = plugin_open,
  .close = plugin_close,

  .get_size = io_get_size,
  .block_size = io_block_size,
  .can_write = io_can_write,
  .can_flush = always,
  .can_trim = always,
  .can_zero = always,
  .can_fast_zero = always,
  .can_fua = fua_native,
  .can_extents = always,
  .can_cache = cache_native,
  .can_multi_conn = can_multi_conn,
  .is_rotational = never,

  .pread = io_pread,
  .pwrite = io_pwrite,
  .zero = io_zero,
  .trim = io_trim,
  .flush = io_flush,
  .cache = io_cache,
  .extents = io_extents,
};

NBDKIT_REGISTER_PLUGIN (plugin)
