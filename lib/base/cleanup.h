/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Cleanup by attribute: memory, descriptors and locks are given back when
 * the variable goes out of scope.
 *
 *   CLEANUP_FREE char *p = NULL;             free (p)
 *   CLEANUP_CLOSE int fd = -1;               close (fd), unless negative
 *   CLEANUP_FCLOSE FILE *fp = NULL;          fclose (fp), unless NULL
 *   ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&mutex); unlocked at the end of the scope
 *
 * A constructor ends with `*out = steal_ptr (&thing)`.
 */

#ifndef NBDIMAGE_BASE_CLEANUP_H
#define NBDIMAGE_BASE_CLEANUP_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define CLEANUP_FREE __attribute__ ((__cleanup__ (cleanup_free)))
#define CLEANUP_CLOSE __attribute__ ((__cleanup__ (cleanup_close)))
#define CLEANUP_FCLOSE __attribute__ ((__cleanup__ (cleanup_fclose)))

#define CLEANUP_NAME_2(line) cleanup_lock_##line
#define CLEANUP_NAME(line) CLEANUP_NAME_2 (line)
#define ACQUIRE_LOCK_FOR_CURRENT_SCOPE(mutex)                           \
  __attribute__ ((__cleanup__ (cleanup_mutex_unlock), __unused__))      \
  pthread_mutex_t *CLEANUP_NAME (__LINE__) = cleanup_mutex_lock (mutex)

void cleanup_free (void *ptr_to_ptr);
void cleanup_close (int *fd);
void cleanup_fclose (FILE **fp);
pthread_mutex_t *cleanup_mutex_lock (pthread_mutex_t *mutex);
void cleanup_mutex_unlock (pthread_mutex_t **mutex);

/* Returns *ptr and sets *ptr to NULL: ownership moves to the caller. */
#define steal_ptr(ptr)                          \
  (__extension__ ({                             \
      __typeof__ (*(ptr)) stolen_ = *(ptr);     \
      *(ptr) = NULL;                            \
      stolen_;                                  \
    }))

/* The same for a file descriptor. */
static inline int
steal_fd (int *fd)
{
  int stolen = *fd;

  *fd = -1;
  return stolen;
}

#endif /* NBDIMAGE_BASE_CLEANUP_H */
