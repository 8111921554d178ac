/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/err.h"
#include "lib/block/nbd.h"
#include "tools/image-options.h"
#include "tools/nbdfuse-hint.h"
#include "tools/report.h"

/* A word as a shell reads it back: 'it'\''s'. */
static void
put_word (FILE *fp, const char *word)
{
  static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";

  putc (' ', fp);
  if (*word != '\0' && word[strspn (word, plain)] == '\0') {
    fputs (word, fp);
    return;
  }
  putc ('\'', fp);
  for (; *word != '\0'; ++word)
    if (*word == '\'')
      fputs ("'\\''", fp);
    else
      putc (*word, fp);
  putc ('\'', fp);
}

/* nbdkit finds a plugin that is not installed by its path only. */
static const char *
plugin_word (void)
{
  const char *path = getenv ("NBDIMAGE_PLUGIN");

  return path != NULL && *path != '\0' ? path : "image";
}

static void
put_nbdkit (FILE *fp, const char *name, char *const *parameters, bool write)
{
  CLEANUP_FREE char *file = NULL;

  fputs (write ? " [ nbdkit" : " [ nbdkit -r", fp);
  put_word (fp, plugin_word ());
  if (asprintf (&file, "file=%s", name) < 0)
    file = NULL;
  else
    put_word (fp, file);
  for (; *parameters != NULL; ++parameters)
    put_word (fp, *parameters);
  fputs (" ]", fp);
}

char *
nbdfuse_command (const char *name, const struct image_option_values *image,
                 bool write)
{
  CLEANUP_IMAGE_PARAMETERS struct image_parameters parameters = { { NULL } };
  char *command = NULL;
  size_t size;
  FILE *fp;

  if (image_parameters_new (image, &parameters, NULL) < 0 ||
      (fp = open_memstream (&command, &size)) == NULL)
    return NULL;
  fputs (write ? "nbdfuse FOLDER" : "nbdfuse -r FOLDER", fp);
  if (block_nbd_is_uri (name))
    put_word (fp, name);
  else
    put_nbdkit (fp, name, parameters.strings, write);
  if (fclose (fp) != 0) {
    free (command);
    return NULL;
  }
  return command;
}

void
nbdfuse_hint (const char *name, const struct image_option_values *image,
              bool write)
{
  CLEANUP_FREE char *command = nbdfuse_command (name, image, write);

  if (command != NULL)
    tool_note ("without a kernel device: %s", command);
}
