/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which record has these bytes already?  Of as many identities as there is
 * room for; what came later drives out what was there.  A hit is right: all 32
 * bytes are compared.  By one thread at a time.
 */

#ifndef NBDIMAGE_REPO_IDENTITY_INDEX_H
#define NBDIMAGE_REPO_IDENTITY_INDEX_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/digest.h"

struct identity_index;

/* In so many bytes of memory, which are taken as they are needed. */
int identity_index_new (size_t bytes, struct identity_index **out,
                        struct err *err);
void identity_index_free (struct identity_index *index);        /* or NULL */

/* file: whatever number the caller means. */
void identity_index_add (struct identity_index *index,
                         const uint8_t id[DIGEST_SIZE], uint32_t file,
                         uint32_t ordinal);
bool identity_index_find (const struct identity_index *index,
                          const uint8_t id[DIGEST_SIZE], uint32_t *file,
                          uint32_t *ordinal);

#endif /* NBDIMAGE_REPO_IDENTITY_INDEX_H */
