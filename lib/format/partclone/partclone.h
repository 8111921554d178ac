/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Images that partclone makes of one partition: which blocks the file system
 * uses, and those blocks, one behind the other, with checksums between them.
 *
 *   header | bitmap | its checksum | blocks, checksum, blocks, checksum, …
 *
 * How they lie is told by partclone's IMAGE_FORMATS.md and by partclone.h of
 * its source; "version" is that of the format.  Only lib/format/partclone
 * includes this.
 */

#ifndef NBDIMAGE_FORMAT_PARTCLONE_PARTCLONE_H
#define NBDIMAGE_FORMAT_PARTCLONE_PARTCLONE_H

#include "lib/base/job.h"
#include "lib/base/report.h"
#include "lib/block/block.h"

#define PARTCLONE_MAGIC "partclone-image"
#define PARTCLONE_MAGIC_SIZE 15

/* What one checksum covers is read as a whole before any of it is given out:
 * at most so much.
 */
#define PARTCLONE_STRIP_MAX ((uint64_t) 256 * 1024 * 1024)

enum partclone_map {
  PARTCLONE_MAP_NONE,           /* there is none: all blocks are there */
  PARTCLONE_MAP_BITS,           /* the lowest bit of a byte first */
  PARTCLONE_MAP_BYTES,          /* 1: it is there; all others: it is not */
};

enum partclone_sum {
  PARTCLONE_SUM_NONE,
  PARTCLONE_SUM_CRC32,          /* without the final inversion */
  PARTCLONE_SUM_XXH64,
  PARTCLONE_SUM_FIRST_BYTE,     /* CRC-32 of the block's first byte, as often as
                                   the block has bytes */
};

/* The header, and what follows from it. */
struct partclone_header {
  unsigned version;             /* 1 or 2 */
  char creator[16];             /* version of partclone: "0.3.23"; or "" */
  char fs[17];                  /* "EXTFS", "NTFS", "BTRFS", …; or "raw" */
  uint64_t size;                /* bytes of the partition; what is behind the
                                   last block is not in the image */
  uint64_t nr_blocks;
  uint64_t nr_used;             /* of them in the image */
  uint32_t block_size;          /* bytes */

  enum partclone_map map;
  uint64_t map_off, map_len;    /* bytes in the file, without its checksum */

  enum partclone_sum sum;
  uint32_t sum_size;            /* bytes that it takes in the file */
  uint32_t per_sum;             /* blocks that it covers, the last one less;
                                   with none: 1 */
  bool is_chained;              /* it goes on from the one before */
  uint64_t data_off;            /* bytes, of the first block in the file */
};

/* Decode and check the header.  -EBADMSG: damaged, -ENOTSUP.  A checksum that
 * is wrong is only a warning if ignore_checksums.
 */
int partclone_header_read (struct block *file, bool ignore_checksums,
                           struct partclone_header *out,
                           struct report *report, struct err *err);

/* Of version 1, whose header does not say how many blocks there are, nor how
 * long checksums are: those things, when the map was counted.  -EBADMSG if the
 * file is not as long as it has to be.
 */
int partclone_v1_finish (struct block *file, struct partclone_header *h,
                         uint64_t nr_used, struct err *err);

/* Decode and check what version 1 has for a header; map and data follow. */
int partclone_v1_read (struct block *file, struct partclone_header *h,
                       struct err *err);

/* The same for block size, number of blocks and of bytes in either version. */
int partclone_check_blocks (const struct partclone_header *h,
                            struct err *err);

/* A text in a header, which ends with a NUL or its field of up to 31 bytes. */
void partclone_get_text (char *out, size_t size, const uint8_t *field,
                         size_t len);

/* Where the block lies in the file that is the n-th of those there. */
uint64_t partclone_offset (const struct partclone_header *h, uint64_t n);

/* Where the last checksum ends, which is the end of the file. */
uint64_t partclone_end (const struct partclone_header *h);

/* "CRC-32", "XXH64", "CRC-32 (of a block's first byte)", "none" */
const char *partclone_sum_name (enum partclone_sum sum);

/*--- Which blocks are there -------------------------------------------------*/

/* Looking a block up costs the same however many there are: of each page of
 * 2^18 blocks is known how many come before it, and in a page the same of each
 * 4096 blocks.  Pages are read when they are needed, and kept in a cache.
 */
struct partclone_map_index;

/* Reads the whole map once: -EBADMSG if its checksum is wrong (unless
 * ignore_checksums), or if it has other than h->nr_used blocks, which version 1
 * does not know.  h and file stay as long as it.
 */
int partclone_map_open (struct block *file, const struct partclone_header *h,
                        bool ignore_checksums, struct job *job,
                        struct partclone_map_index **out,
                        struct report *report, struct err *err);
/* How many blocks are there. */
uint64_t partclone_map_count (const struct partclone_map_index *map);
void partclone_map_free (struct partclone_map_index *map);  /* or NULL */

/* Some blocks that are all there, or all not. */
struct partclone_span {
  bool is_used;
  uint64_t nr;                  /* blocks, not 0 */
  uint64_t ordinal;             /* of the first, of those there */
};

/* What begins at the block, which there is, of at most max blocks; the next
 * span may be of the same kind.  From any thread.
 */
int partclone_map_find (struct partclone_map_index *map, uint64_t block,
                        uint64_t max, struct partclone_span *span,
                        struct err *err);

/*--- Checksums --------------------------------------------------------------*/

/* A checksum of blocks that is being computed. */
struct partclone_summing {
  enum partclone_sum kind;
  uint32_t crc;                 /* as zlib has it */
  void *hash;                   /* of libxxhash, until it ends; or NULL */
};

/* before: the stored checksum that it goes on from; NULL: it begins anew.
 * -ENOMEM, and then it need not be ended.
 */
int partclone_sum_begin (struct partclone_summing *s,
                         const struct partclone_header *h,
                         const uint8_t *before, struct err *err);
/* Of version 1: a whole block. */
void partclone_sum_add (struct partclone_summing *s, const uint8_t *p,
                        size_t len);
uint64_t partclone_sum_end (struct partclone_summing *s);

/* Is that the one stored for len bytes at off in the file?  -EIO. */
int partclone_sum_check (const struct partclone_header *h, uint64_t sum,
                         const uint8_t *stored, uint64_t len, uint64_t off,
                         struct err *err);

/*--- The blocks -------------------------------------------------------------*/

/* Strips that are longer than what is read at once; of CRC-32 or XXH64. */
struct partclone_strips;

/* h and file stay as long as it. */
int partclone_strips_new (struct block *file, const struct partclone_header *h,
                          struct partclone_strips **out, struct err *err);
void partclone_strips_free (struct partclone_strips *s);    /* or NULL */

/* len bytes from pos on, counted as if there were nothing but blocks that are
 * there, without checksums.  -EIO if one is wrong.  From any thread.
 */
int partclone_strips_read (struct partclone_strips *s, void *buf, size_t len,
                           uint64_t pos, struct err *err);

/* Reads them, and verifies the checksum of everything that is given out. */
struct partclone_data;

/* h and file stay as long as it. */
int partclone_data_new (struct block *file, const struct partclone_header *h,
                        struct partclone_data **out, struct err *err);
void partclone_data_free (struct partclone_data *data);     /* or NULL */

/* len bytes that begin at byte in_block of the block with that ordinal, and go
 * on in those with the next ones.  -EIO if a checksum is wrong.  From any
 * thread.
 */
int partclone_data_read (struct partclone_data *data, void *buf, size_t len,
                         uint64_t ordinal, uint64_t in_block,
                         struct err *err);

#endif /* NBDIMAGE_FORMAT_PARTCLONE_PARTCLONE_H */
