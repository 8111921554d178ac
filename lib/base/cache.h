/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Things that take some work to get, kept while there is room: sheets of
 * tables, pages of the map, decoded chunks, pieces of compressed files.
 *
 * Of several threads that want the same thing at once one makes it, and the
 * others wait for that one.  Nobody waits for the making of anything else: no
 * lock is held across it.
 *
 *   const struct cache_maker maker = { make, opaque };
 *   struct cache_item *item;
 *
 *   r = cache_get (cache, &key, &maker, &item, err);
 *   ... cache_value (item) ...
 *   cache_put (cache, item);
 *
 * What is in use stays, whatever the limit; what was used longest ago goes
 * first.  All functions but cache_free may be called from many threads.
 */

#ifndef NBDIMAGE_BASE_CACHE_H
#define NBDIMAGE_BASE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

struct cache;
struct cache_item;

struct cache_key {
  uint64_t owner;               /* a number that nobody else has, ever */
  uint64_t number;              /* what the owner means by it */
};

struct cache_maker {
  /* Make the value, and say how many bytes it takes.  It may use other
   * caches, and this one for other keys, as long as those never wait for
   * this one in turn.
   */
  int (*make) (void *opaque, const struct cache_key *key, void **value,
               size_t *size, struct err *err);
  void *opaque;
};

/* Keep about so many bytes.  release gives a value back: free, or more.
 * -ENOMEM.
 */
int cache_new (size_t limit, void (*release) (void *value),
               struct cache **out, struct err *err);

/* Nothing may be in use.  NULL is fine. */
void cache_free (struct cache *cache);

/* The value of the key, made if it is not there: 0, or why it could not be
 * made, which is told to all who waited for it and is not kept.  -ENOMEM.
 */
int cache_get (struct cache *cache, const struct cache_key *key,
               const struct cache_maker *maker, struct cache_item **item,
               struct err *err);

/* For what is made on the way to another thing.  Unless it is there, or
 * somebody makes it: then whoever wants it waits, as for a maker, until the
 * caller ends this with cache_fill or cache_give_up.
 */
enum cache_claim { CACHE_CLAIMED, CACHE_THERE, CACHE_BEING_MADE };

/* *item: of what was claimed.  -ENOMEM. */
int cache_claim (struct cache *cache, const struct cache_key *key,
                 struct cache_item **item, struct err *err);

/* The value of what was claimed, which is taken over. */
void cache_fill (struct cache *cache, struct cache_item *item, void *value,
                 size_t size);

/* It could not be made: what is told to all who wait for it. */
void cache_give_up (struct cache *cache, struct cache_item *item,
                    const struct err *why);

/* Does somebody make it?  Then until it is there, or could not be made. */
bool cache_wait (struct cache *cache, const struct cache_key *key);

/* As cache_get if it is there already; NULL if not, or if it is being made. */
struct cache_item *cache_find (struct cache *cache,
                               const struct cache_key *key);

/* Not everything is worth keeping: of what is wanted at random all over a large
 * thing nothing is wanted again before it has to go, and keeping it costs
 * memory that is not in the processor's caches.  So whoever can do without may
 * note what was wanted, and keep what it finds noted when it is wanted again.
 *
 * A cache recalls most of the last few hundred keys that were noted, and hardly
 * ever one that was not.  cache_note tells whether the key was noted already:
 * of several threads that note it one is told that it was not.  No lock.
 */
bool cache_note (struct cache *cache, const struct cache_key *key);
bool cache_recalls (const struct cache *cache, const struct cache_key *key);

/* Lives until cache_put. */
void *cache_value (const struct cache_item *item);

void cache_put (struct cache *cache, struct cache_item *item);

/* The owner has no use for its things any more: those that are not in use go
 * now, whatever room there is.
 */
void cache_forget (struct cache *cache, uint64_t owner);

#endif /* NBDIMAGE_BASE_CACHE_H */
