/* SPDX-License-Identifier: GPL-2.0-or-later */

/* kill -9 of backups, prunes, and who keeps a generation for an overlay, in a
 * real folder, at points that a seed chooses: in front of one of the
 * operations of the store, or after some time.
 * After a backup the vault lists what it listed before, or one generation more,
 * after a prune no generation is missing that it was not told to drop; each
 * reads as what was saved, and nothing is damaged; what somebody was told is
 * kept is there, whatever a prune at the same time was told.  Often the next
 * backup, which adopts what was left, is killed too; otherwise it succeeds, and
 * leaves nothing.
 *
 * NBDIMAGE_TEST_SEED: where to begin.  NBDIMAGE_TEST_KILLS: how many, by
 * default 30, and 300 if NBDIMAGE_LONG is set.
 */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/repo/prune.h"
#include "lib/repo/store-local.h"
#include "tests/support/counted.h"
#include "tests/support/keeper.h"
#include "tests/support/share.h"
#include "tests/support/store-faulty.h"
#include "tests/support/shadow.h"

#define KILLS_IN_A_VAULT 15     /* then a new one is made */
#define MAX_DROPPED 64
#define CACHE (1 << 20)

enum work { BACKUP, PRUNE, KEEP, NR_WORKS };

static const char *const work_names[NR_WORKS] = { "backup", "prune", "keep" };

/* What a child says to its parent. */
struct shared {
  struct shadow_version version;        /* of a backup */
  uint8_t dropped[MAX_DROPPED][UUID_SIZE];      /* runs, by a prune */
  unsigned nr_dropped;
  struct kept kept;             /* by who keeps */
  unsigned operations;
  uint64_t ns;                  /* that it took */
  struct err err;
};

/* What some prune was to drop. */
struct pruned {
  uint8_t run[UUID_SIZE];
};

DEFINE_VECTOR (pruned_list, struct pruned);

struct trial {
  struct rng rng;
  char folder[64];
  struct shared *shared;        /* of each kind of work */
  struct shadow_versions versions;
  struct pruned_list pruned;
  struct kept_list kept;
  uint8_t bytes[SHADOW_DISK];
  size_t listed;                /* generations in the vault */
  struct usual {                /* what was not killed, by kinds of work */
    unsigned operations;
    uint64_t ns;
  } usual[NR_WORKS];
  unsigned nr_kept, nr_held;
};

static uint64_t
now_ns (void)
{
  struct timespec ts;

  clock_gettime (CLOCK_MONOTONIC, &ts);
  return (uint64_t) ts.tv_sec * 1000000000 + (uint64_t) ts.tv_nsec;
}

static struct store *
open_store (const struct trial *t)
{
  struct err err = ERR_INIT;
  struct store *store;

  if (store_local_open (t->folder, &store, &err) < 0)
    fail_msg ("%s", err.msg);
  return store;
}

/*--- A vault ----------------------------------------------------------------*/

static void
new_vault (struct trial *t)
{
  struct store *store;

  snprintf (t->folder, sizeof t->folder, "vault-kill.XXXXXX");
  assert_non_null (mkdtemp (t->folder));
  store = open_store (t);
  shadow_make_vault (store);
  store_close (store);
  shadow_fill (&t->rng, t->bytes);
  t->listed = 0;
}

static void
remove_vault (struct trial *t)
{
  char command[128];

  snprintf (command, sizeof command, "rm -rf '%s'", t->folder);
  assert_int_equal (system (command), 0);
  shadow_free (&t->versions);
  vector_free (&t->pruned);
  vector_free (&t->kept);
}

/*--- The child --------------------------------------------------------------*/

struct end {
  unsigned at, count;           /* at 0: never */
};

static void
end_here (void *opaque, unsigned op, const char *name)
{
  struct end *end = opaque;

  (void) op;
  (void) name;
  if (__atomic_add_fetch (&end->count, 1, __ATOMIC_RELAXED) == end->at)
    kill (getpid (), SIGKILL);
}

/* Keep two, and perhaps not the newest. */
static int
prune (struct shared *shared, struct store *store, bool newest)
{
  const struct prune_options options = {
    .retention.keep[RETENTION_LAST] = 2, .trust_times = true,
  };
  struct prune_plan plan = { .nr_dropped = 0 };
  struct prune_result result;
  struct generation_caches caches;
  struct vault *vault = NULL;
  int r;

  if (generation_caches_init (&caches, CACHE, NULL) < 0)
    abort ();
  r = vault_open (store, VAULT_WRITE, &vault, NULL, &shared->err);
  if (r == 0)
    r = prune_plan (vault, &caches, &options, &plan, NULL, NULL, &shared->err);
  if (r == 0 && newest && plan.generations.len > 0)
    plan.generations.ptr[plan.generations.len - 1].fate = PRUNE_DROPPED;
  for (size_t i = 0; r == 0 && i < plan.generations.len; ++i)
    if (plan.generations.ptr[i].fate == PRUNE_DROPPED) {
      memcpy (shared->dropped[shared->nr_dropped],
              plan.generations.ptr[i].run.run, UUID_SIZE);
      ++shared->nr_dropped;
    }
  if (r == 0)
    r = prune_run (vault, &caches, &plan, &result, NULL, NULL, &shared->err);
  prune_plan_free (&plan);
  vault_close (vault);
  generation_caches_destroy (&caches);
  return r;
}

static void __attribute__ ((__noreturn__))
be_child (const struct trial *t, enum work work, uint64_t seed, unsigned at)
{
  struct shared *shared = &t->shared[work];
  struct rng rng = { seed };
  struct end end = { at, 0 };
  struct store *store, *faulty;
  char path[32];
  uint64_t began;
  int r;

  r = store_local_open (t->folder, &store, &shared->err);
  if (r < 0)
    _exit (2);
  faulty = store_faulty_new (store);
  store_faulty_watch (faulty, end_here, &end);
  snprintf (path, sizeof path, "/overlay/%u", (unsigned) getpid ());
  began = now_ns ();
  r = work == PRUNE ? prune (shared, faulty, rng_below (&rng, 3) == 0)
    : work == KEEP ? keeper_put (faulty, &rng, path, &shared->kept,
                                 &shared->err)
    : shadow_back_up (faulty, &shared->version, SHADOW_CHUNK, NULL,
                      &shared->err);
  shared->ns = now_ns () - began;
  shared->operations = end.count;
  _exit (r == 0 ? 0 : r == -ESTALE || r == -ENOENT ? 3 : 1);
}

static pid_t
begin_child (struct trial *t, enum work work, unsigned at)
{
  uint64_t seed = rng_next (&t->rng);
  pid_t pid = fork ();

  assert_true (pid >= 0);
  if (pid == 0)
    be_child (t, work, seed, at);
  return pid;
}

enum outcome { DONE, KILLED, REFUSED };

static enum outcome
end_child (struct trial *t, enum work work, pid_t pid)
{
  const struct shared *shared = &t->shared[work];
  int status;

  assert_int_equal (waitpid (pid, &status, 0), pid);
  if (WIFSIGNALED (status) && WTERMSIG (status) == SIGKILL)
    return KILLED;
  /* What was dropped just now, or is not there, can't be kept. */
  if (work == KEEP && WIFEXITED (status) && WEXITSTATUS (status) == 3)
    return REFUSED;
  if (!WIFEXITED (status) || WEXITSTATUS (status) != 0)
    fail_msg ("a %s ended with status %x: %s", work_names[work], status,
              shared->err.msg);
  t->usual[work] = (struct usual) { shared->operations, shared->ns };
  return DONE;
}

static struct shadow_version *
version_of (const struct trial *t, const uint8_t uuid[UUID_SIZE])
{
  for (size_t i = 0; i < t->versions.len; ++i)
    if (memcmp (t->versions.ptr[i]->header.run, uuid, UUID_SIZE) == 0)
      return t->versions.ptr[i];
  return NULL;
}

static void
note_dropped (struct trial *t, const struct shared *shared)
{
  for (unsigned i = 0; i < shared->nr_dropped; ++i) {
    struct pruned pruned;

    assert_non_null (version_of (t, shared->dropped[i]));
    memcpy (pruned.run, shared->dropped[i], UUID_SIZE);
    assert_int_equal (vector_append (&t->pruned, &pruned), 0);
  }
}

static void
note_kept (struct trial *t, enum outcome outcome)
{
  if (outcome == DONE)
    assert_int_equal (vector_append (&t->kept, &t->shared[KEEP].kept), 0);
  t->nr_kept += outcome == DONE;
}

/* Back up the disk as it is, or prune, or keep something: killed in front of
 * operation `at', if it is not 0, or after so many nanoseconds, if that is not
 * 0.  Returns whether it was.  While one prunes, another may keep.
 */
static bool
run (struct trial *t, enum work work, unsigned at, uint64_t ns)
{
  struct shared *shared = &t->shared[work];
  struct shadow_version *version = NULL;
  bool both = work == PRUNE && t->listed > 0 && rng_below (&t->rng, 2) == 0;
  pid_t pid, other = 0;
  enum outcome outcome;

  shared->err = (struct err) ERR_INIT;
  shared->nr_dropped = 0;
  if (work == BACKUP) {
    version = shadow_begin (&t->versions, "disk", t->bytes);
    shared->version = *version;
  }
  pid = begin_child (t, work, at);
  if (both)
    other = begin_child (t, KEEP, 0);
  if (ns > 0) {
    const struct timespec ts = {
      (time_t) (ns / 1000000000), (long) (ns % 1000000000)
    };

    nanosleep (&ts, NULL);
    kill (pid, SIGKILL);
  }
  outcome = end_child (t, work, pid);
  if (both)
    note_kept (t, end_child (t, KEEP, other));
  if (work == BACKUP) {
    *version = shared->version;
    version->reported = outcome == DONE;
  }
  else if (work == PRUNE)
    note_dropped (t, shared);
  else
    note_kept (t, outcome);
  return outcome == KILLED;
}

/* Some of those that are kept. */
static void
release_some (struct trial *t)
{
  struct store *store = open_store (t);
  struct err err = ERR_INIT;

  for (size_t i = 0; i < t->kept.len; ++i)
    if (!t->kept.ptr[i].released && rng_below (&t->rng, 2)) {
      t->kept.ptr[i].released = true;
      if (keeper_release (store, &t->kept.ptr[i], &err) < 0)
        fail_msg ("%s", err.msg);
    }
  store_close (store);
}

/*--- What is left -----------------------------------------------------------*/

/* Who was killed could not say what its run is called: what is in files/ and
 * nobody knows is its own.
 */
static int
find_new (void *opaque, const struct store_entry *entry, struct err *err)
{
  struct trial *t = opaque;
  struct shadow_version *last = t->versions.ptr[t->versions.len - 1];
  struct vault_name name;

  (void) err;
  vault_name_parse (entry->name, &name);
  if (name.kind == VAULT_NAME_HIDDEN)   /* somebody tried the store */
    return 0;
  assert_int_equal (name.kind, VAULT_NAME_RUN);
  if (version_of (t, name.uuid) == NULL) {
    assert_false (last->reported);
    memcpy (last->header.run, name.uuid, UUID_SIZE);
    last->reported = true;      /* it is listed: it stays */
  }
  return 0;
}

/* What was to be dropped may be gone, unless it is kept. */
static void
find_dropped (struct trial *t)
{
  for (size_t i = 0; i < t->pruned.len; ++i) {
    const uint8_t *uuid = t->pruned.ptr[i].run;
    bool kept = keeper_holds (&t->kept, uuid);

    version_of (t, uuid)->dropped = !kept;
    t->nr_held += kept;
  }
}

static void
check (struct trial *t, enum work work, const char *what)
{
  struct store *store = open_store (t);
  size_t listed, dropped = 0;

  assert_int_equal (store_list (store, "files", find_new, t, NULL), 0);
  find_dropped (t);
  listed = shadow_check (store, &t->versions, what);
  store_close (store);
  /* What an earlier one marked may go now. */
  for (size_t i = 0; i < t->versions.len; ++i)
    dropped += t->versions.ptr[i]->dropped;
  if (work == PRUNE
      ? listed > t->listed || listed + dropped < t->listed
      : listed != t->listed && (work == KEEP || listed != t->listed + 1))
    fail_msg ("%s: there were %zu generations, and are %zu", what, t->listed,
              listed);
  t->listed = listed;
}

static int
refuse_name (void *opaque, const struct store_entry *entry, struct err *err)
{
  struct vault_name name;

  (void) err;
  vault_name_parse (entry->name, &name);
  if (name.kind == VAULT_NAME_BACKUP && !name.fresh)
    fail_msg ("%s: %s is left", (const char *) opaque, entry->name);
  return 0;
}

/* But for what was killed in B1, and stays for a day. */
static void
check_nothing_left (const struct trial *t, const char *what)
{
  struct store *store = open_store (t);

  assert_int_equal (store_list (store, "partial", refuse_name, (void *) what,
                                NULL), 0);
  assert_int_equal (store_list (store, "broken", refuse_name, (void *) what,
                                NULL), 0);
  store_close (store);
}

/*----------------------------------------------------------------------------*/

/* One that is not killed, and what it adopted. */
static uint64_t
succeed (struct trial *t, const char *what)
{
  size_t before = t->listed;

  assert_false (run (t, BACKUP, 0, 0));
  check (t, BACKUP, what);
  assert_int_equal (t->listed, before + 1);
  check_nothing_left (t, what);
  return t->shared[BACKUP].version.result.backup.adopted;
}

/* More often late than early, when there is something to be adopted. */
static bool
kill_one (struct trial *t, enum work work)
{
  const struct usual *usual = &t->usual[work];
  unsigned one = rng_below (&t->rng, usual->operations);
  unsigned other = rng_below (&t->rng, usual->operations);

  return rng_below (&t->rng, 3) == 0
    ? run (t, work, 0, 1 + rng_next (&t->rng) % usual->ns)
    : run (t, work, 1 + (one > other ? one : other), 0);
}

/* Of a backup, or of a prune if there is something to drop, or a keep. */
static bool
kill_and_check (struct trial *t, const char *what)
{
  unsigned n = rng_below (&t->rng, 8);
  enum work work = n == 0 ? KEEP : t->listed > 2 && n < 4 ? PRUNE : BACKUP;
  bool killed;

  if (work == BACKUP && rng_below (&t->rng, 4) > 0)
    shadow_change (&t->rng, t->bytes);
  killed = kill_one (t, work);
  check (t, work, what);
  return killed;
}

/* Kills until that many were done in one vault. */
static void
one_vault (struct trial *t, unsigned nr, unsigned *adopted)
{
  unsigned done = 0;
  char what[64];

  new_vault (t);
  succeed (t, "the first");
  assert_false (run (t, KEEP, 0, 0));
  check (t, KEEP, "it is kept");
  assert_false (run (t, PRUNE, 0, 0));
  check (t, PRUNE, "nothing to drop");
  while (done < nr) {
    snprintf (what, sizeof what, "kill %u of a vault", done);
    done += kill_and_check (t, what);
    if (rng_below (&t->rng, 4) == 0)
      release_some (t);
    if (rng_below (&t->rng, 4) != 0)
      *adopted += succeed (t, what) > 0;
  }
  *adopted += succeed (t, "the last") > 0;
  assert_false (run (t, PRUNE, 0, 0));
  check (t, PRUNE, "the last prune");
  remove_vault (t);
}

static unsigned
number (const char *name, unsigned otherwise)
{
  const char *given = getenv (name);

  return given ? (unsigned) strtoul (given, NULL, 0) : otherwise;
}

static void
who_is_killed_loses_nothing (void **state)
{
  unsigned nr = number ("NBDIMAGE_TEST_KILLS",
                        getenv ("NBDIMAGE_LONG") ? 300 : share_of (30));
  unsigned seed = number ("NBDIMAGE_TEST_SEED", 1), adopted = 0, done = 0;
  struct trial *t = calloc (1, sizeof *t);

  (void) state;
  assert_non_null (t);
  t->shared = mmap (NULL, NR_WORKS * sizeof *t->shared, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  assert_true (t->shared != MAP_FAILED);
  t->rng.state = seed;
  while (done < nr) {
    unsigned n = nr - done < KILLS_IN_A_VAULT ? nr - done : KILLS_IN_A_VAULT;

    one_vault (t, n, &adopted);
    done += n;
  }
  print_message ("%u kill points, seed %u; something was adopted %u times, "
                 "%u were kept, which held what was pruned %u times\n", done,
                 seed, adopted, t->nr_kept, t->nr_held);
  counted (done, "kill points", 0, seed);
  assert_true (adopted >= done / 30 && t->nr_kept > 0);
  munmap (t->shared, NR_WORKS * sizeof *t->shared);
  free (t);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (who_is_killed_loses_nothing),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
