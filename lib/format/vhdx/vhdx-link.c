/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a child says about its parent (§2.6.2.6.3): the other direction of
 * vhdx-locator.c.
 *
 *   parent_linkage        the identity of the parent's data, in braces and
 *                         small letters, as Windows writes it
 *   parent_linkage2       the one that it gets, as long as the child is being
 *                         merged into it
 *   relative_path         from the child's folder, ".\x" or "..\x"
 *   absolute_win32_path   as Windows would write it
 *   nbdimage_parent_time  of a disk that is no VHDX: seconds since 1970
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/base/utf16.h"
#include "lib/block/file.h"
#include "lib/block/nbd.h"
#include "lib/format/vhdx/vhdx.h"

#define MAX_PAIRS 5

/* The item as it grows: room for MAX_PAIRS entries, then strings. */
struct item {
  uint8_t *bytes;
  size_t len;
  unsigned nr;
};

/* Returns where the string went and how long it is. */
static int
add_string (struct item *item, const char *text, uint32_t *off, uint16_t *len,
            struct err *err)
{
  CLEANUP_FREE uint8_t *utf16 = NULL;
  uint8_t *bytes;
  size_t utf16_len;
  int r = utf16_from_utf8 (text, UTF16_LE, &utf16, &utf16_len, err);

  if (r < 0)
    return r;
  if (utf16_len > UINT16_MAX)
    return err_set (err, -ENAMETOOLONG, "the path of the parent has %zu "
                    "bytes, expected at most %u", utf16_len, UINT16_MAX);
  bytes = realloc (item->bytes, item->len + utf16_len);
  if (bytes == NULL)
    return err_nomem (err);
  memcpy (bytes + item->len, utf16, utf16_len);
  *off = (uint32_t) item->len;
  *len = (uint16_t) utf16_len;
  item->bytes = bytes;
  item->len += utf16_len;
  return 0;
}

static int
add_pair (struct item *item, const char *key, const char *value,
          struct err *err)
{
  uint32_t key_off, value_off;
  uint16_t key_len, value_len;
  uint8_t *entry;
  int r;

  assert (item->nr < MAX_PAIRS);
  r = add_string (item, key, &key_off, &key_len, err);
  if (r == 0)
    r = add_string (item, value, &value_off, &value_len, err);
  if (r < 0)
    return r;
  entry = item->bytes + VHDX_LOCATOR_ENTRIES +
    item->nr * VHDX_LOCATOR_ENTRY_SIZE;
  put_le32 (entry + VHDX_LOCATOR_KEY_OFFSET, key_off);
  put_le32 (entry + VHDX_LOCATOR_VALUE_OFFSET, value_off);
  put_le16 (entry + VHDX_LOCATOR_KEY_LENGTH, key_len);
  put_le16 (entry + VHDX_LOCATOR_VALUE_LENGTH, value_len);
  put_le16 (item->bytes + VHDX_LOCATOR_COUNT, (uint16_t) ++item->nr);
  return 0;
}

static int
add_linkage (struct item *item, const char *key,
             const uint8_t linkage[UUID_SIZE], struct err *err)
{
  char id[UUID_STRING_SIZE], text[UUID_STRING_SIZE + 2];

  guid_to_string (linkage, id);
  snprintf (text, sizeof text, "{%s}", id);
  return add_pair (item, key, text, err);
}

static int
add_paths (struct item *item, struct parent_place *place, struct err *err)
{
  int r;

  if (place->relative == NULL)
    return err_set (err, -EINVAL, "parent %s: there is a backslash in its "
                    "path, which a VHDX can't say", place->absolute);
  parent_path_to_windows (place->relative);
  parent_path_to_windows (place->absolute);
  r = add_pair (item, "relative_path", place->relative, err);
  if (r == 0)
    r = add_pair (item, "absolute_win32_path", place->absolute, err);
  return r;
}

/* time: NULL if it is not to be said. */
static int
make (const char *child, const char *parent,
      const uint8_t linkage[UUID_SIZE], const uint8_t *linkage2,
      const char *time, uint8_t **out, size_t *len, struct report *report,
      struct err *err)
{
  static const uint8_t type[UUID_SIZE] = VHDX_GUID_LOCATOR_TYPE;
  const size_t head = VHDX_LOCATOR_ENTRIES +
    MAX_PAIRS * VHDX_LOCATOR_ENTRY_SIZE;
  struct item item = { calloc (1, head), head, 0 };
  struct parent_place place;
  int r;

  if (item.bytes == NULL)
    return err_nomem (err);
  memcpy (item.bytes, type, UUID_SIZE);
  r = add_linkage (&item, "parent_linkage", linkage, err);
  if (r == 0 && linkage2)
    r = add_linkage (&item, "parent_linkage2", linkage2, err);
  if (r == 0 && !block_nbd_is_uri (parent)) {
    r = parent_place_find (child, parent, &place, report, err);
    if (r == 0) {
      r = add_paths (&item, &place, err);
      parent_place_free (&place);
    }
  }
  if (r == 0 && time)
    r = add_pair (&item, VHDX_TIME_KEY, time, err);
  if (r < 0) {
    free (item.bytes);
    return r;
  }
  *out = item.bytes;
  *len = item.len;
  return 0;
}

int
vhdx_link_make (const char *child, const char *parent,
                const uint8_t linkage[UUID_SIZE], const uint8_t *linkage2,
                uint8_t **out, size_t *len, struct report *report,
                struct err *err)
{
  return make (child, parent, linkage, linkage2, NULL, out, len, report, err);
}

int
vhdx_link_make_over (const char *child, struct image *base,
                     const uint8_t linkage[UUID_SIZE], uint8_t **out,
                     size_t *len, struct report *report, struct err *err)
{
  int fd = block_file_fd (image_block (base));
  char time[24];
  struct stat st;
  bool has_time = fd >= 0 && fstat (fd, &st) == 0;

  if (has_time)
    snprintf (time, sizeof time, "%lld", (long long) st.st_mtime);
  return make (child, image_name (base), linkage, NULL,
               has_time ? time : NULL, out, len, report, err);
}
