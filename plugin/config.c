/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdkit changes its directory before it serves, so all paths become
 * absolute here.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/format/backup-folder.h"
#include "lib/repo/store-at.h"
#include "plugin/config.h"
#include "plugin/keys.h"
#include "plugin/report.h"

struct config config;

/* Two exports need two names, and one file can be opened once. */
static int
check_not_given_before (const struct source *source)
{
  for (size_t i = 0; i < config.files.len; ++i) {
    const struct source *other = &config.files.ptr[i];

    if (strcmp (other->shown, source->shown) == 0)
      return plugin_error ("‘%s’ is given twice", source->shown);
    if (strcmp (other->path, source->path) == 0)
      return plugin_error ("‘%s’ and ‘%s’ are the same file", other->shown,
                           source->shown);
    if (strcmp (other->name, source->name) == 0)
      return plugin_error ("‘%s’ and ‘%s’ would both be the export ‘%s’; "
                           "serve them by two servers, or rename one",
                           other->shown, source->shown, source->name);
  }
  return 0;
}

static int
add_file (const char *value)
{
  struct err err = ERR_INIT;
  struct source source;

  if (source_new (value, &source, &err) < 0)
    return plugin_fail (*value ? value : "file", &err);
  if (check_not_given_before (&source) < 0) {
    source_free (&source);
    return -1;
  }
  if (vector_append (&config.files, &source) < 0) {
    source_free (&source);
    return plugin_error ("out of memory");
  }
  return 0;
}

/* In front of a parameter's name; for dir= and vault= there is no option. */
static const char *
dashes_of (const char *key)
{
  return strcmp (key, "dir") == 0 || strcmp (key, "vault") == 0
    ? "" : image_option_dashes;
}

/* *path was not given before; what is given must be a folder. */
static int
set_folder (const char *key, const char *value, char **path)
{
  const char *dashes = dashes_of (key);
  struct stat st;

  if (*path)
    return plugin_error ("%s%s= is given twice", dashes, key);
  *path = realpath (value, NULL);
  if (*path == NULL)
    return plugin_error ("%s%s=%s: %s", dashes, key, value, strerror (errno));
  if (stat (*path, &st) < 0 || !S_ISDIR (st.st_mode))
    return plugin_error ("%s%s=%s: is not a folder", dashes, key, value);
  return 0;
}

/* Or a place on another machine. */
static int
set_vault (const char *value)
{
  if (!store_at_is_remote (value) || config.vault)
    return set_folder ("vault", value, &config.vault);
  config.vault = strdup (value);
  return config.vault ? 0 : plugin_error ("out of memory");
}

/* Append one folder to the colon-separated parent_path. */
static int
add_parent_folder (const char *folder)
{
  CLEANUP_FREE char *path = NULL;
  char *joined = NULL;
  int r;

  if (set_folder ("parent-path", folder, &path) < 0)
    return -1;
  if (strchr (path, ':'))
    return plugin_error ("%sparent-path=%s: the name of the folder, ‘%s’, has "
                         "a ‘:’ in it, which separates folders",
                         image_option_dashes, folder, path);
  if (config.options.parent_path)
    r = asprintf (&joined, "%s:%s", config.options.parent_path, path);
  else
    r = asprintf (&joined, "%s", path);
  if (r < 0)
    return plugin_error ("out of memory");
  free ((char *) config.options.parent_path);
  config.options.parent_path = joined;
  return 0;
}

static int
add_parent_path (const char *value)
{
  CLEANUP_FREE char *copy = strdup (value);
  char *save = NULL;

  if (copy == NULL)
    return plugin_error ("out of memory");
  for (char *folder = strtok_r (copy, ":", &save); folder;
       folder = strtok_r (NULL, ":", &save))
    if (add_parent_folder (folder) < 0)
      return -1;
  return 0;
}

static int
set_format (const char *value)
{
  free ((char *) config.options.format);
  config.options.format = strdup (value);
  if (config.options.format == NULL)
    return plugin_error ("out of memory");
  for (size_t i = 0; image_format_name (i) != NULL; ++i)
    if (strcmp (image_format_name (i), value) == 0)
      return 0;
  return plugin_error ("format=%s: is not a format we know; ‘nbdkit "
                       "--dump-plugin image’ lists them as image_formats",
                       value);
}

static int
set_size_rule (const char *value)
{
  struct err err = ERR_INIT;

  if (image_size_rule_parse (value, &config.options.size_rule, &err) < 0)
    return plugin_fail ("size", &err);
  return 0;
}

static int
set_overlay (const char *value)
{
  if (config.options.overlay)
    return plugin_error ("overlay= is given twice");
  if (*value == '\0')
    return plugin_error ("overlay=: expected the name of a file");
  config.options.overlay = nbdkit_absolute_path (value);
  return config.options.overlay ? 0 : -1;
}

static int
set_ignore_checksums (const char *value)
{
  int r;

  /* nbdkit would say the word as it is. */
  if (!text_is_clean (value))
    return plugin_error ("ignore-checksums=%s: expected true or false", value);
  r = nbdkit_parse_bool (value);
  if (r < 0)
    return -1;
  config.options.ignore_checksums = r;
  return 0;
}

int
config_set (const char *key, const char *value)
{
  if (strcmp (key, "file") == 0)
    return add_file (value);
  if (strcmp (key, "dir") == 0)
    return set_folder (key, value, &config.folder);
  if (strcmp (key, "vault") == 0)
    return set_vault (value);
  if (strcmp (key, "format") == 0)
    return set_format (value);
  if (strcmp (key, "parent-path") == 0)
    return add_parent_path (value);
  if (strcmp (key, "size") == 0)
    return set_size_rule (value);
  if (strcmp (key, "overlay-dir") == 0)
    return set_folder (key, value, &config.overlay_folder);
  if (strcmp (key, "overlay") == 0)
    return set_overlay (value);
  if (strcmp (key, "passphrase") == 0)
    return keys_set_passphrase (value);
  if (strcmp (key, "key-file") == 0)
    return keys_set_key_file (value);
  if (strcmp (key, "ignore-checksums") == 0)
    return set_ignore_checksums (value);
  return plugin_error ("unknown parameter ‘%s’ (a FILE with a ‘=’ in its "
                       "name is given as file=NAME)", key);
}

/* By what is in it. */
static int
look_at_folder (void)
{
  struct err err = ERR_INIT;
  int r = backup_folder_is_one (config.folder, &err);

  if (r < 0)
    return plugin_fail (config.folder, &err);
  config.is_backup = r == 1;
  return 0;
}

/* Of FILEs, a folder and a vault there is one. */
static int
check_what_is_served (void)
{
  if (config.files.len == 0 && config.folder == NULL && config.vault == NULL)
    return plugin_error ("nothing to serve: give a FILE, dir=FOLDER, or "
                         "vault=FOLDER");
  if (config.files.len > 0 && (config.folder || config.vault))
    return plugin_error ("FILE and %s= can't be used together",
                         config.folder ? "dir" : "vault");
  if (config.folder && config.vault)
    return plugin_error ("dir= and vault= can't be used together");
  return 0;
}

int
config_complete (void)
{
  if (check_what_is_served () < 0)
    return -1;
  if ((config.options.overlay || config.overlay_folder) &&
      config.files.len != 1)
    return plugin_error ("%s= is for one FILE",
                         config.overlay_folder ? "overlay-dir" : "overlay");
  if (config.options.overlay && config.overlay_folder)
    return plugin_error ("overlay= and overlay-dir= can't be used together");
  /* A folder holds images of several formats, and other files. */
  if ((config.folder || config.vault) && config.options.format)
    return plugin_error ("%s= is for a FILE; the images in a folder are "
                         "recognised by their contents", image_format_option);
  return config.folder ? look_at_folder () : 0;
}

void
config_free (void)
{
  for (size_t i = 0; i < config.files.len; ++i)
    source_free (&config.files.ptr[i]);
  vector_free (&config.files);
  free (config.folder);
  free (config.vault);
  free (config.overlay_folder);
  free ((char *) config.options.format);
  free ((char *) config.options.parent_path);
  free ((char *) config.options.overlay);
  memset (&config, 0, sizeof config);
}
