/* SPDX-License-Identifier: GPL-2.0-or-later */

/* How far a long command is, on stderr: a line that is drawn again and again
 * on a terminal, or JSON for programs.  And Ctrl-C: the first asks the job to
 * end, which leaves everything in order; a second one ends the program.
 *
 *   struct job job = JOB_INIT;
 *   struct progress *progress;
 *
 *   if (progress_start (&job, mode, "disk.vhd", &progress, &err) < 0) ...
 *   r = image_compact (..., &job, &err);
 *   progress_stop (progress);
 *
 * Between the two, messages would be drawn over: keep them for afterwards.
 */

#ifndef NBDIMAGE_TOOLS_PROGRESS_H
#define NBDIMAGE_TOOLS_PROGRESS_H

#include "lib/base/err.h"
#include "lib/base/job.h"
#include "tools/command.h"

enum progress_mode {
  PROGRESS_AUTO,                /* a line if stderr is a terminal */
  PROGRESS_LINE,
  PROGRESS_JSON,                /* an object in a line of its own each half
                                   a second: phase, done, total (bytes, or
                                   null), rate (bytes a second), left
                                   (seconds, or null) */
  PROGRESS_NONE,
};

/* The option of commands that take long; its value goes to
 * progress_mode_parse.
 */
#define PROGRESS_OPTION(type, member)                                   \
  { "progress", 0, OPTION_STRING, "auto|line|json|none",                \
    "how far it is, on stderr; auto: a line on a terminal",             \
    offsetof (type, member) }

/* NULL is auto.  -EINVAL. */
int progress_mode_parse (const char *str, enum progress_mode *mode,
                         struct err *err);

struct progress;

/* From now on a thread looks at the job, which is borrowed, and takes SIGINT,
 * SIGTERM and SIGHUP.  Threads that are started after this do not get them.
 */
int progress_start (struct job *job, enum progress_mode mode,
                    const char *what, struct progress **out,
                    struct err *err);

/* Nothing is drawn any more, what was drawn is removed, and signals do what
 * they did before.  NULL is fine.
 */
void progress_stop (struct progress *progress);

#endif /* NBDIMAGE_TOOLS_PROGRESS_H */
