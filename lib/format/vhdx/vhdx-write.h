/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Writing into VHDXs.
 *
 *   recover  vhdx-recover.c   the log is replayed into the file when it is
 *                             opened; the headers are replaced
 *   log      vhdx-logger.c    changes of metadata, through the log
 *   space    vhdx-space.c     places in the file for new blocks; its size
 *            vhdx-gaps.c      ... that are there when it is opened
 *            vhdx-shrink.c    the end of the file, when places become free
 *   bits     vhdx-bits.c      of differencing disks: bitmaps, through the log
 *            vhdx-pending.c   ... from memory into these
 *   blocks   vhdx-alloc.c     one block of the disk changes its state
 *   child    vhdx-child.c     what is written into one block over parents
 *   disk     vhdx-write.c     the driver's operations, over many blocks
 *
 * A place is where a block may be, named by its offset in the file.  A
 * session lasts from opening an image for writing to closing it.
 */

#ifndef NBDIMAGE_FORMAT_VHDX_WRITE_H
#define NBDIMAGE_FORMAT_VHDX_WRITE_H

#include <pthread.h>

#include "lib/format/busy.h"
#include "lib/format/epoch.h"
#include "lib/format/pending.h"
#include "lib/format/vhdx/vhdx.h"

/*--- vhdx-recover.c ---------------------------------------------------------*/

/* New values for fields of the headers; NULL: as it is. */
struct vhdx_header_change {
  const uint8_t *file_write_guid, *data_write_guid, *log_guid;
};

/* Replace both headers, one after the other, each on stable storage before
 * the next (§2.2.2.1).  After a failure one of them is whole, and has the
 * old values or the new ones; to be called again.  One thread at a time.
 */
int vhdx_header_update (struct vhdx_layer *layer,
                        const struct vhdx_header_change *change,
                        struct err *err);

/* Make in the file the changes that the log asks for, if it does, and empty
 * it.  The layer is open, and its block is writable.
 */
int vhdx_recover (struct vhdx_layer *layer, struct err *err);

/*--- vhdx-logger.c ----------------------------------------------------------*/

struct vhdx_logger;

/* For a layer whose log is empty, and which outlives this.  Writes nothing. */
int vhdx_logger_new (struct vhdx_layer *layer, struct vhdx_logger **out,
                     struct err *err);

/* Finish, and free; true if that could be done.  NULL is fine: true. */
bool vhdx_logger_free (struct vhdx_logger *lg);

/* Change 8 bytes of the BAT, at a multiple of 8 of the file.  When this
 * returns it was written into the log, perhaps together with what other
 * threads change, and survives the process; the next flush makes it stable.
 * After a failure nothing was changed, unless vhdx_logger_broken.  One thread
 * at a time changes the same bytes.
 */
int vhdx_logger_change (struct vhdx_logger *lg, uint64_t off, uint64_t value,
                        struct err *err);

/* The same for whole pages of the file, at multiples of VHDX_PAGE, all of
 * them different: they are changed together, or none of them is, wherever
 * they are but in headers and log (§2.3.1).
 */
struct vhdx_log_page {
  uint64_t off;                 /* bytes, in the file */
  const uint8_t *bytes;         /* VHDX_PAGE */
};

#define VHDX_LOGGER_MAX_PAGES (VHDX_PAGE / VHDX_DESC_SIZE - 2)

int vhdx_logger_change_pages (struct vhdx_logger *lg,
                              const struct vhdx_log_page *pages, size_t nr,
                              struct err *err);

/* A page as it is by now, if it may be another in the file: true.  While
 * nobody changes anything.
 */
bool vhdx_logger_get_page (struct vhdx_logger *lg, uint64_t off,
                           uint8_t bytes[VHDX_PAGE]);

/* Where all that was logged gets to its place, and the headers say that there
 * is no log any more; nothing is to be changed after.  After a failure the log
 * is left for who opens the file next, or for another try.
 */
int vhdx_logger_finish (struct vhdx_logger *lg, struct err *err);

/* The log could not be written, nor what was written be taken back: nothing
 * is written any more until the image is opened anew.
 */
bool vhdx_logger_broken (const struct vhdx_logger *lg);

/* The file has so many bytes on stable storage, at least. */
void vhdx_logger_stable_size (struct vhdx_logger *lg, uint64_t size);

/* The file is going to have no more than `size' bytes, which all blocks have
 * room in: from the return on no entry that counts states more than that,
 * and who reads the log finds none that does (§2.3.1.1).  -EAGAIN if there is
 * no log yet.  After a failure the file has to stay as it is.
 */
int vhdx_logger_lower_size (struct vhdx_logger *lg, uint64_t size,
                            struct err *err);

/*--- vhdx-space.c -----------------------------------------------------------*/

struct vhdx_space;

/* For a layer that has its BAT; it and the logger outlive the space.  Writes
 * nothing.
 */
int vhdx_space_new (struct vhdx_layer *layer, struct vhdx_logger *logger,
                    struct vhdx_space **out, struct err *err);

/* Give back what was not used, and free.  NULL is fine.  cut: the log is
 * empty, so that the file may become shorter.  Failures are not told: the
 * image is whole without it.
 */
void vhdx_space_free (struct vhdx_space *space, bool cut);

/* A place that is in the file and zero, both on stable storage: it may be put
 * into the BAT.  May have to write and to flush; from many threads.
 */
int vhdx_space_take (struct vhdx_space *space, uint64_t *off,
                     struct err *err);

/* The same for a bitmap block. */
int vhdx_space_take_bitmap (struct vhdx_space *space, uint64_t *off,
                            struct err *err);

/* What happened to a place that was taken.  Of a bitmap block it is settled or
 * lost; where it is neither, it is settled and not used again.
 *
 * settle: the BAT names it, in the log and in memory.
 * soil: something may be written in it, and nothing ever named it.
 * lose: it is not known whether the log in the file names it.
 * hold: the BAT names it, and may soon not do so any more; settle or release
 * follows.  0 or -ENOMEM.
 * release: the BAT did name it, or the log for a moment, and does not any
 * more, neither in the file, be it on stable storage or not, nor in memory.
 */
void vhdx_space_settle (struct vhdx_space *space, uint64_t off);
void vhdx_space_soil (struct vhdx_space *space, uint64_t off);
void vhdx_space_lose (struct vhdx_space *space, uint64_t off);
int vhdx_space_hold (struct vhdx_space *space, uint64_t off,
                     struct err *err);
void vhdx_space_release (struct vhdx_space *space, uint64_t off);

/* Everything that was written before is on stable storage after. */
int vhdx_space_flush (struct vhdx_space *space, struct err *err);

/* After a flush: what has become free goes, if that is worth it.  Fails only
 * where another flush would.
 */
int vhdx_space_tidy (struct vhdx_space *space, struct err *err);

/* Around each operation on the disk: places that are looked up within are not
 * given to other blocks before the end.
 */
struct epoch *vhdx_space_epoch (struct vhdx_space *space);

/*--- vhdx-bits.c ------------------------------------------------------------*/

struct vhdx_bits_page;

struct vhdx_bits {
  struct vhdx_layer *layer;     /* all borrowed */
  struct vhdx_logger *logger;
  struct vhdx_space *space;
  struct busy_list busy;        /* pages of bitmaps that are being changed */

  /* Between vhdx_bits_log and vhdx_bits_settle. */
  struct vhdx_bits_page *held;
  size_t nr_held;
};

void vhdx_bits_init (struct vhdx_bits *bits, struct vhdx_layer *layer,
                     struct vhdx_logger *logger, struct vhdx_space *space);
void vhdx_bits_destroy (struct vhdx_bits *bits);

/* All bits of a block that is not partially present become 0, in the log and
 * in the file, before anything that is logged later.  Its chunk has a bitmap
 * block.  By whoever has the block to itself.
 */
int vhdx_bits_clear (struct vhdx_bits *bits, uint64_t block, struct err *err);

/* Bits whose sectors are on stable storage become 1, in the log.  If that
 * did not fail, a flush has to follow, and vhdx_bits_settle, which puts them
 * to their places if the log is stable, and lets others change these pages
 * again.  One thread at a time.
 */
int vhdx_bits_log (struct vhdx_bits *bits, const struct pending_snapshot *s,
                   struct err *err);
int vhdx_bits_settle (struct vhdx_bits *bits, bool stable, struct err *err);

/*--- vhdx-pending.c ---------------------------------------------------------*/

struct vhdx_pending;

/* For a differencing layer that is written.  Bits that a killed process left
 * are written into the file before this returns; -EBUSY, -ENOTSUP as
 * pending_open.
 */
int vhdx_pending_new (struct vhdx_layer *layer, struct vhdx_space *space,
                      struct vhdx_bits *bits, struct vhdx_pending **out,
                      struct report *report, struct err *err);

/* After a flush, whose failure is not told: then the bits stay in the
 * journal.  NULL is fine.
 */
void vhdx_pending_free (struct vhdx_pending *p);

/* When the headers have the identity of the data that they keep: before any
 * bit is set.  One thread at a time.
 */
int vhdx_pending_begin (struct vhdx_pending *p, struct err *err);

/* The data of nr sectors from first on of a partially present block at this
 * place was written: they count from now on.  May have to flush.
 */
int vhdx_pending_set (struct vhdx_pending *p, uint64_t block, uint64_t place,
                      uint32_t first, uint32_t nr, struct err *err);

/* The block is not partially present any more. */
void vhdx_pending_forget (struct vhdx_pending *p, uint64_t block);

/* Everything that was written before, bits included, is on stable storage
 * after.  From many threads.
 */
int vhdx_pending_flush (struct vhdx_pending *p, struct err *err);

/*--- vhdx-alloc.c -----------------------------------------------------------*/

struct vhdx_writer {
  struct vhdx_layer *layer;     /* borrowed */
  struct vhdx_logger *logger;
  struct vhdx_space *space;
  struct vhdx_bits bits;
  struct vhdx_pending *pending; /* NULL: not a differencing disk */
  struct busy_list busy;        /* blocks that are being changed */
  struct busy_list adding;      /* 0, while a bitmap block is made */

  pthread_mutex_t lock;         /* guards beginning */
  pthread_cond_t begun_cond;
  bool beginning;               /* a thread is at it */
  bool begun;                   /* atomic: the headers say that the disk is
                                   not what it was */
};

/* Why the layer can't be written into; NULL if it can. */
const char *vhdx_writer_reason (const struct vhdx_layer *layer);

/* Parents, if it has some, are open. */
int vhdx_writer_new (struct vhdx_layer *layer, struct vhdx_writer **out,
                     struct report *report, struct err *err);
void vhdx_writer_free (struct vhdx_writer *w);  /* NULL is fine */

/* Everything that was written before is on stable storage after. */
int vhdx_writer_flush (struct vhdx_writer *w, struct err *err);

/* Before anything of the disk changes. */
int vhdx_writer_begin (struct vhdx_writer *w, struct err *err);

/* By whoever has a block that is not in the file to itself: it is at this
 * place from now on, in this state.  After a failure the place is taken care
 * of.
 */
int vhdx_block_publish (struct vhdx_writer *w, uint64_t block, uint64_t place,
                        enum vhdx_state state, struct err *err);

/* The chunk of this block has a bitmap block from now on. */
int vhdx_bitmap_add (struct vhdx_writer *w, uint64_t block, struct err *err);

/* Write into a block that is not in the file, which is fully present then and
 * zero elsewhere.  Of a differencing disk it is zero now, or the parents have
 * nothing there, or all of it is written.  Returns 1 if it is in the file by
 * now, nothing being done; 0; or an error.
 */
int vhdx_block_add (struct vhdx_writer *w, uint64_t block, uint32_t in_block,
                    const void *buf, size_t len, struct err *err);

/* Make a block zero and give up its place, if that can be done: *done.
 * Otherwise it was not changed.
 */
int vhdx_block_remove (struct vhdx_writer *w, uint64_t block, bool *done,
                       struct err *err);

/* Make a block zero that is not in the file.  Returns 1 if it is by now, and
 * has to be looked up again: nothing was done; 0; or an error.
 */
int vhdx_block_hide (struct vhdx_writer *w, uint64_t block, struct err *err);

/* Is len bytes at off zero in the parents (all of it, if there is none)?  No
 * is said of what is not known without reading it.
 */
int vhdx_parent_is_zero (struct vhdx_layer *layer, uint64_t len, uint64_t off,
                         bool *zero, struct err *err);

/* A range inside one block. */
struct vhdx_part {
  uint64_t block;
  uint32_t in_block;            /* bytes */
  uint64_t len;                 /* bytes */
};

/*--- vhdx-child.c -----------------------------------------------------------*/

/* Write into one block of a differencing disk.  Returns 1 when it was changed
 * meanwhile, and has to be looked up again; 0; or an error.
 */
int vhdx_child_write (struct vhdx_writer *w, const struct vhdx_part *part,
                      const void *buf, struct err *err);

/* The same with zeros. */
int vhdx_child_zero (struct vhdx_writer *w, const struct vhdx_part *part,
                     unsigned flags, struct err *err);

/* What is here, or all of a block, may become zeros; otherwise, what is the
 * parent's stays so.
 */
int vhdx_child_discard (struct vhdx_writer *w, const struct vhdx_part *part,
                        struct err *err);

/*--- vhdx-write.c -----------------------------------------------------------*/

/* All that the disk has of the block? */
bool vhdx_is_whole_block (const struct vhdx_writer *w,
                          const struct vhdx_part *part);

int vhdx_write (struct vhdx_writer *w, const void *buf, size_t len,
                uint64_t off, unsigned flags, struct err *err);
int vhdx_zero (struct vhdx_writer *w, uint64_t len, uint64_t off,
               unsigned flags, struct err *err);
int vhdx_discard (struct vhdx_writer *w, uint64_t len, uint64_t off,
                  unsigned flags, struct err *err);

#endif /* NBDIMAGE_FORMAT_VHDX_WRITE_H */
