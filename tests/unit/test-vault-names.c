/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The names in a vault (docs/NBI.md §13) are told apart, and what is nearly
 * one is none.
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/repo/nbi.h"
#include "lib/repo/vault-names.h"

#define HEX "00112233445566778899aabbccddeeff"

static const uint8_t uuid[UUID_SIZE] = {
  0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
  0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
};

static void
assert_kind (const char *name, enum vault_name_kind kind)
{
  struct vault_name n;

  vault_name_parse (name, &n);
  if (n.kind != kind)
    fail_msg ("%s is %d, not %d", name, n.kind, kind);
}

static void
names_are_made_as_the_page_says (void **state)
{
  char buf[VAULT_NAME_SIZE];

  (void) state;
  assert_string_equal (vault_name_run (buf, "web/server 1", 1795362720, uuid),
                       "web_server_1.20261122T155200Z." HEX);
  assert_string_equal (vault_name_nbi (buf, uuid, 0, false), HEX ".0.nbi");
  assert_string_equal (vault_name_nbi (buf, uuid, 12, true),
                       HEX ".12.root.nbi");
  assert_string_equal (vault_name_part (buf, uuid), HEX ".part");
  assert_string_equal (vault_name_lock (buf, uuid, 1798761600),
                       HEX ".20270101T000000Z.lock");
  assert_string_equal (vault_name_key (buf, uuid), HEX ".key");
  assert_string_equal (vault_name_adopted (buf, uuid), HEX);
  assert_string_equal (vault_name_work (buf, VAULT_NAME_BACKUP, uuid, true),
                       "backup-" HEX ".new");
  assert_string_equal (vault_name_work (buf, VAULT_NAME_PRUNE, uuid, false),
                       "prune-" HEX);
  assert_string_equal (vault_name_work (buf, VAULT_NAME_READ, uuid, false),
                       "read-" HEX);
  assert_string_equal (vault_name_vault (buf, uuid), "vault." HEX ".new");
}

static void
what_is_made_is_read_again (void **state)
{
  struct vault_name n;
  char buf[VAULT_NAME_SIZE];

  (void) state;
  vault_name_parse (vault_name_run (buf, "a.b.c", 1795362720, uuid), &n);
  assert_int_equal (n.kind, VAULT_NAME_RUN);
  assert_string_equal (n.disk, "a.b.c");
  assert_int_equal (n.time, 1795362720);
  assert_memory_equal (n.uuid, uuid, UUID_SIZE);

  for (int root = 0; root < 2; ++root) {
    vault_name_parse (vault_name_nbi (buf, uuid, NBI_MAX_EDITION, root), &n);
    assert_int_equal (n.kind, VAULT_NAME_NBI);
    assert_int_equal (n.edition, NBI_MAX_EDITION);
    assert_int_equal (n.root, root);
    assert_memory_equal (n.uuid, uuid, UUID_SIZE);
  }
  vault_name_parse (vault_name_lock (buf, uuid, NBI_MAX_TIME), &n);
  assert_int_equal (n.kind, VAULT_NAME_LOCK);
  assert_int_equal (n.time, NBI_MAX_TIME);
  for (int fresh = 0; fresh < 2; ++fresh)
    for (int kind = VAULT_NAME_BACKUP; kind <= VAULT_NAME_READ; ++kind) {
      vault_name_parse (vault_name_work (buf, (enum vault_name_kind) kind,
                                         uuid, fresh), &n);
      assert_int_equal (n.kind, kind);
      assert_int_equal (n.fresh, fresh);
      assert_memory_equal (n.uuid, uuid, UUID_SIZE);
    }
  assert_kind (vault_name_part (buf, uuid), VAULT_NAME_PART);
  assert_kind (vault_name_key (buf, uuid), VAULT_NAME_KEY);
  assert_kind (vault_name_adopted (buf, uuid), VAULT_NAME_ADOPTED);
  assert_kind (vault_name_vault (buf, uuid), VAULT_NAME_VAULT);
  assert_kind ("dropped", VAULT_NAME_DROPPED);
  assert_kind ("lease.json", VAULT_NAME_LEASE);
  assert_kind ("alive", VAULT_NAME_ALIVE);
  assert_kind ("vault.json", VAULT_NAME_JSON);
}

static void
a_run_is_read_from_its_end (void **state)
{
  static const char *const disks[] = {
    "a", "a.20261122T155200Z", "x.0.root.nbi", "dropped", "backup-" HEX,
    /* Nobody makes these, but what they hold must not be overlooked. */
    "a b", "\xc3\xa4", "con", "a..",
  };

  (void) state;
  for (size_t i = 0; i < sizeof disks / sizeof disks[0]; ++i) {
    char name[300];
    struct vault_name n;

    snprintf (name, sizeof name, "%s.20261122T155200Z." HEX, disks[i]);
    vault_name_parse (name, &n);
    assert_int_equal (n.kind, VAULT_NAME_RUN);
    assert_string_equal (n.disk, disks[i]);
  }
}

static void
what_is_nearly_a_name_is_none (void **state)
{
  static const char *const others[] = {
    "", "a", "partial", "a." HEX, "20261122T155200Z." HEX,
    "a.20261122T155200Z", "a.20261122T155200." HEX,
    "a.20261122t155200z." HEX, "a.20261122T155200Z-" HEX,
    "a-20261122T155200Z." HEX,
    "a.20261122T155200Z.00112233445566778899AABBCCDDEEFF",
    "a.20261122T155200Z.0011223344556677-8899aabbccddeef",
    "a.20261122T155200Z." HEX "0", "a.20261122T155200Z." HEX ".old",
    /* Times that are none. */
    "a.20260231T000000Z." HEX, "a.20261301T000000Z." HEX,
    "a.20261122T240000Z." HEX, "a.20261122T156000Z." HEX,
    "a.20261122T155260Z." HEX, "a. 2026112T155200Z." HEX,
    "a.+0261122T155200Z." HEX, "a.19700101T000000Z." HEX,
    "a.19691231T235959Z." HEX,
    /* Editions that are none. */
    HEX ".00.nbi", HEX ".01.nbi", HEX ".-1.nbi", HEX ".+1.nbi", HEX "..nbi",
    HEX ".1073741825.nbi", HEX ".99999999999999999999999.nbi", HEX ".1x.nbi",
    HEX ".0.nbi2", HEX ".0.root", HEX ".0.ROOT.nbi", HEX ".0.root.root.nbi",
    HEX ".root.0.nbi", HEX ".nbi", HEX ".0", HEX ".0.NBI", HEX ". 1.nbi",
    HEX ".part2", HEX ".0.part", HEX ".", "0" HEX ".part", HEX ".key.part",
    HEX ".20270101T000000Z", HEX ".20270101T000000Z.lock2", HEX ".lock",
    HEX ".20270230T000000Z.lock", HEX ".20270101T000000Z.nbi",
    "00112233445566778899aabbccddeefg.part",
    "00112233445566778899aabbccddeef.part",
    "00112233-4455-6677-8899-aabbccddeeff.part",
    "backup-", "backup-" HEX ".ne", "backup-" HEX ".new.new",
    "backup-" HEX "0", "Backup-" HEX, "prune" HEX, "read_" HEX, "write-" HEX,
    "backup-00112233445566778899AABBCCDDEEFF",
    "vault.json2", "Vault.json", "vault." HEX, "vault..new", "vault.new",
    "dropped2", "Dropped", "lease.jso", "alive ", "ALIVE",
  };

  (void) state;
  for (size_t i = 0; i < sizeof others / sizeof others[0]; ++i)
    assert_kind (others[i], VAULT_NAME_OTHER);
  assert_kind (".", VAULT_NAME_HIDDEN);
  assert_kind (".a.20261122T155200Z." HEX, VAULT_NAME_HIDDEN);
  assert_kind ("." HEX ".part", VAULT_NAME_HIDDEN);
}

static void
what_a_name_does_not_say_is_zeros (void **state)
{
  static const char *const names[] = {
    HEX ".20270101T000000Z.nbi", HEX ".7.root", "backup-" HEX ".old", "x",
    "a.20261122T155200Z.0011",
  };
  static const struct vault_name none = { .kind = VAULT_NAME_OTHER };

  (void) state;
  for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i) {
    struct vault_name n;

    memset (&n, 0xff, sizeof n);
    vault_name_parse (names[i], &n);
    assert_int_equal (n.kind, none.kind);
    assert_string_equal (n.disk, "");
    assert_int_equal (n.time, 0);
    assert_int_equal (n.edition, 0);
    assert_memory_equal (n.uuid, none.uuid, UUID_SIZE);
    assert_false (n.root || n.fresh);
  }
}

static void
a_disk_has_a_hint_that_every_system_takes (void **state)
{
  char all[256], hint[VAULT_HINT_MAX + 1], again[VAULT_HINT_MAX + 1];
  static const struct {
    const char *name, *hint;
  } t[] = {
    { "sda", "sda" }, { "web-1.example_x", "web-1.example_x" },
    { "a b/c:d", "a_b_c_d" }, { ".hidden", "_hidden" }, { "..x", "_.x" },
    { "B\xc3\xbcro", "B__ro" }, { "con", "_con" }, { "CON", "_CON" },
    { "nul.img", "_nul.img" }, { "com1", "_com1" }, { "LPT9.a.b", "_LPT9.a.b" },
    { "Aux", "_Aux" }, { "prn", "_prn" }, { "com", "com" },
    { "com10", "com10" }, { "console", "console" }, { "xcon", "xcon" },
    { "comx", "comx" },
    { "_con", "_con" }, { "a@b", "a_b" }, { "\t", "_" },
  };

  (void) state;
  for (size_t i = 0; i < sizeof t / sizeof t[0]; ++i) {
    vault_hint (t[i].name, hint);
    assert_string_equal (hint, t[i].hint);
    vault_hint (hint, again);
    assert_string_equal (again, hint);
  }
  memset (all, 'y', sizeof all - 1);
  all[sizeof all - 1] = '\0';
  vault_hint (all, hint);
  assert_int_equal (strlen (hint), 100);
  memcpy (all, "nul.", 4);
  vault_hint (all, hint);
  assert_int_equal (strlen (hint), 100);
  assert_memory_equal (hint, "_nul.y", 6);
}

static void
times_go_to_the_end_of_the_year_9999 (void **state)
{
  char str[VAULT_TIME_SIZE];

  (void) state;
  vault_time_to_string (NBI_MAX_TIME, str);
  assert_string_equal (str, "99991231T235959Z");
  vault_time_to_string (1, str);
  assert_string_equal (str, "19700101T000001Z");
  vault_time_to_string (1709164800, str);
  assert_string_equal (str, "20240229T000000Z");
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (names_are_made_as_the_page_says),
    cmocka_unit_test (what_is_made_is_read_again),
    cmocka_unit_test (a_run_is_read_from_its_end),
    cmocka_unit_test (what_is_nearly_a_name_is_none),
    cmocka_unit_test (what_a_name_does_not_say_is_zeros),
    cmocka_unit_test (a_disk_has_a_hint_that_every_system_takes),
    cmocka_unit_test (times_go_to_the_end_of_the_year_9999),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
