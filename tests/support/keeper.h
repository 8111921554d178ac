/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Overlays over generations in a vault, as far as the vault knows of them: put
 * by one, released by another, and whether the one was told that it is kept.
 */

#ifndef NBDIMAGE_TESTS_KEEPER_H
#define NBDIMAGE_TESTS_KEEPER_H

#include "lib/base/vector.h"
#include "lib/repo/keep.h"
#include "tests/support/rng.h"

struct kept {
  uint8_t run[UUID_SIZE];
  char path[32];                /* of the overlay; another each time */
  bool released;                /* somebody took it away, or was about to */
};

/* Those that were told that their generation is kept. */
DEFINE_VECTOR (kept_list, struct kept);

/* Keep a generation of the vault, any, for that path: *kept.  -ENOENT: there
 * is none.
 */
int keeper_put (struct store *store, struct rng *rng, const char *path,
                struct kept *kept, struct err *err);

/* Is the run kept for one that was told so, and was not released? */
bool keeper_holds (const struct kept_list *list,
                   const uint8_t run[UUID_SIZE]);

/* Take away what one was told that it has. */
int keeper_release (struct store *store, const struct kept *kept,
                    struct err *err);

/* How many are there that nobody was told of, or that were released: who was
 * killed left them.  Take them away, if that is asked for.
 */
int keeper_others (struct store *store, const struct kept_list *list,
                   bool take_away, unsigned *nr, struct err *err);

#endif /* NBDIMAGE_TESTS_KEEPER_H */
