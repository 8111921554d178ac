/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Threads of the library. */

#ifndef NBDIMAGE_THREAD_H
#define NBDIMAGE_THREAD_H

#include <pthread.h>

/* Start a thread that gets no signals: those that are for the process, as
 * Ctrl-C, are for a thread of the program, which may have blocked them in all
 * that it knows of and wait for them.  Returns 0 or an errno, as
 * pthread_create; *thread is for pthread_join.  Any thread may call it.
 */
int thread_start (pthread_t *thread, void *(*run) (void *opaque),
                  void *opaque);

#endif /* NBDIMAGE_THREAD_H */
