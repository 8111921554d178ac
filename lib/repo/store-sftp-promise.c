/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A flush of a folder vouches for the names that were made in it before.  Were
 * some made on an earlier connection, the server may have been down since, and
 * have lost them; then a flush now would vouch for what is not there.  So the
 * names that no flush has vouched for yet are remembered with the number of
 * their connection, and looked for if that is not the one of the flush.
 *
 * What comes of a name that goes is not remembered: nothing in a vault depends
 * on a deletion, and what a rename took from a folder is at its new place or
 * missing there.
 *
 * Others may take our names away (a prune that breaks a lease): then a flush
 * fails that need not, and so does the backup, which that is meant for.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/repo/store-sftp-private.h"

void
sftp_promise (struct sftp_store *s, const char *name, unsigned number)
{
  struct sftp_promise p = { strdup (name), number };
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);

  if (p.name != NULL && vector_append (&s->promises, &p) == 0)
    return;
  free (p.name);
  s->forgotten = number;
}

/* Is it `folder', or in it, however deep? */
static bool
is_under (const char *name, const char *folder)
{
  size_t len = strlen (folder);

  return strncmp (name, folder, len) == 0 &&
    (name[len] == '\0' || name[len] == '/');
}

static bool
is_in (const char *name, const char *folder)
{
  size_t len = strlen (folder);
  const char *slash = strrchr (name, '/');

  return slash == NULL ? len == 0
    : (size_t) (slash - name) == len && strncmp (name, folder, len) == 0;
}

/* Under the lock.  Order is of no matter. */
static void
forget (struct sftp_store *s, size_t i)
{
  free (s->promises.ptr[i].name);
  s->promises.ptr[i] = s->promises.ptr[--s->promises.len];
}

void
sftp_promise_moved (struct sftp_store *s, const char *from, const char *to)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);

  for (size_t i = s->promises.len; i-- > 0;) {
    struct sftp_promise *p = &s->promises.ptr[i];
    char *name = NULL;

    if (!is_under (p->name, from))
      continue;
    if (to == NULL)
      forget (s, i);
    else if (asprintf (&name, "%s%s", to, p->name + strlen (from)) < 0) {
      s->forgotten = p->number;
      forget (s, i);
    }
    else {
      free (p->name);
      p->name = name;
    }
  }
}

/* The next name to look for, for free(); NULL: none.  *at goes on. */
static char *
next_old (struct sftp_store *s, const char *folder, unsigned number,
          size_t *at, int *r, struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);

  *r = s->forgotten > 0 && s->forgotten < number
    ? err_set (err, -EIO, "the connection broke, and what was not flushed "
               "before is not known any more") : 0;
  for (; *r == 0 && *at < s->promises.len; ++*at) {
    const struct sftp_promise *p = &s->promises.ptr[*at];

    if (p->number != number && is_in (p->name, folder)) {
      char *name = strdup (p->name);

      ++*at;
      if (name == NULL)
        *r = err_nomem (err);
      return name;
    }
  }
  return NULL;
}

int
sftp_promise_check (struct sftp_store *s, struct sftp *sftp,
                    const char *folder, struct err *err)
{
  size_t at = 0;

  for (;;) {
    struct sftp_found found;
    int r;
    CLEANUP_FREE char *name = next_old (s, folder, sftp_number (sftp), &at,
                                        &r, err);

    if (name == NULL)
      return r;
    r = sftp_find (s, sftp, name, &found, err);
    if (r == -ENOENT || (r == 0 && !found.there))
      return err_set (err, -EIO, "the connection broke, and the server has "
                      "lost ‘%s’ since, or somebody took it away", name);
    if (r < 0)
      return r;
  }
}

void
sftp_promise_kept (struct sftp_store *s, const char *folder)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);

  for (size_t i = s->promises.len; i-- > 0;)
    if (is_in (s->promises.ptr[i].name, folder))
      forget (s, i);
}

void
sftp_promise_free (struct sftp_store *s)
{
  while (s->promises.len > 0)
    forget (s, s->promises.len - 1);
  vector_free (&s->promises);
}
