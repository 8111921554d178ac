/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Makes VHDs for tests, in memory, from a description, byte for byte after
 * the specification and without any code of the driver.
 *
 *   struct vhd_maker *m = vhd_maker_new (&(struct vhd_spec) {
 *       .type = 3, .size = 8 << 20, .block_size = 2 << 20 });
 *   vhd_maker_add_block (m, 1, bits, data);
 *   vhd_maker_finish (m);
 *   ... vhd_maker_block (m), vhd_maker_save (m, path) ...
 *   vhd_maker_free (m);
 *
 * Whatever goes wrong in here ends the test program.
 */

#ifndef NBDIMAGE_TESTS_VHD_MAKER_H
#define NBDIMAGE_TESTS_VHD_MAKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/block/block.h"

struct vhd_spec_locator {
  const char *code;             /* "W2ru" and so on; NULL: unused */
  const char *text;             /* UTF-8; stored as the code wants it */
};

struct vhd_spec {
  unsigned type;                /* 2 fixed, 3 dynamic, 4 differencing */
  uint64_t size;                /* bytes, current size */
  uint64_t original_size;       /* 0: the same */
  uint32_t block_size;          /* 0: 2 MiB */
  uint32_t extra_entries;       /* of the BAT, that the disk does not need */
  const char *creator;          /* four characters; NULL: "win " */
  uint32_t creator_version;     /* 0: 0x000A0000 */
  unsigned cylinders, heads, sectors;   /* all 0: the largest */
  unsigned id;                  /* different numbers, different identities */
  uint32_t timestamp;           /* 0: some time in 2026 */

  unsigned parent_id;           /* the id of the parent's description */
  uint32_t parent_timestamp;
  const char *parent_name;      /* NULL: none */
  struct vhd_spec_locator locators[8];
  bool batmap;                  /* XenServer's, with nothing in it */
};

struct vhd_maker {
  struct vhd_spec spec;
  uint8_t *data;                /* the file */
  size_t len;
  size_t allocated;             /* of data */
  size_t nr_entries;
  size_t table_off, batmap_off, locator_off, footer_off;
};

struct vhd_maker *vhd_maker_new (const struct vhd_spec *spec);
void vhd_maker_free (struct vhd_maker *m);

/* Append a block: nr_bits bits (0x80 first) and all of its data.  bits NULL:
 * all set.  Its data then begins at the returned offset.
 */
size_t vhd_maker_add_block (struct vhd_maker *m, uint64_t index,
                            const uint8_t *bits, const uint8_t *data);

/* For fixed disks: the data in front of the footer. */
void vhd_maker_set_data (struct vhd_maker *m, const uint8_t *data);

/* Append the footer; nothing but patches after this. */
void vhd_maker_finish (struct vhd_maker *m);

/* Compute the checksums again, after a patch. */
void vhd_maker_sum_footers (struct vhd_maker *m);
void vhd_maker_sum_header (struct vhd_maker *m);

/* Just a footer. */
void vhd_maker_footer (const struct vhd_spec *spec, uint8_t footer[512]);

/* The 16 bytes of an identity. */
void vhd_maker_id (unsigned id, uint8_t bytes[16]);

struct block *vhd_maker_block (const struct vhd_maker *m);
void vhd_maker_save (const struct vhd_maker *m, const char *path);

#endif /* NBDIMAGE_TESTS_VHD_MAKER_H */
