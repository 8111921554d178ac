/* SPDX-License-Identifier: GPL-2.0-or-later */

/* lib/repo/cache: what is made once, what waits for what, what is kept. */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/cache.h"
#include "tests/support/rng.h"

/* What the tests keep: it knows its key, and how many there are. */
struct thing {
  struct cache_key key;
};

static int alive;               /* things; atomic */
static int made;                /* ever; atomic */

static void
release (void *value)
{
  __atomic_sub_fetch (&alive, 1, __ATOMIC_RELAXED);
  free (value);
}

static int
make (void *opaque, const struct cache_key *key, void **value, size_t *size,
      struct err *err)
{
  struct thing *thing = malloc (sizeof *thing);

  (void) opaque;
  if (thing == NULL)
    return err_nomem (err);
  thing->key = *key;
  __atomic_add_fetch (&alive, 1, __ATOMIC_RELAXED);
  __atomic_add_fetch (&made, 1, __ATOMIC_RELAXED);
  *value = thing;
  *size = 100;
  return 0;
}

static const struct cache_maker maker = { make, NULL };

static struct cache *
new_cache (size_t limit)
{
  struct cache *cache;

  alive = made = 0;
  assert_int_equal (cache_new (limit, release, &cache, NULL), 0);
  return cache;
}

static void
end_cache (struct cache *cache)
{
  cache_free (cache);
  assert_int_equal (alive, 0);
}

static struct cache_item *
get (struct cache *cache, uint64_t owner, uint64_t number)
{
  struct cache_key key = { owner, number };
  struct cache_item *item;
  const struct thing *thing;

  assert_int_equal (cache_get (cache, &key, &maker, &item, NULL), 0);
  thing = cache_value (item);
  assert_true (thing->key.owner == owner && thing->key.number == number);
  return item;
}

/*--- Kept -------------------------------------------------------------------*/

static void
test_made_once (void **state)
{
  struct cache *cache = new_cache (1000000);

  (void) state;
  for (int round = 0; round < 3; ++round)
    for (uint64_t i = 0; i < 1000; ++i)
      cache_put (cache, get (cache, i % 7, i));
  assert_int_equal (made, 1000);
  assert_int_equal (alive, 1000);
  end_cache (cache);
}

/* Whatever the keys, the whole limit is used, and not more. */
static void
test_limit (void **state)
{
  struct cache *cache = new_cache (3200);

  (void) state;
  for (uint64_t i = 0; i < 10000; ++i) {
    cache_put (cache, get (cache, 1, i));
    assert_int_equal (alive, i < 32 ? i + 1 : 32);
  }
  end_cache (cache);
}

static void
test_oldest_goes (void **state)
{
  struct cache *cache = new_cache (100 * 64);
  const struct cache_key favourite = { 5, 5 };
  struct cache_item *item;

  (void) state;
  for (uint64_t i = 0; i < 5000; ++i) {
    cache_put (cache, get (cache, 5, 5));
    cache_put (cache, get (cache, 6, i));
  }
  assert_int_equal (made, 5001);
  item = cache_find (cache, &favourite);
  assert_non_null (item);
  cache_put (cache, item);
  assert_null (cache_find (cache, &(struct cache_key) { 6, 0 }));
  end_cache (cache);
}

/* All of one owner go but what is in use, nobody else's, and there is room for
 * as many again.
 */
static void
test_forget (void **state)
{
  struct cache *cache = new_cache (100 * 100);
  struct cache_item *used;

  (void) state;
  for (uint64_t i = 0; i < 100; ++i)
    cache_put (cache, get (cache, 1 + i % 2, i));
  used = get (cache, 1, 0);
  cache_forget (cache, 1);
  assert_int_equal (alive, 51);
  for (uint64_t i = 0; i < 100; ++i) {
    const struct cache_key key = { 1 + i % 2, i };
    struct cache_item *item = cache_find (cache, &key);

    assert_int_equal (item != NULL, i % 2 == 1 || i == 0);
    if (item != NULL)
      cache_put (cache, item);
  }
  cache_put (cache, used);
  for (uint64_t i = 0; i < 49; ++i)
    cache_put (cache, get (cache, 3, i));
  assert_int_equal (alive, 100);
  cache_put (cache, get (cache, 3, 49));
  assert_int_equal (alive, 100);
  end_cache (cache);
}

/* What is in use stays, even where there is room for nothing. */
static void
test_in_use (void **state)
{
  struct cache *cache = new_cache (0);
  struct cache_item *items[50];

  (void) state;
  for (uint64_t i = 0; i < 50; ++i)
    items[i] = get (cache, 1, i);
  assert_int_equal (alive, 50);
  for (uint64_t i = 0; i < 50; ++i)
    assert_int_equal (((struct thing *) cache_value (items[i]))->key.number,
                      i);
  for (uint64_t i = 0; i < 50; ++i)
    cache_put (cache, items[i]);
  assert_int_equal (alive, 0);
  end_cache (cache);
}

/* Nearly all that was noted just now is recalled, once told as new; nothing
 * else, and not for ever.
 */
static void
test_notes (void **state)
{
  struct cache *cache = new_cache (1000);
  unsigned recalled = 0, wrong = 0;

  (void) state;
  for (uint64_t i = 0; i < 500; ++i) {
    const struct cache_key key = { 3, i };

    wrong += cache_note (cache, &key);
    assert_true (cache_recalls (cache, &key));
    assert_true (cache_note (cache, &key));
  }
  for (uint64_t i = 0; i < 500; ++i) {
    recalled += cache_recalls (cache, &(struct cache_key) { 3, i });
    wrong += cache_recalls (cache, &(struct cache_key) { 4, i });
    wrong += cache_recalls (cache, &(struct cache_key) { 3, i + 500 });
  }
  assert_in_range (recalled, 350, 500);
  assert_int_equal (wrong, 0);
  for (uint64_t i = 0; i < 30000; ++i)
    cache_note (cache, &(struct cache_key) { 5, i });
  for (uint64_t i = 0; i < 500; ++i)
    assert_false (cache_recalls (cache, &(struct cache_key) { 3, i }));
  assert_int_equal (made, 0);
  end_cache (cache);
}

/*--- Who waits for whom -----------------------------------------------------*/

/* Makes nothing before it is allowed to. */
struct gate {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool open;
  int inside;                   /* who make something */
  int result;
};

#define GATE_INIT(result)                                               \
  { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0, result }

static int
make_at_gate (void *opaque, const struct cache_key *key, void **value,
              size_t *size, struct err *err)
{
  struct gate *gate = opaque;

  pthread_mutex_lock (&gate->lock);
  ++gate->inside;
  pthread_cond_broadcast (&gate->changed);
  while (!gate->open)
    pthread_cond_wait (&gate->changed, &gate->lock);
  pthread_mutex_unlock (&gate->lock);
  if (gate->result < 0)
    return err_set (err, gate->result, "number %d fails", (int) key->number);
  return make (NULL, key, value, size, err);
}

static void
wait_inside (struct gate *gate, int n)
{
  pthread_mutex_lock (&gate->lock);
  while (gate->inside < n)
    pthread_cond_wait (&gate->changed, &gate->lock);
  pthread_mutex_unlock (&gate->lock);
}

static void
open_gate (struct gate *gate)
{
  pthread_mutex_lock (&gate->lock);
  gate->open = true;
  pthread_cond_broadcast (&gate->changed);
  pthread_mutex_unlock (&gate->lock);
}

struct visitor {
  pthread_t thread;
  struct cache *cache;
  struct gate *gate;
  uint64_t number;
  int result;
  struct err err;
};

static void *
visit (void *arg)
{
  struct visitor *me = arg;
  const struct cache_key key = { 1, me->number };
  const struct cache_maker at_gate = { make_at_gate, me->gate };
  struct cache_item *item;

  me->result = cache_get (me->cache, &key, &at_gate, &item, &me->err);
  if (me->result == 0)
    cache_put (me->cache, item);
  return NULL;
}

static void
start (struct visitor *me, struct cache *cache, struct gate *gate,
       uint64_t number)
{
  *me = (struct visitor) {
    .cache = cache, .gate = gate, .number = number, .err = ERR_INIT,
  };
  assert_int_equal (pthread_create (&me->thread, NULL, visit, me), 0);
}

/* While one is stuck, everything else can be had: were it not so, this would
 * never end.
 */
static void
test_holds_up_nobody (void **state)
{
  struct cache *cache = new_cache (1000);
  struct gate gate = GATE_INIT (0);
  struct visitor stuck;

  (void) state;
  start (&stuck, cache, &gate, 0);
  wait_inside (&gate, 1);
  for (uint64_t i = 1; i < 1000; ++i)
    cache_put (cache, get (cache, 1, i));
  assert_null (cache_find (cache, &(struct cache_key) { 1, 0 }));
  open_gate (&gate);
  pthread_join (stuck.thread, NULL);
  assert_int_equal (stuck.result, 0);
  assert_int_equal (made, 1000);
  end_cache (cache);
}

#define NR_VISITORS 8

static void
visit_together (int result, struct visitor visitors[NR_VISITORS])
{
  struct cache *cache = new_cache (1000);
  struct gate gate = GATE_INIT (result);

  start (&visitors[0], cache, &gate, 7);
  wait_inside (&gate, 1);
  for (int i = 1; i < NR_VISITORS; ++i)
    start (&visitors[i], cache, &gate, 7);
  open_gate (&gate);
  for (int i = 0; i < NR_VISITORS; ++i)
    pthread_join (visitors[i].thread, NULL);
  if (result == 0)
    assert_int_equal (made, 1);
  else {
    /* A failure is not kept. */
    cache_put (cache, get (cache, 1, 7));
    assert_int_equal (made, 1);
  }
  end_cache (cache);
}

static void
test_one_makes_for_all (void **state)
{
  struct visitor visitors[NR_VISITORS];

  (void) state;
  visit_together (0, visitors);
  for (int i = 0; i < NR_VISITORS; ++i)
    assert_int_equal (visitors[i].result, 0);
}

static void
test_failure_for_all (void **state)
{
  struct visitor visitors[NR_VISITORS];

  (void) state;
  visit_together (-EBADMSG, visitors);
  for (int i = 0; i < NR_VISITORS; ++i) {
    assert_int_equal (visitors[i].result, -EBADMSG);
    assert_int_equal (visitors[i].err.code, -EBADMSG);
    assert_string_equal (visitors[i].err.msg, "number 7 fails");
  }
}

/*--- Many at once -----------------------------------------------------------*/

#define NR_THREADS 8
#define NR_GETS 20000

struct worker {
  pthread_t thread;
  struct cache *cache;
  uint64_t seed;
};

static int
make_or_fail (void *opaque, const struct cache_key *key, void **value,
              size_t *size, struct err *err)
{
  if (key->number % 11 == 0)
    return err_set (err, -EIO, "no");
  return make (opaque, key, value, size, err);
}

static void *
work (void *arg)
{
  struct worker *me = arg;
  const struct cache_maker sometimes = { make_or_fail, NULL };
  struct rng rng = { me->seed };

  for (int i = 0; i < NR_GETS; ++i) {
    struct cache_key key = { rng_below (&rng, 3), rng_below (&rng, 100) };
    struct cache_item *item = NULL;
    int r = 0;

    if (rng_below (&rng, 4) == 0)
      item = cache_find (me->cache, &key);
    else
      r = cache_get (me->cache, &key, &sometimes, &item, NULL);
    assert_int_equal (r, r == 0 ? 0 : -EIO);
    assert_true (r == 0 || key.number % 11 == 0);
    if (item == NULL)
      continue;
    assert_memory_equal (cache_value (item), &key, sizeof key);
    cache_put (me->cache, item);
  }
  return NULL;
}

static void
test_many (void **state)
{
  struct cache *cache = new_cache (5000);
  struct worker workers[NR_THREADS];

  (void) state;
  for (int i = 0; i < NR_THREADS; ++i) {
    workers[i] = (struct worker) { .cache = cache, .seed = (uint64_t) i };
    assert_int_equal (pthread_create (&workers[i].thread, NULL, work,
                                      &workers[i]), 0);
  }
  for (int i = 0; i < NR_THREADS; ++i)
    pthread_join (workers[i].thread, NULL);
  assert_in_range (alive, 0, 50);
  end_cache (cache);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_made_once),
    cmocka_unit_test (test_limit),
    cmocka_unit_test (test_oldest_goes),
    cmocka_unit_test (test_forget),
    cmocka_unit_test (test_in_use),
    cmocka_unit_test (test_notes),
    cmocka_unit_test (test_holds_up_nobody),
    cmocka_unit_test (test_one_makes_for_all),
    cmocka_unit_test (test_failure_for_all),
    cmocka_unit_test (test_many),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
