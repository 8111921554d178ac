/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A change bitmap: which parts of a disk were written since some moment.  What
 * it says was not written is taken from the generation before, unread.
 *
 * That loses data if the bitmap began later than that generation, and nothing
 * in a bitmap says when it began.  So (docs/NBI.md §14) a backup is told the
 * name of the bitmap that began at its own moment, its checkpoint, which has a
 * UUID in it and is in its manifest.  The next backup believes a bitmap if it
 * is the checkpoint of the very generation it builds on, if sizes are the same
 * and the source, and if some places that should not have changed did not.
 * Otherwise all is read and compared.
 */

#ifndef NBDIMAGE_REPO_CHANGES_H
#define NBDIMAGE_REPO_CHANGES_H

#include <stdbool.h>

#include "lib/fsmap/used-map.h"
#include "lib/repo/generation.h"
#include "lib/repo/manifest.h"

struct changes {
  const char *bitmap;           /* its name */
  struct used_map written;      /* finished; as big as the disk was when it was
                                   read */
};

/* Has the name a UUID in it, with or without dashes? */
bool changes_name_has_uuid (const char *name);

/* Is all that changed on the disk since the generation in the bitmap?  0 if so;
 * otherwise -ESTALE with the reason, for "all of it is read and compared: ".
 * Reads some places of the disk.  key: of identities, NULL if the base is not
 * encrypted.  now: says of which source and host the disk is.
 */
int changes_check (const struct changes *changes, struct generation *base,
                   const uint8_t *key, struct block *disk,
                   const struct manifest *now, struct err *err);

#endif /* NBDIMAGE_REPO_CHANGES_H */
