/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The files that a generation in the making refers to, and how often: what
 * becomes its list of files (docs/NBI.md §8).
 *
 * Files are numbered in the order in which they came, for as long as the table
 * lives; in the list they ascend by their UUIDs, and those without use are
 * left out.  By one thread at a time.
 */

#ifndef NBDIMAGE_REPO_FILE_TABLE_H
#define NBDIMAGE_REPO_FILE_TABLE_H

#include "lib/base/vector.h"
#include "lib/repo/nbi-sheet.h"

DEFINE_VECTOR (nbi_file_vector, struct nbi_file);

struct file_table {
  struct nbi_file_vector files; /* by number */
  uint32_t *order;              /* numbers, ascending by UUID */
  size_t order_cap;
};

#define FILE_TABLE_INIT { VECTOR_INIT, NULL, 0 }

void file_table_destroy (struct file_table *table);

/* The number of the file, which lies in the folder of that run; a new one if
 * it is not there yet.  -EFBIG when there would be too many (NBI-108);
 * -EBADMSG if it is there in another folder; -ENOMEM.
 */
int file_table_add (struct file_table *table, const uint8_t uuid[UUID_SIZE],
                    const uint8_t run[UUID_SIZE], uint32_t *number,
                    struct err *err);

/* One page of the map more, or one less, refers to it. */
void file_table_use (struct file_table *table, uint32_t number);
void file_table_unuse (struct file_table *table, uint32_t number);

/* The list: how many there are in it, the i-th of them, and for each number
 * its place in the list (NBI_NONE: left out), which is for free().
 */
uint32_t file_table_count (const struct file_table *table);
int file_table_places (const struct file_table *table, uint32_t **places,
                       struct err *err);

/* The list itself, for free(). */
int file_table_list (const struct file_table *table, struct nbi_file **list,
                     struct err *err);

#endif /* NBDIMAGE_REPO_FILE_TABLE_H */
