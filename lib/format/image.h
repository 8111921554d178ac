/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A disk image: a block (a file, most often) that holds a disk in some
 * format.  struct image is the disk; reads, writes and extents are in bytes
 * of the disk.
 *
 * Images are reference-counted; there is one for each file and process,
 * shared by all that use it.  All operations but the last image_unref may be
 * called from many threads at once.  No lock is held across I/O.
 *
 * Errors are those of lib/base/err.h.  Messages do not name the image itself
 * (the caller has its name); they do name a parent or another file when it
 * is the one at fault.
 */

#ifndef NBDIMAGE_FORMAT_IMAGE_H
#define NBDIMAGE_FORMAT_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/report.h"
#include "lib/base/uuid.h"
#include "lib/base/vector.h"
#include "lib/block/block.h"

struct image;
struct job;

/* What stands before the name of an option in sentences that advise to use
 * it: "" (the default) where options are parameters of a plugin, "--" on a
 * command line.  Set before the first image is opened, and not after.
 */
extern const char *image_option_dashes;

/* The option that says of what format an image is, for the same sentences:
 * "format" (the default), "--format", or what else a command calls it.
 */
extern const char *image_format_option;

/* Which of the sizes that a VHD states is the disk's. */
enum image_size_rule {
  IMAGE_SIZE_AUTO,              /* by creator: ../vhd/vhd-geometry.c */
  IMAGE_SIZE_CURRENT,           /* the footer's current size */
  IMAGE_SIZE_CHS,               /* cylinders × heads × sectors */
};

/* "auto", "current", "chs" → *rule; -EINVAL. */
int image_size_rule_parse (const char *str, enum image_size_rule *rule,
                           struct err *err);

/* The name of the n-th format that is compiled in, NULL behind the last. */
const char *image_format_name (size_t n);

/* Is there a format of that name?  -EINVAL. */
int image_format_check (const char *name, struct err *err);

/* The format that files with such a name ("disk.vhd") usually have, NULL if
 * the name says nothing.  The contents decide what it is.
 */
const char *image_format_by_name (const char *name);

struct image_options {
  const char *format;           /* a driver's name; NULL: by content */

  /* Folders besides the child's own, colon-separated, in which the parents
   * of differencing disks may lie, at any depth; NULL: none.
   */
  const char *parent_path;

  enum image_size_rule size_rule;
  /* A file in which what is written to the image is kept, while the image
   * itself stays as it is: overlay.h.  NULL: none.
   */
  const char *overlay;
  bool overlay_must_exist;      /* -ENOENT if it is not there, instead of the
                                   image as it is */

  /* The disk below a differencing one, instead of looking for the parent that
   * it names; it has to be that one.  Not referenced by this.  NULL: look.
   */
  struct image *base;
  unsigned depth;               /* images that lie over this one: 0 */

  /* The identity that the data of a VHDX gets with the first change, and that
   * it keeps if it has it already: UUID_SIZE bytes, copied.  NULL: a new one
   * each time.
   */
  const uint8_t *data_id;

  struct job *job;              /* for what takes long: a compressed file is
                                   read once as a whole; NULL: nobody looks */

  bool ignore_checksums;        /* of metadata; the image is then read-only */
  bool writable;                /* fail (-EROFS, -ENOTSUP) rather than open
                                   read-only */
  bool lock;                    /* hold files against others: block/file.h */
};

/* Open an image: a path, an NBD URI whose bytes are an image, or a backup of
 * Windows (backup-folder.h).  It may be compressed (compressed/compressed.h),
 * unless format says raw.  The name of the image is what is given.  NULL
 * options: defaults, reading only.  Warnings go to report.  -EINVAL for "".
 */
int image_open (const char *name, const struct image_options *options,
                struct image **out, struct report *report, struct err *err);

/* The same on a block, which gets referenced.  It must be writable if the
 * image is to be.  A block that is not a file has no folder, so that a
 * differencing disk on it finds parents in options->parent_path only.
 */
int image_open_block (struct block *block,
                      const struct image_options *options,
                      struct image **out, struct report *report,
                      struct err *err);

/* Will opening that image read all of a file first?  So it is with a compressed
 * one whose index is not kept yet.  false if it can't be opened.
 */
bool image_takes_long (const char *name, const struct image_options *options);

/* Is it compressed, and would be opened so?  false too if it can't be read. */
bool image_is_compressed (struct block *block,
                          const struct image_options *options);

struct image *image_ref (struct image *img);
void image_unref (struct image *img);           /* NULL is fine */

#define CLEANUP_IMAGE __attribute__ ((__cleanup__ (image_cleanup)))
void image_cleanup (struct image **img);

const char *image_name (const struct image *img);

/* By which people open it: VAULT/DISK@TIME of what lies in several files of a
 * vault; otherwise its name.
 */
const char *image_title (const struct image *img);
const char *image_format (const struct image *img);     /* "vhd", "iso", … */
uint64_t image_size (const struct image *img);          /* of the disk */
bool image_writable (const struct image *img);

/* Why the image can't be written, as a sentence, when that is for another
 * reason than how it was opened ("dynamic VHDs are read-only"); NULL if it
 * could be opened for writing.  Owned by the image.
 */
const char *image_readonly_reason (const struct image *img);

/* Is it a raw disk only because nothing is left in it of the format that its
 * name ends in?  What it was is damaged then, and its bytes are not those of
 * the disk: -EBADMSG and what is missing.  Reading it is for those who know.
 */
int image_check_recognised (const struct image *img, struct err *err);

/* Sector and preferred sizes of the disk. */
void image_get_sizes (const struct image *img, struct block_sizes *sizes);

/* The block the image lies on; not referenced, lives as long as img. */
struct block *image_block (const struct image *img);

/* The file that the image is in: that block, or the one that is compressed. */
struct block *image_file (const struct image *img);

/* Are the bytes of that block those of the disk, all of them and no others?
 * Who can read the block needs no image then.
 */
bool image_is_plain (const struct image *img);

/* As the functions of block.h with the same names; flags are BLOCK_*. */
int image_pread (struct image *img, void *buf, size_t len, uint64_t off,
                 struct err *err);
int image_pwrite (struct image *img, const void *buf, size_t len,
                  uint64_t off, unsigned flags, struct err *err);
int image_zero (struct image *img, uint64_t len, uint64_t off,
                unsigned flags, struct err *err);
int image_trim (struct image *img, uint64_t len, uint64_t off,
                unsigned flags, struct err *err);
int image_flush (struct image *img, struct err *err);
int image_cache (struct image *img, uint64_t len, uint64_t off,
                 struct err *err);

/* Append the extents of the range, front to back, each with its layer; may
 * end early at the limit of the list, but not before it covers something.
 */
int image_extents (struct image *img, uint64_t len, uint64_t off,
                   struct extent_list *list, struct err *err);

/* By what a differencing disk over this one knows it: the identity that the
 * format has, or one made from what the disk holds (identity.c).  Reads a few
 * MiB at most.
 */
int image_identity (struct image *img, uint8_t id[UUID_SIZE],
                    struct err *err);

/* The disk as a block.  The block references the image, has its name and is
 * writable if the image is.
 */
int image_to_block (struct image *img, struct block **out, struct err *err);

/*--- What `info` shows -----------------------------------------------------*/

/* One file of a chain, the image itself first. */
struct image_layer {
  char *name;                   /* path or URI */
  char *format;                 /* "vhd" */
  char *type;                   /* "dynamic"; NULL if the format has one */
  char *id;                     /* as text; NULL if the format has none */
};

/* What else a format has to say: key in lower case with dashes (for
 * programs, stable), label and value for people, value for both.
 */
struct image_property {
  char *key;
  char *label;
  char *value;
};

/* A way to boot the image as it says itself: an El Torito entry. */
struct image_boot_entry {
  char *platform;               /* "BIOS", "UEFI", "PowerPC", "Mac" */
  char *media;                  /* "no emulation", "1.44M floppy", … */
  bool bootable;
  uint64_t off;                 /* bytes */
  uint64_t len;                 /* bytes; 0: not stated */
};

DEFINE_VECTOR (image_layer_vector, struct image_layer);
DEFINE_VECTOR (image_property_vector, struct image_property);
DEFINE_VECTOR (image_boot_vector, struct image_boot_entry);

struct image_info {
  char *type;                   /* "dynamic", "fixed", "UDF bridge"; or NULL */
  char *creator;                /* program that wrote it; NULL: not said */
  char *label;                  /* volume id; NULL if none */
  int64_t created;              /* seconds since 1970, -1: not said */
  uint64_t file_size;           /* bytes of the block the image lies on */
  uint64_t allocation_size;     /* bytes in a unit of allocation; 0: none */
  bool is_optical;              /* presents itself as a CD or DVD */
  bool is_assembled;            /* layers are the files it is put together
                                   of, not a chain of parents */
  struct image_layer_vector layers;
  struct image_property_vector properties;
  struct image_boot_vector boot;
};

/* Fill *info, which the caller frees with image_info_free. */
int image_get_info (struct image *img, struct image_info *info,
                    struct err *err);
void image_info_free (struct image_info *info);

#define CLEANUP_IMAGE_INFO __attribute__ ((__cleanup__ (image_info_free)))

/* For drivers: append a copy.  value is a printf format. */
int image_info_add (struct image_info *info, const char *key,
                    const char *label, struct err *err,
                    const char *value, ...)
  __attribute__ ((__format__ (__printf__, 5, 6)));

#endif /* NBDIMAGE_FORMAT_IMAGE_H */
