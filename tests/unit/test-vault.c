/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A vault is made once, whoever tries, says what it is, and is listed by names
 * (docs/NBI.md §13).
 */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/repo/vault.h"
#include "tests/support/store-faulty.h"
#include "tests/support/store-model.h"

#define EMPTY "broken/\nfiles/\npartial/\nvault/\nvault/vault.json\n"

static struct store_model *model;
static struct store *store;
static struct err err;
static const struct vault_about plain;

static int
setup (void **state)
{
  (void) state;
  model = store_model_new (1);
  store = store_model_client (model, 0, true);
  return 0;
}

static int
teardown (void **state)
{
  (void) state;
  store_close (store);
  store_model_free (model);
  return 0;
}

static void
assert_names (const char *expected)
{
  char *names = store_model_names (model);

  assert_string_equal (names, expected);
  free (names);
}

static int
make (struct store *s, bool *made)
{
  return vault_make (s, &plain, NULL, 0, made, &err);
}

static struct vault *
open_vault (void)
{
  struct vault *vault;

  assert_int_equal (vault_open (store, 0, &vault, NULL, &err), 0);
  return vault;
}

static void
put (const char *name, const char *text)
{
  assert_int_equal (store_put (store, name, text, strlen (text), &err), 0);
}

/*--- Making and opening -----------------------------------------------------*/

static void
a_vault_is_made_once (void **state)
{
  const struct vault_about *about;
  struct vault *vault;
  uint8_t uuid[UUID_SIZE];
  bool made;

  (void) state;
  assert_int_equal (vault_open (store, VAULT_WRITE, &vault, NULL, &err),
                    -ENOENT);
  assert_names ("");
  assert_int_equal (make (store, &made), 0);
  assert_true (made);
  assert_names (EMPTY);
  vault = open_vault ();
  about = vault_about (vault);
  assert_int_equal (about->created, store_model_time (model));
  assert_int_equal (about->encryption, 0);
  assert_int_equal (about->worm_days, 0);
  assert_false (uuid_is_zero (about->uuid));
  memcpy (uuid, about->uuid, UUID_SIZE);
  vault_close (vault);

  assert_int_equal (make (store, &made), 0);
  assert_false (made);
  assert_int_equal (vault_open (store, VAULT_WRITE, &vault, NULL, &err), 0);
  assert_memory_equal (vault_about (vault)->uuid, uuid, UUID_SIZE);
  assert_ptr_equal (vault_store (vault), store);
  vault_close (vault);
  assert_names (EMPTY);
}

static void
nothing_else_lies_beside_a_vault (void **state)
{
  bool made;

  (void) state;
  put ("letter.txt", "dear");
  assert_int_equal (make (store, &made), -ENOTEMPTY);
  assert_names ("letter.txt\n");
  assert_int_equal (store_delete (store, "letter.txt", &err), 0);
  assert_int_equal (store_make_folder (store, "lost+found", &err), 0);
  put (".hidden", "");
  assert_int_equal (store_make_folder (store, "vault."
                                       "00112233445566778899aabbccddeeff.new",
                                       &err), 0);
  assert_int_equal (make (store, &made), 0);
  assert_true (made);
}

/* Somebody else's, made at the worst moment. */
struct race {
  struct store *other;
  unsigned at, n;
};

static void
race_one (void *opaque, unsigned op, const char *name)
{
  struct race *race = opaque;
  bool made;

  (void) op;
  (void) name;
  if (++race->n == race->at)
    assert_int_equal (make (race->other, &made), 0);
}

static void
of_two_who_make_it_both_have_the_same (void **state)
{
  unsigned theirs = 0;

  for (unsigned at = 1;; ++at) {
    struct race race = { .at = at };
    struct store *faulty;
    struct vault *vault;
    bool made;

    teardown (state);
    setup (state);
    race.other = store_model_client (model, 0, true);
    faulty = store_faulty_new (store);
    store_faulty_watch (faulty, race_one, &race);
    assert_int_equal (make (faulty, &made), 0);
    assert_names (EMPTY);
    vault = open_vault ();
    vault_close (vault);
    theirs += !made;
    store_close (faulty);
    store_close (race.other);
    if (race.n < at)
      break;
  }
  assert_true (theirs > 5);
}

/* Cut short after each step, it is none or a whole one; the next one who tries
 * has a vault.
 */
static void
a_crash_while_it_is_made_leaves_none_or_a_whole_one (void **state)
{
  bool done = false;
  unsigned whole = 0;

  for (unsigned n = 1; !done; ++n)
    for (int late = 0; late < 2; ++late) {
      struct store_fault fault = { STORE_FAULT_KILLED, STORE_OP_ALL, n, -EIO };
      struct store *faulty;
      struct vault *vault;
      unsigned first, last;
      bool made;
      int r;

      teardown (state);
      setup (state);
      faulty = store_faulty_new (store);
      store_faulty_set (faulty, &fault);
      done = make (faulty, &made) == 0;
      store_close (faulty);
      store_model_states (model, &first, &last);
      /* What was reported is kept. */
      if (done)
        assert_int_equal (first, last);
      store_model_cut (model, late ? last : first);
      store_close (store);
      store = store_model_client (model, 0, true);
      r = vault_open (store, 0, &vault, NULL, &err);
      assert_int_equal (r, r == 0 ? 0 : -ENOENT);
      if (r == 0) {
        ++whole;
        assert_non_null (vault_about (vault));
        vault_close (vault);
      }
      assert_int_equal (make (store, &made), 0);
      assert_int_equal (made, r < 0);
      assert_int_equal (vault_open (store, VAULT_WRITE, &vault, NULL, &err),
                        0);
      vault_close (vault);
    }
  assert_true (whole > 3);
}

static void
what_fails_while_it_is_made_is_told (void **state)
{
  bool done = false;

  for (unsigned n = 1; !done; ++n) {
    struct store_fault fault = { STORE_FAULT_ONCE, STORE_OP_ALL, n, -ENOSPC };
    struct store *faulty;
    bool made;
    int r;

    teardown (state);
    setup (state);
    faulty = store_faulty_new (store);
    store_faulty_set (faulty, &fault);
    r = make (faulty, &made);
    done = store_faulty_count (faulty) < n;
    assert_int_equal (r, done ? 0 : -ENOSPC);
    store_faulty_set (faulty, &(struct store_fault) { .ops = 0 });
    assert_int_equal (make (faulty, &made), 0);
    store_close (faulty);
  }
}

static void
a_vault_without_vault_is_one (void **state)
{
  struct report report = REPORT_INIT;
  struct vault *vault;
  uint8_t slots[NBI_MAX_SLOTS * NBI_SLOT_SIZE];
  unsigned nr_slots;
  bool made;

  (void) state;
  assert_int_equal (store_make_folder (store, "files", &err), 0);
  assert_int_equal (vault_open (store, 0, &vault, &report, &err), 0);
  assert_null (vault_about (vault));
  assert_int_equal (report.lines.len, 1);
  assert_non_null (strstr (report.lines.ptr[0], "is lost"));
  assert_int_equal (vault_slots (vault, slots, &nr_slots, NULL, &err), 0);
  assert_int_equal (nr_slots, 0);
  vault_close (vault);
  report_free (&report);
  assert_int_equal (make (store, &made), 0);
  assert_false (made);
  assert_names ("broken/\nfiles/\npartial/\n");
}

static void
a_store_that_does_not_hold_is_refused_for_writing (void **state)
{
  struct store *faulty = store_faulty_new (store);
  struct store_fault lie = { STORE_FAULT_LIE, STORE_OP_RENAME, 2, -EIO };
  struct vault *vault;
  bool made;

  (void) state;
  assert_int_equal (make (store, &made), 0);
  store_faulty_set (faulty, &lie);
  assert_true (vault_open (faulty, VAULT_WRITE, &vault, NULL, &err) < 0);
  assert_non_null (strstr (err.msg, "a vault can't be here"));
  store_faulty_set (faulty, &lie);
  assert_int_equal (vault_open (faulty, 0, &vault, NULL, &err), 0);
  vault_close (vault);
  store_close (faulty);
  assert_names (EMPTY);
}

/* NBI-136 */
static void
too_many_folders_in_partial_are_refused_for_writing (void **state)
{
  struct vault *vault;
  bool made;

  (void) state;
  assert_int_equal (make (store, &made), 0);
  for (int i = 0; i < VAULT_FOLDERS_MAX; ++i) {
    char name[64];

    snprintf (name, sizeof name, "partial/x%d", i);
    assert_int_equal (store_make_folder (store, name, &err), 0);
  }
  assert_int_equal (vault_open (store, VAULT_WRITE, &vault, NULL, &err), 0);
  vault_close (vault);
  assert_int_equal (store_make_folder (store, "partial/y", &err), 0);
  assert_int_equal (vault_open (store, VAULT_WRITE, &vault, NULL, &err),
                    -ENOTSUP);
  assert_non_null (strstr (err.msg, "(NBI-136)"));
  vault = open_vault ();
  vault_close (vault);
}

/*--- vault.json -------------------------------------------------------------*/

#define UUID "00112233-4455-6677-8899-aabbccddeeff"
#define KEY "00112233445566778899aabbccddeeff"
#define JSON(version, uuid, created, days, encryption, key)             \
  "{\"nbi-vault\": " version ", \"uuid\": \"" uuid "\", \"created\": "  \
  created ", \"worm_days\": " days ", \"encryption\": " encryption      \
  ", \"key\": " key "}"
#define CREATED "\"2026-11-22T15:52:00Z\""

static void
vault_json_is_read_as_it_was_written (void **state)
{
  struct vault_about a = {
    .uuid = { 1, 2, 3 }, .created = 1795362720, .worm_days = 30,
    .encryption = 1, .key_id = { 0xab, 0xcd },
  }, b;
  char *json;
  size_t len;

  (void) state;
  for (int i = 0; i < 2; ++i) {
    assert_int_equal (vault_about_encode (&a, &json, &len, &err), 0);
    assert_int_equal (len, strlen (json));
    assert_int_equal (vault_about_decode (json, len, &b, &err), 0);
    assert_memory_equal (b.uuid, a.uuid, UUID_SIZE);
    assert_memory_equal (b.key_id, a.key_id, UUID_SIZE);
    assert_int_equal (b.created, a.created);
    assert_int_equal (b.worm_days, a.worm_days);
    assert_int_equal (b.encryption, a.encryption);
    free (json);
    a.encryption = 0;
    memset (a.key_id, 0, UUID_SIZE);
  }
}

/* NBI-130, and NBI-135 with NBI-90 and NBI-91 */
static void
what_is_no_vault_json_is_refused (void **state)
{
  static const struct {
    const char *json;
    int r;
    const char *with;
  } t[] = {
    { JSON ("1", UUID, CREATED, "0", "0", "null"), 0, "" },
    { JSON ("1", UUID, CREATED, "36525", "1", "\"" KEY "\""), 0, "" },
    { JSON ("2", UUID, CREATED, "0", "0", "null"), -ENOTSUP, "version 2" },
    { JSON ("1", UUID, CREATED, "0", "2", "null"), -ENOTSUP, "encryption 2" },
    { JSON ("\"1\"", UUID, CREATED, "0", "0", "null"), -EBADMSG, "nbi-vault" },
    { JSON ("1", KEY, CREATED, "0", "0", "null"), -EBADMSG, "uuid" },
    { JSON ("1", "00000000-0000-0000-0000-000000000000", CREATED, "0", "0",
            "null"), -EBADMSG, "uuid" },
    { JSON ("1", UUID, "\"2026-02-30T15:52:00Z\"", "0", "0", "null"), -EBADMSG,
      "created" },
    { JSON ("1", UUID, "\"2026-11-22T15:52:00\"", "0", "0", "null"), -EBADMSG,
      "created" },
    { JSON ("1", UUID, "\"2026-11-22T15:52:00Z \"", "0", "0", "null"),
      -EBADMSG, "created" },
    { JSON ("1", UUID, "5", "0", "0", "null"), -EBADMSG, "created" },
    { JSON ("1", UUID, CREATED, "36526", "0", "null"), -EBADMSG,
      "worm_days" },
    { JSON ("1", UUID, CREATED, "-1", "0", "null"), -EBADMSG, "worm_days" },
    { JSON ("1", UUID, CREATED, "0", "true", "null"), -EBADMSG,
      "encryption" },
    { JSON ("1", UUID, CREATED, "0", "1", "null"), -EBADMSG, "key" },
    { JSON ("1", UUID, CREATED, "0", "0", "\"" KEY "\""), -EBADMSG, "key" },
    { JSON ("1", UUID, CREATED, "0", "1", "\"" UUID "\""), -EBADMSG, "key" },
    { JSON ("1", UUID, CREATED, "0", "1",
            "\"00000000000000000000000000000000\""), -EBADMSG, "key" },
    { "{\"nbi-vault\": 1}", -EBADMSG, "uuid" }, { "{}", -EBADMSG, "nbi-vault" },
    { "[]", -EBADMSG, "(NBI-135)" }, { "", -EBADMSG, "(NBI-135)" },
    { "{\"a\": 1, \"a\": 2}", -EBADMSG, "(NBI-135)" },
    { "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
      -EBADMSG, "nested deeper" },
  };

  (void) state;
  for (size_t i = 0; i < sizeof t / sizeof t[0]; ++i) {
    struct vault_about about;

    err.msg[0] = '\0';
    assert_int_equal (vault_about_decode (t[i].json, strlen (t[i].json),
                                          &about, &err), t[i].r);
    if (strstr (err.msg, t[i].with) == NULL)
      fail_msg ("%s: %s", t[i].json, err.msg);
    if (t[i].r < 0)
      assert_non_null (strstr (err.msg, "(NBI-13"));
  }
}

static void
vault_json_is_bounded (void **state)
{
  static char json[VAULT_JSON_MAX + 1];
  const char text[] = JSON ("1", UUID, CREATED, "0", "0", "null");
  struct vault_about about;
  struct vault *vault;
  bool made;

  (void) state;
  memset (json, ' ', sizeof json);
  memcpy (json, text, strlen (text));
  assert_int_equal (vault_about_decode (json, VAULT_JSON_MAX, &about, &err),
                    0);
  assert_int_equal (vault_about_decode (json, sizeof json, &about, &err),
                    -EBADMSG);
  assert_int_equal (make (store, &made), 0);
  assert_int_equal (store_delete (store, "vault/vault.json", &err), 0);
  assert_int_equal (store_put (store, "vault/vault.json", json, sizeof json,
                               &err), 0);
  assert_int_equal (vault_open (store, 0, &vault, NULL, &err), -EBADMSG);
  assert_non_null (strstr (err.msg, "(NBI-135)"));
  for (unsigned n = 1024; n <= 1025; ++n) {
    memset (json, '[', n);
    assert_int_equal (vault_about_decode (json, n, &about, &err), -EBADMSG);
    assert_int_equal (strstr (err.msg, "nested") == NULL, n == 1025);
  }
}

static void
the_first_eight_key_slots_count (void **state)
{
  uint8_t mine[2 * NBI_SLOT_SIZE], slots[NBI_MAX_SLOTS * NBI_SLOT_SIZE];
  struct vault_about about = { .encryption = 1, .key_id = { 1 } };
  struct report report = REPORT_INIT;
  struct vault *vault;
  unsigned nr_slots;
  bool made;

  (void) state;
  memset (mine, 0xff, sizeof mine);
  assert_int_equal (vault_make (store, &about, mine, 2, &made, &err), 0);
  vault = open_vault ();
  assert_int_equal (vault_slots (vault, slots, &nr_slots, &report, &err), 0);
  assert_int_equal (nr_slots, 2);
  assert_memory_equal (slots, mine, sizeof mine);

  /* These come before the two, but for luck of one in 2^60. */
  for (int i = 9; i >= 0; --i) {
    char name[64];

    memset (mine, i, NBI_SLOT_SIZE);
    snprintf (name, sizeof name, "vault/00000000000000000000000000000%03x.key",
              (unsigned) i);
    assert_int_equal (store_put (store, name, mine, NBI_SLOT_SIZE, &err), 0);
  }
  assert_int_equal (vault_slots (vault, slots, &nr_slots, &report, &err), 0);
  assert_int_equal (nr_slots, NBI_MAX_SLOTS);
  for (int i = 0; i < NBI_MAX_SLOTS; ++i)
    assert_int_equal (slots[i * NBI_SLOT_SIZE + 255], i);
  assert_int_equal (report.lines.len, 0);

  assert_int_equal (store_delete (
      store, "vault/00000000000000000000000000000000.key", &err), 0);
  put ("vault/00000000000000000000000000000000.key", "short");
  assert_int_equal (vault_slots (vault, slots, &nr_slots, &report, &err), 0);
  assert_int_equal (nr_slots, NBI_MAX_SLOTS - 1);
  assert_int_equal (slots[0], 1);
  assert_int_equal (report.lines.len, 1);
  report_free (&report);
  vault_close (vault);
}

/*--- Generations ------------------------------------------------------------*/

static void
add_run (const char *disk, uint64_t time, uint8_t run)
{
  uint8_t uuid[UUID_SIZE] = { run };
  char name[VAULT_NAME_SIZE], path[STORE_PATH_SIZE];

  snprintf (path, sizeof path, "files/%s",
            vault_name_run (name, disk, time, uuid));
  assert_int_equal (store_make_folder (store, path, &err), 0);
}

static void
add_to_run (const char *disk, uint64_t time, uint8_t run, const char *file)
{
  uint8_t uuid[UUID_SIZE] = { run };
  char name[VAULT_NAME_SIZE], path[STORE_PATH_SIZE];

  snprintf (path, sizeof path, "files/%s/%s",
            vault_name_run (name, disk, time, uuid), file);
  put (path, "");
}

static void
runs_are_in_the_order_of_their_times_then_uuids (void **state)
{
  static const uint8_t order[] = { 5, 1, 2, 4, 3 };
  struct vault_runs runs;
  struct vault *vault;
  bool made;

  assert_int_equal (make (store, &made), 0);
  vault = open_vault ();
  add_run ("b", 3000, 3);
  add_run ("z", 1000, 5);
  add_run ("b", 2000, 2);
  add_run ("a", 2000, 4);
  add_run ("c", 2000, 1);
  put ("files/a.20261122T155200Z." KEY, "a file");
  assert_int_equal (store_make_folder (store, "files/other", &err), 0);
  for (unsigned flags = 0; flags <= VAULT_TWICE; ++flags) {
    assert_int_equal (vault_list (vault, flags, &runs, &err), 0);
    assert_int_equal (runs.len, sizeof order);
    for (size_t i = 0; i < sizeof order; ++i)
      assert_int_equal (runs.ptr[i].run[0], order[i]);
    assert_string_equal (runs.ptr[0].disk, "z");
    assert_int_equal (runs.ptr[0].time, 1000);
    vector_free (&runs);
  }
  vault_close (vault);
  (void) state;
}

/* NBI-137, and listings that miss a name */
static void
a_listing_is_joined_or_fails (void **state)
{
  struct store *late = store_model_client (model, 60, false);
  struct store *faulty = store_faulty_new (store);
  struct store_fault fault = { STORE_FAULT_PART, STORE_OP_LIST, 2, -EIO };
  struct vault_runs runs;
  struct vault_folder folder;
  struct vault *vault;
  unsigned once = 0, twice = 0;
  bool made;

  (void) state;
  assert_int_equal (make (store, &made), 0);
  store_model_advance (model, 1000);
  for (uint8_t i = 1; i < 9; ++i)
    add_run ("d", i, i);
  assert_int_equal (vault_open (late, 0, &vault, NULL, &err), 0);
  for (int i = 0; i < 100; ++i) {
    assert_int_equal (vault_list (vault, 0, &runs, &err), 0);
    once += (unsigned) runs.len;
    vector_free (&runs);
    assert_int_equal (vault_list (vault, VAULT_TWICE, &runs, &err), 0);
    twice += (unsigned) runs.len;
    vector_free (&runs);
  }
  assert_true (once < twice && twice < 800);
  vault_close (vault);

  assert_int_equal (vault_open (faulty, 0, &vault, NULL, &err), 0);
  store_faulty_set (faulty, &fault);
  assert_int_equal (vault_list (vault, VAULT_TWICE, &runs, &err), -EIO);
  vector_free (&runs);
  fault.at = 1;
  store_faulty_set (faulty, &fault);
  assert_int_equal (vault_look_in (vault, "files", 0, &folder, &err), -EIO);
  vault_folder_free (&folder);
  vault_close (vault);
  store_close (faulty);
  store_close (late);
}

static void
a_run_s_folder_is_told_by_its_names (void **state)
{
  CLEANUP_VAULT_FOLDER struct vault_folder f;
  struct vault *vault;
  bool made;

  (void) state;
  assert_int_equal (make (store, &made), 0);
  vault = open_vault ();
  add_run ("d", 9, 1);
  add_to_run ("d", 9, 1, KEY ".0.root.nbi");
  add_to_run ("d", 9, 1, KEY ".2.root.nbi");
  add_to_run ("d", 9, 1, KEY ".10.root.nbi");
  add_to_run ("d", 9, 1, "00000000000000000000000000000001.0.nbi");
  add_to_run ("d", 9, 1, KEY ".20270101T000000Z.lock");
  add_to_run ("d", 9, 1, KEY ".20280101T000000Z.lock");
  add_to_run ("d", 9, 1, "lease.json");
  add_to_run ("d", 9, 1, "alive");
  add_to_run ("d", 9, 1, "notes");
  for (int dropped = 0; dropped < 2; ++dropped) {
    const char *where =
      "files/d.19700101T000009Z.01000000000000000000000000000000";

    assert_int_equal (vault_look_in (vault, where, VAULT_TWICE, &f, &err), 0);
    assert_int_equal (f.dropped, dropped);
    assert_int_equal (f.nr_others, 1);
    assert_int_equal (f.files.len, 4);
    assert_int_equal (f.files.ptr[0].uuid[15], 1);
    assert_false (f.files.ptr[0].root);
    assert_int_equal (f.files.ptr[1].edition, 10);
    assert_int_equal (f.files.ptr[2].edition, 2);
    assert_int_equal (f.files.ptr[3].edition, 0);
    assert_true (f.files.ptr[3].root);
    assert_int_equal (f.locks.len, 2);
    assert_int_equal (f.locks.ptr[0].until, 1830297600);
    if (!dropped)
      vault_folder_free (&f);
    assert_int_equal (vault_drop (vault, where + 6, &err), 0);
  }
  assert_int_equal (vault_drop (vault, "d.gone", &err), -ENOENT);
  vault_close (vault);
}

/* After vault_drop said so, no power cut takes the mark back. */
static void
a_mark_is_on_stable_storage (void **state)
{
  static const char run[] =
    "d.19700101T000009Z.01000000000000000000000000000000";
  struct store *faulty;
  struct store_fault fault = { STORE_FAULT_ONCE, STORE_OP_FLUSH_FOLDER, 1,
                               -EIO };
  struct store_stat st;
  struct vault *vault;
  unsigned first, last;
  bool made;

  (void) state;
  assert_int_equal (make (store, &made), 0);
  add_run ("d", 9, 1);
  assert_int_equal (store_flush_folder (store, "files", &err), 0);
  faulty = store_faulty_new (store);
  assert_int_equal (vault_open (faulty, 0, &vault, NULL, &err), 0);
  store_faulty_set (faulty, &fault);
  assert_int_equal (vault_drop (vault, run, &err), -EIO);
  /* It is there, and not kept yet. */
  assert_int_equal (vault_drop (vault, run, &err), 0);
  store_model_states (model, &first, &last);
  store_model_cut (model, first);
  vault_close (vault);
  store_close (faulty);
  store_close (store);
  store = store_model_client (model, 0, true);
  assert_int_equal (store_stat (store, "files/"
                                "d.19700101T000009Z."
                                "01000000000000000000000000000000/dropped",
                                &st, &err), 0);
}

struct asked {
  unsigned times;
  uint8_t yes;                  /* this run is the disk's */
  int with;                     /* 0: what it says */
};

static int
is_it (void *opaque, const struct vault_run *run, const char *path,
       struct err *e)
{
  struct asked *asked = opaque;

  ++asked->times;
  assert_non_null (strstr (path, run->folder));
  assert_non_null (strstr (path, ".root.nbi"));
  if (asked->with)
    return err_set (e, asked->with, "as told");
  return run->run[0] == asked->yes;
}

static void
the_newest_is_the_last_that_its_header_confirms (void **state)
{
  struct asked asked = { .yes = 2 };
  struct vault_runs runs;
  struct vault *vault;
  size_t newest;
  bool made;

  (void) state;
  assert_int_equal (make (store, &made), 0);
  vault = open_vault ();
  for (uint8_t i = 1; i <= 6; ++i) {
    const char *disk = i == 6 ? "other" : "a disk";

    add_run (disk, i, i);
    if (i != 5)                 /* one without a root: damaged */
      add_to_run (disk, i, i, KEY ".0.root.nbi");
    add_to_run (disk, i, i, KEY ".3.nbi");
  }
  add_to_run ("a disk", 4, 4, "dropped");
  assert_int_equal (vault_list (vault, 0, &runs, &err), 0);
  assert_int_equal (vault_newest (vault, &runs, "a disk", is_it, &asked,
                                  &newest, &err), 0);
  assert_int_equal (newest, 1);
  assert_int_equal (asked.times, 2);    /* 3, whose name is a hint only, 2 */
  /* Another disk with the same DISK. */
  assert_int_equal (vault_newest (vault, &runs, "a_disk", is_it, &asked,
                                  &newest, &err), 0);
  asked.yes = 77;
  assert_int_equal (vault_newest (vault, &runs, "a disk", is_it, &asked,
                                  &newest, &err), -ENOENT);
  assert_int_equal (vault_newest (vault, &runs, "none", is_it, &asked,
                                  &newest, &err), -ENOENT);
  asked.with = -EIO;
  assert_int_equal (vault_newest (vault, &runs, "a disk", is_it, &asked,
                                  &newest, &err), -EIO);
  /* One that is pruned meanwhile is passed over. */
  asked.with = 0;
  asked.yes = 2;
  assert_int_equal (store_rename (
      store, "files/a_disk.19700101T000003Z.03000000000000000000000000000000",
      "partial/x", &err), 0);
  assert_int_equal (vault_newest (vault, &runs, "a disk", is_it, &asked,
                                  &newest, &err), 0);
  assert_int_equal (newest, 1);
  vector_free (&runs);
  vault_close (vault);
}

#define TEST(fn) cmocka_unit_test_setup_teardown (fn, setup, teardown)

int
main (void)
{
  const struct CMUnitTest tests[] = {
    TEST (a_vault_is_made_once),
    TEST (nothing_else_lies_beside_a_vault),
    TEST (of_two_who_make_it_both_have_the_same),
    TEST (a_crash_while_it_is_made_leaves_none_or_a_whole_one),
    TEST (what_fails_while_it_is_made_is_told),
    TEST (a_vault_without_vault_is_one),
    TEST (a_store_that_does_not_hold_is_refused_for_writing),
    TEST (too_many_folders_in_partial_are_refused_for_writing),
    TEST (vault_json_is_read_as_it_was_written),
    TEST (what_is_no_vault_json_is_refused),
    TEST (vault_json_is_bounded),
    TEST (the_first_eight_key_slots_count),
    TEST (runs_are_in_the_order_of_their_times_then_uuids),
    TEST (a_listing_is_joined_or_fails),
    TEST (a_run_s_folder_is_told_by_its_names),
    TEST (a_mark_is_on_stable_storage),
    TEST (the_newest_is_the_last_that_its_header_confirms),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
