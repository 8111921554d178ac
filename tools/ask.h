/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Asking whoever sits at the terminal. */

#ifndef NBDIMAGE_TOOLS_ASK_H
#define NBDIMAGE_TOOLS_ASK_H

#include <stdbool.h>

/* Is somebody there who sees the question and can answer? */
bool ask_is_possible (void);

/* The question goes to stderr.  The answer is a line without its end, cut to
 * size bytes with the 0; false at the end of the input.
 */
bool ask_line (const char *question, char *answer, int size);

/* Was it answered with something that begins with y or Y? */
bool ask_yes (const char *question);

#endif /* NBDIMAGE_TOOLS_ASK_H */
