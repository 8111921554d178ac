/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Discs written in several sessions, with bytes made here.
 * tests/unit/test-iso-tools.sh has such of genisoimage and xorriso.
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "tests/support/iso-maker.h"

/* Descriptors 16 sectors behind start, and a root directory 20 behind. */
static void
put_session (struct iso_fixture *f, unsigned start, const char *id,
             uint32_t sectors)
{
  uint8_t *d = put_descriptor (f, start + 16, 1), *root;

  put_text (d + 40, 32, id);
  put_both32 (d + 80, sectors);
  put_both16 (d + 128, S);
  put_both32 (d + 156 + 2, start + ROOT);
  put_both32 (d + 156 + 10, S);
  put_descriptor (f, start + 17, 255);
  root = at (f, start + ROOT);
  memset (root, 0, 34);
  root[0] = 34;
  put_both32 (root + 2, start + ROOT);
  put_both32 (root + 10, S);
  root[32] = 1;
}

static void
put_first (struct iso_fixture *f, uint32_t sectors)
{
  put_iso (f);
  put_both32 (at (f, 16) + 80, sectors);
}

static void
one_session_is_not_spoken_of (void **state)
{
  struct iso_fixture *f = *state;

  put_iso (f);
  open_iso (f);
  assert_silent (f);
  assert_property (f, "sessions", NULL);
  assert_property (f, "session-seen", NULL);
}

static void
sessions_one_after_the_other_are_found (void **state)
{
  struct iso_fixture *f = *state;

  put_first (f, 100);
  put_session (f, 112, "SECOND", 50);
  put_session (f, 400, "THIRD", 200);
  open_iso (f);
  assert_property (f, "sessions", "3: ‘MY_DISC’ at sector 0, ‘SECOND’ at "
                   "sector 112, ‘THIRD’ at sector 400");
  assert_property (f, "session-seen", "1");
  assert_property (f, "volume-size", "1.1 MiB (1228800 bytes)");
  assert_said (f, "the disc has 3 sessions, and what its sector 16 describes "
               "is not the last");
  assert_said (f, "mount with -o sbsector=400 for the last");
  /* What is seen at sector 16 is what the image says of itself. */
  assert_string_equal (f->info.label, "MY_DISC");
}

static void
a_growing_file_shows_its_last_session (void **state)
{
  struct iso_fixture *f = *state;

  put_first (f, 500);
  put_session (f, 32, "FIRST", 100);
  put_session (f, 144, "SECOND", 356);
  put_both32 (at (f, 16) + 156 + 2, 144 + ROOT);
  open_iso (f);
  assert_silent (f);
  assert_property (f, "sessions", "2: ‘FIRST’ at sector 32, ‘SECOND’ at "
                   "sector 144");
  assert_property (f, "session-seen", "2");
}

static void
what_a_later_session_lacks_is_missing (void **state)
{
  struct iso_fixture *f = *state;

  put_first (f, 100);
  put_session (f, 112, "SECOND", 500);
  open_iso (f);
  assert_said (f, "the volume has 1253376 bytes, the file only 1228800: 24576 "
               "bytes are missing at the end");
}

static void
a_volume_inside_is_no_session (void **state)
{
  struct iso_fixture *f = *state;

  put_first (f, 100);
  put_session (f, 112, "INNER", 50);
  /* Its places count from its own begin. */
  put_both32 (at (f, 128) + 156 + 2, ROOT);
  put_both32 (at (f, 112 + ROOT) + 2, ROOT);
  open_iso (f);
  assert_silent (f);
  assert_property (f, "sessions", NULL);
  /* The same where that is a place behind it. */
  put_both32 (at (f, 128) + 156 + 2, 200);
  put_both32 (at (f, 112 + ROOT) + 2, 200);
  open_iso (f);
  assert_property (f, "sessions", NULL);
}

/* What is broken in the second session, so that it is none. */
static const struct {
  unsigned sector, off;
  uint8_t value;
} rules[] = {
  { 128, 0, 2 },                        /* not primary */
  { 128, 5, 'X' },                      /* no CD001 */
  { 128, 6, 2 },                        /* another version */
  { 128, 129, 4 },                      /* blocks of 1024 bytes */
  { 128, 161, 1 },                      /* root directory outside */
  { 112 + ROOT, 0, 33 },                /* a record too short */
  { 112 + ROOT, 2, 0 },                 /* of another place */
  { 112 + ROOT, 32, 2 },                /* that is not the directory itself */
  { 112 + ROOT, 33, 'x' },
};

static void
what_is_no_whole_session_is_none (void **state)
{
  struct iso_fixture *f = *state;

  for (size_t i = 0; i < sizeof rules / sizeof rules[0]; ++i) {
    memset (f->disc, 0, f->size);
    put_first (f, 100);
    put_session (f, 112, "SECOND", 50);
    open_iso (f);
    assert_property (f, "session-seen", "1");
    at (f, rules[i].sector)[rules[i].off] = rules[i].value;
    open_iso (f);
    assert_property (f, "sessions", NULL);
  }
}

static void
sessions_are_looked_for_nearby_only (void **state)
{
  struct iso_fixture *f = *state;
  uint8_t *small = f->disc;

  f->size = 14000 * S;
  f->disc = calloc (1, f->size);
  assert_non_null (f->disc);
  free (small);
  put_first (f, 100);
  put_session (f, 12384, "NEAR", 10);
  open_iso (f);
  assert_property (f, "sessions", "2: ‘MY_DISC’ at sector 0, ‘NEAR’ at sector "
                   "12384");
  memset (at (f, 12384 + 16), 0, S);
  put_session (f, 12400, "FAR", 10);
  open_iso (f);
  assert_property (f, "sessions", NULL);
  assert_true (f->reads < 1000);
}

/* A hundred that are empty, or end before they begin. */
static void
sessions_without_end_end (void **state)
{
  struct iso_fixture *f = *state;
  uint8_t *small = f->disc;

  f->size = 4000 * S;
  f->disc = calloc (1, f->size);
  assert_non_null (f->disc);
  free (small);
  put_first (f, 0);
  for (unsigned i = 1; i < 110; ++i)
    put_session (f, 32 * i, "EMPTY", 0);
  put_both32 (at (f, 16) + 156 + 2, 32 + ROOT);
  open_iso (f);
  assert_said (f, "there are more than 99 sessions; those from sector 3200 on "
               "are not looked at");
  assert_property (f, "session-seen", "1");
  assert_true (f->reads < 1000);
}

#define T(name) \
  cmocka_unit_test_setup_teardown (name, iso_setup, iso_teardown)

int
main (void)
{
  const struct CMUnitTest tests[] = {
    T (one_session_is_not_spoken_of),
    T (sessions_one_after_the_other_are_found),
    T (a_growing_file_shows_its_last_session),
    T (what_a_later_session_lacks_is_missing),
    T (a_volume_inside_is_no_session),
    T (what_is_no_whole_session_is_none),
    T (sessions_are_looked_for_nearby_only),
    T (sessions_without_end_end),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
