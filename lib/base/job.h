/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A long piece of work, as the one who asked for it sees it: how far it is,
 * and whether it should end.
 *
 *   struct job job = JOB_INIT;
 *
 *   one thread                         others, any number
 *   ----------                         ------------------
 *   job_start (job, "copying", n);     job_look (&job, &state);
 *   for (...)                          job_cancel (&job);
 *     r = job_advance (job, len, err);
 *
 * Everything is atomic and nothing waits, so that many threads may work for
 * one job.  Whoever works asks often enough that nobody waits a second for
 * the end, and leaves everything in order before it ends: job_advance and
 * job_check then return -ECANCELED.  Every function accepts NULL for a job
 * that nobody looks at.
 */

#ifndef NBDIMAGE_BASE_JOB_H
#define NBDIMAGE_BASE_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"

struct job {
  bool canceled;
  const char *phase;            /* what is being done: a literal; or NULL */
  uint64_t done, total;         /* of this phase, in bytes; total 0: not
                                   known */
};

#define JOB_INIT { false, NULL, 0, 0 }

/* A new phase begins: "copying", "checking".  phase is a string that stays.
 * By one thread, while no other advances.
 */
void job_start (struct job *job, const char *phase, uint64_t total);

/* n more bytes are done; -ECANCELED if it should end. */
int job_advance (struct job *job, uint64_t n, struct err *err);

/* -ECANCELED if it should end: before long waits that do no bytes. */
int job_check (struct job *job, struct err *err);

/* Ask it to end.  From a signal handler too. */
void job_cancel (struct job *job);

struct job_state {
  const char *phase;
  uint64_t done, total;         /* bytes; done is never more than total,
                                   unless that is not known (0) */
};

/* What it is doing.  Around the beginning of a phase the numbers may be those
 * of either.
 */
void job_look (const struct job *job, struct job_state *state);

#endif /* NBDIMAGE_BASE_JOB_H */
