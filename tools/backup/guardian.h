/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The process that freezes and thaws (freeze.h), and what it and whoever
 * started it tell each other, over a SOCK_SEQPACKET:
 *
 *   orders: up to GUARDIAN_FOLDERS descriptors each, of file systems  →
 *   the last one: for how many seconds                                →
 *                                                 ← answer: all is written
 *                                                 ← answer: all is frozen
 *   anything, or the end                                              →
 *                                                 ← answer: all is thawed
 *
 * An answer with an error is the last one, and all is thawed.
 */

#ifndef NBDIMAGE_TOOLS_BACKUP_GUARDIAN_H
#define NBDIMAGE_TOOLS_BACKUP_GUARDIAN_H

#include <stdbool.h>
#include <stddef.h>

#define GUARDIAN_FOLDERS 64

struct guardian_order {
  bool last;
  unsigned seconds;             /* of the last one */
};

struct guardian_answer {
  int error;                    /* errno; 0: done.  ETIMEDOUT: it had to thaw
                                   without being told */
  size_t which;                 /* the file system; of an error */
};

/* All that such a process does, up to its end.  Of a process that had no other
 * thread; sock is open in it and, its other end, in the one that it serves.
 */
void guardian_run (int sock) __attribute__ ((__noreturn__));

/* Thaw them all, whatever fails: an errno, and which; or 0.  One that is not
 * frozen is no error.
 */
int guardian_thaw (const int *folders, size_t nr, size_t *which);

#endif /* NBDIMAGE_TOOLS_BACKUP_GUARDIAN_H */
