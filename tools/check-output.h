/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What was found wrong with an image, on stdout: for `check` and `repair`. */

#ifndef NBDIMAGE_TOOLS_CHECK_OUTPUT_H
#define NBDIMAGE_TOOLS_CHECK_OUTPUT_H

#include <jansson.h>

#include "lib/format/check.h"

/* Every finding on a line or two, the worst first, for people. */
void check_output_findings (const char *name, const struct check *check);

/* One sentence about the whole of it, and one about what repair would do.
 * format is what was asked for; NULL: it was found out.
 */
void check_output_summary (const char *name, const char *format,
                           const struct check *check);

/* A sentence about a VHD, by its name, in which nothing of a VHD is left: how
 * its disk comes back if it was a fixed one.  Nothing for other names.
 */
void check_output_hint_of_rest (const char *name);

/* An object with everything; NULL when out of memory. */
json_t *check_output_json (const char *name, const struct check *check);

/* STATUS_DONE, STATUS_DAMAGED, or STATUS_FAILED where nothing is known to be
 * damaged and something could not be examined.
 */
int check_output_status (const struct check *check);

#endif /* NBDIMAGE_TOOLS_CHECK_OUTPUT_H */
