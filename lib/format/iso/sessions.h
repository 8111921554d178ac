/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The sessions of a CD that was written to more than once.  Each has volume
 * descriptors of its own, and the directories of a later one reach into the
 * earlier ones.  A drive finds the last by the disc's table of contents,
 * which a file does not have; whoever reads the file as a disk finds what
 * the descriptors at sector 16 say.
 */

#ifndef NBDIMAGE_FORMAT_ISO_SESSIONS_H
#define NBDIMAGE_FORMAT_ISO_SESSIONS_H

#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/report.h"
#include "lib/base/vector.h"
#include "lib/block/block.h"
#include "lib/format/iso/iso9660.h"

struct iso_session {
  uint32_t start;               /* sector; its descriptors are 16 behind */
  uint64_t end;                 /* byte behind its volume */
  uint32_t root;                /* sector of its root directory */
  uint8_t volume_id[32];        /* as it is stored */
};

DEFINE_VECTOR (iso_session_vector, struct iso_session);

/* Find the sessions of the volume whose descriptors at sector 16 are iso,
 * into a vector that the caller frees.  Nothing is found where there is only
 * one.  At most 99 are, and what is read is bounded, whatever the disc says;
 * an error is only -ENOMEM.
 */
int iso_sessions_find (struct block *block, const struct iso9660 *iso,
                       struct iso_session_vector *sessions,
                       struct report *report, struct err *err);

/* Which of them do the descriptors at sector 16 describe: the last where a
 * program keeps them up to date (xorriso, growisofs), the first otherwise;
 * sessions->len: none of them.
 */
size_t iso_sessions_seen (const struct iso_session_vector *sessions,
                          const struct iso9660 *iso);

#endif /* NBDIMAGE_FORMAT_ISO_SESSIONS_H */
