/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Schedules: backups of two disks, prunes, readers, checks, and who keeps
 * generations for overlays and releases them again, in one vault, whose
 * operations on the store follow each other in an order that a seed
 * chooses.  Meanwhile anybody may be killed, or stand still for half an hour,
 * an operation may fail, or its answer be lost, the store's clock may jump, and
 * the power may go.
 *
 * Whatever happens: a generation that was listed, and that no prune drops,
 * keeps each of its bytes; one that was reported is there; nothing in the vault
 * is damaged, and no run is sealed whose folder was taken away from it
 * (docs/NBI.md §14, §15).  Who reads what is dropped meanwhile may get an
 * error, never other bytes; a generation that somebody was told is kept stays,
 * whatever a prune was told.  In the end a backup of each disk succeeds, and
 * leaves nothing, and so does a prune.
 *
 * NBDIMAGE_TEST_SEED: where to begin.  NBDIMAGE_TEST_SCHEDULES: how many, by
 * default 200, and 2,000 if NBDIMAGE_LONG is set.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/cleanup.h"
#include "lib/repo/prune.h"
#include "lib/repo/verify-vault.h"
#include "tests/support/counted.h"
#include "tests/support/keeper.h"
#include "tests/support/patient-clock.h"
#include "tests/support/share.h"
#include "tests/support/store-faulty.h"
#include "tests/support/store-model.h"
#include "tests/support/strands.h"
#include "tests/support/shadow.h"

#define NR_DISKS 2
#define MAX_AT_ONCE 4
#define MAX_PLAYERS 12          /* in a schedule */
#define CACHE (1 << 20)

/* What happens between two steps, in ten thousand. */
enum {
  BEGIN = 300,
  KILL = 15,
  FREEZE = 20,
  FREEZE_AT_RENAME = 400,       /* which decides what becomes of a run */
  WAIT = 100,
  JUMP = 8,
  FAIL = 12,
  CUT = 3,
  CUT_SEALED = 500,             /* when a backup was reported just now */
};

static const char *const disk_names[NR_DISKS] = { "a disk", "another" };

struct world;
struct player;

struct role {
  const char *name;
  unsigned weight;
  unsigned max_lag;             /* of its client of the store, seconds */
  void (*begin) (struct player *p);     /* by the world; or NULL */
  void (*run) (struct player *p);       /* by its actor */
};

/* One who does something in the vault, and what came of it. */
struct player {
  struct world *w;
  const struct role *role;
  struct actor *actor;
  struct store *store, *faulty;
  struct rng rng;
  bool disturbed;               /* killed, or an operation failed */
  unsigned op;                  /* that it is in front of; 0: none */

  struct shadow_version *version;        /* a backup's */
  char own[VAULT_NAME_SIZE];    /* a backup's folder in partial/ */
  char taking[2 * VAULT_NAME_SIZE];     /* another's, that it renames just now;
                                           "": none */

  /* What a reader, or a check, saw. */
  bool saw;
  uint8_t run[UUID_SIZE];
  uint8_t bytes[SHADOW_DISK];
  int result;
  struct err err;
};

DEFINE_VECTOR (players, struct player *);

struct run_id {
  uint8_t uuid[UUID_SIZE];
};

DEFINE_VECTOR (run_list, struct run_id);

/* Over all schedules. */
struct tally {
  unsigned steps, sealed, adopted, lost, pruned, readings, checks, kills,
           cuts, kept, held, leftovers,
           hindered;
};

struct world {
  uint64_t seed;
  struct rng rng;
  struct store_model *model;
  struct store *eye;            /* sees all there is; nothing happens to it */
  struct strands *strands;
  struct players players;
  uint8_t disks[NR_DISKS][SHADOW_DISK];
  struct shadow_versions versions;
  struct run_list lost;         /* whose folder somebody took */
  struct run_list pruned;       /* that some prune was told to drop */
  struct kept_list kept;
  bool many_keep;
  struct tally *tally;
};

static const char *
what (const struct world *w)
{
  static char text[64];

  snprintf (text, sizeof text, "seed %" PRIu64, w->seed);
  return text;
}

static bool
happens (struct world *w, unsigned probability)
{
  return rng_below (&w->rng, 10000) < probability;
}

/*--- Steps ------------------------------------------------------------------*/

static bool
has_run (const struct run_list *list, const uint8_t uuid[UUID_SIZE])
{
  for (size_t i = 0; i < list->len; ++i)
    if (memcmp (list->ptr[i].uuid, uuid, UUID_SIZE) == 0)
      return true;
  return false;
}

static void
add_run (struct run_list *list, const uint8_t uuid[UUID_SIZE])
{
  struct run_id id;

  if (has_run (list, uuid))
    return;
  memcpy (id.uuid, uuid, UUID_SIZE);
  if (vector_append (list, &id) < 0)
    abort ();
}

/* Whoever renames a folder in partial/ that is another's takes it away, if that
 * is done.
 */
static void
note_rename (struct player *p, const char *from)
{
  struct vault_name name;
  struct store_stat st;

  if (strncmp (from, "partial/", 8) != 0 || strchr (from + 8, '/') != NULL)
    return;
  vault_name_parse (from + 8, &name);
  if (name.kind != VAULT_NAME_BACKUP)
    return;
  if (name.fresh && p->role->begin != NULL)
    vault_name_work (p->own, VAULT_NAME_BACKUP, name.uuid, false);
  else if (!name.fresh && strcmp (from + 8, p->own) != 0 &&
           store_stat (p->w->eye, from, &st, NULL) == 0)
    snprintf (p->taking, sizeof p->taking, "%s", from);
}

/* The operation after that: nobody else did anything in between. */
static void
see_renamed (struct player *p)
{
  struct vault_name name;
  struct store_stat st;

  if (p->taking[0] != '\0' &&
      store_stat (p->w->eye, p->taking, &st, NULL) == -ENOENT) {
    vault_name_parse (p->taking + 8, &name);
    add_run (&p->w->lost, name.uuid);
    ++p->w->tally->lost;
  }
  p->taking[0] = '\0';
}

/* A lease is renewed while others of the same process may wait for that: no
 * step, so that nobody is stopped in it.
 */
static void
come_to_step (void *opaque, unsigned op, const char *name)
{
  struct player *p = opaque;

  if (op == STORE_OP_REWRITE)
    return;
  see_renamed (p);
  p->op = op;
  strands_step ();
  p->op = 0;
  if (op == STORE_OP_RENAME && !actor_was_killed (p->actor))
    note_rename (p, name);
}

static void
disturb (struct player *p, enum store_fault_kind kind)
{
  const struct store_fault fault = {
    .kind = kind, .ops = STORE_OP_ALL, .at = 1, .code = -EIO,
  };

  store_faulty_set (p->faulty, &fault);
  p->disturbed = true;
}

static void
kill_player (struct player *p)
{
  disturb (p, STORE_FAULT_KILLED);
  actor_kill (p->actor);
  ++p->w->tally->kills;
}

/*--- Backups ----------------------------------------------------------------*/

static void
begin_backup (struct player *p)
{
  struct world *w = p->w;
  /* The first one more often: those of one disk are in each other's way. */
  unsigned disk = rng_below (&w->rng, 4) < 3 ? 0
    : rng_below (&w->rng, NR_DISKS);

  if (rng_below (&w->rng, 2))
    shadow_change (&w->rng, w->disks[disk]);
  p->version = shadow_begin (&w->versions, disk_names[disk], w->disks[disk]);
}

static void
run_backup (struct player *p)
{
  p->result = shadow_back_up (p->faulty, p->version, SHADOW_CHUNK, NULL,
                              &p->err);
  if (p->result < 0)
    return;
  ++p->w->tally->sealed;
  p->w->tally->adopted += p->version->result.backup.adopted > 0;
}

/*--- Prunes -----------------------------------------------------------------*/

/* Whoever prunes may drop any generation by its name, also the newest. */
static void
choose_dropped (struct world *w, struct prune_plan *plan, struct rng *rng)
{
  unsigned odds = rng_below (rng, 3);

  for (size_t i = 0; i < plan->generations.len; ++i) {
    struct prune_generation *g = &plan->generations.ptr[i];

    if (g->fate == PRUNE_KEPT && odds > 0 && rng_below (rng, 3) < odds)
      g->fate = PRUNE_DROPPED;
    if (g->fate == PRUNE_DROPPED)
      add_run (&w->pruned, g->run.run);
  }
}

/* keep: how many of a disk, less what rng says. */
static int
prune (struct world *w, struct store *store, unsigned keep, struct rng *rng,
       struct err *err)
{
  const struct prune_options options = {
    .retention.keep[RETENTION_LAST] = keep, .trust_times = true,
  };
  struct prune_plan plan = { .nr_dropped = 0 };
  struct prune_result result;
  struct generation_caches caches;
  struct vault *vault = NULL;
  int r;

  if (generation_caches_init (&caches, CACHE, NULL) < 0)
    abort ();
  r = vault_open (store, VAULT_WRITE, &vault, NULL, err);
  if (r == 0)
    r = prune_plan (vault, &caches, &options, &plan, NULL, NULL, err);
  if (r == 0) {
    choose_dropped (w, &plan, rng);
    r = prune_run (vault, &caches, &plan, &result, NULL, NULL, err);
  }
  prune_plan_free (&plan);
  vault_close (vault);
  generation_caches_destroy (&caches);
  return r;
}

static void
run_prune (struct player *p)
{
  p->result = prune (p->w, p->faulty, 1 + rng_below (&p->rng, 3), &p->rng,
                     &p->err);
  p->w->tally->pruned += p->result == 0;
}

/*--- Readers ----------------------------------------------------------------*/

/* A generation that was opened is read in two parts, a while apart. */
static int
read_generation (struct player *p, struct generation *gen)
{
  size_t half = SHADOW_DISK / 2;
  int r = generation_pread (gen, p->bytes, half, 0, &p->err);

  for (unsigned n = rng_below (&p->rng, 200); n > 0; --n)
    strands_step ();
  return r < 0 ? r : generation_pread (gen, p->bytes + half,
                                       SHADOW_DISK - half, half, &p->err);
}

static int
read_one (struct player *p, struct vault_view *view)
{
  const struct vault_runs *runs = vault_view_runs (view);
  struct vault_opened opened;
  size_t i;
  int r;

  if (runs->len == 0)
    return 0;
  i = rng_below (&p->rng, (unsigned) runs->len);
  r = vault_view_open (view, i, false, &opened, NULL, &p->err);
  p->saw = true;
  memcpy (p->run, runs->ptr[i].run, UUID_SIZE);
  if (r < 0)
    return r;
  r = read_generation (p, opened.gen);
  vault_opened_close (&opened);
  return r;
}

static void
run_reader (struct player *p)
{
  struct generation_caches caches;
  struct vault_view *view;
  struct vault *vault;
  int r;

  if (generation_caches_init (&caches, CACHE, NULL) < 0)
    abort ();
  r = vault_open (p->faulty, 0, &vault, NULL, &p->err);
  if (r == 0) {
    r = vault_view_new (vault, &caches, &view, &p->err);
    if (r == 0) {
      r = read_one (p, view);
      vault_view_free (view);
    }
    vault_close (vault);
  }
  generation_caches_destroy (&caches);
  p->result = r;
}

/*--- Checks -----------------------------------------------------------------*/

static int
find_damage (void *opaque, struct file_reader *file,
             const struct verify_finding *finding, struct err *err)
{
  (void) opaque;
  return err_set (err, -EBADMSG, "%s: %s", file ? file_reader_name (file) : "",
                  finding->what->msg);
}

static void
run_check (struct player *p)
{
  const struct verify v = { .data = true, .found = find_damage };
  struct verify_result result;
  struct generation_caches caches;
  struct vault *vault;
  int r;

  if (generation_caches_init (&caches, CACHE, NULL) < 0)
    abort ();
  r = vault_open (p->faulty, 0, &vault, NULL, &p->err);
  if (r == 0) {
    r = verify_vault (vault, &caches, &v, &result, NULL, &p->err);
    vault_close (vault);
  }
  generation_caches_destroy (&caches);
  p->result = r;
}

/*--- Keeps ------------------------------------------------------------------*/

/* Who made an overlay deletes it some day, or moves it: then another comes. */
static void
release_one (struct player *p)
{
  struct kept_list *list = &p->w->kept;

  for (size_t i = 0; i < list->len; ++i)
    if (!list->ptr[i].released && rng_below (&p->rng, 2)) {
      const struct kept kept = list->ptr[i];

      list->ptr[i].released = true;
      p->result = keeper_release (p->faulty, &kept, &p->err);
      return;
    }
}

static void
keep_one (struct player *p)
{
  char path[32];
  struct kept kept;

  snprintf (path, sizeof path, "/overlay/%u", rng_below (&p->rng, 1000000));
  p->result = keeper_put (p->faulty, &p->rng, path, &kept, &p->err);
  if (p->result == 0 && vector_append (&p->w->kept, &kept) < 0)
    abort ();
  p->w->tally->kept += p->result == 0;
}

static void
run_keeper (struct player *p)
{
  for (unsigned n = 1 + rng_below (&p->rng, 6); n > 0; --n) {
    keep_one (p);
    for (unsigned k = rng_below (&p->rng, 20); k > 0; --k)
      strands_step ();
    if (rng_below (&p->rng, 2))
      release_one (p);
  }
}

/* Those who look without being able to wait see what there is. */
static const struct role roles[] = {
  { "backup", 6, 40, begin_backup, run_backup },
  { "prune", 2, 40, NULL, run_prune },
  { "reader", 2, 0, NULL, run_reader },
  { "check", 1, 0, NULL, run_check },
  { "keeper", 2, 40, NULL, run_keeper },
};

#define NR_ROLES (sizeof roles / sizeof roles[0])

/*--- A schedule -------------------------------------------------------------*/

/* In some schedules it is mostly prunes and keepers that meet, and there are
 * several generations when it begins.
 */
static unsigned
weight_of (const struct world *w, const struct role *role)
{
  return role->weight * (w->many_keep && (role->run == run_prune ||
                                          role->run == run_keeper) ? 3 : 1);
}

static const struct role *
choose_role (struct world *w)
{
  unsigned total = 0, n;
  size_t i = 0;

  for (size_t k = 0; k < NR_ROLES; ++k)
    total += weight_of (w, &roles[k]);
  n = rng_below (&w->rng, total);
  while (n >= weight_of (w, &roles[i]))
    n -= weight_of (w, &roles[i++]);
  return &roles[i];
}

static void
run_player (void *opaque)
{
  struct player *p = opaque;

  p->role->run (p);
}

/* Half of the clients see all there is. */
static void
add_player (struct world *w)
{
  struct player *p = calloc (1, sizeof *p);
  unsigned lag;

  if (p == NULL || vector_append (&w->players, &p) < 0)
    abort ();
  p->w = w;
  p->role = choose_role (w);
  p->rng.state = rng_next (&w->rng);
  lag = rng_below (&w->rng, 2) ? p->role->max_lag : 0;
  if (p->role->begin)
    p->role->begin (p);
  p->actor = strands_begin (w->strands, run_player, p);
  p->store = store_model_client (w->model, lag, false);
  p->faulty = store_faulty_new (p->store);
  store_set_clock (p->faulty, actor_clock (p->actor));
  store_faulty_watch (p->faulty, come_to_step, p);
}

static size_t
at_work (const struct world *w)
{
  size_t nr = 0;

  for (size_t i = 0; i < w->players.len; ++i)
    nr += !actor_has_ended (w->players.ptr[i]->actor);
  return nr;
}

static void
let_time_go_by (struct world *w, uint64_t seconds)
{
  strands_advance (w->strands, seconds * REPO_SECOND);
  store_model_advance (w->model, (unsigned) seconds);
}

static void
jump (struct world *w)
{
  if (rng_below (&w->rng, 2))
    store_model_advance (w->model, rng_below (&w->rng, 4000));
  else
    store_model_set_back (w->model, rng_below (&w->rng, 1000));
}

/* All end, whose last doings have no effect. */
static void
drain (struct world *w)
{
  struct strand *list[64];
  uint64_t next;

  while (strands_choices (w->strands, list, 64, &next) > 0)
    strands_go (w->strands, list[0]);
}

static void
cut_power (struct world *w)
{
  unsigned first, last;

  for (size_t i = 0; i < w->players.len; ++i)
    if (!actor_has_ended (w->players.ptr[i]->actor))
      kill_player (w->players.ptr[i]);
  drain (w);
  store_model_states (w->model, &first, &last);
  store_model_cut (w->model, first + rng_below (&w->rng, last - first + 1));
  store_close (w->eye);
  w->eye = store_model_client (w->model, 0, false);
  ++w->tally->cuts;
}

/* Before `strand' goes on. */
static void
let_things_happen (struct world *w, struct strand *strand)
{
  struct player *p = actor_opaque (strand_actor (strand));

  if (happens (w, KILL))
    kill_player (p);
  else if (happens (w, FAIL))
    disturb (p, rng_below (&w->rng, 2) ? STORE_FAULT_ONCE : STORE_FAULT_LOST);
  if (happens (w, WAIT))
    let_time_go_by (w, 1 + rng_below (&w->rng, 20));
  if (happens (w, JUMP))
    jump (w);
}

/* Whoever was at it goes on, often. */
static struct strand *
choose_strand (struct world *w, struct strand **list, size_t nr,
               const struct actor *last)
{
  size_t i = rng_below (&w->rng, (unsigned) nr);

  if (rng_below (&w->rng, 4) > 0)
    for (size_t k = 0; k < nr; ++k)
      if (strand_actor (list[(i + k) % nr]) == last)
        return list[(i + k) % nr];
  return list[i];
}

/* Nobody can go on before `next'.  Others may come meanwhile, who find those
 * that stand still.
 */
static void
wait_for_somebody (struct world *w, uint64_t next, size_t busy)
{
  uint64_t seconds = (next - strands_now (w->strands)) / REPO_SECOND + 1;
  bool more = w->players.len < MAX_PLAYERS && busy < MAX_AT_ONCE &&
    rng_below (&w->rng, 2);

  if (more && seconds > 1)
    seconds = 1 + rng_below (&w->rng, (unsigned) seconds);
  let_time_go_by (w, seconds);
  if (more)
    add_player (w);
}

static bool
at_rename (const struct actor *a)
{
  const struct player *p = actor_opaque (a);

  return p->op == STORE_OP_RENAME;
}

/* What is reported is on stable storage, from the first moment on. */
static bool
has_just_sealed (struct player *p)
{
  return p->version != NULL && p->version->reported &&
    actor_has_ended (p->actor);
}

static void
play (struct world *w)
{
  const struct actor *last = NULL;

  for (;;) {
    struct strand *list[64], *strand;
    uint64_t next;
    size_t nr, busy = at_work (w);

    if (w->players.len < MAX_PLAYERS && busy < MAX_AT_ONCE &&
        (busy == 0 || happens (w, BEGIN)))
      add_player (w);
    nr = strands_choices (w->strands, list, 64, &next);
    if (nr == 0 && next == UINT64_MAX)
      return;
    if (nr == 0) {
      wait_for_somebody (w, next, busy);
      continue;
    }
    strand = choose_strand (w, list, nr, last);
    last = strand_actor (strand);
    if (!actor_was_killed (last)) {
      if (happens (w, CUT)) {
        cut_power (w);
        continue;
      }
      if (happens (w, at_rename (last) ? FREEZE_AT_RENAME : FREEZE)) {
        actor_freeze (strand_actor (strand), strands_now (w->strands) +
                      rng_below (&w->rng, 2400) * REPO_SECOND);
        continue;
      }
      let_things_happen (w, strand);
    }
    strands_go (w->strands, strand);
    ++w->tally->steps;
    if (has_just_sealed (actor_opaque (last)) && happens (w, CUT_SEALED))
      cut_power (w);
  }
}

/*--- What must be so --------------------------------------------------------*/

static const struct shadow_version *
version_of (const struct world *w, const uint8_t run[UUID_SIZE])
{
  for (size_t i = 0; i < w->versions.len; ++i)
    if (memcmp (w->versions.ptr[i]->header.run, run, UUID_SIZE) == 0)
      return w->versions.ptr[i];
  return NULL;
}

/* What a reader had before it, or what it was told. */
static void
check_reading (const struct world *w, const struct player *p)
{
  const struct shadow_version *version = version_of (w, p->run);

  if (!p->saw)
    return;
  if (version == NULL)
    fail_msg ("%s: a reader saw a generation that nobody made", what (w));
  if (p->result < 0 && !has_run (&w->pruned, p->run) &&
      !(p->result == -ENOENT && !version->reported))
    fail_msg ("%s: a reader: %s", what (w), p->err.msg);
  if (p->result == 0 && memcmp (p->bytes, version->bytes, SHADOW_DISK) != 0)
    fail_msg ("%s: a reader got other bytes", what (w));
  ++w->tally->readings;
}

/* Is it about something that was dropped meanwhile?  Messages have RUN as in
 * names, or with dashes.
 */
static bool
is_about_pruned (const struct world *w, const char *message)
{
  for (size_t i = 0; i < w->pruned.len; ++i) {
    char name[VAULT_NAME_SIZE], text[UUID_STRING_SIZE];

    vault_name_adopted (name, w->pruned.ptr[i].uuid);
    uuid_to_string (w->pruned.ptr[i].uuid, text);
    if (strstr (message, name) != NULL || strstr (message, text) != NULL)
      return true;
  }
  return false;
}

static void
check_players (const struct world *w)
{
  for (size_t i = 0; i < w->players.len; ++i) {
    const struct player *p = w->players.ptr[i];

    if (p->disturbed)
      continue;
    if (p->role->run == run_reader)
      check_reading (w, p);
    else if (p->role->run == run_check) {
      if (p->result < 0 && !is_about_pruned (w, p->err.msg))
        fail_msg ("%s: a check: %s", what (w), p->err.msg);
      ++w->tally->checks;
    }
  }
}

/* Who was taken for dead is not in files/. */
static void
check_lost (const struct world *w)
{
  CLEANUP_FREE char *names = store_model_names (w->model);

  for (size_t i = 0; i < w->lost.len; ++i) {
    char run[VAULT_NAME_SIZE], end[VAULT_NAME_SIZE + 2];

    vault_name_adopted (run, w->lost.ptr[i].uuid);
    snprintf (end, sizeof end, ".%s/", run);
    if (strstr (names, end) != NULL)
      fail_msg ("%s: the run %s was sealed, and had lost its lease", what (w),
                run);
  }
}

static int
refuse_left (void *opaque, const struct store_entry *entry, struct err *err)
{
  struct vault_name name;

  (void) err;
  vault_name_parse (entry->name, &name);
  if (name.kind == VAULT_NAME_BACKUP && !name.fresh)
    fail_msg ("%s: %s is left", what (opaque), entry->name);
  return 0;
}

/* All is there but what was dropped, and is not kept. */
static void
check_vault (struct world *w)
{
  for (size_t i = 0; i < w->versions.len; ++i) {
    struct shadow_version *version = w->versions.ptr[i];
    bool pruned = has_run (&w->pruned, version->header.run);
    bool kept = keeper_holds (&w->kept, version->header.run);

    version->dropped = pruned && !kept;
    w->tally->held += pruned && kept;
  }
  shadow_check (w->eye, &w->versions, what (w));
}

/* Who was killed in the middle of it may have left keeps, also of what is half
 * gone: then that is all that hinders a prune, and is said.
 */
static void
release_leftovers (struct world *w)
{
  struct err err = ERR_INIT;
  unsigned nr;
  int r = keeper_others (w->eye, &w->kept, false, &nr, &err);

  assert_int_equal (r, 0);
  if (nr == 0)
    return;
  w->tally->leftovers += nr;
  r = prune (w, w->eye, 1000, &w->rng, &err);
  if (r < 0 && (r != -EBADMSG || strstr (err.msg, "is kept for the overlay") ==
                NULL))
    fail_msg ("%s: pruning, where keeps may be left: %s", what (w), err.msg);
  w->tally->hindered += r < 0;
  if (keeper_others (w->eye, &w->kept, true, &nr, &err) < 0)
    fail_msg ("%s: %s", what (w), err.msg);
}

/* Undisturbed. */
static void
back_up_well (struct world *w, unsigned disk)
{
  struct shadow_version *version = shadow_begin (&w->versions, disk_names[disk],
                                                 w->disks[disk]);
  struct err err = ERR_INIT;

  if (shadow_back_up (w->eye, version, SHADOW_CHUNK, NULL, &err) < 0)
    fail_msg ("%s: undisturbed: %s", what (w), err.msg);
  w->tally->adopted += version->result.backup.adopted > 0;
}

/* A backup of each disk, and a prune. */
static void
work_in_the_end (struct world *w)
{
  struct err err = ERR_INIT;

  for (unsigned i = 0; i < NR_DISKS; ++i)
    back_up_well (w, i);
  assert_int_equal (store_list (w->eye, "partial", refuse_left, w, NULL), 0);
  assert_int_equal (store_list (w->eye, "broken", refuse_left, w, NULL), 0);
  check_vault (w);
  if (prune (w, w->eye, 1, &w->rng, &err) < 0)
    fail_msg ("%s: in the end, pruning: %s", what (w), err.msg);
  check_vault (w);
}

static void
run_schedule (uint64_t seed, struct tally *tally)
{
  struct world *w = calloc (1, sizeof *w);
  struct patient_clock clock;

  assert_non_null (w);
  w->seed = w->rng.state = seed;
  w->tally = tally;
  w->many_keep = seed % 3 == 0;
  w->model = store_model_new (seed);
  w->strands = strands_new ();
  w->eye = store_model_client (w->model, 0, false);
  store_model_advance (w->model, 10 * 86400);
  patient_clock_init (&clock, store_model_clock (w->model));
  store_set_clock (w->eye, &clock.clock);
  shadow_make_vault (w->eye);
  for (unsigned i = 0; i < NR_DISKS; ++i)
    shadow_fill (&w->rng, w->disks[i]);
  for (unsigned i = 0; w->many_keep && i < 4; ++i) {
    shadow_change (&w->rng, w->disks[0]);
    back_up_well (w, 0);
  }
  play (w);
  check_players (w);
  check_lost (w);
  store_set_clock (w->eye, &clock.clock);       /* a power cut made it anew */
  store_model_advance (w->model, 3600);
  release_leftovers (w);
  check_vault (w);
  work_in_the_end (w);

  strands_free (w->strands);
  for (size_t i = 0; i < w->players.len; ++i) {
    store_close (w->players.ptr[i]->faulty);
    store_close (w->players.ptr[i]->store);
    free (w->players.ptr[i]);
  }
  vector_free (&w->players);
  shadow_free (&w->versions);
  vector_free (&w->lost);
  vector_free (&w->pruned);
  vector_free (&w->kept);
  store_close (w->eye);
  store_model_free (w->model);
  free (w);
}

static uint64_t
number (const char *name, uint64_t otherwise)
{
  const char *given = getenv (name);

  return given ? strtoull (given, NULL, 0) : otherwise;
}

static void
no_schedule_loses_a_byte (void **state)
{
  uint64_t seed = number ("NBDIMAGE_TEST_SEED", 1 + share_seed ());
  uint64_t nr = number ("NBDIMAGE_TEST_SCHEDULES",
                        getenv ("NBDIMAGE_LONG") ? 2000 : share_of (200));
  struct tally t = { 0 };

  (void) state;
  for (uint64_t i = 0; i < nr; ++i)
    run_schedule (seed + i, &t);
  print_message ("%" PRIu64 " schedules from seed %" PRIu64 ": %u steps, %u "
                 "generations, %u backups adopted something, %u runs lost "
                 "their folder, %u prunes, %u readers, %u checks, %u kills, "
                 "%u power cuts, %u keeps, %u held what was pruned, %u were "
                 "left, %u of them in the way of a prune\n", nr, seed, t.steps,
                 t.sealed, t.adopted, t.lost, t.pruned, t.readings, t.checks,
                 t.kills, t.cuts, t.kept, t.held, t.leftovers, t.hindered);
  counted (nr, "schedules", 0, seed);
  if (nr < 50)
    return;
  assert_true (t.sealed > nr && t.adopted > nr / 10 && t.lost > nr / 20 &&
               t.pruned > nr / 10 &&
               t.readings > nr / 10 && t.checks > nr / 20 &&
               t.kills > nr / 10 && t.cuts > nr / 50 &&
               t.kept > nr / 10 && t.held > nr / 50);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (no_schedule_loses_a_byte),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
