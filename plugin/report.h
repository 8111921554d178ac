/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The place where the plugin speaks: nbdkit's messages, and the error number
 * that goes to the client.
 */

#ifndef NBDIMAGE_PLUGIN_REPORT_H
#define NBDIMAGE_PLUGIN_REPORT_H

#include "lib/base/err.h"
#include "lib/base/report.h"

/* Every message goes through these.  Control characters and what is no UTF-8
 * in a sentence, from names and from images, become '?'.  From any thread.
 */

/* Say why something can't be done.  Returns -1, which is what nbdkit's
 * callbacks return.  The number for the client stays as it is.
 */
int plugin_error (const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 1, 2)));

/* Say what is odd and keeps nothing from being served. */
void plugin_warning (const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 1, 2)));

/* Between these two, plugin_warning, plugin_note and plugin_warnings say
 * nothing, if NBDIMAGE_START is "quiet" in the environment: whoever runs us
 * opened the same image and has said it.  To be called by one thread, while
 * there is no other.
 */
void plugin_start_begins (void);
void plugin_start_ends (void);

/* Say what is good to know, and nothing wrong. */
void plugin_note (const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 1, 2)));

/* Say something with nbdkit -v only. */
void plugin_debug (const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 1, 2)));

/* Say "NAME: sentence" (name NULL: without) and set the number for the
 * client.  Returns -1, which is what nbdkit's callbacks return.
 */
int plugin_fail (const char *name, const struct err *err);

/* Set the number for the client and say nothing above debug: for answers
 * that are no failure, like a refused fast zero.
 */
int plugin_fail_quietly (const char *name, const struct err *err);

/* Say the lines of fresh that are not yet in said, and move them there.  The
 * library has put the file's name into each.
 */
void plugin_warnings (struct report *said, struct report *fresh);

#endif /* NBDIMAGE_PLUGIN_REPORT_H */
