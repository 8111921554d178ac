/* SPDX-License-Identifier: GPL-2.0-or-later */

/* kill -9 of backups into a real folder, at points that a seed chooses: in
 * front of one of the operations of the store, or after some time.  After each,
 * the vault lists what it listed before, or one generation more, each reads as
 * what was saved, and nothing is damaged.  Often the next backup, which adopts
 * what was left, is killed too; otherwise it succeeds, and leaves nothing.
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

#include "lib/repo/store-local.h"
#include "tests/support/counted.h"
#include "tests/support/share.h"
#include "tests/support/store-faulty.h"
#include "tests/support/shadow.h"

#define KILLS_IN_A_VAULT 15     /* then a new one is made */

/* What a child says to its parent. */
struct shared {
  struct shadow_version version;
  unsigned operations;
  uint64_t ns;                  /* that it took */
  struct err err;
};

struct trial {
  struct rng rng;
  char folder[64];
  struct shared *shared;
  struct shadow_versions versions;
  uint8_t bytes[SHADOW_DISK];
  size_t listed;                /* generations in the vault */
  unsigned operations;          /* of a backup that is not killed */
  uint64_t ns;
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

static void __attribute__ ((__noreturn__))
be_child (const struct trial *t, unsigned at)
{
  struct shared *shared = t->shared;
  struct end end = { at, 0 };
  struct store *store, *faulty;
  uint64_t began;
  int r;

  r = store_local_open (t->folder, &store, &shared->err);
  if (r < 0)
    _exit (2);
  faulty = store_faulty_new (store);
  store_faulty_watch (faulty, end_here, &end);
  began = now_ns ();
  r = shadow_back_up (faulty, &shared->version, SHADOW_CHUNK, NULL,
                      &shared->err);
  shared->ns = now_ns () - began;
  shared->operations = end.count;
  _exit (r < 0 ? 1 : 0);
}

/* Back up the disk as it is.  Killed in front of operation `at', if it is not
 * 0, or after so many nanoseconds, if that is not 0.  Returns whether it was.
 */
static bool
run (struct trial *t, unsigned at, uint64_t ns)
{
  struct shadow_version *version = shadow_begin (&t->versions, "disk",
                                                 t->bytes);
  pid_t pid;
  int status;

  t->shared->version = *version;
  t->shared->err = (struct err) ERR_INIT;
  pid = fork ();
  assert_true (pid >= 0);
  if (pid == 0)
    be_child (t, at);
  if (ns > 0) {
    const struct timespec ts = {
      (time_t) (ns / 1000000000), (long) (ns % 1000000000)
    };

    nanosleep (&ts, NULL);
    kill (pid, SIGKILL);
  }
  assert_int_equal (waitpid (pid, &status, 0), pid);
  *version = t->shared->version;
  if (WIFSIGNALED (status) && WTERMSIG (status) == SIGKILL) {
    version->reported = false;
    return true;
  }
  if (!WIFEXITED (status) || WEXITSTATUS (status) != 0)
    fail_msg ("a backup ended with status %x: %s", status,
              t->shared->err.msg);
  return false;
}

/*--- What is left -----------------------------------------------------------*/

static const struct shadow_version *
version_of (const struct trial *t, const uint8_t uuid[UUID_SIZE])
{
  for (size_t i = 0; i < t->versions.len; ++i)
    if (memcmp (t->versions.ptr[i]->header.run, uuid, UUID_SIZE) == 0)
      return t->versions.ptr[i];
  return NULL;
}

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
  }
  return 0;
}

static void
check (struct trial *t, const char *what)
{
  struct store *store = open_store (t);
  size_t listed;

  assert_int_equal (store_list (store, "files", find_new, t, NULL), 0);
  listed = shadow_check (store, &t->versions, what);
  store_close (store);
  if (listed != t->listed && listed != t->listed + 1)
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
  if (!name.fresh && name.kind != VAULT_NAME_HIDDEN)
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

  assert_false (run (t, 0, 0));
  check (t, what);
  assert_int_equal (t->listed, before + 1);
  check_nothing_left (t, what);
  t->operations = t->shared->operations;
  t->ns = t->shared->ns;
  return t->shared->version.result.backup.adopted;
}

/* More often late than early, when there is something to be adopted. */
static bool
kill_one (struct trial *t)
{
  unsigned one = rng_below (&t->rng, t->operations);
  unsigned other = rng_below (&t->rng, t->operations);

  return rng_below (&t->rng, 3) == 0
    ? run (t, 0, 1 + rng_next (&t->rng) % t->ns)
    : run (t, 1 + (one > other ? one : other), 0);
}

/* Kills until that many were done in one vault. */
static void
one_vault (struct trial *t, unsigned nr, unsigned *adopted)
{
  unsigned done = 0;
  char what[64];

  new_vault (t);
  succeed (t, "the first");
  while (done < nr) {
    snprintf (what, sizeof what, "kill %u of a vault", done);
    if (rng_below (&t->rng, 4) > 0)
      shadow_change (&t->rng, t->bytes);
    done += kill_one (t);
    check (t, what);
    if (rng_below (&t->rng, 4) != 0)
      *adopted += succeed (t, what) > 0;
  }
  *adopted += succeed (t, "the last") > 0;
  remove_vault (t);
}

static unsigned
number (const char *name, unsigned otherwise)
{
  const char *given = getenv (name);

  return given ? (unsigned) strtoul (given, NULL, 0) : otherwise;
}

static void
a_backup_that_is_killed_loses_nothing (void **state)
{
  unsigned nr = number ("NBDIMAGE_TEST_KILLS",
                        getenv ("NBDIMAGE_LONG") ? 300 : share_of (30));
  unsigned seed = number ("NBDIMAGE_TEST_SEED", 1), adopted = 0, done = 0;
  struct trial *t = calloc (1, sizeof *t);

  (void) state;
  assert_non_null (t);
  t->shared = mmap (NULL, sizeof *t->shared, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  assert_true (t->shared != MAP_FAILED);
  t->rng.state = seed;
  while (done < nr) {
    unsigned n = nr - done < KILLS_IN_A_VAULT ? nr - done : KILLS_IN_A_VAULT;

    one_vault (t, n, &adopted);
    done += n;
  }
  print_message ("%u kill points, seed %u; something was adopted %u times\n",
                 done, seed, adopted);
  counted (done, "kill points", 0, seed);
  assert_true (adopted >= done / 30);
  munmap (t->shared, sizeof *t->shared);
  free (t);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (a_backup_that_is_killed_loses_nothing),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
