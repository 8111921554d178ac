/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A thread that writes the files of a run, so that nobody who has something
 * else to do waits for the medium: not for a write, and not for the flush at
 * the end of each file.
 *
 *   write_behind_new (&place, &behind, err);
 *   run_new (..., write_behind_place (behind), ...);
 *   ...
 *   run_end (run, ...);
 *   write_behind_wait (behind, err);
 *   write_behind_free (behind);
 *
 * All that the place is asked for it is asked for by this one thread, in the
 * same order as without: begin, write, end.  So what a crash leaves is the
 * same, and nothing may be built on any of it (docs/NBI.md §14, B6 and on)
 * before write_behind_wait said that it was done.  An error comes later: from
 * any call after the one that caused it.
 *
 * 16 MiB are under way at most; who fills them faster waits.
 */

#ifndef NBDIMAGE_REPO_WRITE_BEHIND_H
#define NBDIMAGE_REPO_WRITE_BEHIND_H

#include "lib/repo/run.h"

struct write_behind;

/* place and what it points to stay the caller's until write_behind_free, and
 * are the thread's alone until then.  -ENOMEM, or why there is no thread.
 */
int write_behind_new (const struct run_place *place, struct write_behind **out,
                      struct err *err);

/* Instead of the place.  By one thread at a time; each file ends before the
 * next one begins.
 */
const struct run_place *write_behind_place (struct write_behind *behind);

/* Until everything was done, or something failed.  Once something has failed,
 * nothing more is done, and everything fails with that.
 */
int write_behind_wait (struct write_behind *behind, struct err *err);

/* What is not done by now never is, but what is under way ends.  NULL is
 * fine.
 */
void write_behind_free (struct write_behind *behind);

#endif /* NBDIMAGE_REPO_WRITE_BEHIND_H */
