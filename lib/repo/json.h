/* SPDX-License-Identifier: GPL-2.0-or-later */

/* JSON from a vault, bounded before it is parsed: docs/NBI.md §9, NBI-90 and
 * NBI-91.  Forms are those of §9: UUIDs with dashes, lower case; times RFC 3339
 * in UTC; numbers from 0 to 2^53 - 1.
 */

#ifndef NBDIMAGE_REPO_JSON_H
#define NBDIMAGE_REPO_JSON_H

#include <jansson.h>

#include "lib/base/uuid.h"

#define REPO_JSON_DEPTH_MAX 32
#define REPO_JSON_NUMBER_MAX ((UINT64_C (1) << 53) - 1)
#define REPO_JSON_TIME_SIZE 21  /* with the final zero */

struct repo_json_limits {
  size_t len;                   /* bytes */
  size_t structures;            /* `{', `[' and `,', in strings too */
  int rule;                     /* NBI-…, which all refusals name */
};

/* An object, for json_decref.  -EBADMSG, -ENOMEM. */
int repo_json_parse (const char *text, size_t len,
                     const struct repo_json_limits *limits, json_t **out,
                     struct err *err);

/* False, and the output as it was, for any other type or form. */
bool repo_json_number (const json_t *value, uint64_t *n);
bool repo_json_uuid (const json_t *value, uint8_t uuid[UUID_SIZE]);
bool repo_json_time (const json_t *value, uint64_t *seconds);

/* seconds: at most NBI_MAX_TIME. */
void repo_json_time_to_string (uint64_t seconds,
                               char str[REPO_JSON_TIME_SIZE]);

#endif /* NBDIMAGE_REPO_JSON_H */
