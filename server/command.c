/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdkit's command line.  Every name of a file is passed as file=NAME or
 * dir=NAME, so that whatever it begins with or contains, nbdkit takes it for
 * neither an option nor another parameter.
 */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "server/internal.h"

/* The first nbdkit in $PATH, or the one configure found. */
static int
find_nbdkit (char **out, struct err *err)
{
  CLEANUP_FREE char *path = NULL;
  const char *env = getenv ("PATH");
  char *saved = NULL;

  path = strdup (env ? env : "");
  if (path == NULL)
    return err_nomem (err);
  for (char *dir = strtok_r (path, ":", &saved); dir;
       dir = strtok_r (NULL, ":", &saved)) {
    CLEANUP_FREE char *program = NULL;

    if (asprintf (&program, "%s/nbdkit", dir) < 0) {
      program = NULL;
      return err_nomem (err);
    }
    if (access (program, X_OK) == 0) {
      *out = steal_ptr (&program);
      return 0;
    }
  }
  if (access (NBDKIT_PROGRAM, X_OK) < 0)
    return err_set (err, -ENOENT, "the program nbdkit is neither in $PATH "
                    "nor at " NBDKIT_PROGRAM ": is the package nbdkit "
                    "installed?");
  *out = strdup (NBDKIT_PROGRAM);
  return *out ? 0 : err_nomem (err);
}

/* Of a build that is not installed; NULL otherwise. */
static const char *
uninstalled_plugin (void)
{
  const char *plugin = getenv ("NBDIMAGE_PLUGIN");

  return plugin && *plugin ? plugin : NULL;
}

/* nbdkit takes a word with a slash for the file of a plugin. */
static int
find_plugin (char **out, struct err *err)
{
  const char *plugin = uninstalled_plugin ();

  if (plugin == NULL)
    plugin = PLUGINDIR "/nbdkit-image-plugin.so";
  if (access (plugin, R_OK) < 0)
    return err_sys (err, "nbdkit's plugin for images is not at %s", plugin);
  *out = realpath (plugin, NULL);
  return *out ? 0 : err_sys (err, "%s", plugin);
}

/* server/hangup.c: in a build folder beside the plugin.  Where it is missing
 * nbdkit runs without; it then has to be started again more often.
 */
static int
find_preload (char **out, const char *plugin, struct err *err)
{
  CLEANUP_FREE char *path = NULL;
  const char *others = getenv ("LD_PRELOAD");
  const char *slash = strrchr (plugin, '/');
  int r;

  if (uninstalled_plugin () && slash)
    r = asprintf (&path, "%.*s/nbdkit-hangup.so", (int) (slash - plugin),
                  plugin);
  else
    r = asprintf (&path, "%s", PKGLIBDIR "/nbdkit-hangup.so");
  if (r < 0) {
    path = NULL;
    return err_nomem (err);
  }
  /* ld.so takes the names apart at these, and it has no way to quote. */
  if (access (path, R_OK) < 0 || strpbrk (path, " :"))
    return 0;
  if (asprintf (out, "LD_PRELOAD=%s%s%s", path,
                others && *others ? ":" : "", others ? others : "") < 0) {
    *out = NULL;
    return err_nomem (err);
  }
  return 0;
}

/* "key=value", as nbdkit understands it. */
static bool
is_parameter (const char *str)
{
  size_t n = 0;

  if (!isalpha ((unsigned char) str[0]))
    return false;
  while (isalnum ((unsigned char) str[n]) || (str[n] && strchr ("._-", str[n])))
    n++;
  return str[n] == '=';
}

/* nbdkit's blocksize filter: at most this much at once. */
#define MAX_ASKED "maxlen=1G"

static int
add_parameters (struct words *argv,
                const struct server_config *config, struct err *err)
{
  int r = 0;

  for (size_t i = 0; i < config->nr_images && r == 0; ++i)
    r = words_add (argv, err, "file=%s", config->images[i]);
  if (config->folder && r == 0)
    r = words_add (argv, err, "dir=%s", config->folder);
  if (config->vault && r == 0)
    r = words_add (argv, err, "vault=%s", config->vault);
  if (config->throw_away && r == 0)
    r = words_add (argv, err, MAX_ASKED);
  for (size_t i = 0; config->parameters && config->parameters[i] && r == 0;
       ++i) {
    if (!is_parameter (config->parameters[i]))
      return err_set (err, -EINVAL, "‘%s’ is not a parameter for nbdkit: "
                      "expected KEY=VALUE", config->parameters[i]);
    r = words_add (argv, err, "%s", config->parameters[i]);
  }
  return r;
}

static int
add_options (struct words *argv, const struct server_config *config,
             struct err *err)
{
  int r;

  r = words_add (argv, err, "--foreground");
  if (r == 0)
    r = words_add (argv, err, "--pidfile=/dev/fd/%d", CHILD_READY_FD);
  if (r == 0 && config->die_with_us)
    r = words_add (argv, err, "--exit-with-parent");
  if (r == 0 && config->verbose)
    r = words_add (argv, err, "--verbose");
  /* cow alone would tell of extents of 4 GiB, on which nbdkit ends with an
   * assertion (docs/NBDKIT.md); with MAX_ASKED in front of it, it is not
   * asked about as much.
   */
  if (r == 0 && config->throw_away)
    r = words_add (argv, err, "--filter=blocksize");
  if (r == 0 && config->throw_away)
    r = words_add (argv, err, "--filter=cow");
  else if (r == 0 && !config->writable)
    r = words_add (argv, err, "--readonly");
  return r;
}

int
server_command (struct server *server, const struct server_config *config,
                struct err *err)
{
  CLEANUP_FREE char *nbdkit = NULL;
  CLEANUP_FREE char *plugin = NULL;
  struct words *argv = &server->argv;
  int r;

  if (config->throw_away && (config->folder || config->vault ||
                             config->nr_images > 1))
    return err_set (err, -EINVAL, "writes can be thrown away for one image "
                    "only, not for several or a folder: what a client wrote "
                    "to one would be read from the others");
  r = find_nbdkit (&nbdkit, err);
  if (r == 0)
    r = find_plugin (&plugin, err);
  if (r == 0)
    r = find_preload (&server->preload, plugin, err);
  if (r == 0)
    r = words_add (argv, err, "%s", nbdkit);
  if (r == 0)
    r = add_options (argv, config, err);
  if (r == 0)
    r = words_add (argv, err, "%s", plugin);
  if (r == 0)
    r = add_parameters (argv, config, err);
  return r == 0 ? words_end (argv, err) : r;
}
