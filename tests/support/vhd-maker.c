/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/fdio.h"
#include "lib/block/memory.h"
#include "tests/support/vhd-maker.h"

#define HEADER_OFF 512
#define TABLE_OFF 1536

static void
must (bool ok, const char *what)
{
  if (ok)
    return;
  fprintf (stderr, "vhd-maker: %s\n", what);
  abort ();
}

static uint32_t
checksum (const uint8_t *p, size_t len)
{
  uint32_t sum = 0;

  while (len-- > 0)
    sum += *p++;
  return ~sum;
}

static void
put_checksum (uint8_t *p, size_t len, size_t at)
{
  put_be32 (p + at, 0);
  put_be32 (p + at, checksum (p, len));
}

void
vhd_maker_id (unsigned id, uint8_t bytes[16])
{
  for (unsigned i = 0; i < 16; ++i)
    bytes[i] = (uint8_t) (id * 31 + i * 7 + (id >> 8));
}

void
vhd_maker_footer (const struct vhd_spec *s, uint8_t f[512])
{
  bool largest = s->cylinders + s->heads + s->sectors == 0;

  memset (f, 0, 512);
  memcpy (f, "conectix", 8);
  put_be32 (f + 8, 2);
  put_be32 (f + 12, 0x00010000);
  put_be64 (f + 16, s->type == 2 ? UINT64_MAX : HEADER_OFF);
  put_be32 (f + 24, s->timestamp ? s->timestamp : 0x32000000);
  memcpy (f + 28, s->creator ? s->creator : "win ", 4);
  put_be32 (f + 32, s->creator_version ? s->creator_version : 0x000A0000);
  memcpy (f + 36, "Wi2k", 4);
  put_be64 (f + 40, s->original_size ? s->original_size : s->size);
  put_be64 (f + 48, s->size);
  put_be16 (f + 56, (uint16_t) (largest ? 65535 : s->cylinders));
  f[58] = (uint8_t) (largest ? 16 : s->heads);
  f[59] = (uint8_t) (largest ? 255 : s->sectors);
  put_be32 (f + 60, s->type);
  vhd_maker_id (s->id, f + 68);
  put_checksum (f, 512, 64);
}

/* Returns where the new bytes, zeros, begin. */
static size_t
grow (struct vhd_maker *m, size_t len)
{
  size_t off = m->len;

  if (len == 0)
    return off;
  /* Twice as much each time: under the sanitizers realloc always copies. */
  if (m->len + len > m->allocated) {
    m->allocated = 2 * (m->len + len);
    m->data = realloc (m->data, m->allocated);
    must (m->data != NULL, "out of memory");
  }
  memset (m->data + off, 0, len);
  m->len += len;
  return off;
}

/* UTF-8 of one to three bytes is enough for names in tests. */
static size_t
put_utf16 (uint8_t *p, const char *text, bool big)
{
  const uint8_t *s = (const uint8_t *) text;
  size_t len = 0, n;

  for (; *s; s += n, len += 2) {
    unsigned c = s[0];

    n = c < 0x80 ? 1 : c < 0xE0 ? 2 : 3;
    must (c < 0xF0, "a name has characters that need surrogates");
    if (n > 1)
      c &= 0x7FU >> n;
    for (size_t i = 1; i < n; ++i)
      c = c << 6 | (s[i] & 0x3F);
    p[len + (big ? 1 : 0)] = (uint8_t) c;
    p[len + (big ? 0 : 1)] = (uint8_t) (c >> 8);
  }
  return len;
}

static void
put_locator (struct vhd_maker *m, int i)
{
  const struct vhd_spec_locator *l = &m->spec.locators[i];
  uint8_t *entry;
  size_t off, len = strlen (l->text);

  off = grow (m, round_up (2 * len + 2, 512));
  entry = m->data + HEADER_OFF + 576 + i * 24;
  memcpy (entry, l->code, 4);
  put_be32 (entry + 4, (uint32_t) round_up (2 * len + 2, 512));
  if (l->code[0] == 'W' && l->code[1] == '2')
    len = put_utf16 (m->data + off, l->text, false);
  else
    memcpy (m->data + off, l->text, len);
  put_be32 (entry + 8, (uint32_t) len);
  put_be64 (entry + 16, off);
  if (m->locator_off == 0)
    m->locator_off = off;
}

static void
put_header (struct vhd_maker *m)
{
  const struct vhd_spec *s = &m->spec;
  uint8_t *h = m->data + HEADER_OFF;

  memcpy (h, "cxsparse", 8);
  put_be64 (h + 8, UINT64_MAX);
  put_be64 (h + 16, TABLE_OFF);
  put_be32 (h + 24, 0x00010000);
  put_be32 (h + 28, (uint32_t) m->nr_entries);
  put_be32 (h + 32, s->block_size);
  if (s->type != 4)
    return;
  vhd_maker_id (s->parent_id, h + 40);
  put_be32 (h + 56, s->parent_timestamp);
  if (s->parent_name)
    put_utf16 (h + 64, s->parent_name, true);
}

static void
put_batmap (struct vhd_maker *m)
{
  size_t len = round_up (div_round_up (m->nr_entries, 8), 512);
  size_t off = grow (m, 512 + len);
  uint8_t *b = m->data + off;

  memcpy (b, "tdbatmap", 8);
  put_be64 (b + 8, off + 512);
  put_be32 (b + 16, (uint32_t) (len / 512));
  put_be32 (b + 20, 0x00010002);
  put_be32 (b + 24, checksum (b + 512, len));
  m->batmap_off = off;
}

struct vhd_maker *
vhd_maker_new (const struct vhd_spec *spec)
{
  struct vhd_maker *m = calloc (1, sizeof *m);
  size_t len;

  must (m != NULL, "out of memory");
  m->spec = *spec;
  if (m->spec.block_size == 0)
    m->spec.block_size = 2 * 1024 * 1024;
  if (spec->type == 2)
    return m;
  m->nr_entries = div_round_up (spec->size, m->spec.block_size) +
    spec->extra_entries;
  grow (m, TABLE_OFF);
  put_header (m);
  len = round_up (m->nr_entries * 4, 512);
  m->table_off = grow (m, len);
  memset (m->data + m->table_off, 0xFF, len);
  if (spec->batmap)
    put_batmap (m);
  for (int i = 0; i < 8; ++i)
    if (spec->locators[i].code)
      put_locator (m, i);
  return m;
}

void
vhd_maker_free (struct vhd_maker *m)
{
  if (m)
    free (m->data);
  free (m);
}

size_t
vhd_maker_add_block (struct vhd_maker *m, uint64_t index,
                     const uint8_t *bits, const uint8_t *data)
{
  size_t nr_bytes = m->spec.block_size / 512 / 8;
  size_t bitmap = round_up (nr_bytes > 0 ? nr_bytes : 1, 512), off;

  must (index < m->nr_entries, "no such block");
  off = grow (m, bitmap + m->spec.block_size);
  put_be32 (m->data + m->table_off + index * 4, (uint32_t) (off / 512));
  if (bits)
    memcpy (m->data + off, bits, nr_bytes);
  else
    memset (m->data + off, 0xFF, nr_bytes);
  memcpy (m->data + off + bitmap, data, m->spec.block_size);
  return off + bitmap;
}

void
vhd_maker_set_data (struct vhd_maker *m, const uint8_t *data)
{
  size_t off;

  must (m->spec.type == 2 && m->len == 0, "not a fixed disk");
  off = grow (m, m->spec.size);
  memcpy (m->data + off, data, m->spec.size);
}

void
vhd_maker_finish (struct vhd_maker *m)
{
  if (m->spec.type == 2 && m->len == 0)
    grow (m, m->spec.size);
  m->footer_off = grow (m, 512);
  /* Exactly, so that the sanitizers see a read behind the end. */
  m->allocated = m->len;
  m->data = realloc (m->data, m->allocated);
  must (m->data != NULL, "out of memory");
  vhd_maker_footer (&m->spec, m->data + m->footer_off);
  if (m->spec.type == 2)
    return;
  memcpy (m->data, m->data + m->footer_off, 512);
  vhd_maker_sum_header (m);
}

void
vhd_maker_sum_footers (struct vhd_maker *m)
{
  put_checksum (m->data + m->footer_off, 512, 64);
  if (m->spec.type != 2)
    put_checksum (m->data, 512, 64);
}

void
vhd_maker_sum_header (struct vhd_maker *m)
{
  put_checksum (m->data + HEADER_OFF, 1024, 36);
}

struct block *
vhd_maker_block (const struct vhd_maker *m)
{
  struct block *block;

  must (block_memory_new ("test.vhd", m->data, m->len, &block, NULL) == 0,
        "out of memory");
  return block;
}

void
vhd_maker_save (const struct vhd_maker *m, const char *path)
{
  int fd = open (path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

  must (fd >= 0, path);
  must (fd_pwrite (fd, m->data, m->len, 0, NULL) == 0, path);
  close (fd);
}
