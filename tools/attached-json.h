/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A connected NBD device as JSON: what `attached` lists and `detach` took
 * off.
 */

#ifndef NBDIMAGE_TOOLS_ATTACHED_JSON_H
#define NBDIMAGE_TOOLS_ATTACHED_JSON_H

#include <jansson.h>

#include "tools/attach/state.h"

/* "live", "dead", "unsupervised"; "foreign" for NULL, which is a device that
 * somebody else connected.
 */
const char *attached_state (const struct attachment *a);

/* The device as it is now; a NULL: not ours, and what only we would know is
 * null.  The caller gets a reference; NULL when out of memory.
 */
json_t *attached_to_json (unsigned index, const struct attachment *a);

#endif /* NBDIMAGE_TOOLS_ATTACHED_JSON_H */
