/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/cleanup.h"
#include "lib/format/backup-folder.h"
#include "lib/repo/image-vault.h"
#include "tools/image-options.h"
#include "tools/keys.h"

int
image_options_check_folders (const struct image_option_values *values,
                             struct err *err)
{
  CLEANUP_FREE char *copy = strdup (values->parent_path
                                    ? values->parent_path : "");
  char *saved = NULL;
  struct stat st;

  if (copy == NULL)
    return err_nomem (err);
  for (char *folder = strtok_r (copy, ":", &saved); folder;
       folder = strtok_r (NULL, ":", &saved)) {
    if (stat (folder, &st) < 0)
      return err_sys (err, "--parent-path: %s", folder);
    if (!S_ISDIR (st.st_mode))
      return err_set (err, -ENOTDIR, "--parent-path: %s is not a folder",
                      folder);
  }
  return 0;
}

int
image_options_from_values (const struct image_option_values *values,
                           struct image_options *options, struct err *err)
{
  int r;

  memset (options, 0, sizeof *options);
  options->format = values->format;
  options->parent_path = values->parent_path;
  options->ignore_checksums = values->ignore_checksums;
  options->overlay = values->overlay;
  r = values->format ? image_format_check (values->format, err) : 0;
  if (r < 0)
    return err_in (err, "--format");
  r = keys_use (&values->keys, err);
  if (r < 0)
    return r;
  if (values->size)
    r = image_size_rule_parse (values->size, &options->size_rule, err);
  return r < 0 ? err_in (err, "--size") : 0;
}

/* Frees path; NULL and errno if there is no such folder. */
static char *
replace_by_realpath (char *path)
{
  char *real = realpath (path, NULL);
  int saved = errno;

  free (path);
  errno = saved;
  return real;
}

int
overlay_make_absolute (const char *path, char **out, struct err *err)
{
  CLEANUP_FREE char *folder = NULL;
  const char *slash = strrchr (path, '/');

  if (path[0] == '/') {
    *out = strdup (path);
    return *out ? 0 : err_nomem (err);
  }
  folder = slash ? strndup (path, (size_t) (slash - path)) : strdup (".");
  if (folder == NULL)
    return err_nomem (err);
  folder = replace_by_realpath (steal_ptr (&folder));
  if (folder == NULL)
    return err_sys (err, "--overlay: %s", path);
  if (asprintf (out, "%s/%s", folder, slash ? slash + 1 : path) < 0)
    return err_nomem (err);
  return 0;
}

char *
image_name_absolute (const char *name)
{
  char *path = backup_folder_absolute (name);
  int saved = errno;

  if (path == NULL) {
    path = vault_image_absolute (name);
    errno = saved;
  }
  return path;
}

static int
add (struct image_parameters *parameters, size_t *n, const char *key,
     const char *value, struct err *err)
{
  if (value == NULL)
    return 0;
  if (asprintf (&parameters->strings[*n], "%s=%s", key, value) < 0) {
    parameters->strings[*n] = NULL;
    return err_nomem (err);
  }
  ++*n;
  return 0;
}

/* A server reads the passphrase itself, from a file. */
static int
add_keys (struct image_parameters *parameters, size_t *n,
          const struct key_option_values *keys, struct err *err)
{
  CLEANUP_FREE char *path = NULL, *plus = NULL;
  const char *name = keys->key_file ? keys->key_file : keys->passphrase_file;

  if (keys->passphrase_fd)
    return err_set (err, -ENOTSUP, "--passphrase-fd can't be used where a "
                    "server is started; --passphrase-file can");
  if (name == NULL)
    return 0;
  path = realpath (name, NULL);
  if (path == NULL)
    return err_sys (err, "%s", name);
  if (keys->key_file)
    return add (parameters, n, "key-file", path, err);
  if (asprintf (&plus, "+%s", path) < 0)
    return err_nomem (err);
  return add (parameters, n, "passphrase", plus, err);
}

int
image_parameters_new (const struct image_option_values *values,
                      struct image_parameters *parameters, struct err *err)
{
  size_t n = 0;
  int r;

  memset (parameters, 0, sizeof *parameters);
  r = add (parameters, &n, "format", values->format, err);
  if (r == 0)
    r = add (parameters, &n, "parent-path", values->parent_path, err);
  if (r == 0)
    r = add (parameters, &n, "size", values->size, err);
  if (r == 0)
    r = add (parameters, &n, "overlay", values->overlay, err);
  if (r == 0)
    r = add (parameters, &n, "overlay-dir", values->overlay_dir, err);
  if (r == 0)
    r = add (parameters, &n, "ignore-checksums",
             values->ignore_checksums ? "true" : NULL, err);
  if (r == 0)
    r = add_keys (parameters, &n, &values->keys, err);
  if (r < 0)
    image_parameters_free (parameters);
  return r;
}

void
image_parameters_free (struct image_parameters *parameters)
{
  for (size_t i = 0; parameters->strings[i]; ++i)
    free (parameters->strings[i]);
  memset (parameters, 0, sizeof *parameters);
}
