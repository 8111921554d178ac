/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which size is the disk's, and who wrote the image.
 *
 * A footer states the size twice: in bytes, and as cylinders × heads ×
 * sectors per track, which rounds down to a cylinder.  Hyper-V, Azure,
 * VirtualBox and most others mean the bytes; only guests of Virtual PC and
 * Virtual Server ever saw the geometry.  Too large by less than a cylinder
 * only adds zeros, too small loses data and hides the backup GPT: so bytes,
 * except for those two.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/format/vhd/vhd.h"

struct creator {
  char code[5];                 /* the four characters */
  const char *program;
  enum image_size_rule size_rule;
};

static const struct creator creators[] = {
  { VHD_OUR_CREATOR, "nbdimage", IMAGE_SIZE_CURRENT },
  { "vpc ", "Virtual PC", IMAGE_SIZE_CHS },
  { "vs  ", "Virtual Server", IMAGE_SIZE_CHS },
  { "win ", "Windows", IMAGE_SIZE_CURRENT },
  /* qemu rounds the size up so that both agree; with force_size=on it says
   * qem2, and the geometry is the largest.
   */
  { "qemu", "qemu", IMAGE_SIZE_CURRENT },
  { "qem2", "qemu", IMAGE_SIZE_CURRENT },
  { "d2v ", "Disk2vhd", IMAGE_SIZE_CURRENT },
  { "d2v\0", "Disk2vhd", IMAGE_SIZE_CURRENT },
  { "tap\0", "tapdisk", IMAGE_SIZE_CURRENT },
  { "CTXS", "XenConvert", IMAGE_SIZE_CURRENT },
  { "vbox", "VirtualBox", IMAGE_SIZE_CURRENT },
  { "wa\0\0", "Azure", IMAGE_SIZE_CURRENT },
  { "wa  ", "Azure", IMAGE_SIZE_CURRENT },
};

static const struct creator *
find_creator (const struct vhd_footer *footer)
{
  for (size_t i = 0; i < sizeof creators / sizeof creators[0]; ++i)
    if (memcmp (creators[i].code, footer->creator, 4) == 0)
      return &creators[i];
  return NULL;
}

bool
vhd_creator_is (const struct vhd_footer *footer, const char *code)
{
  return memcmp (footer->creator, code, 4) == 0;
}

uint64_t
vhd_geometry_size (const struct vhd_footer *footer)
{
  return (uint64_t) footer->cylinders * footer->heads * footer->sectors *
    VHD_SECTOR_SIZE;
}

static bool
geometry_is_largest (const struct vhd_footer *footer)
{
  return footer->cylinders == VHD_MAX_CYLINDERS &&
    footer->heads == VHD_MAX_HEADS && footer->sectors == VHD_MAX_SECTORS;
}

/* The specification's algorithm: the geometry of a disk of so many sectors,
 * rounded down to whole cylinders.
 */
static void
geometry_of (uint64_t sectors, struct vhd_footer *f)
{
  uint64_t tracks = sectors / 17;

  f->sectors = 17;
  f->heads = (uint8_t) min_u64 (max_u64 ((tracks + 1023) / 1024, 4), 17);
  if (tracks >= (uint64_t) f->heads * 1024 || f->heads > 16) {
    f->sectors = 31;
    f->heads = 16;
    tracks = sectors / 31;
  }
  if (tracks >= (uint64_t) f->heads * 1024) {
    f->sectors = 63;
    f->heads = 16;
    tracks = sectors / 63;
  }
  if (sectors >= UINT64_C (65535) * 16 * 63) {
    f->sectors = VHD_MAX_SECTORS;
    f->heads = VHD_MAX_HEADS;
    tracks = sectors / VHD_MAX_SECTORS;
  }
  f->cylinders = (uint16_t) min_u64 (tracks / f->heads, VHD_MAX_CYLINDERS);
}

int
vhd_geometry_for (uint64_t size, struct vhd_footer *f, uint64_t *rounded,
                  struct err *err)
{
  uint64_t most = (uint64_t) VHD_MAX_CYLINDERS * VHD_MAX_HEADS *
    VHD_MAX_SECTORS;
  uint64_t sectors = div_round_up (size, VHD_SECTOR_SIZE), n;

  /* At most a cylinder more, of 4080 sectors. */
  for (n = sectors; n <= most; ++n) {
    geometry_of (n, f);
    if (vhd_geometry_size (f) >= size) {
      *rounded = vhd_geometry_size (f);
      return 0;
    }
  }
  return err_set (err, -EINVAL, "a geometry describes at most %" PRIu64
                  " bytes, not %" PRIu64, most * VHD_SECTOR_SIZE, size);
}

static enum image_size_rule
rule_for_creator (const struct vhd_footer *footer)
{
  const struct creator *creator = find_creator (footer);
  uint64_t chs = vhd_geometry_size (footer);

  if (creator == NULL || creator->size_rule == IMAGE_SIZE_CURRENT)
    return IMAGE_SIZE_CURRENT;
  /* It stands for every size that is as large or larger. */
  if (geometry_is_largest (footer))
    return IMAGE_SIZE_CURRENT;
  if (chs == 0 || chs > footer->current_size)
    return IMAGE_SIZE_CURRENT;
  return IMAGE_SIZE_CHS;
}

uint64_t
vhd_disk_size (const struct vhd_footer *footer, enum image_size_rule rule,
               enum image_size_rule *used)
{
  *used = rule == IMAGE_SIZE_AUTO ? rule_for_creator (footer) : rule;
  return *used == IMAGE_SIZE_CHS ? vhd_geometry_size (footer)
                                 : footer->current_size;
}

/* The four characters without NULs at the end, fit to print. */
static void
printable_code (const char creator[4], char str[5])
{
  size_t len = 4;

  while (len > 0 && creator[len - 1] == '\0')
    len--;
  for (size_t i = 0; i < len; ++i)
    str[i] = creator[i] >= ' ' && creator[i] < 0x7F ? creator[i] : '?';
  str[len] = '\0';
}

char *
vhd_creator_to_string (const struct vhd_footer *footer)
{
  const struct creator *creator = find_creator (footer);
  unsigned major = footer->creator_version >> 16;
  unsigned minor = footer->creator_version & 0xFFFF;
  char code[5], *str;
  int r;

  printable_code (footer->creator, code);
  if (creator == NULL)
    r = asprintf (&str, "unknown program ‘%s’ %u.%u", code, major, minor);
  else if (strcmp (creator->program, code) == 0)
    r = asprintf (&str, "%s %u.%u", code, major, minor);
  else
    r = asprintf (&str, "%s %u.%u (%s)", creator->program, major, minor,
                  code);
  return r < 0 ? NULL : str;
}

const char *
vhd_type_to_string (uint32_t type)
{
  switch (type) {
  case VHD_FIXED: return "fixed";
  case VHD_DYNAMIC: return "dynamic";
  case VHD_DIFFERENCING: return "differencing";
  }
  return "unknown";
}
