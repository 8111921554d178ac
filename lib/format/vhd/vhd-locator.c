/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a differencing VHD says about where its parent is: up to eight
 * locators, and the Unicode name in the header.
 *
 * All of it is untrusted, out of date as soon as something was moved, and
 * often means a place on a machine with drive letters.  So it becomes a list
 * of paths to try, and what is found there must prove by its identity that
 * it is the parent.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/utf16.h"
#include "lib/format/vhd/vhd.h"

/* The longest text in a locator that is looked at.  Windows reserves as
 * much, and paths are shorter.
 */
#define MAX_TEXT (64 * 1024)

/* The kinds of locators in the order in which they are tried; the Unicode
 * name has its place among them.
 */
#define UNICODE_NAME 0xFFFFFFFF

static const uint32_t order[] = {
  VHD_LOCATOR_W2RU,
  UNICODE_NAME,
  VHD_LOCATOR_MACX,
  VHD_LOCATOR_W2KU,
  VHD_LOCATOR_WI2R,
  VHD_LOCATOR_WI2K,
};

static int
hex_digit (char c)
{
  if (c >= '0' && c <= '9')
    return c - '0';
  if (c >= 'a' && c <= 'f')
    return c - 'a' + 10;
  if (c >= 'A' && c <= 'F')
    return c - 'A' + 10;
  return -1;
}

/* In place.  %00 ends the string: no name has a NUL in it. */
static void
percent_decode (char *str)
{
  char *out = str;

  for (; *str; ++str) {
    int high = str[0] == '%' ? hex_digit (str[1]) : -1;
    int low = high >= 0 ? hex_digit (str[2]) : -1;

    if (low >= 0) {
      *out++ = (char) (high << 4 | low);
      str += 2;
    }
    else
      *out++ = *str;
  }
  *out = '\0';
}

/* XenServer writes file://./NAME for a name relative to the child. */
char *
vhd_path_from_url (char *url)
{
  static const char scheme[] = "file://", host[] = "localhost/";

  if (strncasecmp (url, scheme, sizeof scheme - 1) == 0) {
    url += sizeof scheme - 1;
    if (strncasecmp (url, host, sizeof host - 1) == 0)
      url += sizeof host - 2;
  }
  percent_decode (url);
  while (url[0] == '.' && url[1] == '/')
    url += 2 + strspn (url + 2, "/");
  return url;
}

/* bytes are followed by a NUL that is not counted. */
static int
add_locator_text (struct name_list *out, uint32_t code, char *bytes,
                  size_t len, struct err *err)
{
  CLEANUP_FREE char *text = NULL;

  switch (code) {
  case VHD_LOCATOR_W2RU:
  case VHD_LOCATOR_W2KU:
    text = utf16_to_utf8 (bytes, len, UTF16_LE);
    return text ? parent_names_add_windows (out, text, err)
                : err_nomem (err);
  case VHD_LOCATOR_MACX:
    return parent_names_add (out, vhd_path_from_url (bytes), false, err);
  default:
    return parent_names_add_windows (out, bytes, err);
  }
}

static int
add_locator (const struct vhd_layer *child, const struct vhd_locator *l,
             struct name_list *out, struct report *report, struct err *err)
{
  CLEANUP_FREE char *bytes = NULL;
  int r;

  if (!range_fits (l->off, l->len, child->footers.end) ||
      l->len > MAX_TEXT) {
    report_warn (report, "%s: a parent locator says that its %" PRIu32
                 " bytes are at offset %" PRIu64 ", which can't be; it is "
                 "left out", block_name (child->block), l->len, l->off);
    return 0;
  }
  bytes = calloc (1, (size_t) l->len + 1);
  if (bytes == NULL)
    return err_nomem (err);
  r = block_pread (child->block, bytes, l->len, l->off, err);
  if (r < 0)
    return r;
  return add_locator_text (out, l->code, bytes, l->len, err);
}

static int
add_unicode_name (const struct vhd_layer *child, struct name_list *out,
                  struct err *err)
{
  CLEANUP_FREE char *text =
    utf16_to_utf8 (child->header.parent_name, VHD_PARENT_NAME_SIZE, UTF16_BE);

  return text ? parent_names_add_windows (out, text, err)
                : err_nomem (err);
}

int
vhd_locator_names (const struct vhd_layer *child, struct name_list *out,
                   struct report *report, struct err *err)
{
  struct name_list names = VECTOR_INIT;
  int r = 0;

  for (size_t i = 0; r == 0 && i < sizeof order / sizeof order[0]; ++i) {
    if (order[i] == UNICODE_NAME)
      r = add_unicode_name (child, &names, err);
    for (int j = 0; r == 0 && j < VHD_NR_LOCATORS; ++j)
      if (child->header.locators[j].code == order[i])
        r = add_locator (child, &child->header.locators[j], &names, report,
                         err);
  }
  if (r < 0)
    name_list_free (&names);
  else
    *out = names;
  return r;
}
