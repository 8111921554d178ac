/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The records that one generation needs, of all that its files have: pages of
 * its map, and chunks.
 */

#ifndef NBDIMAGE_REPO_VERIFY_NEEDS_H
#define NBDIMAGE_REPO_VERIFY_NEEDS_H

#include "lib/base/job.h"
#include "lib/repo/generation.h"

struct verify_needs;

/* Reads the map: phase "reading the map", in bytes of the disk.  A page that
 * is damaged, and a file that is, need nothing: verify_generation tells them.
 * A bit for each record, however damaged the map is.  -ENOMEM, -ECANCELED,
 * and errors that are not the backup's.
 */
int verify_needs_new (struct generation *gen, struct job *job,
                      struct verify_needs **out, struct err *err);
void verify_needs_free (struct verify_needs *needs);    /* NULL is fine */

/* Otherwise some of it could not be read, and it needs more than it says. */
bool verify_needs_are_complete (const struct verify_needs *needs);

bool verify_needs_has (const struct verify_needs *needs,
                       const uint8_t file[UUID_SIZE], uint32_t ordinal);

/* How many of that file, and of all. */
uint64_t verify_needs_count (const struct verify_needs *needs,
                             const uint8_t file[UUID_SIZE]);
uint64_t verify_needs_count_all (const struct verify_needs *needs);

#endif /* NBDIMAGE_REPO_VERIFY_NEEDS_H */
