/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Threads of which one goes on at a time, as far as somebody says: what many
 * would do at once, in an order that a seed chooses, and the same each time.
 *
 * An actor has a thread, and those that it makes (a lease's).  Each of them is
 * a strand.  A strand runs until it comes to a step (strands_step), sleeps by
 * its actor's clock, waits for another strand's end, or ends; then it is the
 * turn of whoever plays, in the thread that called strands_new:
 *
 *   strands_begin (s, run, opaque)              an actor more
 *   while ((n = strands_choices (s, ...)) > 0)
 *     strands_go (s, one of them)               until it stops again
 *
 * The program has to be linked with --wrap=pthread_create,--wrap=pthread_join.
 */

#ifndef NBDIMAGE_TESTS_STRANDS_H
#define NBDIMAGE_TESTS_STRANDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/repo/clock.h"

struct strands;
struct strand;
struct actor;

struct strands *strands_new (void);
void strands_free (struct strands *s);          /* all of them have ended */

/* Nanoseconds, as all actors' clocks have it; and let some go by. */
uint64_t strands_now (const struct strands *s);
void strands_advance (struct strands *s, uint64_t ns);

/* An actor, which does not begin yet.  Lives as long as s. */
struct actor *strands_begin (struct strands *s, void (*run) (void *opaque),
                             void *opaque);
const struct repo_clock *actor_clock (const struct actor *a);
void *actor_opaque (const struct actor *a);

/* It goes on no earlier than this, as a machine that sleeps. */
void actor_freeze (struct actor *a, uint64_t until);

/* Its steps and sleeps end at once from here on; what it does has to be kept
 * from having effects by others.
 */
void actor_kill (struct actor *a);
bool actor_was_killed (const struct actor *a);
bool actor_has_ended (const struct actor *a);

/* Those that may go on; of an actor that was killed, if there is one, only
 * those.  Returns how many, at most max.  0, and *next the time when one may;
 * UINT64_MAX: all have ended.
 */
size_t strands_choices (struct strands *s, struct strand **list, size_t max,
                        uint64_t *next);
struct actor *strand_actor (const struct strand *strand);

void strands_go (struct strands *s, struct strand *strand);

/* By a strand, in front of what others may see. */
void strands_step (void);

#endif /* NBDIMAGE_TESTS_STRANDS_H */
