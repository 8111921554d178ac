/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which file it is, and of which disk, from whatever says so: docs/NBI.md §16,
 * step 1.
 */

#ifndef NBDIMAGE_REPO_SALVAGE_GUESS_H
#define NBDIMAGE_REPO_SALVAGE_GUESS_H

#include "lib/repo/salvage-file.h"

/* Set header, crypt, guessed, has_uuid, has_nonce, has_trailer, nr_ranges and
 * end.  What is known otherwise than from a header is told.  -EBADMSG: nothing
 * says that it is one of ours; -EACCES: as salvage_file_new.
 */
int salvage_guess (struct salvage_file *file, const char *name,
                   struct keyring *keys, struct report *report,
                   struct err *err);

#endif /* NBDIMAGE_REPO_SALVAGE_GUESS_H */
