/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/size.h"
#include "plugin/describe.h"
#include "plugin/text.h"

/* "vhd" is written VHD, but raw is a word. */
static void
format_for_people (const char *format, char *buf, size_t size)
{
  snprintf (buf, size, "%s", format);
  if (strcmp (format, "raw") != 0)
    for (char *p = buf; *p; ++p)
      *p = (char) toupper ((unsigned char) *p);
}

char *
describe_image (struct image *img)
{
  CLEANUP_IMAGE_INFO struct image_info info = { .created = -1 };
  char format[16], size[SIZE_STRING_SIZE];
  char line[DESCRIPTION_SIZE], clean[DESCRIPTION_SIZE];

  format_for_people (image_format (img), format, sizeof format);
  size_to_string (image_size (img), size);
  /* What can't be found out is left out. */
  (void) image_get_info (img, &info, NULL);
  snprintf (line, sizeof line, "%s%s%s, %s%s%.64s%s%s%.128s",
            format, info.type ? " " : "", info.type ? info.type : "", size,
            info.label ? ", ‘" : "", info.label ? info.label : "",
            info.label ? "’" : "",
            info.creator ? ", created by " : "",
            info.creator ? info.creator : "");
  return strdup (text_clean (line, clean, sizeof clean));
}
