/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Writing into VHDXs.
 *
 *   recover  vhdx-recover.c   the log is replayed into the file when it is
 *                             opened; the headers are replaced
 *   log      vhdx-logger.c    changes of metadata, through the log
 *   space    vhdx-space.c     places in the file for new blocks; its size
 *            vhdx-shrink.c    the end of the file, when places become free
 *   blocks   vhdx-alloc.c     one block of the disk changes its state
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

/* What happened to a place that was taken.
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

/* After a flush: what has become free goes, if that is worth it. */
void vhdx_space_tidy (struct vhdx_space *space);

/* Around each operation on the disk: places that are looked up within are not
 * given to other blocks before the end.
 */
struct epoch *vhdx_space_epoch (struct vhdx_space *space);

/*--- vhdx-alloc.c -----------------------------------------------------------*/

struct vhdx_writer {
  struct vhdx_layer *layer;     /* borrowed */
  struct vhdx_logger *logger;
  struct vhdx_space *space;
  struct busy_list busy;        /* blocks whose state is being changed */

  pthread_mutex_t lock;         /* guards beginning */
  pthread_cond_t begun_cond;
  bool beginning;               /* a thread is at it */
  bool begun;                   /* atomic: the headers say that the disk is
                                   not what it was */
};

/* Why the layer can't be written into; NULL if it can. */
const char *vhdx_writer_reason (const struct vhdx_layer *layer);

int vhdx_writer_new (struct vhdx_layer *layer, struct vhdx_writer **out,
                     struct err *err);
void vhdx_writer_free (struct vhdx_writer *w);  /* NULL is fine */

/* Everything that was written before is on stable storage after. */
int vhdx_writer_flush (struct vhdx_writer *w, struct err *err);

/* Before anything of the disk changes. */
int vhdx_writer_begin (struct vhdx_writer *w, struct err *err);

/* Write len bytes (buf NULL: zeros) into a block that is not in the file,
 * which is then; elsewhere it reads as before.  Returns 1 if it is in the file
 * by now, nothing being done; 0; or an error.
 */
int vhdx_block_add (struct vhdx_writer *w, uint64_t block, uint32_t in_block,
                    const void *buf, size_t len, struct err *err);

/* Make a partially present block fully present.  0 if it is no such. */
int vhdx_block_complete (struct vhdx_writer *w, uint64_t block,
                         struct err *err);

/* Make a block zero and give up its place, if that can be done: *done.
 * Otherwise it was not changed.
 */
int vhdx_block_remove (struct vhdx_writer *w, uint64_t block, bool *done,
                       struct err *err);

/* Is len bytes at off zero in the parents (all of it, if there is none)?  No
 * is said of what is not known without reading it.
 */
int vhdx_parent_is_zero (struct vhdx_layer *layer, uint64_t len, uint64_t off,
                         bool *zero, struct err *err);

/*--- vhdx-write.c -----------------------------------------------------------*/

int vhdx_write (struct vhdx_writer *w, const void *buf, size_t len,
                uint64_t off, unsigned flags, struct err *err);
int vhdx_zero (struct vhdx_writer *w, uint64_t len, uint64_t off,
               unsigned flags, struct err *err);
int vhdx_discard (struct vhdx_writer *w, uint64_t len, uint64_t off,
                  unsigned flags, struct err *err);

#endif /* NBDIMAGE_FORMAT_VHDX_WRITE_H */
