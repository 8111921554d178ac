/* SPDX-License-Identifier: GPL-2.0-or-later */

/* How far a copy into a file is, in a small file beside it, so that it can go
 * on after an interruption: of what, how, and up to which byte.
 *
 *   struct copy_state *state;
 *
 *   r = copy_state_open (folder, ".disk.vhd.partial.state", &state, err);
 *   if (copy_state_found (state) and it is of the same copy)
 *     ... go on at copy_state_done (state) ...
 *   else
 *     r = copy_state_clear (state, err);  ... empty the partial file ...
 *     r = copy_state_begin (state, how, source, err);
 *   ... copy_state_save (state, done, err) whenever all in front of done is
 *       on stable storage ...
 *   copy_state_remove (state);           when the file has its name
 *   copy_state_close (state);
 *
 * Who has the state open has it alone, among all processes, and by that the
 * partial file as well.  All that is written is on stable storage when the
 * functions return; a crash within one of them leaves what was there before,
 * or a state that is not found.
 */

#ifndef NBDIMAGE_COPY_STATE_H
#define NBDIMAGE_COPY_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"

struct copy_state;

/* Open the file of that name in the folder (a descriptor, which is borrowed
 * until the state is closed), or make it.  -EBUSY when another process has
 * it.
 */
int copy_state_open (int folder, const char *name, struct copy_state **out,
                     struct err *err);

/* Was there a state, and is it whole?  If so, the texts that it was begun
 * with, and the last number.
 */
bool copy_state_found (const struct copy_state *state);
const char *copy_state_how (const struct copy_state *state);
const char *copy_state_source (const struct copy_state *state);
uint64_t copy_state_done (const struct copy_state *state);

/* Forget it: from now on nothing is found. */
int copy_state_clear (struct copy_state *state, struct err *err);

/* Begin a new one, after copy_state_clear, with 0 bytes done.  Texts of up to
 * 1 MiB together (-E2BIG).
 */
int copy_state_begin (struct copy_state *state, const char *how,
                      const char *source, struct err *err);

int copy_state_save (struct copy_state *state, uint64_t done,
                     struct err *err);

/* The file goes away, as does an empty one when it is closed. */
void copy_state_remove (struct copy_state *state);
void copy_state_close (struct copy_state *state);       /* NULL is fine */

#endif /* NBDIMAGE_COPY_STATE_H */
