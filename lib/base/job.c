/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stddef.h>

#include "lib/base/job.h"

void
job_start (struct job *job, const char *phase, uint64_t total)
{
  if (job == NULL)
    return;
  __atomic_store_n (&job->done, 0, __ATOMIC_RELAXED);
  __atomic_store_n (&job->total, total, __ATOMIC_RELAXED);
  __atomic_store_n (&job->phase, phase, __ATOMIC_RELEASE);
}

int
job_check (struct job *job, struct err *err)
{
  if (job == NULL || !__atomic_load_n (&job->canceled, __ATOMIC_RELAXED))
    return 0;
  return err_set (err, -ECANCELED, "interrupted");
}

int
job_advance (struct job *job, uint64_t n, struct err *err)
{
  if (job == NULL)
    return 0;
  __atomic_add_fetch (&job->done, n, __ATOMIC_RELAXED);
  return job_check (job, err);
}

void
job_cancel (struct job *job)
{
  if (job)
    __atomic_store_n (&job->canceled, true, __ATOMIC_RELAXED);
}

void
job_look (const struct job *job, struct job_state *state)
{
  *state = (struct job_state) { NULL, 0, 0 };
  if (job == NULL)
    return;
  state->phase = __atomic_load_n (&job->phase, __ATOMIC_ACQUIRE);
  state->total = __atomic_load_n (&job->total, __ATOMIC_RELAXED);
  state->done = __atomic_load_n (&job->done, __ATOMIC_RELAXED);
  if (state->total > 0 && state->done > state->total)
    state->done = state->total;
}
