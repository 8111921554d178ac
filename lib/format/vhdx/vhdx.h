/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The VHDX driver inside.  A disk is a chain of layers: the image itself
 * (layer 0) and, if it is differencing, its parents.  Each layer is one
 * file, opened in this order:
 *
 *   headers     vhdx-header.c    which of the two counts; is there a log
 *   log         vhdx-log.c       what must be replayed
 *   replay      vhdx-replay.c    the file as it is after that, in memory
 *   regions     vhdx-region.c    where BAT and metadata are
 *   metadata    vhdx-metadata.c  sizes, and what is said about the parent
 *   locator     vhdx-locator.c   what that means
 *   BAT         vhdx-bat.c       where each block of the disk lies
 *   bitmaps     vhdx-bitmap.c    which sectors of a block are in it
 *
 * vhdx-layer.c puts these together, vhdx-parent.c finds the next layer with
 * ../parent.h, vhdx-io.c reads through the whole chain and vhdx-info.c
 * describes it.  vhdx-open.c is the driver's table.
 *
 * After opening, everything but the cache (which locks for itself) is
 * constant, so that reading takes no other lock, but for that of bits that wait
 * (../pending.h).  What writing changes, readers see at once: entries of the
 * leaf's BAT, and bits.  How it is done, and in which order, is in vhdx-write.h
 * and the files named there; vhdx-create.c makes new files.
 */

#ifndef NBDIMAGE_FORMAT_VHDX_H
#define NBDIMAGE_FORMAT_VHDX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/uuid.h"
#include "lib/base/vector.h"
#include "lib/block/block.h"
#include "lib/format/image.h"
#include "lib/format/parent.h"
#include "lib/format/pending.h"
#include "lib/format/sector-cache.h"
#include "lib/format/vhdx/vhdx-disk.h"

/*--- vhdx-header.c ----------------------------------------------------------*/

struct vhdx_header {
  unsigned number;              /* 1 or 2; the other one is older */
  uint64_t sequence;
  uint8_t data_write_guid[UUID_SIZE];   /* what children know it by */
  uint8_t log_guid[UUID_SIZE];
  uint64_t log_off;             /* bytes */
  uint32_t log_len;             /* bytes */
  char *creator;                /* UTF-8, owned; may be empty */
  bool alone;                   /* the other header is damaged */
  bool bad_checksum;            /* ... of this one too, ignored as asked */
};

/* Does a file that begins like this hold a VHDX, be it damaged? */
bool vhdx_header_probe (const uint8_t *head, size_t head_len);

/* Find and check the active header (§2.2.2).  -EBADMSG, -ENOTSUP, or why
 * reading failed.
 */
int vhdx_header_read (struct block *block, bool ignore_checksums,
                      struct vhdx_header *out, struct report *report,
                      struct err *err);

/* The same of a file whose identifier may be damaged: without the creator.
 * It has the VHDX_UNIT bytes that the headers take.
 */
int vhdx_header_choose (struct block *block, bool ignore_checksums,
                        struct vhdx_header *out, struct report *report,
                        struct err *err);

/* The file identifier alone: the creator that it names, for the caller to
 * free.  -EBADMSG if it is none.
 */
int vhdx_identifier_read (struct block *block, char **creator,
                          struct err *err);

void vhdx_header_free (struct vhdx_header *header);

/* CRC-32C of a structure whose own four bytes of it count as zeros. */
uint32_t vhdx_checksum (const uint8_t *p, size_t len);

/*--- vhdx-log.c -------------------------------------------------------------*/

/* Pages of the file, from one page in the log or, many of them, zeros.  In
 * a list they are in order and do not overlap.
 */
struct vhdx_piece {
  uint64_t page, nr_pages;      /* VHDX_PAGE bytes each, in the file */
  uint32_t data;                /* page in the log; VHDX_PIECE_ZERO */
  uint32_t desc;                /* descriptor, VHDX_DESC_SIZE bytes each from
                                   the start of the log */
};

#define VHDX_PIECE_ZERO UINT32_MAX

DEFINE_VECTOR (vhdx_piece_vector, struct vhdx_piece);

/* What a log does to its file. */
struct vhdx_log {
  uint64_t nr_entries;          /* that are to be replayed */
  uint64_t file_size;           /* bytes, at least, after that */
  struct vhdx_piece_vector pieces;
};

#define VHDX_LOG_INIT { 0, 0, VECTOR_INIT }

/* Find the active sequence of entries (§2.3.2) and what it does.  The header
 * has a log GUID: -EBADMSG if there is no valid sequence, or if the file is
 * shorter than the log promises.
 */
int vhdx_log_read (struct block *block, const struct vhdx_header *header,
                   struct vhdx_log *out, struct err *err);

/* later over earlier, in one list. */
int vhdx_pieces_merge (const struct vhdx_piece_vector *earlier,
                       const struct vhdx_piece_vector *later,
                       struct vhdx_piece_vector *out);

/*--- vhdx-replay.c ----------------------------------------------------------*/

/* The file as it is after replaying the log, as a read-only block; the file
 * itself is not touched.  References below, takes the pieces over.
 */
int vhdx_replay_new (struct block *below, const struct vhdx_header *header,
                     struct vhdx_log *log, struct block **out,
                     struct err *err);

/* Make what such a block shows of the file below, in that file; not
 * flushed.
 */
int vhdx_replay_into (struct block *replayed, struct err *err);

/*--- vhdx-region.c ----------------------------------------------------------*/

struct vhdx_region {
  uint64_t off, len;            /* bytes; whole units */
  uint8_t guid[UUID_SIZE];      /* zeros: the log */
};

DEFINE_VECTOR (vhdx_region_vector, struct vhdx_region);

struct vhdx_regions {
  /* All that are in use, unknown ones and the log too, by offset; none
   * overlap.
   */
  struct vhdx_region_vector all;
  struct vhdx_region bat, metadata;
  bool alone;                   /* the other table is damaged */
};

/* "the BAT", "the log", "the region GUID" */
const char *vhdx_region_name (const struct vhdx_region *region,
                              char buf[64]);

int vhdx_regions_read (struct block *file, const struct vhdx_header *header,
                       bool ignore_checksums, struct vhdx_regions *out,
                       struct report *report, struct err *err);
void vhdx_regions_free (struct vhdx_regions *regions);

/* The first region that [off, off+len) touches, or NULL. */
const struct vhdx_region *
vhdx_regions_touched (const struct vhdx_regions *regions, uint64_t off,
                      uint64_t len);

/*--- vhdx-metadata.c --------------------------------------------------------*/

struct vhdx_metadata {
  uint32_t block_size;          /* bytes */
  bool is_fixed, has_parent;
  uint64_t size;                /* bytes of the disk */
  uint8_t page_83[UUID_SIZE];   /* the disk's, the same along a chain */
  uint32_t logical, physical;   /* bytes in a sector */
  uint8_t *locator;             /* owned; NULL without a parent */
  size_t locator_len;
};

int vhdx_metadata_read (struct block *file, const struct vhdx_region *region,
                        struct vhdx_metadata *out, struct err *err);

/*--- vhdx-locator.c ---------------------------------------------------------*/

/* What a child says about its parent. */
struct vhdx_locator {
  uint8_t linkage[2][UUID_SIZE];        /* the parent has one of them */
  unsigned nr_linkages;         /* 1 or 2 */
  struct name_list names;       /* paths to try, in this order */
  bool has_time;                /* of a disk below that is no VHDX: when it was
                                   changed last, in */
  int64_t time;                 /* ... seconds since 1970 */
};

/* Ours: there is no such key in the specification, and others leave it
 * alone.
 */
#define VHDX_TIME_KEY "nbdimage_parent_time"

int vhdx_locator_read (const uint8_t *item, size_t len,
                       struct vhdx_locator *out, struct err *err);
void vhdx_locator_free (struct vhdx_locator *locator);

/*--- vhdx-bat.c -------------------------------------------------------------*/

/* Entries that are held in memory. */
#define VHDX_BAT_MAX_HELD (16 * 1024 * 1024 / VHDX_BAT_ENTRY_SIZE)

struct vhdx_bat {
  uint64_t *entries;            /* all that the disk needs, or NULL: too many
                                   to hold, looked up through the cache;
                                   each of them atomic, and changed by
                                   vhdx-alloc.c only */
  uint64_t nr_entries;          /* that the disk needs */
  uint64_t nr_blocks;           /* of the disk */
  uint32_t chunk_ratio;         /* blocks to a bitmap block */
};

struct vhdx_layer;

/* How many entries a disk needs, and of which; everything but the entries. */
void vhdx_bat_measure (const struct vhdx_metadata *metadata,
                       struct vhdx_bat *bat);

/* Fill layer->bat from what is known of the layer, but read nothing.
 * -EBADMSG if there are not as many entries as the disk needs.
 */
int vhdx_bat_describe (struct vhdx_layer *layer, struct err *err);

/* Of a table that is described: is this the entry of a bitmap block?  And if
 * not, of which block of the disk?
 */
bool vhdx_bat_is_bitmap (const struct vhdx_bat *bat, uint64_t index);
uint64_t vhdx_bat_block_of (const struct vhdx_bat *bat, uint64_t index);

/* Can this be entry number index?  Its state must be one that the disk can
 * have, and the block lie in the file and over no region.  -EBADMSG.
 */
int vhdx_bat_check_entry (const struct vhdx_layer *layer, uint64_t index,
                          uint64_t entry, struct err *err);

/* A block of this chunk is there in part, and its bitmap is not: always
 * -EBADMSG.
 */
int vhdx_bat_no_bitmap (const struct vhdx_layer *layer, uint64_t chunk,
                        struct err *err);

/* Describe it, read the table and check every entry, if it is small enough
 * to be held.
 */
int vhdx_bat_open (struct vhdx_layer *layer, struct err *err);

/* Hold it no longer; lookups then read it in the file. */
void vhdx_bat_close (struct vhdx_bat *bat);

/* State of a block that the disk has, and where it begins in the file. */
int vhdx_bat_lookup (struct vhdx_layer *layer, uint64_t block,
                     enum vhdx_state *state, uint64_t *off, struct err *err);

/* Where the bitmap of a chunk begins; some of its blocks are partially
 * present.
 */
int vhdx_bat_lookup_bitmap (struct vhdx_layer *layer, uint64_t chunk,
                            uint64_t *off, struct err *err);

/* How many blocks from this one on, which is not in the file, are not in the
 * file either; at least 1, at most max.  Of a disk with a parent: and which
 * are the parent's to answer for, or not.
 */
int vhdx_bat_absent_run (struct vhdx_layer *layer, uint64_t block,
                         uint64_t max, bool parents, uint64_t *nr,
                         struct err *err);

/* Of tables that are held.
 *
 * place_of: where the entry of a block is in the file.  set: what readers see
 * of it.  The same for the entry of a chunk's bitmap.  has_bitmap: is there
 * one?  count_present: blocks that are in the file.  end_of_data: behind
 * everything that the file is known to hold, in bytes: regions, blocks and
 * bitmap blocks, those too that are absent and have a place kept for them.
 */
uint64_t vhdx_bat_place_of (const struct vhdx_layer *layer, uint64_t block);
void vhdx_bat_set (struct vhdx_layer *layer, uint64_t block, uint64_t entry);
uint64_t vhdx_bat_place_of_bitmap (const struct vhdx_layer *layer,
                                   uint64_t chunk);
void vhdx_bat_set_bitmap (struct vhdx_layer *layer, uint64_t chunk,
                          uint64_t entry);
bool vhdx_bat_has_bitmap (const struct vhdx_layer *layer, uint64_t chunk);
uint64_t vhdx_bat_count_present (const struct vhdx_layer *layer);
uint64_t vhdx_end_of_data (const struct vhdx_layer *layer);

/*--- vhdx-bitmap.c ----------------------------------------------------------*/

/* How many bits from first on are the same; at least 1, at most max. */
unsigned vhdx_bits_run (const uint8_t *bits, unsigned first, unsigned max,
                        bool *bit);

/* The same for sectors of the disk, all in one partially present block, with
 * those bits that wait to be written; the run may be shorter than what follows
 * of it.  Where the image is written the block may have been given up
 * meanwhile, when a bit of 0 says nothing; a bit of 1 does.
 */
int vhdx_bitmap_run (struct vhdx_layer *layer, uint64_t sector, uint64_t max,
                     uint64_t *nr, bool *here, struct err *err);

/*--- vhdx-pending.c ---------------------------------------------------------*/

/* For reading: the bits of a killed process, into layer->pending, which is
 * NULL if there are none.
 */
int vhdx_pending_peek (struct vhdx_layer *layer, struct err *err);

/* Before something else is done to the file of a layer that is open, whose log
 * is empty: write these bits into it.  0 if there are none.
 */
int vhdx_pending_finish (struct vhdx_layer *layer, struct report *report,
                         struct err *err);

/*--- vhdx-layer.c -----------------------------------------------------------*/

struct vhdx_layer {
  const char *format;           /* "vhdx", or that of the disk for which the
                                   layer stands */
  bool is_vhdx;
  struct block *block;          /* the file, a reference; for its name */
  struct block *file;           /* where to read: the file, replayed if need
                                   be, a reference */
  unsigned number;              /* 0: the image itself */
  struct vhdx_header header;
  uint64_t nr_replayed;         /* entries of the log */
  struct vhdx_regions regions;
  struct vhdx_metadata metadata;
  struct vhdx_bat bat;
  struct vhdx_locator locator;  /* of a differencing one */
  struct sector_cache *cache;   /* the chain's */
  struct pending *pending;      /* atomic, owned: bits of a differencing one
                                   that are not in the file; NULL: none */
  bool is_written;              /* the image was opened for that: the table
                                   is held, whatever its size */
  bool has_new_id;              /* with the first change the data gets */
  uint8_t new_id[UUID_SIZE];    /* this identity rather than a random one */
  struct folder folder;         /* where it lies; while opening only */
  struct vhdx_layer *parent;    /* owned; NULL unless differencing */
};

/* A layer on this block, its header read and checked, nothing else. */
int vhdx_layer_new (struct block *block, const struct image_options *options,
                    struct vhdx_layer **out, struct report *report,
                    struct err *err);

/* A layer that has all bytes of a disk, which gets referenced, in sectors of
 * this size; format is a string that stays.  It can be opened like others.
 */
int vhdx_layer_over (struct block *disk, const char *format,
                     uint32_t sector_size, struct vhdx_layer **out,
                     struct err *err);

/* What can be known without the BAT: the log is replayed, regions, metadata
 * and locator are read.
 */
int vhdx_layer_describe (struct vhdx_layer *layer,
                         const struct image_options *options,
                         struct report *report, struct err *err);

/* Everything else, that too: the layer can be read, except through its
 * parent.
 */
int vhdx_layer_open (struct vhdx_layer *layer,
                     const struct image_options *options,
                     struct report *report, struct err *err);

/* With its parents; NULL is fine. */
void vhdx_layer_free (struct vhdx_layer *layer);

/* "fixed", "dynamic", "differencing" */
const char *vhdx_layer_type (const struct vhdx_layer *layer);

/*--- vhdx-parent.c ----------------------------------------------------------*/

/* Find the file that is the parent of child, whose locator was read, and give
 * it to child as its parent; only its header is read.  Folders are those of
 * leaf and child, and path_folders.
 */
int vhdx_parent_find (struct vhdx_layer *leaf, struct vhdx_layer *child,
                      const struct folder_vector *path_folders,
                      const struct image_options *options,
                      struct report *report, struct err *err);

/* Do a child and its parent, the metadata of both of which were read, fit?
 * -EBADMSG.
 */
int vhdx_parent_compare (const struct vhdx_layer *child,
                         const struct vhdx_layer *parent,
                         struct report *report, struct err *err);

/* What image-ops.h says of is_child. */
bool vhdx_is_child (struct image *img, struct block *block);

/* Is this one of the identities by which the layer, the locator of which was
 * read, knows its parent?
 */
bool vhdx_layer_knows (const struct vhdx_layer *layer,
                       const uint8_t id[UUID_SIZE]);

/* Find and open the parents of leaf, up to the one that has none. */
int vhdx_chain_open (struct vhdx_layer *leaf,
                     const struct image_options *options,
                     struct report *report, struct err *err);

/*--- vhdx-base.c ------------------------------------------------------------*/

/* May what lies below this differencing layer be something else than a VHDX?
 * Only its maker can know; we make such.
 */
bool vhdx_base_is_possible (const struct vhdx_layer *child);

/* A layer for the disk that base holds, if it is the one that child was made
 * over: -ENOENT if not.  A warning if its file has another time than it
 * had then.  References base.
 */
int vhdx_base_layer_new (const struct vhdx_layer *child, struct image *base,
                         struct vhdx_layer **out, struct report *report,
                         struct err *err);

/* The same for a block that was found, and is no VHDX. */
int vhdx_base_accept (const struct vhdx_layer *child, struct block *block,
                      const struct image_options *options,
                      struct vhdx_layer **out, struct report *report,
                      struct err *err);

/*--- vhdx-io.c --------------------------------------------------------------*/

int vhdx_layer_pread (struct vhdx_layer *layer, void *buf, size_t len,
                      uint64_t off, struct err *err);
int vhdx_layer_extents (struct vhdx_layer *layer, uint64_t len, uint64_t off,
                        struct extent_list *list, struct err *err);
int vhdx_layer_cache (struct vhdx_layer *layer, uint64_t len, uint64_t off,
                      struct err *err);

/* The extents of this layer's file alone: data, zeros that hide the parent's,
 * or holes.
 */
int vhdx_layer_own_extents (struct vhdx_layer *layer, uint64_t len,
                            uint64_t off, struct extent_list *list,
                            struct err *err);

/*--- vhdx-encode.c ----------------------------------------------------------*/

/* A new one, random. */
int vhdx_guid_new (uint8_t guid[UUID_SIZE], struct err *err);

int vhdx_encode_identifier (const char *creator,
                            uint8_t out[VHDX_CREATOR + VHDX_CREATOR_SIZE],
                            struct err *err);
/* Of the header: sequence, data_write_guid, log_guid and the log's place. */
void vhdx_encode_header (const struct vhdx_header *header,
                         const uint8_t file_write_guid[UUID_SIZE],
                         uint8_t out[VHDX_HEADER_SIZE]);
/* BAT and metadata, of which off and len are set; sets their GUIDs. */
void vhdx_encode_regions (struct vhdx_regions *regions,
                          uint8_t out[VHDX_REGIONS_SIZE]);
/* The table and the items behind it, into room for VHDX_METADATA_TABLE_SIZE,
 * 64 bytes and the locator.  Returns how many bytes they are.
 */
size_t vhdx_encode_metadata (const struct vhdx_metadata *metadata,
                             uint8_t *out);

/*--- vhdx-link.c ------------------------------------------------------------*/

/* The parent locator of a child: *out, which the caller frees, has *len
 * bytes.  Paths are those of both files, linkage the identity of the parent's
 * data, linkage2 the one that it will have soon, or NULL.
 */
int vhdx_link_make (const char *child, const char *parent,
                    const uint8_t linkage[UUID_SIZE],
                    const uint8_t *linkage2, uint8_t **out, size_t *len,
                    struct report *report, struct err *err);

/* The same over a disk that is no VHDX: with the time of its file, if it is
 * one.
 */
int vhdx_link_make_over (const char *child, struct image *base,
                         const uint8_t linkage[UUID_SIZE], uint8_t **out,
                         size_t *len, struct report *report, struct err *err);

/*--- vhdx-create.c ----------------------------------------------------------*/

struct creation;

int vhdx_create (struct creation *c, struct report *report, struct err *err);

/*--- vhdx-recover.c ---------------------------------------------------------*/

/* The header of a layer as it is now, for any thread: number, sequence, alone
 * and the identities change when an image that is open for writing is first
 * written into.  The creator is still the layer's.
 */
void vhdx_header_now (const struct vhdx_layer *layer,
                      struct vhdx_header *out);

/*--- vhdx-info.c ------------------------------------------------------------*/

int vhdx_info (struct image *img, struct image_info *info, struct err *err);

/*--- vhdx-open.c ------------------------------------------------------------*/

struct vhdx_writer;

/* The state of an image. */
struct vhdx {
  struct vhdx_layer *leaf;
  struct vhdx_writer *writer;   /* NULL: only read */
  struct sector_cache *cache;
};

#endif /* NBDIMAGE_FORMAT_VHDX_H */
