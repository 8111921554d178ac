/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which blocks of a disk are being changed, one thread for each, or several
 * that share it.  Who wants to change one that is, waits.  From many threads.
 */

#ifndef NBDIMAGE_FORMAT_BUSY_H
#define NBDIMAGE_FORMAT_BUSY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* A block that one thread is changing, on its stack. */
struct busy {
  uint64_t index;
  bool shared;                  /* with others that are */
  struct busy *next;
};

struct busy_list {
  pthread_mutex_t lock;         /* guards the list */
  pthread_cond_t changed;       /* a block is not busy any more */
  struct busy *first;
};

void busy_list_init (struct busy_list *list);
void busy_list_destroy (struct busy_list *list);        /* nobody is in it */

/* Wait until nobody else is changing the block, and keep others out until
 * busy_end.  share: those who share it too neither are waited for nor kept
 * out.
 */
void busy_begin (struct busy_list *list, uint64_t index, struct busy *busy);
void busy_share (struct busy_list *list, uint64_t index, struct busy *busy);
void busy_end (struct busy_list *list, struct busy *busy);

#endif /* NBDIMAGE_FORMAT_BUSY_H */
