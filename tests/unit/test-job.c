/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A job counts, and ends when it is asked to. */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/job.h"

static void
a_job_counts_each_phase_from_nothing (void **state)
{
  struct job job = JOB_INIT;
  struct job_state now;

  job_look (&job, &now);
  assert_null (now.phase);
  job_start (&job, "copying", 100);
  assert_int_equal (job_advance (&job, 30, NULL), 0);
  assert_int_equal (job_advance (&job, 5, NULL), 0);
  job_look (&job, &now);
  assert_string_equal (now.phase, "copying");
  assert_int_equal (now.done, 35);
  assert_int_equal (now.total, 100);
  job_start (&job, "checking", 0);
  job_look (&job, &now);
  assert_string_equal (now.phase, "checking");
  assert_int_equal (now.done, 0);
  assert_int_equal (now.total, 0);
  (void) state;
}

static void
more_than_all_is_never_done (void **state)
{
  struct job job = JOB_INIT;
  struct job_state now;

  job_start (&job, "copying", 10);
  assert_int_equal (job_advance (&job, 11, NULL), 0);
  job_look (&job, &now);
  assert_int_equal (now.done, 10);
  (void) state;
}

static void
a_canceled_job_says_so_at_its_next_step (void **state)
{
  struct job job = JOB_INIT;
  struct err err = ERR_INIT;

  job_start (&job, "copying", 10);
  assert_int_equal (job_check (&job, &err), 0);
  job_cancel (&job);
  assert_int_equal (job_check (&job, &err), -ECANCELED);
  assert_string_equal (err.msg, "interrupted");
  assert_int_equal (job_advance (&job, 1, NULL), -ECANCELED);
  (void) state;
}

static void
nobody_has_to_look (void **state)
{
  struct job_state now;

  job_start (NULL, "copying", 10);
  assert_int_equal (job_advance (NULL, 1, NULL), 0);
  assert_int_equal (job_check (NULL, NULL), 0);
  job_cancel (NULL);
  job_look (NULL, &now);
  assert_null (now.phase);
  (void) state;
}

#define STEPS 10000

static void *
work (void *job)
{
  for (int i = 0; i < STEPS; ++i)
    job_advance (job, 3, NULL);
  return NULL;
}

static void
many_threads_work_for_one_job (void **state)
{
  struct job job = JOB_INIT;
  struct job_state now;
  pthread_t threads[4];

  job_start (&job, "copying", UINT64_MAX);
  for (size_t i = 0; i < 4; ++i)
    assert_int_equal (pthread_create (&threads[i], NULL, work, &job), 0);
  for (size_t i = 0; i < 4; ++i)
    assert_int_equal (pthread_join (threads[i], NULL), 0);
  job_look (&job, &now);
  assert_int_equal (now.done, 4 * 3 * STEPS);
  (void) state;
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (a_job_counts_each_phase_from_nothing),
    cmocka_unit_test (more_than_all_is_never_done),
    cmocka_unit_test (a_canceled_job_says_so_at_its_next_step),
    cmocka_unit_test (nobody_has_to_look),
    cmocka_unit_test (many_threads_work_for_one_job),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
