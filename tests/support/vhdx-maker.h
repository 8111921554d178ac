/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Makes VHDXs for tests, in memory, from a description, byte for byte after
 * the specification and without any code of the driver.
 *
 *   struct vhdx_maker *m = vhdx_maker_new (&(struct vhdx_spec) {
 *       .size = 8 << 20 });
 *   vhdx_maker_add_block (m, 1, data);
 *   vhdx_maker_finish (m);
 *   ... vhdx_maker_block (m), vhdx_maker_save (m, path) ...
 *   vhdx_maker_free (m);
 *
 * The layout: headers and region tables · log at 1 MiB · metadata · BAT ·
 * blocks in the order in which they were added.
 *
 * Whatever goes wrong in here ends the test program.
 */

#ifndef NBDIMAGE_TESTS_VHDX_MAKER_H
#define NBDIMAGE_TESTS_VHDX_MAKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/block/block.h"

#define VHDX_MIB (1024 * 1024)

/* Where things are in what is made. */
enum {
  VHDX_AT_HEADER_1 = 64 * 1024,
  VHDX_AT_HEADER_2 = 128 * 1024,
  VHDX_AT_REGIONS_1 = 192 * 1024,
  VHDX_AT_REGIONS_2 = 256 * 1024,
  VHDX_AT_LOG = VHDX_MIB,

  /* In the metadata: the items, in the order of their entries. */
  VHDX_ITEM_PARAMETERS = 64 * 1024,
  VHDX_ITEM_SIZE = VHDX_ITEM_PARAMETERS + 8,
  VHDX_ITEM_ID = VHDX_ITEM_SIZE + 8,
  VHDX_ITEM_LOGICAL = VHDX_ITEM_ID + 16,
  VHDX_ITEM_PHYSICAL = VHDX_ITEM_LOGICAL + 4,
  VHDX_ITEM_LOCATOR = VHDX_ITEM_PHYSICAL + 4,
};

struct vhdx_spec_locator {
  const char *key, *value;      /* ASCII; NULL: unused */
};

struct vhdx_spec {
  uint64_t size;                /* bytes */
  uint32_t block_size;          /* 0: 1 MiB */
  uint32_t logical;             /* 0: 512 */
  uint32_t physical;            /* 0: 4096 */
  bool is_fixed;
  const char *creator;          /* ASCII; NULL: "test" */
  unsigned id;                  /* of the data; different numbers, different
                                   identities */
  uint32_t log_len;             /* 0: 1 MiB */

  unsigned parent_id;           /* 0: none */
  unsigned parent_id2;          /* 0: no parent_linkage2 */
  struct vhdx_spec_locator locators[4];
};

struct vhdx_maker {
  struct vhdx_spec spec;
  uint8_t *data;                /* the file */
  size_t len;
  size_t allocated;             /* of data */
  uint64_t nr_blocks, chunk_ratio;
  size_t metadata_off, bat_off;
  size_t nr_items;              /* in the metadata */
  uint64_t sequence;            /* of the next entry of the log */
};

struct vhdx_maker *vhdx_maker_new (const struct vhdx_spec *spec);
void vhdx_maker_free (struct vhdx_maker *m);

/* Append a block that is fully present, with all of its data.  Returns where
 * that begins.
 */
size_t vhdx_maker_add_block (struct vhdx_maker *m, uint64_t block,
                             const uint8_t *data);

/* The same, partially present: sectors get their bits by set_bits. */
size_t vhdx_maker_add_partial (struct vhdx_maker *m, uint64_t block,
                               const uint8_t *data);

/* Set the bits of sectors of the disk; the bitmap block of their chunk is
 * appended if need be.
 */
void vhdx_maker_set_bits (struct vhdx_maker *m, uint64_t sector, uint64_t nr);

/* Where the entry of a block, or of a chunk's bitmap, is. */
size_t vhdx_maker_entry (const struct vhdx_maker *m, uint64_t block);
size_t vhdx_maker_bitmap_entry (const struct vhdx_maker *m, uint64_t chunk);

/* Write an entry of the BAT: offset in the file, state. */
void vhdx_maker_put_entry (struct vhdx_maker *m, size_t entry, uint64_t off,
                           unsigned state);

/* Where it ends is where the next block would begin; nothing but patches and
 * entries of the log after this.
 */
void vhdx_maker_finish (struct vhdx_maker *m);

/* Compute the checksums again, after a patch. */
void vhdx_maker_sum_headers (struct vhdx_maker *m);
void vhdx_maker_sum_regions (struct vhdx_maker *m);

/* A change in an entry of the log. */
struct vhdx_change {
  uint64_t off;                 /* in the file */
  const uint8_t *page;          /* 4096 bytes; NULL: zeros, */
  uint64_t zero_len;            /* as many */
};

struct vhdx_log_entry {
  size_t page;                  /* of the log, where it is put */
  uint64_t sequence;            /* 0: the next one */
  size_t tail;                  /* page of the log */
  uint64_t flushed, last;       /* 0: the size of the file */
  const struct vhdx_change *changes;
  size_t nr_changes;
};

/* Put an entry into the log, and say in the headers that there is one.
 * Returns how many pages it takes.
 */
size_t vhdx_maker_log (struct vhdx_maker *m, const struct vhdx_log_entry *e);

/* Compute the checksum of the entry at that page again. */
void vhdx_maker_sum_log (struct vhdx_maker *m, size_t page);

/* The 16 bytes of an identity, and "{...}" for locators. */
void vhdx_maker_id (unsigned id, uint8_t bytes[16]);
void vhdx_maker_id_text (unsigned id, char text[40]);

struct block *vhdx_maker_block (const struct vhdx_maker *m);
void vhdx_maker_save (const struct vhdx_maker *m, const char *path);

#endif /* NBDIMAGE_TESTS_VHDX_MAKER_H */
