/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/repo/file-table.h"

void
file_table_destroy (struct file_table *table)
{
  vector_free (&table->files);
  free (table->order);
  table->order = NULL;
  table->order_cap = 0;
}

/* Where in `order' the UUID is, or would have to be. */
static uint32_t
find (const struct file_table *table, const uint8_t uuid[UUID_SIZE],
      bool *found)
{
  uint32_t low = 0, high = (uint32_t) table->files.len;

  *found = false;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    const struct nbi_file *file =
      &table->files.ptr[table->order[middle]];
    int order = memcmp (uuid, file->uuid, UUID_SIZE);

    if (order == 0) {
      *found = true;
      return middle;
    }
    if (order < 0)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

static int
insert (struct file_table *table, uint32_t place, const struct nbi_file *file,
        struct err *err)
{
  uint32_t number = (uint32_t) table->files.len;

  if (number == NBI_MAX_FILES)
    return err_set (err, -EFBIG, "the generation would need more than %" PRIu32
                    " files (NBI-108)", NBI_MAX_FILES);
  if (vector_reserve (&table->order, number, &table->order_cap,
                      sizeof *table->order) < 0 ||
      vector_append (&table->files, file) < 0)
    return err_nomem (err);
  memmove (table->order + place + 1, table->order + place,
           (number - place) * sizeof *table->order);
  table->order[place] = number;
  return 0;
}

int
file_table_add (struct file_table *table, const uint8_t uuid[UUID_SIZE],
                const uint8_t run[UUID_SIZE], uint32_t *number,
                struct err *err)
{
  struct nbi_file file = { .uses = 0 };
  bool found;
  uint32_t place = find (table, uuid, &found);
  int r;

  if (found) {
    *number = table->order[place];
    if (memcmp (table->files.ptr[*number].run, run, UUID_SIZE) != 0)
      return err_set (err, -EBADMSG, "a file is said to be in two folders");
    return 0;
  }
  memcpy (file.uuid, uuid, UUID_SIZE);
  memcpy (file.run, run, UUID_SIZE);
  r = insert (table, place, &file, err);
  if (r == 0)
    *number = (uint32_t) table->files.len - 1;
  return r;
}

void
file_table_use (struct file_table *table, uint32_t number)
{
  ++table->files.ptr[number].uses;
}

void
file_table_unuse (struct file_table *table, uint32_t number)
{
  --table->files.ptr[number].uses;
}

uint32_t
file_table_count (const struct file_table *table)
{
  uint32_t n = 0;

  for (size_t i = 0; i < table->files.len; ++i)
    n += table->files.ptr[i].uses > 0;
  return n;
}

int
file_table_places (const struct file_table *table, uint32_t **places,
                   struct err *err)
{
  uint32_t *out = malloc ((table->files.len + 1) * sizeof *out), place = 0;

  if (out == NULL)
    return err_nomem (err);
  for (size_t i = 0; i < table->files.len; ++i) {
    uint32_t number = table->order[i];

    out[number] = table->files.ptr[number].uses > 0 ? place++ : NBI_NONE;
  }
  *places = out;
  return 0;
}

int
file_table_list (const struct file_table *table, struct nbi_file **list,
                 struct err *err)
{
  struct nbi_file *out = malloc ((table->files.len + 1) * sizeof *out);
  size_t n = 0;

  if (out == NULL)
    return err_nomem (err);
  for (size_t i = 0; i < table->files.len; ++i) {
    const struct nbi_file *file = &table->files.ptr[table->order[i]];

    if (file->uses > 0)
      out[n++] = *file;
  }
  *list = out;
  return 0;
}
