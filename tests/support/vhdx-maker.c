/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/crc32c.h"
#include "lib/base/fdio.h"
#include "lib/block/memory.h"
#include "tests/support/vhdx-maker.h"

#define PAGE 4096
#define LOG_ID 0x106

/* GUIDs as they are printed; stored by put_guid. */
static const char *const item_guids[] = {
  "caa16737-fa36-4d43-b3b6-33f0aa44e76b",
  "2fa54224-cd1b-4876-b211-5dbed83bf4b8",
  "beca12ab-b2e6-4523-93ef-c309e000c746",
  "8141bf1d-a96f-4709-ba47-f233a8faab5f",
  "cda348c7-445d-4471-9cc9-e9885251c556",
  "a8d35f2d-b30b-454d-abf7-d3d84834ab0c",
};
static const char bat_guid[] = "2dc27766-f623-4200-9d64-115e9bfd4a08";
static const char metadata_guid[] = "8b7ca206-4790-4b9a-b8fe-575f050f886e";
static const char locator_guid[] = "b04aefb7-d19e-4a81-b789-25b8e9445913";

static void
must (bool ok, const char *what)
{
  if (ok)
    return;
  fprintf (stderr, "vhdx-maker: %s\n", what);
  abort ();
}

static void
put_guid (uint8_t *p, const char *text)
{
  unsigned a, b, c, d[8];

  must (sscanf (text, "%8x-%4x-%4x-%2x%2x-%2x%2x%2x%2x%2x%2x", &a, &b, &c,
                &d[0], &d[1], &d[2], &d[3], &d[4], &d[5], &d[6], &d[7]) == 11,
        text);
  put_le32 (p, a);
  put_le16 (p + 4, (uint16_t) b);
  put_le16 (p + 6, (uint16_t) c);
  for (int i = 0; i < 8; ++i)
    p[8 + i] = (uint8_t) d[i];
}

void
vhdx_maker_id_text (unsigned id, char text[40])
{
  snprintf (text, 40, "{%08X-1234-4321-89AB-%012X}", id * 0x01020305U, id);
}

void
vhdx_maker_id (unsigned id, uint8_t bytes[16])
{
  char text[40];

  vhdx_maker_id_text (id, text);
  put_guid (bytes, text + 1);
}

/* Returns how many bytes it took. */
static size_t
put_utf16 (uint8_t *p, const char *text)
{
  size_t len = 0;

  for (; *text; ++text, len += 2)
    put_le16 (p + len, (uint8_t) *text);
  return len;
}

/* Returns where the new bytes, zeros, begin. */
static size_t
grow (struct vhdx_maker *m, size_t len)
{
  size_t off = m->len;

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

static void
put_sum (uint8_t *p, size_t len)
{
  put_le32 (p + 4, 0);
  put_le32 (p + 4, crc32c_update (0, p, len));
}

void
vhdx_maker_sum_headers (struct vhdx_maker *m)
{
  put_sum (m->data + VHDX_AT_HEADER_1, PAGE);
  put_sum (m->data + VHDX_AT_HEADER_2, PAGE);
}

void
vhdx_maker_sum_regions (struct vhdx_maker *m)
{
  put_sum (m->data + VHDX_AT_REGIONS_1, 64 * 1024);
  put_sum (m->data + VHDX_AT_REGIONS_2, 64 * 1024);
}

/*--- Headers, regions -------------------------------------------------------*/

static void
put_header (struct vhdx_maker *m, size_t off, uint64_t sequence)
{
  uint8_t *p = m->data + off;

  memcpy (p, "head", 4);
  put_le64 (p + 8, sequence);
  vhdx_maker_id (m->spec.id + 0x10000, p + 16);
  vhdx_maker_id (m->spec.id, p + 32);
  put_le16 (p + 66, 1);
  put_le32 (p + 68, m->spec.log_len);
  put_le64 (p + 72, VHDX_AT_LOG);
}

static void
put_region (uint8_t *p, const char *guid, uint64_t off, uint64_t len)
{
  put_guid (p, guid);
  put_le64 (p + 16, off);
  put_le32 (p + 24, (uint32_t) len);
  put_le32 (p + 28, 1);
}

static void
put_regions (struct vhdx_maker *m, size_t off, size_t bat_len)
{
  uint8_t *p = m->data + off;

  memcpy (p, "regi", 4);
  put_le32 (p + 8, 2);
  put_region (p + 16, bat_guid, m->bat_off, bat_len);
  put_region (p + 48, metadata_guid, m->metadata_off, VHDX_MIB);
}

/*--- Metadata ---------------------------------------------------------------*/

static void
put_item (struct vhdx_maker *m, uint32_t off, uint32_t len, uint32_t flags)
{
  uint8_t *p = m->data + m->metadata_off + 32 + 32 * m->nr_items;

  put_guid (p, item_guids[m->nr_items++]);
  put_le32 (p + 16, off);
  put_le32 (p + 20, len);
  put_le32 (p + 24, flags);
}

/* Returns the end of the strings. */
static size_t
put_pair (uint8_t *locator, unsigned i, size_t end, const char *key,
          const char *value)
{
  uint8_t *entry = locator + 20 + 12 * i;
  size_t key_len = put_utf16 (locator + end, key);
  size_t value_len = put_utf16 (locator + end + key_len, value);

  put_le32 (entry, (uint32_t) end);
  put_le32 (entry + 4, (uint32_t) (end + key_len));
  put_le16 (entry + 8, (uint16_t) key_len);
  put_le16 (entry + 10, (uint16_t) value_len);
  put_le16 (locator + 18, (uint16_t) (i + 1));
  return end + key_len + value_len;
}

static void
put_locator (struct vhdx_maker *m)
{
  uint8_t *p = m->data + m->metadata_off + VHDX_ITEM_LOCATOR;
  const struct vhdx_spec *s = &m->spec;
  size_t end = 20 + 6 * 12;
  unsigned n = 0;
  char id[40];

  put_guid (p, locator_guid);
  vhdx_maker_id_text (s->parent_id, id);
  end = put_pair (p, n++, end, "parent_linkage", id);
  if (s->parent_id2) {
    vhdx_maker_id_text (s->parent_id2, id);
    end = put_pair (p, n++, end, "parent_linkage2", id);
  }
  for (int i = 0; i < 4; ++i)
    if (s->locators[i].key)
      end = put_pair (p, n++, end, s->locators[i].key, s->locators[i].value);
  put_item (m, VHDX_ITEM_LOCATOR, (uint32_t) end, 4);
}

static void
put_metadata (struct vhdx_maker *m)
{
  const struct vhdx_spec *s = &m->spec;
  uint8_t *p = m->data + m->metadata_off;

  memcpy (p, "metadata", 8);
  put_item (m, VHDX_ITEM_PARAMETERS, 8, 4);
  put_item (m, VHDX_ITEM_SIZE, 8, 6);
  put_item (m, VHDX_ITEM_ID, 16, 6);
  put_item (m, VHDX_ITEM_LOGICAL, 4, 6);
  put_item (m, VHDX_ITEM_PHYSICAL, 4, 6);
  put_le32 (p + VHDX_ITEM_PARAMETERS, s->block_size);
  put_le32 (p + VHDX_ITEM_PARAMETERS + 4,
            (s->is_fixed ? 1 : 0) | (s->parent_id ? 2 : 0));
  put_le64 (p + VHDX_ITEM_SIZE, s->size);
  vhdx_maker_id (77, p + VHDX_ITEM_ID);
  put_le32 (p + VHDX_ITEM_LOGICAL, s->logical);
  put_le32 (p + VHDX_ITEM_PHYSICAL, s->physical);
  if (s->parent_id)
    put_locator (m);
  put_le16 (p + 10, (uint16_t) m->nr_items);
}

/*--- All of it --------------------------------------------------------------*/

struct vhdx_maker *
vhdx_maker_new (const struct vhdx_spec *spec)
{
  struct vhdx_maker *m = calloc (1, sizeof *m);
  uint64_t nr_entries;
  size_t bat_len;

  must (m != NULL, "out of memory");
  m->spec = *spec;
  m->spec.block_size = spec->block_size ? spec->block_size : VHDX_MIB;
  m->spec.logical = spec->logical ? spec->logical : 512;
  m->spec.physical = spec->physical ? spec->physical : 4096;
  m->spec.log_len = spec->log_len ? spec->log_len : VHDX_MIB;
  m->sequence = 1;
  m->nr_blocks = div_round_up (spec->size, m->spec.block_size);
  m->chunk_ratio = (UINT64_C (1) << 23) * m->spec.logical /
    m->spec.block_size;
  nr_entries = div_round_up (m->nr_blocks, m->chunk_ratio) *
    (m->chunk_ratio + 1);
  bat_len = round_up (nr_entries * 8 + 1, VHDX_MIB);
  grow (m, VHDX_MIB);
  grow (m, m->spec.log_len);
  m->metadata_off = grow (m, VHDX_MIB);
  m->bat_off = grow (m, bat_len);
  memcpy (m->data, "vhdxfile", 8);
  put_utf16 (m->data + 8, spec->creator ? spec->creator : "test");
  put_header (m, VHDX_AT_HEADER_1, 7);
  put_header (m, VHDX_AT_HEADER_2, 8);
  put_regions (m, VHDX_AT_REGIONS_1, bat_len);
  put_regions (m, VHDX_AT_REGIONS_2, bat_len);
  put_metadata (m);
  return m;
}

void
vhdx_maker_free (struct vhdx_maker *m)
{
  if (m)
    free (m->data);
  free (m);
}

size_t
vhdx_maker_entry (const struct vhdx_maker *m, uint64_t block)
{
  return m->bat_off + (block + block / m->chunk_ratio) * 8;
}

size_t
vhdx_maker_bitmap_entry (const struct vhdx_maker *m, uint64_t chunk)
{
  return m->bat_off + (chunk * (m->chunk_ratio + 1) + m->chunk_ratio) * 8;
}

void
vhdx_maker_put_entry (struct vhdx_maker *m, size_t entry, uint64_t off,
                      unsigned state)
{
  must (off % VHDX_MIB == 0, "a block is not aligned");
  put_le64 (m->data + entry, off | state);
}

static size_t
add_block (struct vhdx_maker *m, uint64_t block, const uint8_t *data,
           unsigned state)
{
  size_t off = grow (m, m->spec.block_size);

  must (block < m->nr_blocks, "no such block");
  memcpy (m->data + off, data, m->spec.block_size);
  vhdx_maker_put_entry (m, vhdx_maker_entry (m, block), off, state);
  return off;
}

size_t
vhdx_maker_add_block (struct vhdx_maker *m, uint64_t block,
                      const uint8_t *data)
{
  return add_block (m, block, data, 6);
}

size_t
vhdx_maker_add_partial (struct vhdx_maker *m, uint64_t block,
                        const uint8_t *data)
{
  uint64_t sectors = m->spec.block_size / m->spec.logical;

  vhdx_maker_set_bits (m, block * sectors, 0);
  return add_block (m, block, data, 7);
}

void
vhdx_maker_set_bits (struct vhdx_maker *m, uint64_t sector, uint64_t nr)
{
  uint64_t chunk = sector >> 23;
  size_t entry = vhdx_maker_bitmap_entry (m, chunk), off;

  if (get_le64 (m->data + entry) == 0) {
    off = grow (m, VHDX_MIB);
    vhdx_maker_put_entry (m, entry, off, 6);
  }
  off = (size_t) (get_le64 (m->data + entry) & ~(uint64_t) (VHDX_MIB - 1));
  sector &= (1 << 23) - 1;
  for (uint64_t s = sector; s < sector + nr; ++s)
    m->data[off + s / 8] |= (uint8_t) (1 << s % 8);
}

void
vhdx_maker_finish (struct vhdx_maker *m)
{
  /* Exactly, so that the sanitizers see a read behind the end. */
  m->allocated = m->len;
  m->data = realloc (m->data, m->allocated);
  must (m->data != NULL, "out of memory");
  vhdx_maker_sum_headers (m);
  vhdx_maker_sum_regions (m);
}

/*--- The log ----------------------------------------------------------------*/

/* Page n of the log, modulo its size. */
static uint8_t *
log_page (struct vhdx_maker *m, size_t n)
{
  return m->data + VHDX_AT_LOG + n % (m->spec.log_len / PAGE) * PAGE;
}

static void
put_desc (uint8_t *p, const struct vhdx_change *c, uint64_t sequence)
{
  memcpy (p, c->page ? "desc" : "zero", 4);
  if (c->page) {
    memcpy (p + 4, c->page + 4092, 4);
    memcpy (p + 8, c->page, 8);
  }
  else
    put_le64 (p + 8, c->zero_len);
  put_le64 (p + 16, c->off);
  put_le64 (p + 24, sequence);
}

static void
put_data (uint8_t *p, const struct vhdx_change *c, uint64_t sequence)
{
  memcpy (p, c->page, PAGE);
  memcpy (p, "data", 4);
  put_le32 (p + 4, (uint32_t) (sequence >> 32));
  put_le32 (p + 4092, (uint32_t) sequence);
}

void
vhdx_maker_sum_log (struct vhdx_maker *m, size_t page)
{
  uint8_t *p = log_page (m, page);
  size_t nr = get_le32 (p + 8) / PAGE;
  uint32_t crc = 0;

  put_le32 (p + 4, 0);
  for (size_t i = 0; i < nr; ++i)
    crc = crc32c_update (crc, log_page (m, page + i), PAGE);
  put_le32 (p + 4, crc);
}

size_t
vhdx_maker_log (struct vhdx_maker *m, const struct vhdx_log_entry *e)
{
  uint64_t sequence = e->sequence ? e->sequence : m->sequence;
  size_t desc_pages = div_round_up ((e->nr_changes + 2) * 32, PAGE);
  size_t nr = desc_pages;
  uint8_t *p = log_page (m, e->page);

  for (size_t i = 0; i < desc_pages; ++i)
    memset (log_page (m, e->page + i), 0, PAGE);
  for (size_t i = 0; i < e->nr_changes; ++i) {
    size_t at = (i + 2) * 32;

    put_desc (log_page (m, e->page + at / PAGE) + at % PAGE, &e->changes[i],
              sequence);
    if (e->changes[i].page)
      put_data (log_page (m, e->page + nr++), &e->changes[i], sequence);
  }
  must (nr <= m->spec.log_len / PAGE, "the log is too small");
  memcpy (p, "loge", 4);
  put_le32 (p + 8, (uint32_t) (nr * PAGE));
  put_le32 (p + 12, (uint32_t) (e->tail * PAGE));
  put_le64 (p + 16, sequence);
  put_le32 (p + 24, (uint32_t) e->nr_changes);
  vhdx_maker_id (LOG_ID, p + 32);
  put_le64 (p + 48, e->flushed ? e->flushed : m->len);
  put_le64 (p + 56, e->last ? e->last : m->len);
  vhdx_maker_sum_log (m, e->page);
  vhdx_maker_id (LOG_ID, m->data + VHDX_AT_HEADER_1 + 48);
  vhdx_maker_id (LOG_ID, m->data + VHDX_AT_HEADER_2 + 48);
  vhdx_maker_sum_headers (m);
  m->sequence = sequence + 1;
  return nr;
}

/*--- The result -------------------------------------------------------------*/

struct block *
vhdx_maker_block (const struct vhdx_maker *m)
{
  struct block *block;

  must (block_memory_new ("test.vhdx", m->data, m->len, &block, NULL) == 0,
        "out of memory");
  return block;
}

void
vhdx_maker_save (const struct vhdx_maker *m, const char *path)
{
  int fd = open (path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

  must (fd >= 0, path);
  must (fd_pwrite (fd, m->data, m->len, 0, NULL) == 0, path);
  close (fd);
}
