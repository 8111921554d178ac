/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a format driver supplies.  Only drivers and the image core include
 * this.
 *
 * A NULL slot means the format cannot do it; the entry point answers
 * -ENOTSUP, or the fallback named at the slot.  An image whose open sets
 * img->disk needs none of the slots from pread to cache.  Ranges are inside
 * the image and len is not 0; writing operations are called on writable
 * images only.  An operation does all of it or fails.  pread and extents may
 * run in parallel with anything but close; a driver that writes takes its own
 * lock for its own tables, and holds none across I/O.
 */

#ifndef NBDIMAGE_FORMAT_IMAGE_OPS_H
#define NBDIMAGE_FORMAT_IMAGE_OPS_H

#include "lib/format/image.h"

struct check;
struct creation;
struct image_compact_plan;
struct image_rebase_plan;
struct image_resize_plan;
struct job;
struct offline;
struct repair_plan;

/* Both ends of a block, read once and shown to every driver's probe. */
#define PROBE_HEAD_SIZE (288 * 1024)    /* the descriptors of an ISO's first
                                           64 sectors, and more */
#define PROBE_TAIL_SIZE 4096

struct probe {
  struct block *block;          /* a probe may read more, if it must */
  uint64_t size;                /* of the block */
  const uint8_t *head;          /* the first head_len bytes */
  size_t head_len;              /* min (size, PROBE_HEAD_SIZE) */
  const uint8_t *tail;          /* the last tail_len bytes */
  size_t tail_len;              /* min (size, PROBE_TAIL_SIZE) */
};

/* How sure a probe is. */
enum {
  PROBE_NO = 0,
  PROBE_FALLBACK = 1,           /* raw: anything is that */
  PROBE_MAYBE = 50,
  PROBE_YES = 100,              /* a signature where it belongs */
};

struct image_ops {
  const char *name;             /* "vhd": in --format and in info */
  size_t state_size;            /* zeroed and freed by image.c */

  /* Nothing is recognised by its name.  But a file whose name ends so, and
   * that nobody recognises, is damaged rather than a raw disk: without the
   * dot, in lower case, ended by NULL; and what is wrong with it, as half a
   * sentence.  NULL: there are none.
   */
  const char *const *endings;
  const char *lack;

  int (*probe) (const struct probe *probe);

  /* Decode and validate everything that reading relies on; set img->size,
   * sizes, readonly_reason.  Must not write, unless img->writable, and then
   * nothing but what finishes what a crash has left undone.  A driver that
   * can't write this image and is asked to (img->writable) fails with -EROFS
   * and the reason.
   */
  int (*open) (struct image *img, const struct image_options *options,
               struct report *report, struct err *err);
  void (*close) (struct image *img);    /* also after a failed open; NULL */

  int (*pread) (struct image *img, void *buf, size_t len, uint64_t off,
                struct err *err);
  int (*pwrite) (struct image *img, const void *buf, size_t len,
                 uint64_t off, unsigned flags, struct err *err);
  int (*zero) (struct image *img, uint64_t len, uint64_t off,
               unsigned flags, struct err *err);   /* NULL: -ENOTSUP */
  int (*trim) (struct image *img, uint64_t len, uint64_t off,
               unsigned flags, struct err *err);   /* NULL: do nothing */
  int (*flush) (struct image *img, struct err *err);      /* NULL: the block */
  int (*extents) (struct image *img, uint64_t len, uint64_t off,
                  struct extent_list *list,
                  struct err *err);                /* NULL: data */
  int (*cache) (struct image *img, uint64_t len, uint64_t off,
                struct err *err);                  /* NULL: do nothing */

  /* The core has set file_size; layers is filled with the image itself by
   * the core when the driver added none.
   */
  int (*info) (struct image *img, struct image_info *info,
               struct err *err);                   /* NULL: nothing to add */

  /* The identity that the image itself has, if it has one. */
  bool (*identity) (struct image *img,
                    uint8_t id[UUID_SIZE]);        /* NULL: none */

  /* A file of that absolute path lies over it, and was made for longer than
   * the image is open: see that it stays, where somebody might take it away.
   * What can't be done is warned of; -ESTALE: it is about to go.
   */
  int (*keep_for) (struct image *img, const char *path, struct report *report,
                   struct err *err);               /* NULL: it stays */

  /* A disk was made over another, which has that identity: -ENOENT and a
   * sentence that says which one that is, and how it is opened; 0: it is not
   * known.
   */
  int (*tell_other) (struct image *img, const uint8_t id[UUID_SIZE],
                     struct err *err);             /* NULL: not known */

  /* Fill a new file, which is empty, from c->options (create-ops.h), and set
   * c->size.  Options that make no sense for the format are -EINVAL.
   */
  int (*create) (struct creation *c, struct report *report,
                 struct err *err);                 /* NULL: can't */

  /* Add everything that is wrong with the image and its parents to c
   * (check.h); fails for other reasons than that.  It is opened afterwards,
   * so that what opening finds need not be found twice.
   */
  int (*check) (struct block *block, const struct image_options *options,
                struct check *c, struct err *err); /* NULL: only open it */

  /* Examine the image without its parents and fill the plan (repair.h). */
  int (*plan_repair) (struct block *block,
                      const struct image_options *options, unsigned flags,
                      struct check *c, struct repair_plan *plan,
                      struct err *err);            /* NULL: can't */

  /* The same for what opening only warns of; without check, its warnings
   * become notes afterwards.
   */
  int (*check_open) (struct image *img, struct check *c,
                     struct err *err);             /* NULL: nothing */

  /* Is what lies on the block, which was found to be of this format,
   * differencing over img?  Does not look for its parent.  NULL: no.
   */
  bool (*is_child) (struct image *img, struct block *block);

  /* What resize.h says; both or neither.  The disk is open in o->img for
   * resize_plan; what is to be 0 or false in the plan, is.
   */
  int (*resize_plan) (struct offline *o, struct image_resize_plan *plan,
                      struct err *err);
  int (*resize) (struct offline *o, const struct image_resize_plan *plan,
                 struct job *job, struct err *err);

  /* As extents, of what the image's own file says: holes where the disk is
   * the parent's, or zero because there is none; zeros where it hides the
   * parent's.  NULL: it has no parents.
   */
  int (*own_extents) (struct image *img, uint64_t len, uint64_t off,
                      struct extent_list *list, struct err *err);

  /* Does the file have a place for the unit of allocation that off lies in,
   * be it that it has nothing of it itself?  NULL: it has no parents.
   */
  int (*has_unit) (struct image *img, uint64_t off, bool *has,
                   struct err *err);

  /* For rebase.h; both or neither.  relink_plan: can plan->parent be the
   * parent, or (NULL) can there be none?  Sets is_same, is_done (without
   * differs) and, if it is NULL and there is one, old_parent.  relink: it
   * becomes the parent; without one, the image has a unit as a whole or not at
   * all.
   */
  int (*relink_plan) (struct offline *o, struct image_rebase_plan *plan,
                      struct report *report, struct err *err);
  int (*relink) (struct offline *o, const struct image_rebase_plan *plan,
                 struct err *err);

  /* For commit.h, before anything of the image's parent changes, which is
   * open, and is at that path: after this the image knows it as it is and as
   * it will be; *id is the identity that its data is to get with that
   * (image_options.data_id).  The disk stays what it is.  NULL: it knows it
   * anyway.
   */
  int (*expect_change) (struct offline *o, struct image *parent,
                        const char *path, uint8_t id[UUID_SIZE],
                        struct err *err);

  /* What compact.h says; both or neither.  The disk is open in o->img, and
   * the plan all zeros, for compact_plan.
   */
  int (*compact_plan) (struct offline *o, struct image_compact_plan *plan,
                       struct job *job, struct err *err);
  int (*compact) (struct offline *o, const struct image_compact_plan *plan,
                  struct job *job, struct err *err);
};

struct image {
  const struct image_ops *ops;
  unsigned refs;                /* atomic */
  struct block *block;          /* what it lies on; a reference */

  /* Where the bytes of the disk lie in one piece (raw, ISO, fixed VHD), open
   * sets this to that piece, a reference, and the core reads and writes
   * there instead of calling the driver.  It may be longer than size.
   */
  struct block *disk;

  uint64_t size;                /* bytes of the disk; set by open */
  bool writable;                /* as asked for; the driver may refuse */
  char *readonly_reason;        /* owned; NULL: could be written */
  char *title;                  /* owned; by which people open it, where that is
                                   not the name of the block; NULL: it is */
  struct block_sizes sizes;     /* of the disk; core: the block's */
  void *state;                  /* the driver's */
};

/* A new image on a block, which gets referenced, for a driver that opens by
 * itself what is no block: with one reference, the block's sizes and a state
 * of zeros.  The rest is the driver's.
 */
int image_new (const struct image_ops *ops, struct block *block,
               struct image **out, struct err *err);

/* All drivers in the order in which they are asked; ends with NULL. */
extern const struct image_ops *image_formats[];

/* One more, of a layer above this one; nothing if it is there already.  Before
 * the first image is opened.
 */
void image_formats_add (const struct image_ops *ops);

/* Images that are no single file, known by a layer above: open the one of that
 * name, 1; or it is none of these, 0.  options are never NULL.
 */
typedef int image_opener (const char *name,
                          const struct image_options *options,
                          struct image **out, struct report *report,
                          struct err *err);

/* Asked before a file of that name is opened.  Before the first image is. */
void image_opener_set (image_opener *opener);

/* Ask it: 0 too if there is no such layer. */
int image_open_other (const char *name, const struct image_options *options,
                      struct image **out, struct report *report,
                      struct err *err);

/* The file, or export, that an image of this name lies on; format and the
 * like do not matter.  As image_open.
 */
int image_open_file (const char *name, const struct image_options *options,
                     struct block **out, struct report *report,
                     struct err *err);

extern const struct image_ops iso_image_ops;
extern const struct image_ops partclone_image_ops;
extern const struct image_ops raw_image_ops;
extern const struct image_ops vhd_image_ops;
extern const struct image_ops vhdx_image_ops;

#endif /* NBDIMAGE_FORMAT_IMAGE_OPS_H */
