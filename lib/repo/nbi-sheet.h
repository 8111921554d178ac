/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Sheets, of which all tables of a backup image are made, and the entries of
 * those that are not records: docs/NBI.md §6 to §8.
 */

#ifndef NBDIMAGE_REPO_NBI_SHEET_H
#define NBDIMAGE_REPO_NBI_SHEET_H

#include "lib/base/digest.h"
#include "lib/base/uuid.h"
#include "lib/repo/nbi-header.h"

enum nbi_table {
  NBI_TABLE_CHUNKS = 1,
  NBI_TABLE_DIRECTORY = 2,
  NBI_TABLE_ROOT = 3,
  NBI_TABLE_FILES = 4,
  NBI_TABLE_RANGES = 5,
};

#define NBI_SHEET_HEADER 64     /* bytes in front of the entries */

/* Bytes of an entry; how many a full sheet has; how many sheets that many
 * entries take.
 */
uint32_t nbi_entry_size (enum nbi_table table);
uint32_t nbi_sheet_entries (enum nbi_table table);
uint64_t nbi_nr_sheets (enum nbi_table table, uint64_t nr_entries);

/* How many of them are in that sheet, which is one of the table's (NBI-54). */
uint32_t nbi_sheet_count (enum nbi_table table, uint64_t nr_entries,
                          uint32_t number);

/* Which sheet it is. */
struct nbi_sheet {
  uint64_t salt;                /* of the file */
  uint8_t nonce[4];             /* the first bytes of the edition's */
  uint64_t off;                 /* in the file */
  uint32_t number;              /* in its table */
  uint32_t count;               /* of entries */
  enum nbi_table table;
};

/* The entries are there already, and zeros behind them. */
void nbi_sheet_seal (const struct nbi_sheet *sheet,
                     uint8_t buf[NBI_SHEET_SIZE]);

/* Is it this one, and whole?  NBI-1, NBI-50 to NBI-54 and NBI-56;
 * of a file that is not encrypted.
 */
int nbi_sheet_check (const uint8_t buf[NBI_SHEET_SIZE],
                     const struct nbi_sheet *sheet, struct err *err);

/* Is one that was checked as some sheet this one?  NBI-51 to NBI-54. */
int nbi_sheet_check_place (const uint8_t buf[NBI_SHEET_SIZE],
                           const struct nbi_sheet *sheet, struct err *err);

/* As nbi_sheet_check, where all bytes behind the header are encrypted: with the
 * tag, and in two steps, before decrypting (NBI-1, NBI-50 to NBI-54) and after
 * (NBI-56).
 */
#define NBI_SHEET_TAG 32        /* where it is */
#define NBI_SHEET_BODY (NBI_SHEET_SIZE - NBI_SHEET_HEADER)
void nbi_sheet_seal_encrypted (const struct nbi_sheet *sheet,
                               const uint8_t tag[NBI_TAG_SIZE],
                               uint8_t buf[NBI_SHEET_SIZE]);
int nbi_sheet_check_encrypted (const uint8_t buf[NBI_SHEET_SIZE],
                               const struct nbi_sheet *sheet,
                               struct err *err);
int nbi_sheet_check_body (const uint8_t body[NBI_SHEET_BODY],
                          const struct nbi_sheet *sheet, struct err *err);

/*--- The directory of the chunk table ---------------------------------------*/

#define NBI_GROUP_SHEETS 128
#define NBI_SHEET_ORDINALS 63
#define NBI_GROUP_ORDINALS (NBI_GROUP_SHEETS * NBI_SHEET_ORDINALS)

struct nbi_group {
  uint64_t off;                 /* of its first sheet; 0: there is none */
  uint8_t bits[NBI_GROUP_SHEETS / 8];
};

#define NBI_GROUP_SIZE 24

void nbi_group_encode (const struct nbi_group *g, uint8_t buf[NBI_GROUP_SIZE]);

/* Group `index' of a file with that many ordinals, whose sheets end at `end'
 * at the latest.  NBI-64 to NBI-66.
 */
int nbi_group_decode (const uint8_t buf[NBI_GROUP_SIZE], uint32_t index,
                      uint64_t nr_ordinals, uint64_t end,
                      struct nbi_group *g, struct err *err);

/* Where its sheet i (0 to 127) is; 0: left out. */
uint64_t nbi_group_sheet (const struct nbi_group *g, unsigned i);

/*--- The root, its files, and what can't be read ----------------------------*/

struct nbi_root {
  uint32_t file;                /* index; NBI_NONE: all chunks are alike */
  uint32_t ordinal;             /* or their enum nbi_cell_kind */
  uint8_t hash[DIGEST_SIZE];
};

#define NBI_ROOT_SIZE 40

void nbi_root_encode (const struct nbi_root *root, uint8_t buf[NBI_ROOT_SIZE]);

/* NBI-80, and of NBI-81 that there is such an ordinal. */
int nbi_root_decode (const uint8_t buf[NBI_ROOT_SIZE], uint32_t nr_files,
                     struct nbi_root *root, struct err *err);

struct nbi_file {
  uint8_t uuid[UUID_SIZE];
  uint8_t run[UUID_SIZE];       /* of the folder in which it lies */
  uint32_t uses;
};

#define NBI_FILE_SIZE 40

void nbi_file_encode (const struct nbi_file *file, uint8_t buf[NBI_FILE_SIZE]);

/* Of the generation that ends in the file with this header.  before: the
 * bytes of the one in front of it, NULL for the first.  NBI-1, NBI-82.
 */
int nbi_file_decode (const uint8_t buf[NBI_FILE_SIZE], const uint8_t *before,
                     const struct nbi_header *h, struct nbi_file *file,
                     struct err *err);

struct nbi_range {
  uint64_t off, len;            /* on the disk, bytes */
};

#define NBI_RANGE_SIZE 16

void nbi_range_encode (const struct nbi_range *range,
                       uint8_t buf[NBI_RANGE_SIZE]);

/* before, h: as above.  NBI-84. */
int nbi_range_decode (const uint8_t buf[NBI_RANGE_SIZE], const uint8_t *before,
                      const struct nbi_header *h, struct nbi_range *range,
                      struct err *err);

/* NBI-85: a chunk of that kind and size, of which so many bytes are in ranges
 * that can't be read.
 */
int nbi_check_unreadable (enum nbi_cell_kind kind, uint32_t len,
                          uint64_t in_ranges, struct err *err);

#endif /* NBDIMAGE_REPO_NBI_SHEET_H */
