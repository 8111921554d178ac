/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/size.h"
#include "lib/base/text.h"
#include "lib/repo/vault-names.h"
#include "plugin/describe.h"

/* "vhd" is written VHD, but raw is a word, and winbackup two. */
static void
format_for_people (const char *format, char *buf, size_t size)
{
  bool is_word = strcmp (format, "raw") == 0;

  if (strcmp (format, "winbackup") == 0) {
    format = "Windows backup,";
    is_word = true;
  }
  snprintf (buf, size, "%s", format);
  if (!is_word)
    for (char *p = buf; *p; ++p)
      *p = (char) toupper ((unsigned char) *p);
}

/* The kinds of an ISO say what it is ("ISO 9660 + Joliet"), and its creator is
 * most often a paragraph about a program and its authors.
 */
static void
describe (const char *format, const char *size, const struct image_info *info,
          char *line, size_t line_size)
{
  if (info->is_optical && info->type)
    snprintf (line, line_size, "%s, %s", info->type, size);
  else
    snprintf (line, line_size, "%s%s%s, %s%s%.128s", format,
              info->type ? " " : "", info->type ? info->type : "", size,
              info->creator ? ", created by " : "",
              info->creator ? info->creator : "");
  if (info->label) {
    size_t len = strlen (line);

    snprintf (line + len, line_size - len, ", ‘%.64s’", info->label);
  }
}

char *
describe_backup (uint64_t time, uint64_t size)
{
  char text[VAULT_TIME_SIZE], bytes[SIZE_STRING_SIZE];
  char *line;

  vault_time_to_string (time, text);
  size_to_string (size, bytes);
  return asprintf (&line, "backup of %s, %s", text, bytes) < 0 ? NULL : line;
}

char *
describe_image (struct image *img)
{
  CLEANUP_IMAGE_INFO struct image_info info = { .created = -1 };
  char format[24], size[SIZE_STRING_SIZE];
  char line[DESCRIPTION_SIZE], clean[DESCRIPTION_SIZE];

  format_for_people (image_format (img), format, sizeof format);
  size_to_string (image_size (img), size);
  /* What can't be found out is left out. */
  (void) image_get_info (img, &info, NULL);
  if (strcmp (image_format (img), "nbi") == 0 && info.created > 0)
    return describe_backup ((uint64_t) info.created, image_size (img));
  describe (format, size, &info, line, sizeof line);
  return strdup (text_clean (line, clean, sizeof clean));
}
