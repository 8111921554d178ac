/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A table in which each identity has two places, by its first bytes.  The
 * newer one is in front, and becomes the older one when it is driven out.
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/repo/identity-index.h"

struct entry {
  uint8_t id[DIGEST_SIZE];
  uint32_t file;                /* + 1; 0: empty */
  uint32_t ordinal;
};

struct identity_index {
  size_t nr_rows;               /* a power of 2 */
  struct entry (*rows)[2];
};

int
identity_index_new (size_t bytes, struct identity_index **out,
                    struct err *err)
{
  struct identity_index *index = calloc (1, sizeof *index);

  if (index == NULL)
    return err_nomem (err);
  index->nr_rows = 1;
  while (index->nr_rows * 2 * sizeof *index->rows <= bytes)
    index->nr_rows *= 2;
  index->rows = calloc (index->nr_rows, sizeof *index->rows);
  if (index->rows == NULL) {
    free (index);
    return err_nomem (err);
  }
  *out = index;
  return 0;
}

void
identity_index_free (struct identity_index *index)
{
  if (index == NULL)
    return;
  free (index->rows);
  free (index);
}

static struct entry *
row_of (const struct identity_index *index, const uint8_t id[DIGEST_SIZE])
{
  return index->rows[get_le64 (id) & (index->nr_rows - 1)];
}

void
identity_index_add (struct identity_index *index,
                    const uint8_t id[DIGEST_SIZE], uint32_t file,
                    uint32_t ordinal)
{
  struct entry *row = row_of (index, id);

  row[1] = row[0];
  memcpy (row[0].id, id, DIGEST_SIZE);
  row[0].file = file + 1;
  row[0].ordinal = ordinal;
}

bool
identity_index_find (const struct identity_index *index,
                     const uint8_t id[DIGEST_SIZE], uint32_t *file,
                     uint32_t *ordinal)
{
  const struct entry *row = row_of (index, id);

  for (int i = 0; i < 2; ++i)
    if (row[i].file != 0 && memcmp (row[i].id, id, DIGEST_SIZE) == 0) {
      *file = row[i].file - 1;
      *ordinal = row[i].ordinal;
      return true;
    }
  return false;
}
