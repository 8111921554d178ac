/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Asking whoever sits at the terminal. */

#ifndef NBDIMAGE_TOOLS_ASK_H
#define NBDIMAGE_TOOLS_ASK_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/err.h"

/* Is somebody there who sees the question and can answer? */
bool ask_is_possible (void);

/* The question goes to stderr.  The answer is a line without its end, cut to
 * size bytes with the 0; false at the end of the input.
 */
bool ask_line (const char *question, char *answer, int size);

/* Was it answered with something that begins with y or Y? */
bool ask_yes (const char *question);

/* A line that is not shown while it is typed, from the terminal itself,
 * whatever stdin and stderr are; buf has its *len bytes, at most size - 1, and
 * none that ends them.  Signals that end or stop us do so once the terminal is
 * as it was.  -ECANCELED: there was no line; -EFBIG: it is longer; errors of
 * /dev/tty.  Whatever comes of it, buf may have some of what was typed.
 */
int ask_secret (const char *question, char *buf, size_t size, size_t *len,
                struct err *err);

/* Is somebody being asked so just now?  By any thread. */
bool ask_is_open (void);

/* End a question that is open: nothing was typed.  By any thread. */
void ask_give_up (void);

#endif /* NBDIMAGE_TOOLS_ASK_H */
