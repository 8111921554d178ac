/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The checksums of a VHD, wherever its structures are. */

#include <config.h>

#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "tests/fuzz/fix.h"

#define FOOTER_SIZE 512
#define HEADER_SIZE 1024

static void
fix_sum (struct sparse *s, uint64_t off, size_t len, size_t at,
         const char *cookie)
{
  uint8_t bytes[HEADER_SIZE];
  uint32_t sum = 0;

  if (!range_fits (off, len, s->size))
    return;
  sparse_read (s, bytes, len, off);
  if (memcmp (bytes, cookie, 8) != 0)
    return;
  put_be32 (bytes + at, 0);
  for (size_t i = 0; i < len; ++i)
    sum += bytes[i];
  put_be32 (bytes + at, ~sum);
  sparse_write (s, bytes + at, 4, off + at);
}

/* The header of the footer at off. */
static void
fix_header (struct sparse *s, uint64_t off)
{
  uint8_t bytes[FOOTER_SIZE];

  if (!range_fits (off, sizeof bytes, s->size))
    return;
  sparse_read (s, bytes, sizeof bytes, off);
  fix_sum (s, get_be64 (bytes + 16), HEADER_SIZE, 36, "cxsparse");
}

void
fix_vhd (struct sparse *s)
{
  uint64_t end = s->size - min_u64 (s->size, FOOTER_SIZE);

  fix_sum (s, 0, FOOTER_SIZE, 64, "conectix");
  fix_sum (s, end, FOOTER_SIZE, 64, "conectix");
  fix_header (s, 0);
  fix_header (s, end);
}
