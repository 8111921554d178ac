/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The power fails while an image is written, at any moment: is everything
 * that was flushed there?
 *
 * A workload is run once, and everything that it does to the file of the
 * image is remembered (history.h).  Then its history is replayed, change by
 * change, and after each change the file is tried as it could be if the power
 * had failed then: with all changes up to that one, and with some of those
 * that were not flushed, torn at sectors.
 *
 * Each such file must open for reading, and then for writing, and be written
 * into; hold what was flushed, and in each sector one of the states it had
 * since then (disk-model.h); and hold the same the next time.  `check' may
 * find leaked space in it, and nothing worse.
 */

#ifndef NBDIMAGE_TESTS_POWERCUT_H
#define NBDIMAGE_TESTS_POWERCUT_H

#include <pthread.h>

#include "tests/support/disk-model.h"
#include "tests/support/history.h"
#include "tests/support/subject.h"

/*--- What workloads use -----------------------------------------------------*/

/* Of the flushes of the file, those are not done: for the test of the test. */
enum powercut_drop {
  POWERCUT_DROP_NONE,
  POWERCUT_DROP_INNER,          /* all that no client asked for */
  POWERCUT_DROP_ALL,
};

struct powercut {
  const struct subject_files *files;
  struct history *history;
  struct block *block;          /* file 0 of the history: the leaf */
  struct image *img;            /* open for writing */
  struct rng rng;
  uint32_t next_id;
  enum powercut_drop drop;
  uint64_t new_size;            /* bytes of disk, that it gets: for check */
  pthread_mutex_t lock;         /* guards notes */
  struct powercut_note *notes;
};

/* Operations, which must succeed, of one thread or of several whose sectors
 * are not the same.
 */
void powercut_do (struct powercut *pc, const struct disk_op *op);
void powercut_write (struct powercut *pc, unsigned first, unsigned nr,
                     unsigned flags);
void powercut_zero (struct powercut *pc, unsigned first, unsigned nr,
                    unsigned flags);
void powercut_flush (struct powercut *pc);

/* Close the image and open it again. */
void powercut_reopen (struct powercut *pc);

/* The same of an image that the workload closed, or has made. */
void powercut_open (struct powercut *pc);
void powercut_close (struct powercut *pc);

/* The file that a workload makes has its name from now on, and may be found
 * after a power cut: before, there is nothing to be tried.
 */
void powercut_named (struct powercut *pc);

/* What the workload is about has succeeded, and is on stable storage. */
void powercut_done (struct powercut *pc);

/* What must succeed failed: end the test program. */
void powercut_die (const struct powercut *pc, const char *what,
                   const struct err *err) __attribute__ ((__noreturn__));

/*--- Trying -----------------------------------------------------------------*/

/* A file as the power cut left it. */
struct powercut_state {
  const struct subject_files *files;
  struct replay *replay;
  uint64_t life;                /* the seed of the workload */
  unsigned nr_changes;          /* up to this moment */
  enum history_crash how;
  uint64_t seed;                /* of the crash */
  struct block *block;          /* file 0 */
  uint64_t new_size;            /* as the workload left it */
  bool is_there;                /* the file has its name */
  bool is_done;                 /* after powercut_done */
  const struct disk_model *model;
  struct powercut_result *result;
};

struct powercut_workload {
  const char *name;             /* NULL ends a table */
  void (*run) (struct powercut *pc);
  bool ordered_appends;         /* as history_order_appends */

  /* Change the file that there is at first, which run opens itself then:
   * *data is from malloc.  NULL: it is the subject's, and open.
   */
  void (*prepare) (struct powercut *pc, uint8_t **data, size_t *len);

  /* It makes the file: there is nothing to be tried before powercut_named.
   * The disk is zeros then, or what its parent, the subject's leaf, has.
   */
  enum { POWERCUT_CHANGES, POWERCUT_MAKES, POWERCUT_MAKES_CHILD } what;

  /* Is there such a thing for the subject?  NULL: there is. */
  bool (*applies) (const struct subject *subject);

  /* Is it as it should be?  0, or a negative errno and what is wrong.  NULL:
   * powercut_check_disk.
   */
  int (*check) (struct powercut_state *state, struct err *err);
};

int powercut_check_disk (struct powercut_state *state, struct err *err);

/* A part of that: `check' finds nothing worse than leaked space, or one of the
 * two footers of a VHD that is not as the other.
 */
struct powercut_found {
  bool leaks;
  bool torn;                    /* the footer at the end */
  bool behind;                  /* its copy */
};

int powercut_check_whole (const struct powercut_state *state,
                          struct powercut_found *found, struct err *err);

/* That, and it opens for reading and holds what it may. */
int powercut_check_contents (const struct powercut_state *state,
                             struct powercut_found *found, struct err *err);

struct powercut_result {
  unsigned nr_changes;          /* of the history */
  unsigned nr_states;           /* that were tried */
  unsigned nr_torn;             /* of these: without the footer at the end */
  unsigned nr_leaks;            /* ... in which `check' found leaked space */
  unsigned nr_bad;
  char first[256];              /* what was wrong with the first bad one */
};

/* Run it, and try about nr_states states; more where every prefix would not
 * be among them, at least half of them being prefixes.  Adds to the result.
 */
void powercut_try (const struct subject_files *files,
                   const struct powercut_workload *workload, uint64_t seed,
                   unsigned nr_states, enum powercut_drop drop,
                   struct powercut_result *result);

#endif /* NBDIMAGE_TESTS_POWERCUT_H */
