/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The VHD driver inside.  A disk is a chain of layers: the image itself
 * (layer 0) and, if it is differencing, its parents.  Each layer is one
 * file, opened front to back:
 *
 *   footer      vhd-footer.c     where it is, is it whole, which type
 *   header      vhd-header.c     of dynamic and differencing layers
 *   batmap      vhd-batmap.c     XenServer's addition, never used by us
 *   locators    vhd-locator.c    what the file says about its parent's name
 *   BAT         vhd-bat.c        where each block of the disk lies
 *   bitmaps     vhd-bitmap.c     which sectors of a block are in it
 *   pending     vhd-pending.c    bits that are not in the file yet
 *   base        vhd-base.c       a disk below that is no VHD
 *
 * New ones are made by vhd-create.c, with vhd-link.c and vhd-encode.c; those
 * that there are, are changed as a whole by what vhd-edit.h tells.
 *
 * vhd-layer.c puts these together, vhd-parent.c finds the next layer with
 * ../parent.h, vhd-index.c knows which layers need not be asked, vhd-io.c reads
 * through the whole chain and vhd-info.c describes it.  Dynamic and
 * differencing disks are written by what vhd-write.h tells.  vhd-open.c is the
 * driver's table.
 *
 * After opening, everything is constant but the cache, which locks for
 * itself as pending bits do, and what is remembered of full bitmaps and the
 * BAT of a disk that is written, which are atomic; so that reading takes no
 * other lock.
 */

#ifndef NBDIMAGE_FORMAT_VHD_H
#define NBDIMAGE_FORMAT_VHD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "lib/base/uuid.h"
#include "lib/block/block.h"
#include "lib/format/image.h"
#include "lib/format/parent.h"
#include "lib/format/pending.h"
#include "lib/format/sector-cache.h"
#include "lib/format/vhd/vhd-disk.h"

/*--- vhd-footer.c -----------------------------------------------------------*/

struct vhd_footer {
  uint64_t data_offset;
  uint32_t timestamp;           /* since VHD_EPOCH */
  char creator[4];              /* not a string */
  uint32_t creator_version;
  char creator_os[4];           /* not a string */
  uint64_t original_size, current_size;         /* bytes */
  uint16_t cylinders;
  uint8_t heads, sectors;
  uint32_t version;
  uint32_t type;                /* enum vhd_type once validated */
  uint32_t checksum;
  uint8_t id[UUID_SIZE];
  bool saved_state, hidden;
};

/* The footer we go by, and what there was to choose from. */
struct vhd_footers {
  struct vhd_footer footer;
  uint64_t end;                 /* where the footer at the end begins, or the
                                   size of the file if there is none */
  bool from_copy;               /* the one at the end is damaged or missing */
  bool end_is_zeros;            /* ... and there are zeros in its place */
  bool bad_checksum;            /* ... and was ignored, as asked */
  bool copy_differs;            /* from the one at the end, which is whole */
  bool copy_behind;             /* ... and only because a change of the size
                                   or the header was interrupted: vhd-edit.h */
  bool copy_gone;               /* ... and there are zeros in its place, which
                                   may be from a change of the type */
};

/* Is a file of this size, whose first and last bytes these are, a VHD, whole
 * or not?
 */
bool vhd_footer_probe (const uint8_t *head, size_t head_len,
                       const uint8_t *tail, size_t tail_len, uint64_t size);

/* One of the places where a footer may be. */
struct vhd_place {
  uint8_t bytes[VHD_FOOTER_SIZE];
  uint64_t off;
  size_t len;                   /* bytes of it that the file has */
  bool cookie;                  /* there is something to talk about */
  bool whole;                   /* no byte that matters is missing */
  bool valid;                   /* it is whole, its checksum is right */
};

/* Read both places, whatever is there.  end->off is where the footer at the
 * end begins, if it has its cookie.
 */
int vhd_footer_places (struct block *block, struct vhd_place *end,
                       struct vhd_place *copy, struct err *err);

void vhd_footer_decode (const uint8_t bytes[VHD_FOOTER_SIZE],
                        struct vhd_footer *f);

/* Version, type, size of one that was at off: -EBADMSG, -ENOTSUP. */
int vhd_footer_validate (const struct vhd_footer *f, uint64_t off,
                         struct err *err);

/* Why a footer that has its cookie is not valid: always -EBADMSG. */
int vhd_footer_damage (const struct vhd_place *place, struct err *err);

/* Where the whole footer of a fixed VHD is in front of a few bytes that do
 * not belong to it; UINT64_MAX: nowhere.
 */
int vhd_footer_buried (struct block *block, uint64_t *off, struct err *err);

/* Find, check and decode.  -EBADMSG, -ENOTSUP, or why reading failed. */
int vhd_footer_read (struct block *block, bool ignore_checksums,
                     struct vhd_footers *out, struct report *report,
                     struct err *err);

/* The checksum of footer and header: of all bytes but its own four. */
uint32_t vhd_checksum (const uint8_t *p, size_t len, size_t checksum_at);

/*--- vhd-geometry.c ---------------------------------------------------------*/

/* What the geometry in the footer multiplies to, in bytes. */
uint64_t vhd_geometry_size (const struct vhd_footer *footer);

/* Which of the sizes in the footer is the disk's, by rule; *used is then
 * IMAGE_SIZE_CURRENT or IMAGE_SIZE_CHS.
 */
uint64_t vhd_disk_size (const struct vhd_footer *footer,
                        enum image_size_rule rule,
                        enum image_size_rule *used);

/* The smallest size that a geometry describes exactly and that is at least
 * size (bytes), with that geometry in *footer.  -EINVAL if there is none: it
 * is larger than 127.5 GiB.  VHD specification, appendix "CHS calculation".
 */
int vhd_geometry_for (uint64_t size, struct vhd_footer *footer,
                      uint64_t *rounded, struct err *err);

bool vhd_creator_is (const struct vhd_footer *footer, const char *code);

/* "Windows 10.0 (win )": the caller frees it; NULL when out of memory. */
char *vhd_creator_to_string (const struct vhd_footer *footer);

const char *vhd_type_to_string (uint32_t type);

/*--- vhd-header.c -----------------------------------------------------------*/

struct vhd_locator {
  uint32_t code;
  uint32_t space;               /* sectors or bytes, depending on the writer:
                                   not to be relied on */
  uint32_t len;                 /* bytes */
  uint64_t off;                 /* bytes, in the file */
};

struct vhd_header {
  uint64_t table_offset;
  uint32_t version;
  uint32_t max_entries;
  uint32_t block_size;          /* bytes */
  uint32_t checksum;
  uint8_t parent_id[UUID_SIZE];
  uint32_t parent_timestamp;    /* since VHD_EPOCH; 0: not said */
  uint8_t parent_name[VHD_PARENT_NAME_SIZE];    /* as on disk */
  struct vhd_locator locators[VHD_NR_LOCATORS];
  bool bad_checksum;            /* ... and was ignored, as asked */
};

/* size is that of the disk, which the BAT must be able to hold. */
int vhd_header_read (struct block *block, const struct vhd_footers *footers,
                     uint64_t size, bool ignore_checksums,
                     struct vhd_header *out, struct report *report,
                     struct err *err);

/* Bytes of the BAT that the header announces. */
uint64_t vhd_header_table_size (const struct vhd_header *header);

/*--- vhd-batmap.c -----------------------------------------------------------*/

struct vhd_batmap {
  bool present;
  uint64_t header_off;          /* bytes, in the file */
  uint64_t off, len;            /* of the map */
};

/* Only XenServer writes one.  -ENOTSUP if it says that the data in the
 * blocks is encrypted.
 */
int vhd_batmap_read (struct block *block, const struct vhd_footers *footers,
                     const struct vhd_header *header, struct vhd_batmap *out,
                     struct report *report, struct err *err);

/*--- vhd-bat.c --------------------------------------------------------------*/

/* Entries that are held in memory for a whole chain: 16 MiB of them. */
#define VHD_MAX_HELD_ENTRIES (16 * 1024 * 1024 / VHD_BAT_ENTRY_SIZE)

/* A range of the file that no block may touch. */
struct vhd_reserved {
  const char *what;
  uint64_t off, len;
};

/* Copy, header, BAT, batmap and its map, locators. */
#define VHD_MAX_RESERVED (5 + VHD_NR_LOCATORS)

/* An absent block in memory: what calloc gives.  No block begins at sector 0,
 * where the copy of the footer is.
 */
#define VHD_BAT_HELD_ABSENT 0

struct vhd_bat {
  uint32_t *entries;            /* all that the disk needs, atomic; or NULL:
                                   too many to hold, looked up through the
                                   cache */
  uint64_t nr_entries;          /* that the disk needs */
  uint8_t *full;                /* a bit for each sector of each bitmap: all
                                   that it describes is in the file; atomic,
                                   NULL: not remembered */
  uint32_t *full_at;            /* instead, of a differencing disk that is
                                   written: where the block begins whose
                                   sector of bitmap that is; atomic, 0: none */
  uint64_t table_offset;
  uint64_t disk_end;            /* bytes of the disk that entries describe */
  uint64_t file_end;            /* blocks end here at the latest */
  uint32_t block_size;          /* bytes */
  uint32_t bitmap_size;         /* bytes, whole sectors */
  struct vhd_reserved reserved[VHD_MAX_RESERVED];
  size_t nr_reserved;
  uint64_t reserved_end;        /* nothing is reserved from here on */
};

struct vhd_layer;

/* Fill layer->bat from what is known of the layer, but read nothing. */
void vhd_bat_describe (struct vhd_layer *layer);

/* Can this be entry number index of a table that is described?  -EBADMSG.
 * The block must lie in the file and over nothing that is reserved.
 */
int vhd_bat_check_entry (const struct vhd_bat *bat, uint64_t index,
                         uint32_t sector, struct err *err);

/* Entries i (at sector a) and j (at b) overlap: always -EBADMSG. */
int vhd_bat_overlap (const struct vhd_bat *bat, uint64_t i, uint32_t a,
                     uint64_t j, uint32_t b, struct err *err);

/* Describe it, read the table and check every entry, if it is small enough
 * to be held.
 */
int vhd_bat_open (struct vhd_layer *layer, struct err *err);
void vhd_bat_close (struct vhd_bat *bat);

/* Sector number of a block that the disk has, or VHD_BAT_ABSENT. */
int vhd_bat_lookup (struct vhd_layer *layer, uint64_t index,
                    uint32_t *sector, struct err *err);

/* How many blocks from index on are absent, counting no more than max. */
int vhd_bat_absent_run (struct vhd_layer *layer, uint64_t index, uint64_t max,
                        uint64_t *nr, struct err *err);

/*--- vhd-bitmap.c -----------------------------------------------------------*/

/* Bytes that the bitmap in front of a block's data takes, whole sectors. */
uint32_t vhd_bitmap_size (uint32_t block_size);

/* How many sectors from first on have the same bit; at least 1, at most
 * max.  bits are of nr_bits bits, of which first+max are looked at.
 */
unsigned vhd_bits_run (const uint8_t *bits, unsigned first, unsigned max,
                       bool *bit);

/* The same for block number `index`, which is in the file at block_sector, by
 * its bitmap; the run may be shorter than what follows of it.
 */
int vhd_bitmap_run (struct vhd_layer *layer, uint64_t index,
                    uint32_t block_sector,
                    unsigned first, unsigned max, unsigned *nr, bool *here,
                    struct err *err);

/* Make room to remember which bitmaps are full, if it isn't too much: whoever
 * changes a block otherwise than by setting bits has to forget it.  Returns 0
 * or -ENOMEM.
 */
int vhd_bitmap_open (struct vhd_bat *bat, struct err *err);

/* Blocks may go and come back at another place, with other bits: what is
 * remembered is remembered of the place.
 */
int vhd_bitmap_open_places (struct vhd_bat *bat, struct err *err);

/* Remember that all of the bitmap of block number `index` is full, and ask
 * whether it is known to be.  Only where bat->full is there, and not
 * full_at.
 */
void vhd_bitmap_set_full (struct vhd_bat *bat, uint64_t index);
bool vhd_bitmap_is_full (const struct vhd_bat *bat, uint64_t index);

/* The block gets a place where it may have been before; only with full_at. */
void vhd_bitmap_forget_full (struct vhd_bat *bat, uint64_t index);

/*--- vhd-locator.c ----------------------------------------------------------*/

/* What a child says about where its parent is, as POSIX paths: relative to
 * the child's folder, or absolute ("/..."), in the order in which they
 * should be tried.  Locators that make no sense are reported and left out.
 */
int vhd_locator_names (const struct vhd_layer *child, struct name_list *out,
                       struct report *report, struct err *err);

/* A file URL as a path.  Changes the string and returns a part of it. */
char *vhd_path_from_url (char *url);

/*--- vhd-layer.c ------------------------------------------------------------*/

struct vhd_layer {
  struct block *block;          /* a reference */
  const char *format;           /* "vhd", or that of the disk for which the
                                   layer stands */
  bool is_vhd;
  unsigned number;              /* 0: the image itself */
  struct vhd_footers footers;
  enum image_size_rule size_rule;       /* the rule that gave size */
  uint64_t size;                /* bytes of disk in this layer */
  bool size_is_doubtful;        /* fixed: not what the file's size says */
  struct vhd_header header;     /* not of fixed layers; the rest neither */
  struct vhd_batmap batmap;
  uint64_t bat_room;            /* entries that it and its parents may hold */
  struct vhd_bat bat;
  struct sector_cache *cache;   /* the chain's */
  struct pending *pending;      /* bits of a differencing layer that are not
                                   in its file; owned; NULL: none */
  struct folder folder;     /* where it lies; while opening only */
  struct vhd_index *index;      /* the chain's, or NULL */
  struct vhd_layer *parent;     /* owned; NULL unless differencing */
};

/* A layer on this block, its footer read and checked, nothing else. */
int vhd_layer_new (struct block *block, const struct image_options *options,
                   struct vhd_layer **out, struct report *report,
                   struct err *err);

/* Size, header and batmap: everything but the BAT. */
int vhd_layer_open_header (struct vhd_layer *layer, enum image_size_rule rule,
                           const struct image_options *options,
                           struct report *report, struct err *err);

/* A layer that has all bytes of a disk, which gets referenced; format is a
 * string that stays.  It can be opened as if it were a fixed VHD.
 */
int vhd_layer_over (struct block *disk, const char *format,
                    struct vhd_layer **out, struct err *err);

/* Everything else: the layer can be read, except through its parent. */
int vhd_layer_open (struct vhd_layer *layer, enum image_size_rule rule,
                    const struct image_options *options,
                    struct report *report, struct err *err);

/* With its parents; NULL is fine. */
void vhd_layer_free (struct vhd_layer *layer);

/* Or does it stand for another disk? */
static inline bool
vhd_layer_is_vhd (const struct vhd_layer *layer)
{
  return layer->is_vhd;
}

static inline bool
vhd_layer_is_fixed (const struct vhd_layer *layer)
{
  return layer->footers.footer.type == VHD_FIXED;
}

/*--- vhd-parent.c -----------------------------------------------------------*/

/* Find the file that is the parent of child, whose header was read, and give
 * it to child as its parent; only its footer is read.  Folders are those of
 * leaf and child, and path_folders.
 */
int vhd_parent_find (struct vhd_layer *leaf, struct vhd_layer *child,
                     const struct folder_vector *path_folders,
                     const struct image_options *options,
                     struct report *report, struct err *err);

/* Report what does not fit between a child and its parent, both of which
 * know their size.
 */
void vhd_parent_compare (const struct vhd_layer *child,
                         const struct vhd_layer *parent,
                         struct report *report);

/* Find and open the parents of leaf, up to the one that has none. */
int vhd_chain_open (struct vhd_layer *leaf,
                    const struct image_options *options,
                    struct report *report, struct err *err);

/* As struct image_ops says. */
bool vhd_is_child (struct image *img, struct block *block);

/*--- vhd-base.c -------------------------------------------------------------*/

/* May what lies below this differencing layer be something else than a VHD?
 * Only its maker can know; we make such.
 */
bool vhd_base_is_possible (const struct vhd_layer *child);

/* A layer for the disk that base holds, if it is the one that child was made
 * over: -ENOENT if not.  References base.
 */
int vhd_base_layer_new (const struct vhd_layer *child, struct image *base,
                        struct vhd_layer **out, struct report *report,
                        struct err *err);

/* The same for a block that was found, and is no VHD. */
int vhd_base_accept (const struct vhd_layer *child, struct block *block,
                     const struct image_options *options,
                     struct vhd_layer **out, struct report *report,
                     struct err *err);

/*--- vhd-index.c ------------------------------------------------------------*/

/* Which parents have what of the disk: about 8 bytes for each block of it, 8
 * MiB at most.  Constant once made.
 */
struct vhd_index;

/* For a chain that is open; *out stays NULL for one so short that asking
 * each layer is as good.  The layers of the chain know it then.  Returns 0
 * or -ENOMEM.
 */
int vhd_index_new (struct vhd_layer *leaf, struct vhd_index **out,
                   struct err *err);
void vhd_index_free (struct vhd_index *index);  /* NULL is fine */

/* The first layer below number `above` that may have something of the *len
 * bytes at off.  *len becomes how many of them are to be read from it; the
 * rest of them is zero.  NULL: all of them are.
 */
struct vhd_layer *vhd_index_next (const struct vhd_index *index,
                                  unsigned above, uint64_t off,
                                  uint64_t *len);

/*--- vhd-io.c ---------------------------------------------------------------*/

int vhd_layer_pread (struct vhd_layer *layer, void *buf, size_t len,
                     uint64_t off, struct err *err);
int vhd_layer_extents (struct vhd_layer *layer, uint64_t len, uint64_t off,
                       struct extent_list *list, struct err *err);

/* The same of this layer's file alone: data or a hole. */
int vhd_layer_own_extents (struct vhd_layer *layer, uint64_t len,
                           uint64_t off, struct extent_list *list,
                           struct err *err);
int vhd_layer_cache (struct vhd_layer *layer, uint64_t len, uint64_t off,
                     struct err *err);

/* Do the len bytes at off read as zeros without this layer, because no parent
 * has any of them?
 */
int vhd_parents_are_zero (struct vhd_layer *layer, uint64_t len,
                          uint64_t off, bool *zero, struct err *err);

/*--- vhd-pending.c ----------------------------------------------------------*/

/* What a process that was killed while it wrote to this layer has left of
 * bits, for reading: layer->pending.
 */
int vhd_pending_peek (struct vhd_layer *layer, struct err *err);

/* The same for who changes the file otherwise than by writing to the disk:
 * the bits are in it then.  -EROFS if that can't be.
 */
int vhd_pending_finish (struct vhd_layer *layer, struct report *report,
                        struct err *err);

/*--- vhd-encode.c -----------------------------------------------------------*/

/* The bytes of a footer, or header, with its checksum.  What is only ever
 * read (bad_checksum, the old version numbers) is not written.
 */
void vhd_footer_encode (const struct vhd_footer *footer,
                        uint8_t bytes[VHD_FOOTER_SIZE]);
void vhd_header_encode (const struct vhd_header *header,
                        uint8_t bytes[VHD_HEADER_SIZE]);

/*--- vhd-link.c -------------------------------------------------------------*/

/* What a child says about where its parent is. */
struct vhd_link {
  uint8_t name[VHD_PARENT_NAME_SIZE];   /* UTF-16BE, for the header */
  struct vhd_locator locators[VHD_NR_LOCATORS]; /* len and space; off is 0 */
  uint8_t *texts[VHD_NR_LOCATORS];      /* len bytes each; NULL: none */
};

/* Relative and absolute locators that lead from the file child (which need
 * not be there yet) to the file parent; with a warning where the child will
 * not find it there by itself.  The caller frees it, after a failure too.
 */
int vhd_link_make (const char *child, const char *parent,
                   struct vhd_link *link, struct report *report,
                   struct err *err);
void vhd_link_free (struct vhd_link *link);

/* A time as footers and headers have it; 0 for what is before VHD_EPOCH. */
uint32_t vhd_link_stamp (time_t t);

/* When the file of a parent was changed last; 0, "not said", if it has no
 * such time.
 */
uint32_t vhd_link_time (const struct block *parent);

/*--- vhd-create.c -----------------------------------------------------------*/

struct creation;
int vhd_create (struct creation *c, struct report *report, struct err *err);

/*--- vhd-info.c -------------------------------------------------------------*/

int vhd_info (struct image *img, struct image_info *info, struct err *err);

/*--- vhd-open.c -------------------------------------------------------------*/

/* The state of an image. */
struct vhd {
  struct vhd_layer *leaf;
  struct vhd_writer *writer;    /* vhd-write.h; NULL: not for writing */
  struct sector_cache *cache;
  struct vhd_index *index;
};

#endif /* NBDIMAGE_FORMAT_VHD_H */
