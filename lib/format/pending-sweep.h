/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Journals of images that were deleted.  A journal is needed as long as its
 * image may be opened again, under whatever name: it says which sectors of it
 * hold acknowledged writes.  It is of no use any more when
 *
 *   - the machine was booted since: there is no data for its bits;
 *   - its inode is another file's now, born at another time;
 *   - its file system says that it has no such file any more
 *     (pending-home.h).  That is for root to ask.
 *
 * A snapshot of a whole file system that is rolled back brings a deleted image
 * back: as it was at a moment, as after a power cut, when what was not flushed
 * may be missing as well.
 *
 * Whoever can't tell leaves a journal alone; the next boot takes it.
 */

#ifndef NBDIMAGE_FORMAT_PENDING_SWEEP_H
#define NBDIMAGE_FORMAT_PENDING_SWEEP_H

#include "lib/format/pending-header.h"

/* Remove journals in a folder that nobody can need, as far as they are ours
 * and nobody has them open for writing.  `ours' is the header of one that was
 * just made there.  Best effort: no errors.
 */
void pending_sweep (int folder, const struct pending_header *ours);

#endif /* NBDIMAGE_FORMAT_PENDING_SWEEP_H */
