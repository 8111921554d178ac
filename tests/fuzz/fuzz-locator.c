/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a differencing VHD says about its parent's name.  An input: four
 * locators of two bytes, kind and length; a name of 64 bytes; the texts of the
 * locators.
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/utf8.h"
#include "lib/block/memory.h"
#include "lib/format/parent.h"
#include "lib/format/vhd/vhd.h"
#include "tests/fuzz/fuzz.h"

#define NR_LOCATORS 4
#define NAME_SIZE 64

static const uint32_t codes[] = {
  VHD_LOCATOR_W2RU, VHD_LOCATOR_W2KU, VHD_LOCATOR_MACX, VHD_LOCATOR_WI2R,
  VHD_LOCATOR_WI2K, VHD_LOCATOR_NONE, 0x12345678,
};

/* No images here. */
void
fuzz_fix (struct sparse *s)
{
  (void) s;
}

static void
set_locators (struct vhd_header *h, const uint8_t *said, uint64_t off)
{
  for (unsigned i = 0; i < NR_LOCATORS; ++i) {
    h->locators[i].code = codes[said[2 * i] % (sizeof codes / sizeof codes[0])];
    h->locators[i].len = said[2 * i + 1];
    h->locators[i].off = off;
    off += said[2 * i + 1];
  }
}

/* A path to try names something, and is tried once. */
static void
check_names (const struct name_list *names)
{
  for (size_t i = 0; i < names->len; ++i) {
    const char *slash = strrchr (names->ptr[i], '/');
    const char *leaf = slash ? slash + 1 : names->ptr[i];

    must (leaf[0] != '\0');
    must (strcmp (leaf, ".") != 0 && strcmp (leaf, "..") != 0);
    for (size_t j = 0; j < i; ++j)
      must (strcmp (names->ptr[i], names->ptr[j]) != 0);
  }
}

/* Every text as each kind of path: it gets no longer, and stays in its
 * place.
 */
static void
check_paths (const uint8_t *data, size_t len)
{
  bool leaf_only;

  for (unsigned i = 0; i < 2; ++i) {
    CLEANUP_FREE char *text = calloc (1, len + 1);
    char *path;

    memcpy (text, data, len);
    path = i == 0 ? vhd_path_from_url (text)
                  : parent_path_from_windows (text, &leaf_only);
    must (path >= text && path + strlen (path) <= text + len);
    must (i == 0 || strchr (path, '\\') == NULL);
    must (path[0] != '.' || path[1] != '/');
  }
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t len)
{
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct vhd_layer layer = { .number = 0 };
  struct name_list names = VECTOR_INIT;
  struct err err = ERR_INIT;

  if (len < 2 * NR_LOCATORS + NAME_SIZE)
    return 0;
  must (block_memory_new ("fuzz", data, len, &block, &err) == 0);
  layer.block = block;
  layer.footers.end = len;
  set_locators (&layer.header, data, 2 * NR_LOCATORS + NAME_SIZE);
  memcpy (layer.header.parent_name, data + 2 * NR_LOCATORS, NAME_SIZE);
  must (vhd_locator_names (&layer, &names, &report, &err) == 0);
  check_names (&names);
  name_list_free (&names);
  check_paths (data + 2 * NR_LOCATORS + NAME_SIZE,
               len - 2 * NR_LOCATORS - NAME_SIZE);
  return 0;
}
