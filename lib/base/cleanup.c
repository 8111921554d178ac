/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"

void
cleanup_free (void *ptr_to_ptr)
{
  void *p;

  memcpy (&p, ptr_to_ptr, sizeof p);
  free (p);
}

/* A cleanup runs while an error is on its way up: errno stays as it was. */
void
cleanup_close (int *fd)
{
  int saved = errno;

  if (*fd >= 0)
    close (*fd);
  errno = saved;
}

void
cleanup_fclose (FILE **fp)
{
  int saved = errno;

  if (*fp)
    fclose (*fp);
  errno = saved;
}

pthread_mutex_t *
cleanup_mutex_lock (pthread_mutex_t *mutex)
{
  int r = pthread_mutex_lock (mutex);

  assert (r == 0);
  (void) r;
  return mutex;
}

void
cleanup_mutex_unlock (pthread_mutex_t **mutex)
{
  int r = pthread_mutex_unlock (*mutex);

  assert (r == 0);
  (void) r;
}
