/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Keys are spread over shards, each with its own lock, table and list of what
 * is not in use.  All shards share one limit: a shard gives up its own oldest
 * things while all of them together have too much, so that a small cache is
 * as large as it was asked to be, however the keys fall.
 *
 * An item is in its shard's table from the moment somebody makes it.  It is
 *
 *   being made   users > 0; who else wants it waits for the shard's signal
 *   there        has a value; in the list of the idle if users is 0
 *   failed       taken out of the table; freed by the last who waited
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/cache.h"

#define NR_SHARDS 16            /* a power of 2 */
#define FIRST_BUCKETS 16        /* a power of 2 */
#define NR_NOTES 1024           /* a power of 2 */

enum state { MAKING, THERE, FAILED };

struct cache_item {
  struct cache_key key;
  struct cache_item *next;      /* in its bucket */
  struct cache_item *newer, *older;     /* in the list of the idle */
  size_t users;
  enum state state;
  void *value;
  size_t size;                  /* of the value, bytes */
  struct err *why;              /* FAILED; NULL if there was no memory */
};

struct shard {
  pthread_mutex_t lock;         /* guards everything in it */
  pthread_cond_t made;          /* something here is there, or failed */
  struct cache_item **buckets;
  size_t nr_buckets, nr_items;
  struct cache_item *newest, *oldest;   /* idle */
};

struct cache {
  size_t limit;
  size_t used;                  /* bytes of all values; atomic */
  void (*release) (void *value);
  struct shard shards[NR_SHARDS];

  /* Half of the hash of a key that was noted, where the other half says; 0:
   * of none.  Atomic.
   */
  uint32_t notes[NR_NOTES];
};

static uint64_t
hash (const struct cache_key *key)
{
  uint64_t h = key->owner * UINT64_C (0x9E3779B97F4A7C15) ^ key->number;

  h ^= h >> 32;                 /* the finalizer of SplitMix64 */
  h *= UINT64_C (0xD6E8FEB86659FD93);
  h ^= h >> 32;
  h *= UINT64_C (0xD6E8FEB86659FD93);
  return h ^ h >> 32;
}

static bool
same (const struct cache_key *a, const struct cache_key *b)
{
  return a->owner == b->owner && a->number == b->number;
}

static struct shard *
shard_of (struct cache *cache, const struct cache_key *key)
{
  return &cache->shards[hash (key) % NR_SHARDS];
}

static struct cache_item **
bucket_of (const struct shard *shard, const struct cache_key *key)
{
  return &shard->buckets[hash (key) / NR_SHARDS & (shard->nr_buckets - 1)];
}

int
cache_new (size_t limit, void (*release) (void *value), struct cache **out,
           struct err *err)
{
  struct cache *cache = calloc (1, sizeof *cache);

  if (cache == NULL)
    return err_nomem (err);
  cache->limit = limit;
  cache->release = release;
  for (size_t i = 0; i < NR_SHARDS; ++i) {
    struct shard *shard = &cache->shards[i];

    pthread_mutex_init (&shard->lock, NULL);
    pthread_cond_init (&shard->made, NULL);
    shard->buckets = calloc (FIRST_BUCKETS, sizeof *shard->buckets);
    shard->nr_buckets = FIRST_BUCKETS;
    if (shard->buckets == NULL) {
      for (size_t j = i + 1; j < NR_SHARDS; ++j) {
        pthread_mutex_init (&cache->shards[j].lock, NULL);
        pthread_cond_init (&cache->shards[j].made, NULL);
      }
      cache_free (cache);
      return err_nomem (err);
    }
  }
  *out = cache;
  return 0;
}

static void
item_free (struct cache *cache, struct cache_item *item)
{
  if (item->state == THERE)
    cache->release (item->value);
  free (item->why);
  free (item);
}

void
cache_free (struct cache *cache)
{
  if (cache == NULL)
    return;
  for (size_t i = 0; i < NR_SHARDS; ++i) {
    struct shard *shard = &cache->shards[i];

    for (struct cache_item *item = shard->newest, *older; item != NULL;
         item = older) {
      older = item->older;
      item_free (cache, item);
    }
    free (shard->buckets);
    pthread_cond_destroy (&shard->made);
    pthread_mutex_destroy (&shard->lock);
  }
  free (cache);
}

/*--- One shard, under its lock ----------------------------------------------*/

static struct cache_item *
look_up (const struct shard *shard, const struct cache_key *key)
{
  struct cache_item *item = *bucket_of (shard, key);

  while (item != NULL && !same (&item->key, key))
    item = item->next;
  return item;
}

/* Without memory for it the chains become longer. */
static void
grow (struct shard *shard)
{
  struct cache_item **old = shard->buckets;
  size_t nr_old = shard->nr_buckets;
  struct cache_item **buckets = calloc (nr_old * 2, sizeof *buckets);

  if (buckets == NULL)
    return;
  shard->buckets = buckets;
  shard->nr_buckets = nr_old * 2;
  for (size_t i = 0; i < nr_old; ++i)
    for (struct cache_item *item = old[i], *next; item != NULL; item = next) {
      struct cache_item **bucket = bucket_of (shard, &item->key);

      next = item->next;
      item->next = *bucket;
      *bucket = item;
    }
  free (old);
}

static void
insert (struct shard *shard, struct cache_item *item)
{
  struct cache_item **bucket;

  if (shard->nr_items >= shard->nr_buckets)
    grow (shard);
  bucket = bucket_of (shard, &item->key);
  item->next = *bucket;
  *bucket = item;
  ++shard->nr_items;
}

static void
take_out (struct shard *shard, struct cache_item *item)
{
  struct cache_item **p = bucket_of (shard, &item->key);

  while (*p != item)
    p = &(*p)->next;
  *p = item->next;
  --shard->nr_items;
}

static void
idle_add (struct shard *shard, struct cache_item *item)
{
  item->newer = NULL;
  item->older = shard->newest;
  if (shard->newest != NULL)
    shard->newest->newer = item;
  else
    shard->oldest = item;
  shard->newest = item;
}

static void
idle_remove (struct shard *shard, struct cache_item *item)
{
  if (item->newer != NULL)
    item->newer->older = item->older;
  else
    shard->newest = item->older;
  if (item->older != NULL)
    item->older->newer = item->newer;
  else
    shard->oldest = item->newer;
}

static void
use (struct shard *shard, struct cache_item *item)
{
  if (item->users++ == 0)
    idle_remove (shard, item);
}

/* While there is too much: take out the shard's oldest that are idle.  They
 * are returned in a list, to be freed without the lock.
 */
static struct cache_item *
evict (struct cache *cache, struct shard *shard)
{
  struct cache_item *gone = NULL, *item;

  while ((item = shard->oldest) != NULL &&
         __atomic_load_n (&cache->used, __ATOMIC_RELAXED) > cache->limit) {
    __atomic_sub_fetch (&cache->used, item->size, __ATOMIC_RELAXED);
    idle_remove (shard, item);
    take_out (shard, item);
    item->next = gone;
    gone = item;
  }
  return gone;
}

static void
free_list (struct cache *cache, struct cache_item *gone)
{
  for (struct cache_item *next; gone != NULL; gone = next) {
    next = gone->next;
    item_free (cache, gone);
  }
}

/* There is too much, and the shard that got more has nothing idle. */
static void
evict_elsewhere (struct cache *cache, const struct shard *full)
{
  size_t first = (size_t) (full - cache->shards);

  for (size_t i = 1; i < NR_SHARDS; ++i) {
    struct shard *shard = &cache->shards[(first + i) % NR_SHARDS];
    struct cache_item *gone;

    if (__atomic_load_n (&cache->used, __ATOMIC_RELAXED) <= cache->limit)
      return;
    pthread_mutex_lock (&shard->lock);
    gone = evict (cache, shard);
    pthread_mutex_unlock (&shard->lock);
    free_list (cache, gone);
  }
}

/*--- Getting ----------------------------------------------------------------*/

/* Somebody else's item, which may still be made.  The caller is one of its
 * users; if it failed, it is not any more.
 */
static int
wait_for (struct cache *cache, struct shard *shard, struct cache_item *item,
          struct err *err)
{
  bool last;
  int r;

  while (item->state == MAKING)
    pthread_cond_wait (&shard->made, &shard->lock);
  if (item->state == THERE)
    return 0;
  if (item->why == NULL)
    r = err_nomem (err);
  else {
    if (err != NULL)
      *err = *item->why;
    r = item->why->code;
  }
  last = --item->users == 0;
  if (last)
    item_free (cache, item);
  return r;
}

/* It was made, or could not be: tell those who wait. */
static int
finish (struct cache *cache, struct shard *shard, struct cache_item *item,
        int result, const struct err *why)
{
  struct cache_item *gone = NULL;
  bool last = false;

  pthread_mutex_lock (&shard->lock);
  if (result == 0) {
    item->state = THERE;
    __atomic_add_fetch (&cache->used, item->size, __ATOMIC_RELAXED);
    gone = evict (cache, shard);
  }
  else {
    item->state = FAILED;
    take_out (shard, item);
    last = --item->users == 0;
    if (!last && (item->why = malloc (sizeof *item->why)) != NULL)
      *item->why = *why;
  }
  pthread_cond_broadcast (&shard->made);
  pthread_mutex_unlock (&shard->lock);
  if (last)
    item_free (cache, item);
  free_list (cache, gone);
  if (result == 0)
    evict_elsewhere (cache, shard);
  return result;
}

/* Under the lock: one that is being made from now on.  NULL: no memory. */
static struct cache_item *
begin (struct shard *shard, const struct cache_key *key)
{
  struct cache_item *item = calloc (1, sizeof *item);

  if (item == NULL)
    return NULL;
  item->key = *key;
  item->users = 1;
  item->state = MAKING;
  insert (shard, item);
  return item;
}

int
cache_get (struct cache *cache, const struct cache_key *key,
           const struct cache_maker *maker, struct cache_item **out,
           struct err *err)
{
  struct shard *shard = shard_of (cache, key);
  struct err why = ERR_INIT;
  struct cache_item *item;
  int r;

  pthread_mutex_lock (&shard->lock);
  item = look_up (shard, key);
  if (item != NULL) {
    use (shard, item);
    r = wait_for (cache, shard, item, err);
    pthread_mutex_unlock (&shard->lock);
    if (r == 0)
      *out = item;
    return r;
  }
  item = begin (shard, key);
  pthread_mutex_unlock (&shard->lock);
  if (item == NULL)
    return err_nomem (err);

  r = maker->make (maker->opaque, key, &item->value, &item->size, &why);
  r = finish (cache, shard, item, r, &why);
  if (r == 0)
    *out = item;
  else if (err != NULL)
    *err = why;
  return r;
}

int
cache_claim (struct cache *cache, const struct cache_key *key,
             struct cache_item **out, struct err *err)
{
  struct shard *shard = shard_of (cache, key);
  struct cache_item *item;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&shard->lock);
  item = look_up (shard, key);
  if (item != NULL)
    return item->state == MAKING ? CACHE_BEING_MADE : CACHE_THERE;
  *out = begin (shard, key);
  return *out != NULL ? CACHE_CLAIMED : err_nomem (err);
}

void
cache_fill (struct cache *cache, struct cache_item *item, void *value,
            size_t size)
{
  item->value = value;
  item->size = size;
  finish (cache, shard_of (cache, &item->key), item, 0, NULL);
  cache_put (cache, item);
}

void
cache_give_up (struct cache *cache, struct cache_item *item,
               const struct err *why)
{
  finish (cache, shard_of (cache, &item->key), item, why->code, why);
}

bool
cache_wait (struct cache *cache, const struct cache_key *key)
{
  struct shard *shard = shard_of (cache, key);
  struct cache_item *item;
  bool is_made;
  int r = -ENOENT;

  pthread_mutex_lock (&shard->lock);
  item = look_up (shard, key);
  is_made = item != NULL && item->state == MAKING;
  if (is_made) {
    use (shard, item);
    r = wait_for (cache, shard, item, NULL);
  }
  pthread_mutex_unlock (&shard->lock);
  if (r == 0)
    cache_put (cache, item);
  return is_made;
}

struct cache_item *
cache_find (struct cache *cache, const struct cache_key *key)
{
  struct shard *shard = shard_of (cache, key);
  struct cache_item *item;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&shard->lock);
  item = look_up (shard, key);
  if (item == NULL || item->state != THERE)
    return NULL;
  use (shard, item);
  return item;
}

/*--- Notes ------------------------------------------------------------------*/

static uint32_t
note_of (const struct cache_key *key, size_t *i)
{
  uint64_t h = hash (key);

  *i = (size_t) (h & (NR_NOTES - 1));
  return (uint32_t) (h >> 32) | 1;
}

bool
cache_note (struct cache *cache, const struct cache_key *key)
{
  size_t i;
  uint32_t note = note_of (key, &i);

  return __atomic_exchange_n (&cache->notes[i], note, __ATOMIC_RELAXED) == note;
}

bool
cache_recalls (const struct cache *cache, const struct cache_key *key)
{
  size_t i;
  uint32_t note = note_of (key, &i);

  return __atomic_load_n (&cache->notes[i], __ATOMIC_RELAXED) == note;
}

/*--- Putting back -----------------------------------------------------------*/

void *
cache_value (const struct cache_item *item)
{
  return item->value;
}

void
cache_put (struct cache *cache, struct cache_item *item)
{
  struct shard *shard = shard_of (cache, &item->key);
  struct cache_item *gone = NULL;

  pthread_mutex_lock (&shard->lock);
  if (--item->users == 0) {
    idle_add (shard, item);
    gone = evict (cache, shard);
  }
  pthread_mutex_unlock (&shard->lock);
  free_list (cache, gone);
}

/* Those that nobody uses, as a list to be freed without the lock. */
static struct cache_item *
take_out_owner (struct cache *cache, struct shard *shard, uint64_t owner)
{
  struct cache_item *gone = NULL, *older;

  for (struct cache_item *item = shard->newest; item != NULL; item = older) {
    older = item->older;
    if (item->key.owner != owner)
      continue;
    __atomic_sub_fetch (&cache->used, item->size, __ATOMIC_RELAXED);
    idle_remove (shard, item);
    take_out (shard, item);
    item->next = gone;
    gone = item;
  }
  return gone;
}

void
cache_forget (struct cache *cache, uint64_t owner)
{
  for (size_t i = 0; i < NR_SHARDS; ++i) {
    struct shard *shard = &cache->shards[i];
    struct cache_item *gone;

    pthread_mutex_lock (&shard->lock);
    gone = take_out_owner (cache, shard, owner);
    pthread_mutex_unlock (&shard->lock);
    free_list (cache, gone);
  }
}
