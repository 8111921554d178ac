/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Processes that are known by more than their number. */

#ifndef NBDIMAGE_ATTACH_PROCESS_H
#define NBDIMAGE_ATTACH_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/err.h"

/* Not mistaken for a later process with the same number. */
struct process {
  pid_t pid;                    /* 0: none */
  uint64_t start;               /* clock ticks since boot */
};

/* The process with that number now; { 0, 0 } if there is none. */
struct process process_of (pid_t pid);
bool process_alive (const struct process *process);

/* The start time from the contents of /proc/PID/stat; 0 for other text. */
uint64_t process_parse_start (const char *stat);

/* The name that ps shows; "" if the process is gone. */
void process_name (pid_t pid, char *name, size_t size);

/* A pidfd of it, -1 if it is gone. */
int process_open (const struct process *process);
/* Wait for the end of the process behind a pidfd. */
bool process_wait (int pidfd, unsigned milliseconds);
bool process_signal (int pidfd, int signal);

/* SIGTERM, then SIGKILL after a second, and wait (bounded) for the end. */
void process_end (const struct process *process);

/* Run a program to its end, stdin and stdout from and to nowhere; it is
 * killed after the time.  0: it exited with 0.  -ENOENT: there is no such
 * program.  -EIO: it failed; the sentence is the last that it said on stderr.
 */
int process_run (const char *const argv[], unsigned milliseconds,
                 struct err *err);

/* Call function (opaque) in a thread and wait for it, but not longer than
 * this, and not after *interrupted became true (NULL: nothing interrupts).
 * False: it is still running, and opaque is still in use; so opaque must not
 * be freed then.
 */
bool process_bounded (void (*function) (void *opaque), void *opaque,
                      unsigned milliseconds,
                      const volatile bool *interrupted);

#endif /* NBDIMAGE_ATTACH_PROCESS_H */
