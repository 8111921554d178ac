/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Changing the structures of a VHDX that nobody else uses, such that after a
 * crash at any moment the file opens, with everything as it was before a
 * change or as it is after it; at the worst, space in it is nobody's.
 *
 *   edit      vhdx-edit.c        reading, changes through the log, the end of
 *                                the file
 *   metadata  vhdx-edit-item.c   metadata items, region tables
 *   blocks    vhdx-edit-move.c   BAT entries, blocks and regions that move
 *
 *   vhdx_edit_open (block, &options, &e, ...)  nothing is written
 *   vhdx_edit_begin (&e, err)                  the file is about to change
 *   vhdx_edit_put_item (&e, guid, ...)         what is to be another, any
 *   vhdx_edit_put_entry (&e, index, ...)         number of these
 *   vhdx_edit_commit (&e, err)                 now it is, all of it at once
 *   ... more of that ...
 *   vhdx_edit_settle (&e, err)                 the log is empty
 *   vhdx_edit_close (&e)
 *
 * What is put is seen by all functions here at once, and is in the file after
 * the commit.  After a failure of any function that writes, nothing sensible
 * can be done but closing: the file has the state of before or of after.
 *
 * One thread at a time.  -ENOMEM, and why reading and writing failed, come
 * from all of them.  Paragraphs are those of MS-VHDX.
 */

#ifndef NBDIMAGE_FORMAT_VHDX_EDIT_H
#define NBDIMAGE_FORMAT_VHDX_EDIT_H

#include "lib/base/job.h"
#include "lib/format/vhdx/vhdx-write.h"

/*--- vhdx-edit.c ------------------------------------------------------------*/

/* A page that is to be another. */
struct vhdx_staged {
  uint64_t off;                 /* bytes, in the file */
  uint8_t *bytes;               /* VHDX_PAGE; owned */
};

DEFINE_VECTOR (vhdx_staged_vector, struct vhdx_staged);

struct vhdx_edit {
  struct block *block;          /* borrowed */
  const struct image_options *options;  /* borrowed */
  struct vhdx_layer *layer;     /* what is in the file; without parents.  The
                                   BAT is held, and what of it, and of the
                                   regions, was committed is in there; for
                                   metadata reload */

  /* Only for the files named above. */
  struct vhdx_logger *logger;   /* NULL: the log is empty */
  struct vhdx_staged_vector staged;
  struct vhdx_region bat, metadata;     /* where they are after the commit */
  uint64_t end;                 /* bytes: nothing is behind it */
};

/* Read the file, which has to be writable; a log is replayed in memory.
 * -EROFS, with the reason, for a VHDX that must not be changed.  The caller
 * closes it after a failure, too.  The block, and the options, outlive it.
 */
int vhdx_edit_open (struct block *block, const struct image_options *options,
                    struct vhdx_edit *e, struct report *report,
                    struct err *err);

/* What is put and not committed is forgotten.  If need be, it is tried to
 * settle: where that fails, whoever opens the file next replays the log.
 */
void vhdx_edit_close (struct vhdx_edit *e);

/* Settle, and read the file again: what e->layer says is then what the file
 * says.
 */
int vhdx_edit_reload (struct vhdx_edit *e, struct err *err);

/* Before anything changes: a log that is there is replayed into the file, and
 * the headers get a new FileWriteGuid (§2.2.2).
 */
int vhdx_edit_begin (struct vhdx_edit *e, struct err *err);

/* Was it closed properly, so that beginning has nothing to replay? */
bool vhdx_edit_is_mended (const struct vhdx_edit *e);

/* Before a commit that changes what is read from the disk, or its size: the
 * headers get a new DataWriteGuid (§2.2.2), that of the options if they have
 * one (data_id).  What is differencing over this disk, and does not know that
 * one, does not open any more then.  Not for blocks that move, or a locator
 * that names another place.
 */
int vhdx_edit_new_data (struct vhdx_edit *e, struct err *err);

/* len bytes at off of the file, as they are after the commit. */
int vhdx_edit_read (struct vhdx_edit *e, void *buf, size_t len, uint64_t off,
                    struct err *err);

/* Put bytes anywhere in the file but into headers and log.  -E2BIG, and
 * nothing was put, if that is more than a commit can do:
 * VHDX_LOGGER_MAX_PAGES pages that change.
 */
int vhdx_edit_put (struct vhdx_edit *e, const void *buf, size_t len,
                   uint64_t off, struct err *err);

/* How many pages were put: for who has more to do than fits in, and does it
 * in pieces.
 */
size_t vhdx_edit_nr_staged (const struct vhdx_edit *e);

/* Everything that was put becomes true, in one entry of the log (§2.3), and
 * is on stable storage then.
 */
int vhdx_edit_commit (struct vhdx_edit *e, struct err *err);

/* Everything is in its place, and the log empty, on stable storage.  Nothing
 * may be put and not committed.
 *
 * Only after this the space of something that a commit moved, regions above
 * all, may be used for something else: the log may still write to it.
 */
int vhdx_edit_settle (struct vhdx_edit *e, struct err *err);

/* len bytes (whole VHDX_UNITs) behind everything that the file holds: zeros,
 * on stable storage, *off.  Nobody knows of them, so that they are written
 * directly, and flushed, before something is put that names them.  What is
 * not named in the end, vhdx_edit_cut takes away.
 */
int vhdx_edit_append (struct vhdx_edit *e, uint64_t len, uint64_t *off,
                      struct err *err);

/* Settle; then cut off what is behind everything that the file holds. */
int vhdx_edit_cut (struct vhdx_edit *e, struct err *err);
bool vhdx_edit_is_cut (const struct vhdx_edit *e);

/*--- vhdx-edit-item.c -------------------------------------------------------*/

/* A metadata item of the system (§2.6.2), VHDX_GUID_LOCATOR for example: a
 * copy for the caller to free.  -ENOENT if there is none.
 */
int vhdx_edit_get_item (struct vhdx_edit *e, const uint8_t guid[UUID_SIZE],
                        uint8_t **bytes, size_t *len, struct err *err);

/* Put another in its place, 1 to VHDX_MAX_ITEM_SIZE bytes.  Where the region
 * has no room for it, all of the metadata moves to the end of the file, which
 * is then written before the commit.  -ENOENT if there is none.
 */
int vhdx_edit_put_item (struct vhdx_edit *e, const uint8_t guid[UUID_SIZE],
                        const void *bytes, size_t len, struct err *err);

/* Put it away: there is none after the commit.  -ENOENT if there is none. */
int vhdx_edit_remove_item (struct vhdx_edit *e, const uint8_t guid[UUID_SIZE],
                           struct err *err);

/* Put into both region tables (§2.2.3) where a region is that they have, of
 * len bytes; what is in there, is somebody else's business.
 */
int vhdx_edit_put_region (struct vhdx_edit *e,
                          const uint8_t guid[UUID_SIZE], uint64_t off,
                          uint64_t len, struct err *err);

/*--- vhdx-edit-move.c -------------------------------------------------------*/

/* Put a BAT entry (§2.5.1).  By its index, which may be any that the region
 * has room for.
 */
int vhdx_edit_put_entry (struct vhdx_edit *e, uint64_t index, uint64_t entry,
                         struct err *err);

/* The same; if no more fits in, what was put before is committed first.  For
 * changes each of which can stand alone.
 */
int vhdx_edit_put_entry_alone (struct vhdx_edit *e, uint64_t index,
                               uint64_t entry, struct err *err);

/* Bytes that a block or bitmap block takes, and how many of a block the disk
 * has.
 */
uint64_t vhdx_edit_space_of (const struct vhdx_edit *e, uint64_t index);
uint64_t vhdx_edit_len_of (const struct vhdx_edit *e, uint64_t index);

/* Does this entry, of those that the disk needs, say that something is in
 * the file?
 */
bool vhdx_edit_is_in_file (const struct vhdx_edit *e, uint64_t index);

/* A block or bitmap block that goes to another place, which nothing names,
 * not even the log.
 */
struct vhdx_move {
  uint64_t index;               /* of its BAT entry */
  uint64_t to;                  /* bytes, in the file */
};

DEFINE_VECTOR (vhdx_move_vector, struct vhdx_move);

/* Copied, flushed, then named by the BAT, in batches, each of which is a
 * commit; what is behind the end of the disk in the last block becomes zero.
 * After -ECANCELED some have moved, and it is whole.
 */
int vhdx_edit_move (struct vhdx_edit *e, const struct vhdx_move *moves,
                    size_t nr, struct job *job, struct err *err);

/* The same for BAT or metadata, with the log empty before and after. */
int vhdx_edit_move_region (struct vhdx_edit *e,
                           const uint8_t guid[UUID_SIZE], uint64_t to,
                           struct job *job, struct err *err);

#endif /* NBDIMAGE_FORMAT_VHDX_EDIT_H */
