/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a differencing VHDX says about its parent: by which identity it is
 * known (§2.6.2.6), and where it was.
 *
 * The identity is a must.  The paths are untrusted and often out of date;
 * what is found there must prove itself by the identity.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/utf16.h"
#include "lib/format/vhdx/vhdx.h"

static const uint8_t type_guid[UUID_SIZE] = VHDX_GUID_LOCATOR_TYPE;

/* The keys that we know, paths in the order in which they are tried. */
static const struct key {
  const char *name;
  enum { LINKAGE, PATH, TIME } kind;
} keys[] = {
  { "parent_linkage", LINKAGE },
  { "parent_linkage2", LINKAGE },
  { "relative_path", PATH },
  { "volume_path", PATH },
  { "absolute_win32_path", PATH },
  { VHDX_TIME_KEY, TIME },
};

#define NR_KEYS (sizeof keys / sizeof keys[0])

/* No key that we know is longer. */
#define MAX_KEY_SIZE 64

static int
check_string (uint32_t off, uint32_t len, size_t item_len, struct err *err)
{
  if (range_fits (off, len, item_len) && off >= VHDX_LOCATOR_ENTRIES &&
      len % 2 == 0)
    return 0;
  return err_set (err, -EBADMSG, "a string of the parent locator has %" PRIu32
                  " bytes at offset %" PRIu32 ", which is not inside its %zu "
                  "bytes", len, off, item_len);
}

static int
find_key (const uint8_t *bytes, size_t len, size_t *out, struct err *err)
{
  CLEANUP_FREE char *name = NULL;

  if (len > MAX_KEY_SIZE)
    return 0;
  name = utf16_to_utf8 (bytes, len, UTF16_LE);
  if (name == NULL)
    return err_nomem (err);
  for (size_t i = 0; i < NR_KEYS; ++i)
    if (strcmp (keys[i].name, name) == 0)
      *out = i;
  return 0;
}

/* Only what has a key that we know is converted: a hostile file would have
 * many long strings for us.
 */
static int
read_entry (const uint8_t *item, size_t item_len, const uint8_t *entry,
            char *values[NR_KEYS], struct err *err)
{
  uint32_t key_off = get_le32 (entry + VHDX_LOCATOR_KEY_OFFSET);
  uint32_t value_off = get_le32 (entry + VHDX_LOCATOR_VALUE_OFFSET);
  uint16_t key_len = get_le16 (entry + VHDX_LOCATOR_KEY_LENGTH);
  uint16_t value_len = get_le16 (entry + VHDX_LOCATOR_VALUE_LENGTH);
  size_t key = NR_KEYS;
  int r;

  r = check_string (key_off, key_len, item_len, err);
  if (r == 0)
    r = check_string (value_off, value_len, item_len, err);
  if (r == 0)
    r = find_key (item + key_off, key_len, &key, err);
  if (r < 0 || key == NR_KEYS)
    return r;
  if (values[key])
    return err_set (err, -EBADMSG, "the parent locator has ‘%s’ twice",
                    keys[key].name);
  values[key] = utf16_to_utf8 (item + value_off, value_len, UTF16_LE);
  return values[key] ? 0 : err_nomem (err);
}

static int
read_values (const uint8_t *item, size_t len, char *values[NR_KEYS],
             struct err *err)
{
  char guid[UUID_STRING_SIZE];
  unsigned count;
  int r = 0;

  if (len < VHDX_LOCATOR_ENTRIES)
    return err_set (err, -EBADMSG, "the parent locator has %zu bytes, "
                    "expected %d or more", len, VHDX_LOCATOR_ENTRIES);
  if (memcmp (item, type_guid, UUID_SIZE) != 0) {
    guid_to_string (item, guid);
    return err_set (err, -ENOTSUP, "the parent locator is of the type %s, "
                    "which is not known", guid);
  }
  count = get_le16 (item + VHDX_LOCATOR_COUNT);
  if (count > (len - VHDX_LOCATOR_ENTRIES) / VHDX_LOCATOR_ENTRY_SIZE)
    return err_set (err, -EBADMSG, "the parent locator has %u entries, which "
                    "do not fit into its %zu bytes", count, len);
  for (unsigned i = 0; r == 0 && i < count; ++i)
    r = read_entry (item, len, item + VHDX_LOCATOR_ENTRIES +
                    i * VHDX_LOCATOR_ENTRY_SIZE, values, err);
  return r;
}

/* Ours, and only a hint: what is no time is none. */
static void
use_time (struct vhdx_locator *out, const char *value)
{
  char *end;

  errno = 0;
  out->time = strtoll (value, &end, 10);
  out->has_time = errno == 0 && end != value && *end == '\0';
}

/* The second one is there while disks are merged, and otherwise missing or
 * nothing.
 */
static int
add_linkage (struct vhdx_locator *out, const struct key *key,
             const char *value, struct err *err)
{
  uint8_t *guid = out->linkage[out->nr_linkages];
  bool is_second = key != &keys[0];

  if (is_second && value[0] == '\0')
    return 0;
  if (!guid_from_string (value, guid))
    return err_set (err, -EBADMSG, "‘%s’ of the parent locator is ‘%.64s’, "
                    "expected a GUID", key->name, value);
  if (!is_second || !uuid_is_zero (guid))
    out->nr_linkages++;
  return 0;
}

/* \\?\Volume{…}\folder\name and the like: their last part is a name. */
static int
use_value (const struct key *key, char *value, struct vhdx_locator *out,
           struct err *err)
{
  switch (key->kind) {
  case LINKAGE:
    return add_linkage (out, key, value, err);
  case TIME:
    use_time (out, value);
    return 0;
  case PATH:
    break;
  }
  return parent_names_add_windows (&out->names, value, err);
}

static int
use_values (char *values[NR_KEYS], struct vhdx_locator *out, struct err *err)
{
  int r = 0;

  if (values[0] == NULL)
    return err_set (err, -EBADMSG, "the parent locator lacks ‘%s’",
                    keys[0].name);
  for (size_t i = 0; r == 0 && i < NR_KEYS; ++i)
    if (values[i])
      r = use_value (&keys[i], values[i], out, err);
  return r;
}

int
vhdx_locator_read (const uint8_t *item, size_t len, struct vhdx_locator *out,
                   struct err *err)
{
  struct vhdx_locator locator = { .names = VECTOR_INIT };
  char *values[NR_KEYS] = { NULL };
  int r;

  r = read_values (item, len, values, err);
  if (r == 0)
    r = use_values (values, &locator, err);
  for (size_t i = 0; i < NR_KEYS; ++i)
    free (values[i]);
  if (r < 0)
    vhdx_locator_free (&locator);
  else
    *out = locator;
  return r;
}

void
vhdx_locator_free (struct vhdx_locator *locator)
{
  name_list_free (&locator->names);
}
