/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A folder of this machine as a store. */

#ifndef NBDIMAGE_REPO_STORE_LOCAL_H
#define NBDIMAGE_REPO_STORE_LOCAL_H

#include "lib/repo/store.h"

/* path is followed as usual; no link is below it.  Its lag is what is known of
 * the file system.
 */
int store_local_open (const char *path, struct store **out, struct err *err);

/* The lag of a file system (docs/NBI.md §13), in seconds. *local: is it one of
 * this machine?  magic is that of statfs; mountinfo is the text of
 * /proc/self/mountinfo, in which mount is the number of its mount; NULL: it
 * can't be read.
 */
unsigned store_lag_of (long magic, const char *mountinfo, unsigned long mount,
                       bool *local);

#endif /* NBDIMAGE_REPO_STORE_LOCAL_H */
