/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What of a backup was verified already, in a small file, so that it can go on
 * after an interruption: of each file, up to which ordinal its records were
 * looked at and are as they should be.
 *
 * A file counts as the one that was looked at while its UUID and edition, size,
 * time of modification (on this machine) and both ends are the same.
 *
 * By one thread.
 */

#ifndef NBDIMAGE_REPO_VERIFY_STATE_H
#define NBDIMAGE_REPO_VERIFY_STATE_H

#include "lib/base/uuid.h"
#include "lib/repo/file-reader.h"

struct verify_state;

/* The state in this file, or an empty one if there is no file.  vault: of a
 * vault; otherwise of one generation; uuid: its UUID.  -EEXIST: the file is
 * something else, which is not replaced; -ESTALE: the state is of another
 * backup.
 */
int verify_state_open (const char *path, bool vault,
                       const uint8_t uuid[UUID_SIZE],
                       struct verify_state **out, struct err *err);
void verify_state_close (struct verify_state *state);   /* NULL is fine */

/* How many files of it are others by now, as far as verify_state_look saw. */
uint64_t verify_state_changed (const struct verify_state *state);

/* *end: the records of that file below this ordinal need not be looked at;
 * 0: all have to be.  *bytes: what was noted with it.  -EIO, -ENOMEM.
 */
int verify_state_look (struct verify_state *state, struct file_reader *file,
                       uint32_t *end, uint64_t *bytes, struct err *err);

/* As is now known of a file that was looked for. */
void verify_state_note (struct verify_state *state, struct file_reader *file,
                        uint32_t end, uint64_t bytes);

/* Write it, if it changed: the file is replaced by a whole one, or stays. */
int verify_state_save (struct verify_state *state, struct err *err);

/* Nothing is left to do. */
void verify_state_remove (struct verify_state *state);

#endif /* NBDIMAGE_REPO_VERIFY_STATE_H */
