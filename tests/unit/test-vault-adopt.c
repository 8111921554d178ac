/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What an interrupted backup left is adopted by the next one (docs/NBI.md §14,
 * B4): after a kill, a failure or a power cut at each operation, after several
 * in a row, and with damage in what was left.
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
#include "lib/block/memory.h"
#include "tests/support/patient-clock.h"
#include "tests/support/store-faulty.h"
#include "tests/support/store-model.h"
#include "tests/support/shadow.h"

#define EXPIRED 1000            /* seconds: nobody is at work any more */

struct setting {
  struct store_model *model;
  struct store *store;          /* of whom nothing happens to */
  struct patient_clock clock;
  struct rng rng;
  uint8_t bytes[SHADOW_DISK];    /* of the disk as it is now */
  struct shadow_versions versions;
  struct report report;
};

static struct setting *
set_up (uint64_t seed)
{
  struct setting *s = calloc (1, sizeof *s);

  assert_non_null (s);
  s->model = store_model_new (seed);
  s->store = store_model_client (s->model, 0, true);
  patient_clock_init (&s->clock, store_model_clock (s->model));
  store_set_clock (s->store, &s->clock.clock);
  s->rng.state = seed;
  shadow_fill (&s->rng, s->bytes);
  shadow_make_vault (s->store);
  return s;
}

static void
tear_down (struct setting *s)
{
  shadow_free (&s->versions);
  report_free (&s->report);
  store_close (s->store);
  store_model_free (s->model);
  free (s);
}

/* The power was cut: who was at work has gone too. */
static void
reconnect (struct setting *s)
{
  store_close (s->store);
  s->store = store_model_client (s->model, 0, true);
  store_set_clock (s->store, &s->clock.clock);
}

static const struct shadow_version *
back_up_well (struct setting *s, const char *name, uint32_t chunk_size)
{
  struct shadow_version *version = shadow_begin (&s->versions, name, s->bytes);
  struct err err = ERR_INIT;

  if (shadow_back_up (s->store, version, chunk_size, &s->report, &err) < 0)
    fail_msg ("backing up ‘%s’: %s", name, err.msg);
  return version;
}

/* A run that something happens to.  Returns how many operations it made. */
static unsigned
back_up_with (struct setting *s, const char *name,
              const struct store_fault *fault, int *result)
{
  struct shadow_version *version = shadow_begin (&s->versions, name, s->bytes);
  struct store *faulty = store_faulty_new (s->store);
  unsigned count;

  store_faulty_set (faulty, fault);
  *result = shadow_back_up (faulty, version, SHADOW_CHUNK, NULL, NULL);
  count = store_faulty_count (faulty);
  store_close (faulty);
  return count;
}

/* How many names there are in these folders that end so.  `.new' folders and
 * those that begin with a dot (of somebody who tried the store) are left out,
 * with what is in them.
 */
static unsigned
count_names (struct setting *s, const char *end)
{
  static const char *const folders[] = { "partial/", "broken/" };
  CLEANUP_FREE char *names = store_model_names (s->model);
  unsigned nr = 0;
  char *rest = NULL;

  for (char *name = strtok_r (names, "\n", &rest); name != NULL;
       name = strtok_r (NULL, "\n", &rest)) {
    size_t len = strlen (name), n = strlen (end);

    for (size_t i = 0; i < 2; ++i)
      if (strncmp (name, folders[i], strlen (folders[i])) == 0 &&
          name[strlen (folders[i])] != '\0' &&
          strstr (name, ".new/") == NULL && strstr (name, "/.") == NULL &&
          len >= n &&
          strcmp (name + len - n, end) == 0)
        ++nr;
  }
  return nr;
}

/* The manifest of a run that adopts says what it would say otherwise. */
static void
assert_same_counts (const struct shadow_version *a,
                    const struct shadow_version *b)
{
  const struct manifest_counts *x = &a->result.backup.counts;
  const struct manifest_counts *y = &b->result.backup.counts;

  assert_int_equal (x->data, y->data);
  assert_int_equal (x->zero, y->zero);
  assert_int_equal (x->fresh, y->fresh);
}

/*--- One interruption -------------------------------------------------------*/

/* Nothing was said: nothing that was left was damaged, or in the way. */
static void
assert_silent (const struct setting *s)
{
  if (s->report.lines.len > 0)
    fail_msg ("a warning: %s", s->report.lines.ptr[0]);
}

/* What the second backup of the disk, which nothing happens to, says. */
static struct vault_backup_result
undisturbed (uint64_t seed)
{
  struct setting *s = set_up (seed);
  struct vault_backup_result result;

  back_up_well (s, "disk", SHADOW_CHUNK);
  shadow_change (&s->rng, s->bytes);
  result = back_up_well (s, "disk", SHADOW_CHUNK)->result;
  assert_int_equal (result.backup.adopted, 0);
  tear_down (s);
  return result;
}

struct tally {
  unsigned operations, adopted, copied, states;
};

/* The run that comes then: adopts what there is, and leaves nothing. */
static void
adopt_and_check (struct setting *s, const struct vault_backup_result *expected,
                 bool done, struct tally *tally)
{
  unsigned files = count_names (s, ".nbi"), parts = count_names (s, ".part");
  const struct shadow_version *version;
  char what[64];

  snprintf (what, sizeof what, "operation %u", tally->operations);
  shadow_check (s->store, &s->versions, what);
  store_model_advance (s->model, EXPIRED);
  version = back_up_well (s, "disk", SHADOW_CHUNK);
  if (files > 0)
    assert_true (version->result.backup.adopted > 0);
  if (files == 0 && parts == 0)
    assert_int_equal (version->result.backup.adopted, 0);
  if (files > 0)
    ++tally->adopted;
  else if (version->result.backup.adopted > 0)
    ++tally->copied;
  assert_int_equal (count_names (s, ""), 0);
  shadow_check (s->store, &s->versions, what);
  /* Or it was there already, and nothing is new. */
  if (!done)
    assert_int_equal (version->result.backup.counts.fresh,
                      expected->backup.counts.fresh);
  assert_int_equal (version->result.backup.counts.data,
                    expected->backup.counts.data);
}

/* A day later what was not there yet goes too. */
static void
check_day_after (struct setting *s)
{
  CLEANUP_FREE char *names = NULL;

  store_model_advance (s->model, 2 * 86400);
  back_up_well (s, "disk", SHADOW_CHUNK);
  assert_int_equal (count_names (s, ""), 0);
  names = store_model_names (s->model);
  assert_null (strstr (names, ".new/"));
  assert_null (strstr (names, "/.trial-"));
}

static bool
is_in_vault (struct setting *s, const struct shadow_version *version)
{
  CLEANUP_FREE char *names = store_model_names (s->model);
  char run[VAULT_NAME_SIZE], *found;

  vault_name_adopted (run, version->header.run);
  found = strstr (names, run);
  return found != NULL && found > names && found[-1] == '.';
}

static bool
end_at (enum store_fault_kind kind, unsigned n, int code,
        const struct vault_backup_result *expected, struct tally *tally)
{
  const struct store_fault fault = {
    .kind = kind, .ops = STORE_OP_ALL, .at = n, .code = code,
  };
  struct setting *s = set_up (11);
  unsigned count;
  bool done;
  int r;

  back_up_well (s, "disk", SHADOW_CHUNK);
  shadow_change (&s->rng, s->bytes);
  count = back_up_with (s, "disk", &fault, &r);
  done = is_in_vault (s, s->versions.ptr[1]);
  tally->operations = n;
  adopt_and_check (s, expected, done, tally);
  check_day_after (s);
  assert_silent (s);
  tear_down (s);
  return n <= count;
}

static void
end_at_each (enum store_fault_kind kind, int code)
{
  struct vault_backup_result expected = undisturbed (11);
  struct tally tally = { 0, 0, 0, 0 };

  for (unsigned n = 1; end_at (kind, n, code, &expected, &tally); ++n)
    ;
  print_message ("%u operations; whole files were adopted after %u, records "
                 "of one copied after %u\n", tally.operations, tally.adopted,
                 tally.copied);
  assert_in_range (tally.operations, 40, 2000);
  assert_true (tally.adopted > 10);
}

static void
test_killed (void **state)
{
  (void) state;
  end_at_each (STORE_FAULT_KILLED, -EIO);
}

static void
test_failed (void **state)
{
  (void) state;
  end_at_each (STORE_FAULT_ONCE, -ENOSPC);
}

static void
test_failed_in_part (void **state)
{
  (void) state;
  end_at_each (STORE_FAULT_PART, -EIO);
}

static void
test_answer_lost (void **state)
{
  (void) state;
  end_at_each (STORE_FAULT_LOST, -EIO);
}

/* Killed at operation n, then the power goes: a few of the states that may
 * leave.
 */
static bool
cut_at (unsigned n, uint64_t seed, struct tally *tally)
{
  const struct store_fault fault = {
    .kind = STORE_FAULT_KILLED, .ops = STORE_OP_ALL, .at = n, .code = -EIO,
  };
  struct setting *s = set_up (seed);
  unsigned count, first, last, files;
  const struct shadow_version *version;
  char what[64];
  int r;

  back_up_well (s, "disk", SHADOW_CHUNK);
  shadow_change (&s->rng, s->bytes);
  count = back_up_with (s, "disk", &fault, &r);
  store_model_states (s->model, &first, &last);
  store_model_cut (s->model, first + rng_below (&s->rng, last - first + 1));
  reconnect (s);
  snprintf (what, sizeof what, "a power cut at operation %u, seed %" PRIu64, n,
            seed);
  shadow_check (s->store, &s->versions, what);
  files = count_names (s, ".nbi");
  store_model_advance (s->model, EXPIRED);
  version = back_up_well (s, "disk", SHADOW_CHUNK);
  if (files > 0)
    assert_true (version->result.backup.adopted > 0);
  tally->adopted += version->result.backup.adopted > 0;
  ++tally->states;
  assert_int_equal (count_names (s, ""), 0);
  shadow_check (s->store, &s->versions, what);
  /* What is named .nbi is on stable storage. */
  assert_silent (s);
  tear_down (s);
  return n <= count;
}

static void
test_power_cut (void **state)
{
  struct tally tally = { 0, 0, 0, 0 };
  bool more = true;

  (void) state;
  for (unsigned n = 1; more; ++n)
    for (uint64_t seed = 21; seed < 24; ++seed)
      more = cut_at (n, seed, &tally);
  print_message ("%u power cuts, something was adopted after %u\n",
                 tally.states, tally.adopted);
  assert_true (tally.adopted > 20);
}

/*--- Several ----------------------------------------------------------------*/

/* Each run adopts what the one before left, and is interrupted too; the disk
 * may change meanwhile.
 */
static void
interrupt_often (uint64_t seed, struct tally *tally)
{
  struct setting *s = set_up (seed);
  const struct shadow_version *version;
  char what[64];

  snprintf (what, sizeof what, "seed %" PRIu64, seed);
  back_up_well (s, "disk", SHADOW_CHUNK);
  shadow_change (&s->rng, s->bytes);
  for (unsigned i = 2 + rng_below (&s->rng, 6); i > 0; --i) {
    const struct store_fault fault = {
      .kind = rng_below (&s->rng, 3) ? STORE_FAULT_KILLED : STORE_FAULT_ONCE,
      .ops = STORE_OP_ALL, .at = 40 + rng_below (&s->rng, 120), .code = -EIO,
    };
    int r;

    back_up_with (s, "disk", &fault, &r);
    shadow_check (s->store, &s->versions, what);
    if (rng_below (&s->rng, 2))
      store_model_advance (s->model, EXPIRED);
    if (rng_below (&s->rng, 4) == 0)
      shadow_change (&s->rng, s->bytes);
  }
  store_model_advance (s->model, EXPIRED);
  tally->states += count_names (s, ".nbi") > 0;
  version = back_up_well (s, "disk", SHADOW_CHUNK);
  tally->adopted += version->result.backup.adopted > 0;
  assert_int_equal (count_names (s, ""), 0);
  shadow_check (s->store, &s->versions, what);
  tear_down (s);
}

static void
test_interrupted_often (void **state)
{
  struct tally tally = { 0, 0, 0, 0 };

  (void) state;
  for (uint64_t seed = 100; seed < 160; ++seed)
    interrupt_often (seed, &tally);
  print_message ("60 rows of interruptions; there were whole files after %u, "
                 "something was adopted after %u\n", tally.states,
                 tally.adopted);
  assert_true (tally.adopted > 10);
}

/*--- What is not adopted ----------------------------------------------------*/

/* A backup of a disk with nothing before it, killed when it has written all but
 * its last file.
 */
static struct setting *
killed_late (uint64_t seed)
{
  const struct store_fault fault = {
    .kind = STORE_FAULT_KILLED, .ops = STORE_OP_FLUSH, .at = 9, .code = -EIO,
  };
  struct setting *s = set_up (seed);
  int r;

  back_up_with (s, "disk", &fault, &r);
  assert_int_not_equal (r, 0);
  if (count_names (s, ".nbi") < 2)
    fail_msg ("only this: %s", store_model_names (s->model));
  return s;
}

/* Flip a bit of a file; its length stays. */
static void
damage (struct setting *s, const char *name, uint64_t where)
{
  CLEANUP_FREE char *bytes = NULL;
  int64_t time;
  size_t len;

  assert_int_equal (store_read_all (s->store, name, 1 << 20, &bytes, &len,
                                    NULL), 0);
  if (len == 0)
    return;
  bytes[where % len] = (char) (bytes[where % len] ^ 1 << where / len % 8);
  assert_int_equal (store_rewrite (s->store, name, bytes, len, &time, NULL),
                    0);
}

/* A bit anywhere in anything that was left. */
static void
damage_something (struct setting *s)
{
  CLEANUP_FREE char *names = store_model_names (s->model);
  char *rest = NULL, *files[64];
  unsigned nr = 0;

  for (char *name = strtok_r (names, "\n", &rest); name != NULL;
       name = strtok_r (NULL, "\n", &rest))
    if (strncmp (name, "partial/backup-", 15) == 0 &&
        name[strlen (name) - 1] != '/' && nr < 64)
      files[nr++] = name;
  assert_true (nr > 3);
  damage (s, files[rng_below (&s->rng, nr)], rng_next (&s->rng) >> 8);
}

static void
test_damage (void **state)
{
  unsigned warned = 0, adopted = 0;

  (void) state;
  for (uint64_t seed = 200; seed < 400; ++seed) {
    struct setting *s = killed_late (seed);
    const struct shadow_version *version;
    char what[64];

    snprintf (what, sizeof what, "seed %" PRIu64, seed);
    damage_something (s);
    store_model_advance (s->model, 2 * 86400);
    version = back_up_well (s, "disk", SHADOW_CHUNK);
    shadow_check (s->store, &s->versions, what);
    warned += s->report.lines.len > 0;
    adopted += version->result.backup.adopted > 0;
    tear_down (s);
  }
  print_message ("200 flipped bits: %u were told, something was adopted in "
                 "%u\n", warned, adopted);
  assert_true (warned > 50 && adopted > 100);
}

/* The disk has changed since in every chunk: nothing is taken on trust. */
static void
test_source_changed (void **state)
{
  struct setting *s = killed_late (31);

  (void) state;
  for (size_t i = 0; i < SHADOW_DISK; i += SHADOW_CHUNK)
    s->bytes[i] ^= 1;
  store_model_advance (s->model, EXPIRED);
  assert_int_equal (back_up_well (s, "disk", SHADOW_CHUNK)
                    ->result.backup.adopted, 0);
  assert_int_equal (count_names (s, ""), 0);
  shadow_check (s->store, &s->versions, "changed");
  tear_down (s);
}

static void
test_other_chunks (void **state)
{
  struct setting *s = killed_late (32);

  (void) state;
  store_model_advance (s->model, EXPIRED);
  assert_int_equal (back_up_well (s, "disk", 2 * SHADOW_CHUNK)
                    ->result.backup.adopted, 0);
  assert_int_equal (count_names (s, ""), 0);
  shadow_check (s->store, &s->versions, "other chunks");
  tear_down (s);
}

static void
test_other_disk (void **state)
{
  struct setting *s = killed_late (33);
  unsigned nr = count_names (s, "");

  (void) state;
  store_model_advance (s->model, EXPIRED);
  assert_int_equal (back_up_well (s, "other", SHADOW_CHUNK)
                    ->result.backup.adopted, 0);
  assert_int_equal (count_names (s, ""), nr);
  assert_true (back_up_well (s, "disk", SHADOW_CHUNK)->result.backup.adopted
               > 0);
  assert_int_equal (count_names (s, ""), 0);
  shadow_check (s->store, &s->versions, "another disk");
  tear_down (s);
}

/* Nobody knows yet that it was killed. */
static void
test_at_work (void **state)
{
  struct setting *s = killed_late (34);
  struct shadow_version *version = shadow_begin (&s->versions, "disk",
                                                 s->bytes);
  unsigned nr = count_names (s, ".nbi");

  (void) state;
  assert_int_equal (shadow_back_up (s->store, version, SHADOW_CHUNK, NULL,
                                    NULL), -EBUSY);
  assert_int_equal (count_names (s, ".nbi"), nr);
  tear_down (s);
}

/* An interrupted run's records are the same as a run's without interruption:
 * also those that are there more than once.
 */
static void
test_same_counts (void **state)
{
  struct setting *s = killed_late (35), *other = set_up (35);

  (void) state;
  store_model_advance (s->model, EXPIRED);
  assert_same_counts (back_up_well (s, "disk", SHADOW_CHUNK),
                      back_up_well (other, "disk", SHADOW_CHUNK));
  tear_down (other);
  tear_down (s);
}

/*--- Copies -----------------------------------------------------------------*/

/* Copy a generation, as another disk of the same vault, through this store. */
static int
copy_generation (struct setting *s, struct store *store,
                 const struct vault_opened *opened,
                 const struct generation_caches *caches,
                 struct shadow_version *version)
{
  CLEANUP_BLOCK struct block *disk = NULL;
  struct manifest manifest = { 0 };
  struct backup_options options = {
    .codec = NBI_STORED, .threads = 1, .file_limit = SHADOW_FILE,
    .manifest = &manifest, .from = opened->gen,
    .header = {
      .disk_size = SHADOW_DISK, .chunk_size = SHADOW_CHUNK, .logical = 512,
      .physical = 4096,
    },
  };
  struct vault *vault;
  const char *json;
  size_t len;
  int r;

  snprintf (options.header.name, sizeof options.header.name, "%s",
            version->name);
  assert_int_equal (block_memory_new ("a disk", s->bytes, SHADOW_DISK, &disk,
                                      NULL), 0);
  json = generation_manifest (opened->gen, &len);
  assert_int_equal (manifest_read (json, len,
                                   generation_header (opened->gen), &manifest,
                                   NULL), 0);
  r = vault_open (store, VAULT_WRITE, &vault, NULL, NULL);
  if (r == 0) {
    r = vault_backup (vault, disk, &options, caches, &version->result, NULL,
                      NULL, NULL);
    vault_close (vault);
  }
  version->header = options.header;
  version->reported = r == 0;
  manifest_destroy (&manifest);
  return r;
}

/* A copy that was killed late is done again. */
static void
test_copy (void **state)
{
  const struct store_fault fault = {
    .kind = STORE_FAULT_KILLED, .ops = STORE_OP_FLUSH, .at = 9, .code = -EIO,
  };
  struct setting *s = set_up (36);
  struct store *faulty = store_faulty_new (s->store);
  struct generation_caches caches;
  struct shadow_version *version;
  struct vault_opened opened;
  struct vault_view *view;
  struct vault *vault;

  (void) state;
  back_up_well (s, "disk", SHADOW_CHUNK);
  assert_int_equal (generation_caches_init (&caches, 1 << 20, NULL), 0);
  assert_int_equal (vault_open (s->store, 0, &vault, NULL, NULL), 0);
  assert_int_equal (vault_view_new (vault, &caches, &view, NULL), 0);
  assert_int_equal (vault_view_open (view, 0, false, &opened, NULL, NULL), 0);

  store_faulty_set (faulty, &fault);
  version = shadow_begin (&s->versions, "copy", s->bytes);
  assert_int_not_equal (copy_generation (s, faulty, &opened, &caches, version),
                        0);
  assert_true (count_names (s, ".nbi") >= 2);
  store_model_advance (s->model, EXPIRED);
  version = shadow_begin (&s->versions, "copy", s->bytes);
  assert_int_equal (copy_generation (s, s->store, &opened, &caches, version),
                    0);
  assert_true (version->result.backup.adopted > 0);
  assert_int_equal (count_names (s, ""), 0);

  vault_opened_close (&opened);
  vault_view_free (view);
  vault_close (vault);
  generation_caches_destroy (&caches);
  store_close (faulty);
  shadow_check (s->store, &s->versions, "a copy");
  tear_down (s);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_killed),
    cmocka_unit_test (test_failed),
    cmocka_unit_test (test_failed_in_part),
    cmocka_unit_test (test_answer_lost),
    cmocka_unit_test (test_power_cut),
    cmocka_unit_test (test_interrupted_often),
    cmocka_unit_test (test_damage),
    cmocka_unit_test (test_source_changed),
    cmocka_unit_test (test_other_chunks),
    cmocka_unit_test (test_other_disk),
    cmocka_unit_test (test_at_work),
    cmocka_unit_test (test_same_counts),
    cmocka_unit_test (test_copy),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
