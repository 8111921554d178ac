/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The store that a person names: a folder, or ssh://[USER@]HOST[:PORT]/PATH. */

#ifndef NBDIMAGE_REPO_STORE_AT_H
#define NBDIMAGE_REPO_STORE_AT_H

#include "lib/repo/store.h"

/* Is it on another machine: a URI, and no path of this one? */
bool store_at_is_remote (const char *where);

/* make: the folder is made where it is not there, in one that is.  job, as for
 * store_set_job, is the store's from the beginning; NULL: none.  Errors name
 * the place.
 */
int store_at (const char *where, bool make, struct job *job,
              struct store **out, struct err *err);

#endif /* NBDIMAGE_REPO_STORE_AT_H */
