/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Files in memory that remember everything that was done to them, in order,
 * and what these files could be after a power cut at any moment of that.
 *
 * What a power cut leaves of a file: what was there at its last flush, and of
 * each sector that was written since then one of the states it had, and one
 * of the sizes that the file had.
 *
 *   record   struct history *h = history_new ();
 *            struct block *b = history_file (h, "disk.vhd", data, len);
 *            ... write, note what else happens (history_note) ...
 *   replay   struct replay *r = replay_new (h);
 *            while ((item = replay_step (r)) != NULL) {
 *              ... struct block *b = replay_crash (r, 0, HISTORY_ALL, 0); ...
 *            }
 */

#ifndef NBDIMAGE_TESTS_HISTORY_H
#define NBDIMAGE_TESTS_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/block/block.h"

struct history;

struct history *history_new (void);

/* After the blocks were given back.  Notes belong to whoever made them. */
void history_free (struct history *history);

/* One more file, with these bytes, which are on stable storage: the first is
 * number 0.  Its size can change.  From many threads.
 */
struct block *history_file (struct history *history, const char *name,
                            const void *data, size_t len);

/* Something happens now that a replay is to be told. */
void history_note (struct history *history, void *note);

/* Take flushes for done without doing them: for the test of the test. */
void history_drop_flushes (struct history *history, bool drop);

/* A file system that writes what is appended to a file before it writes the
 * file's new size (ext4 unless data=writeback, XFS, btrfs): no power cut leaves
 * the size of an append without its data.  Otherwise it may.
 */
void history_order_appends (struct history *history, bool ordered);

/* From now on nothing is remembered: for who wants files in memory. */
void history_stop (struct history *history);

/* What file number n holds now, and its size; nobody may be writing. */
const uint8_t *history_now (const struct history *history, unsigned n,
                            size_t *len);

enum history_kind {
  HISTORY_WRITE,                /* of whole sectors */
  HISTORY_ZERO,                 /* the same */
  HISTORY_SIZE,
  HISTORY_APPEND,               /* the data, and the size that ends with it */
  HISTORY_THROUGH,              /* the data, and the size of the file: no crash
                                   loses them */
  HISTORY_FLUSH,
  HISTORY_NOTE,
};

struct history_item {
  enum history_kind kind;
  unsigned file;
  uint64_t off, len;            /* bytes */
  uint64_t size;                /* of HISTORY_SIZE, _APPEND and _THROUGH */
  uint8_t *data;                /* of HISTORY_WRITE, _APPEND and _THROUGH */
  void *note;                   /* of HISTORY_NOTE */
};

/*--- replay.c ---------------------------------------------------------------*/

struct replay;

/* At the beginning of the history, which must not change any more. */
struct replay *replay_new (const struct history *history);
void replay_free (struct replay *replay);

/* Go on by one item, which is returned; NULL: it was the last one. */
const struct history_item *replay_step (struct replay *replay);

/* How many changes of all files there were since they were flushed. */
size_t replay_nr_pending (const struct replay *replay);

/* How much of what was not flushed is there. */
enum history_crash {
  HISTORY_ALL,                  /* up to this moment */
  HISTORY_NOTHING,
  HISTORY_PREFIX,               /* up to some moment, the last in part */
  HISTORY_FEW,                  /* one sector in eight */
  HISTORY_HALF,
  HISTORY_MOST,                 /* all but one sector in eight */
  HISTORY_ALL_BUT_ONE,          /* all changes but one */
  HISTORY_ONE,                  /* one change, and nothing of the others */
  HISTORY_NR_CRASHES
};

/* What file number n could be if the power failed now; the same seed, the
 * same choice, for all files together.  A block in memory that can be written
 * and resized; the replay has to stay where it is as long as it is used.
 */
struct block *replay_crash (struct replay *replay, unsigned n,
                            enum history_crash how, uint64_t seed);

#endif /* NBDIMAGE_TESTS_HISTORY_H */
