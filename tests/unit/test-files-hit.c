/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What happens when the program that looks for files crashes, ends too soon,
 * says nonsense, is not there, or does not end.  What it finds:
 * ../cli/test-salvage.sh.
 */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/block/memory.h"
#include "lib/fsmap/files-hit.h"

static char folder[] = "/tmp/files-hit.XXXXXX";
static char program[64];
static const struct fs_range range = { 4096, 4096 };
static uint8_t bytes[65536];

static int
set_up (void **state)
{
  (void) state;
  if (mkdtemp (folder) == NULL)
    return -1;
  snprintf (program, sizeof program, "%s/program", folder);
  return 0;
}

static int
tear_down (void **state)
{
  (void) state;
  unlink (program);
  return rmdir (folder);
}

/* A shell script instead. */
static int
ask (const char *script, struct fs_hits *hits, struct job *job, struct err *err)
{
  struct block *block;
  FILE *fp = fopen (program, "w");
  int r;

  assert_non_null (fp);
  fprintf (fp, "#!/bin/bash\n%s\n", script);
  assert_int_equal (fclose (fp), 0);
  assert_int_equal (chmod (program, 0700), 0);
  assert_int_equal (
      block_memory_new ("memory", bytes, sizeof bytes, &block, NULL), 0);
  r = fs_files_hit (block, &range, 1, program, hits, job, err);
  block_unref (block);
  return r;
}

/* It has no hits, and a note with that. */
static void
tells (const char *script, const char *what)
{
  struct fs_hits hits;
  struct err err = ERR_INIT;

  assert_int_equal (ask (script, &hits, NULL, &err), 0);
  assert_non_null (hits.note);
  if (strstr (hits.note, what) == NULL)
    fail_msg ("“%s” has no “%s”", hits.note, what);
  assert_int_equal (hits.v.len, 0);
  fs_hits_free (&hits);
}

static void
a_crash_is_told (void **state)
{
  (void) state;
  tells ("kill -SEGV $$", "was ended by signal 11");
}

static void
an_early_end_is_told (void **state)
{
  (void) state;
  tells ("exit 3", "ended with status 3");
  tells ("head -c 24 <&0 >/dev/null; exit 0", "ended with status 0");
}

/* A message is 24 bytes: kind, length, two numbers. */
static void
nonsense_ends_it (void **state)
{
  (void) state;
  /* Of no kind. */
  tells ("printf '\\x09\\0\\0\\0%020d' 0 >&0; sleep 100", "by signal 9");
  /* A text that is too long. */
  tells ("printf '\\x01\\0\\0\\0\\xff\\xff\\xff\\xff%016d' 0 >&0; sleep 100",
         "by signal 9");
}

static void
what_it_said_before_counts (void **state)
{
  struct fs_hits hits;

  (void) state;
  /* A hit of 7 of 9 bytes, "/a". */
  assert_int_equal (
      ask ("printf '\\x01\\0\\0\\0\\x02\\0\\0\\0\\x07\\0\\0\\0\\0\\0\\0\\0"
           "\\x09\\0\\0\\0\\0\\0\\0\\0/a' >&0; kill -ABRT $$",
           &hits, NULL, NULL),
      0);
  assert_int_equal (hits.v.len, 1);
  assert_string_equal (hits.v.ptr[0].path, "/a");
  assert_int_equal (hits.v.ptr[0].hit, 7);
  assert_int_equal (hits.v.ptr[0].size, 9);
  assert_non_null (strstr (hits.note, "signal 6"));
  fs_hits_free (&hits);
}

static void
one_that_is_not_there_is_told (void **state)
{
  struct fs_hits hits;
  struct block *block;

  (void) state;
  assert_int_equal (
      block_memory_new ("memory", bytes, sizeof bytes, &block, NULL), 0);
  assert_int_equal (
      fs_files_hit (block, &range, 1, "/nowhere/x", &hits, NULL, NULL), 0);
  assert_non_null (strstr (hits.note, "this build has no nbdimage-files"));
  fs_hits_free (&hits);
  block_unref (block);
}

static void
it_can_be_cancelled (void **state)
{
  struct job job = JOB_INIT;
  struct err err = ERR_INIT;
  struct fs_hits hits;

  (void) state;
  job_cancel (&job);
  /* It reads and reads: 4096 bytes from 0. */
  assert_int_equal (
      ask ("while printf '\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0"
           "\\0\\x10\\0\\0\\0\\0\\0\\0' >&0; do head -c 4100 <&0 >/dev/null; "
           "done",
           &hits, &job, &err),
      -ECANCELED);
}

static void
one_that_has_said_all_need_not_end (void **state)
{
  struct fs_hits hits;

  (void) state;
  alarm (120);                  /* or else this would never end */
  assert_int_equal (
      ask ("printf '\\x03\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0"
           "\\0\\0\\0\\0\\0\\0\\0\\0' >&0; kill -STOP $$",
           &hits, NULL, NULL),
      0);
  alarm (0);
  assert_null (hits.note);
  fs_hits_free (&hits);
}

#define TEST(f) cmocka_unit_test (f)

int
main (void)
{
  const struct CMUnitTest tests[] = {
    TEST (a_crash_is_told),
    TEST (an_early_end_is_told),
    TEST (nonsense_ends_it),
    TEST (what_it_said_before_counts),
    TEST (one_that_is_not_there_is_told),
    TEST (it_can_be_cancelled),
    TEST (one_that_has_said_all_need_not_end),
  };

  return cmocka_run_group_tests (tests, set_up, tear_down);
}
