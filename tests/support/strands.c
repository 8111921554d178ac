/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "lib/base/vector.h"
#include "tests/support/strands.h"

enum state { RUNNING, AT_STEP, ASLEEP, JOINING, ENDED };

struct strand {
  struct actor *actor;
  enum state state;
  uint64_t until;               /* ASLEEP */
  struct job *job;
  const struct strand *target;  /* JOINING */
  void *(*fn) (void *);
  void *arg;
  pthread_t thread;
  bool joined;
  pthread_cond_t go;
};

struct actor {
  struct strands *s;
  struct repo_clock clock;
  void (*run) (void *opaque);
  void *opaque;
  struct strand *first;
  uint64_t frozen;              /* until then */
  bool killed;
};

DEFINE_VECTOR (strand_list, struct strand *);
DEFINE_VECTOR (actor_list, struct actor *);

struct strands {
  pthread_mutex_t lock;         /* states, lists, time */
  pthread_cond_t stopped;       /* nobody runs */
  unsigned nr_running;
  struct strand_list strands;
  struct actor_list actors;
  uint64_t now;
};

static __thread struct strand *me;

int __real_pthread_create (pthread_t *thread, const pthread_attr_t *attr,
                           void *(*fn) (void *), void *arg);
int __wrap_pthread_create (pthread_t *thread, const pthread_attr_t *attr,
                           void *(*fn) (void *), void *arg);
int __real_pthread_join (pthread_t thread, void **value);
int __wrap_pthread_join (pthread_t thread, void **value);

static void *
need (void *p)
{
  if (p == NULL)
    abort ();
  return p;
}

#define APPEND(v, item)                                         \
  do {                                                          \
    if (vector_append ((v), (item)) < 0)                        \
      abort ();                                                 \
  } while (0)

/*--- A strand stops and goes on ---------------------------------------------*/

/* The lock is held. */
static void
stop (struct strand *strand, enum state state)
{
  struct strands *s = strand->actor->s;

  strand->state = state;
  if (--s->nr_running == 0)
    pthread_cond_signal (&s->stopped);
}

static void
stop_until_told (enum state state)
{
  struct strands *s = me->actor->s;

  stop (me, state);
  while (me->state != RUNNING)
    pthread_cond_wait (&me->go, &s->lock);
}

void
strands_step (void)
{
  struct strands *s;

  if (me == NULL)
    return;
  s = me->actor->s;
  pthread_mutex_lock (&s->lock);
  if (!me->actor->killed)
    stop_until_told (AT_STEP);
  pthread_mutex_unlock (&s->lock);
}

static void *
be_strand (void *opaque)
{
  struct strand *strand = opaque;
  struct strands *s = strand->actor->s;
  void *value;

  me = strand;
  value = strand->fn (strand->arg);
  pthread_mutex_lock (&s->lock);
  stop (strand, ENDED);
  pthread_mutex_unlock (&s->lock);
  return value;
}

/* It runs until it stops; so does who makes it. */
static struct strand *
make_strand (struct actor *a, void *(*fn) (void *), void *arg)
{
  struct strand *strand = need (calloc (1, sizeof *strand));
  struct strands *s = a->s;

  strand->actor = a;
  strand->fn = fn;
  strand->arg = arg;
  pthread_cond_init (&strand->go, NULL);
  pthread_mutex_lock (&s->lock);
  APPEND (&s->strands, &strand);
  ++s->nr_running;
  if (__real_pthread_create (&strand->thread, NULL, be_strand, strand) != 0)
    abort ();
  pthread_mutex_unlock (&s->lock);
  return strand;
}

int
__wrap_pthread_create (pthread_t *thread, const pthread_attr_t *attr,
                       void *(*fn) (void *), void *arg)
{
  if (me == NULL)
    return __real_pthread_create (thread, attr, fn, arg);
  *thread = make_strand (me->actor, fn, arg)->thread;
  return 0;
}

static struct strand *
find (const struct strands *s, pthread_t thread)
{
  for (size_t i = 0; i < s->strands.len; ++i)
    if (!s->strands.ptr[i]->joined &&
        pthread_equal (s->strands.ptr[i]->thread, thread))
      return s->strands.ptr[i];
  abort ();
}

int
__wrap_pthread_join (pthread_t thread, void **value)
{
  struct strands *s;
  struct strand *target;

  if (me == NULL)
    return __real_pthread_join (thread, value);
  s = me->actor->s;
  pthread_mutex_lock (&s->lock);
  target = find (s, thread);
  me->target = target;
  while (target->state != ENDED)
    stop_until_told (JOINING);
  target->joined = true;
  pthread_mutex_unlock (&s->lock);
  return __real_pthread_join (thread, value);
}

/*--- Time -------------------------------------------------------------------*/

uint64_t
strands_now (const struct strands *s)
{
  return __atomic_load_n (&s->now, __ATOMIC_RELAXED);
}

void
strands_advance (struct strands *s, uint64_t ns)
{
  __atomic_add_fetch (&s->now, ns, __ATOMIC_RELAXED);
}

static uint64_t
clock_now (void *opaque)
{
  return strands_now (((const struct actor *) opaque)->s);
}

static int
clock_sleep (void *opaque, uint64_t when, struct job *job, struct err *err)
{
  struct actor *a = opaque;
  struct strands *s = a->s;
  int r;

  pthread_mutex_lock (&s->lock);
  for (;;) {
    r = a->killed ? err_set (err, -ECANCELED, "killed")
      : job_check (job, err);
    if (r < 0 || strands_now (s) >= when)
      break;
    me->until = when;
    me->job = job;
    stop_until_told (ASLEEP);
  }
  pthread_mutex_unlock (&s->lock);
  return r;
}

/*--- Actors -----------------------------------------------------------------*/

static void *
be_actor (void *opaque)
{
  struct actor *a = opaque;

  strands_step ();
  a->run (a->opaque);
  return NULL;
}

/* All are at a stop, and it is whoever plays who calls this. */
static void
wait_for_all (struct strands *s)
{
  while (s->nr_running > 0)
    pthread_cond_wait (&s->stopped, &s->lock);
}

struct actor *
strands_begin (struct strands *s, void (*run) (void *opaque), void *opaque)
{
  struct actor *a = need (calloc (1, sizeof *a));

  a->s = s;
  a->clock = (struct repo_clock) { clock_now, clock_sleep, a };
  a->run = run;
  a->opaque = opaque;
  APPEND (&s->actors, &a);
  a->first = make_strand (a, be_actor, a);
  pthread_mutex_lock (&s->lock);
  wait_for_all (s);
  pthread_mutex_unlock (&s->lock);
  return a;
}

const struct repo_clock *
actor_clock (const struct actor *a)
{
  return &a->clock;
}

void *
actor_opaque (const struct actor *a)
{
  return a->opaque;
}

void
actor_freeze (struct actor *a, uint64_t until)
{
  a->frozen = until;
}

void
actor_kill (struct actor *a)
{
  pthread_mutex_lock (&a->s->lock);
  a->killed = true;
  pthread_mutex_unlock (&a->s->lock);
}

bool
actor_was_killed (const struct actor *a)
{
  return a->killed;
}

bool
actor_has_ended (const struct actor *a)
{
  return a->first->state == ENDED;
}

/*--- Playing ----------------------------------------------------------------*/

/* *when: at what time it may go on; UINT64_MAX: that is for others to say. */
static bool
may_go (const struct strands *s, const struct strand *strand, uint64_t *when)
{
  const struct actor *a = strand->actor;

  *when = UINT64_MAX;
  if (strand->state == ENDED ||
      (strand->state == JOINING && strand->target->state != ENDED))
    return false;
  if (a->killed)
    return true;
  *when = a->frozen;
  if (strand->state == ASLEEP && job_check (strand->job, NULL) == 0 &&
      strand->until > *when)
    *when = strand->until;
  return *when <= s->now;
}

size_t
strands_choices (struct strands *s, struct strand **list, size_t max,
                 uint64_t *next)
{
  size_t nr = 0;
  bool killed = false;

  pthread_mutex_lock (&s->lock);
  *next = UINT64_MAX;
  for (size_t i = 0; i < s->strands.len; ++i) {
    struct strand *strand = s->strands.ptr[i];
    uint64_t when;

    if (!may_go (s, strand, &when)) {
      if (when < *next)
        *next = when;
      continue;
    }
    if (strand->actor->killed && !killed)
      nr = 0;
    killed |= strand->actor->killed;
    if (strand->actor->killed == killed && nr < max)
      list[nr++] = strand;
  }
  pthread_mutex_unlock (&s->lock);
  return nr;
}

struct actor *
strand_actor (const struct strand *strand)
{
  return strand->actor;
}

void
strands_go (struct strands *s, struct strand *strand)
{
  pthread_mutex_lock (&s->lock);
  strand->state = RUNNING;
  ++s->nr_running;
  pthread_cond_signal (&strand->go);
  wait_for_all (s);
  pthread_mutex_unlock (&s->lock);
}

struct strands *
strands_new (void)
{
  struct strands *s = need (calloc (1, sizeof *s));

  pthread_mutex_init (&s->lock, NULL);
  pthread_cond_init (&s->stopped, NULL);
  return s;
}

void
strands_free (struct strands *s)
{
  for (size_t i = 0; i < s->strands.len; ++i) {
    struct strand *strand = s->strands.ptr[i];

    if (!strand->joined)
      __real_pthread_join (strand->thread, NULL);
    pthread_cond_destroy (&strand->go);
    free (strand);
  }
  vector_free (&s->strands);
  for (size_t i = 0; i < s->actors.len; ++i)
    free (s->actors.ptr[i]);
  vector_free (&s->actors);
  pthread_cond_destroy (&s->stopped);
  pthread_mutex_destroy (&s->lock);
  free (s);
}
