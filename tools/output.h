/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Results on stdout: text out of files made harmless, and JSON. */

#ifndef NBDIMAGE_TOOLS_OUTPUT_H
#define NBDIMAGE_TOOLS_OUTPUT_H

#include <stdint.h>

#include <jansson.h>

/* Print a string that came from a file or a server: control characters
 * become question marks.
 */
void output_text (const char *str);

/* Print VAULT/DISK@TIME, as other commands take it: what is behind a ‘?’ of a
 * vault's URI comes last.
 */
void output_generation (const char *vault, const char *disk,
                        const char *time);

/* Print a word for a shell: in quotes where it needs them, and cleaned as
 * output_text does, so that a name with control characters is not what it was.
 */
void output_shell_word (const char *str);

/* The same as a string, for a message.  The caller frees it; NULL when out of
 * memory.
 */
char *shell_word (const char *str);

/* A JSON string of any bytes: what is not UTF-8 becomes U+FFFD.  JSON null
 * for NULL.
 */
json_t *output_json_text (const char *str);

/* A time in seconds since 1970 as ISO 8601 in UTC, "2026-11-22T19:20:04Z";
 * JSON null for one that is negative or has no year of four digits.
 */
json_t *output_json_time (int64_t seconds);

/* Is all that was printed written?  If not, says so the first time.  Returns
 * the exit status.
 */
int output_finish (void);

/* Print an object or array, indented, with its keys in the order in which
 * they were set, and drop the reference.  Returns the exit status.
 */
int output_json (json_t *json);

#endif /* NBDIMAGE_TOOLS_OUTPUT_H */
