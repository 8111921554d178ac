/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/format/folder.h"
#include "plugin/clients.h"
#include "plugin/config.h"

#define MAX_NAME 64

static const char *const endings[] = { ".vhd", ".vhdx" };

const char *
clients_name (const struct source *image, const char *name)
{
  size_t len = strlen (image->name);

  if (config.overlay_folder == NULL ||
      strncmp (name, image->name, len) != 0 || name[len] != '@')
    return NULL;
  return name + len + 1;
}

static bool
name_is_ok (const char *client, size_t len)
{
  static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ" "0123456789" "._-";

  return len > 0 && len <= MAX_NAME && strspn (client, letters) >= len &&
    client[0] != '.' && client[0] != '-';
}

/* The one that is there, or the one to be made. */
static char *
overlay_path (const struct source *image, const char *client)
{
  char *path = NULL;

  for (size_t i = sizeof endings / sizeof endings[0]; i-- > 0;) {
    free (path);
    if (asprintf (&path, "%s/%s@%s%s", config.overlay_folder, image->name,
                  client, endings[i]) < 0)
      return NULL;
    if (access (path, F_OK) == 0)
      return path;
  }
  free (path);
  if (asprintf (&path, "%s/%s@%s.%s", config.overlay_folder, image->name,
                client, config.overlay_format) < 0)
    return NULL;
  return path;
}

int
clients_source (const struct source *image, const char *client,
                struct source *out, struct err *err)
{
  char clean[TEXT_NAME_SIZE];
  struct source s = { NULL };

  if (!name_is_ok (client, strlen (client)))
    return err_set (err, -ENOENT, "the client asked for an overlay ‘%s’; "
                    "expected a name of up to %d letters, digits, ‘.’, ‘_’ "
                    "and ‘-’", text_clean (client, clean, sizeof clean),
                    MAX_NAME);
  if (asprintf (&s.name, "%s@%s", image->name, client) < 0)
    s.name = NULL;
  s.shown = s.name ? strdup (s.name) : NULL;
  s.path = strdup (image->path);
  s.overlay = overlay_path (image, client);
  if (s.name == NULL || s.shown == NULL || s.path == NULL ||
      s.overlay == NULL) {
    source_free (&s);
    return err_nomem (err);
  }
  *out = s;
  return 0;
}

/* The length of NAME in a file's name; 0 if it is none of an overlay. */
static size_t
client_of_file (const struct source *image, const char *file)
{
  const char *client = clients_name (image, file);
  size_t len = client ? strlen (client) : 0;

  for (size_t i = 0; i < sizeof endings / sizeof endings[0]; ++i) {
    size_t n = strlen (endings[i]);

    if (len > n && strcmp (client + len - n, endings[i]) == 0 &&
        name_is_ok (client, len - n))
      return len - n;
  }
  return 0;
}

/* The names of the overlays in the folder. */
static int
read_names (const struct source *image, struct name_list *names,
            struct err *err)
{
  DIR *folder = opendir (config.overlay_folder);
  struct dirent *entry;
  int r = 0;

  if (folder == NULL)
    return err_sys (err, "overlay-dir=%s", config.overlay_folder);
  while (r == 0 && (entry = readdir (folder)) != NULL) {
    CLEANUP_FREE char *name = NULL;
    size_t len = client_of_file (image, entry->d_name);

    if (len == 0)
      continue;
    name = strndup (entry->d_name, strlen (image->name) + 1 + len);
    if (name == NULL || vector_append (names, &name) < 0)
      r = err_nomem (err);
    else
      steal_ptr (&name);
  }
  closedir (folder);
  return r;
}

static int
by_name (const void *a, const void *b)
{
  return strcmp (*(char *const *) a, *(char *const *) b);
}

int
clients_list (const struct source *image, export_fn fn, void *opaque,
              struct err *err)
{
  struct name_list names = VECTOR_INIT;
  int r = read_names (image, &names, err);

  if (names.len > 0)
    qsort (names.ptr, names.len, sizeof names.ptr[0], by_name);
  for (size_t i = 0; r == 0 && i < names.len; ++i)
    r = fn (opaque, names.ptr[i], NULL);
  name_list_free (&names);
  return r;
}
