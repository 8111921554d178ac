/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A store in memory that shows the worst that docs/NBI.md §13 allows: listings
 * that lag, power cuts that lose all that was not flushed, and time that goes
 * by as told.
 *
 * It is one store with any number of clients, each a struct store for one who
 * uses it.  Changes of names are kept in order.  A power cut takes them back to
 * any state since the last flush of a folder that says so:
 *
 *   - the flush of a folder keeps all changes up to the last one in it;
 *   - the flush of a file keeps its bytes, not its name;
 *   - bytes that were not flushed may be there, be zeros, or be missing.
 *
 * All functions but store_model_free may be called by many threads.
 */

#ifndef NBDIMAGE_TESTS_STORE_MODEL_H
#define NBDIMAGE_TESTS_STORE_MODEL_H

#include "lib/repo/store.h"

struct store_model;

/* Empty; seed: for all that it may choose.  Its time begins in 2026. */
struct store_model *store_model_new (uint64_t seed);
void store_model_free (struct store_model *model);      /* no client is left */

/* One who uses it; store_close ends that.  lag: seconds, as store_lag; for what
 * this client is shown.  It always sees what it did itself.  local: as
 * store_is_local.  Its clock is the model's.
 */
struct store *store_model_client (struct store_model *model, unsigned lag,
                                  bool local);

/* Seconds since 1970, for the store; and let some go by. */
int64_t store_model_time (struct store_model *model);
void store_model_advance (struct store_model *model, unsigned seconds);

/* Its clock is set back: not for those who sleep by store_model_clock. */
void store_model_set_back (struct store_model *model, unsigned seconds);

/* The time of modification of a file or folder: a clock that was wrong. */
void store_model_set_time (struct store_model *model, const char *name,
                           int64_t time);

/* A clock whose sleepers let the time go by, at once; so it is for those who
 * sleep now and then, not for a thread that does nothing else.  tick, if not
 * NULL, is called after each sleep, by the sleeper: what others did meanwhile.
 */
const struct repo_clock *store_model_clock (struct store_model *model);
void store_model_on_sleep (struct store_model *model,
                           void (*tick) (void *opaque), void *opaque);

/* Bytes that store_space says are free; at first a lot. */
void store_model_set_space (struct store_model *model, uint64_t bytes);

/* States that a power cut now may leave: `first' to `last'. */
void store_model_states (struct store_model *model, unsigned *first,
                         unsigned *last);

/* Cut the power, and have it again with this state.  Everything that a client
 * does from then on is -EIO: they went down too.
 */
void store_model_cut (struct store_model *model, unsigned state);

/* All names there are now, sorted, each on a line, folders with a slash behind
 * them; to be freed.
 */
char *store_model_names (struct store_model *model);

#endif /* NBDIMAGE_TESTS_STORE_MODEL_H */
