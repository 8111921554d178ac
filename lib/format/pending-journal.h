/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The file in a memory file system that holds the table of pending.c. */

#ifndef NBDIMAGE_FORMAT_PENDING_JOURNAL_H
#define NBDIMAGE_FORMAT_PENDING_JOURNAL_H

#include "lib/format/pending.h"

/* One page of the table, in the file and in memory.  Of a file that a killed
 * process left, what is in slots with a key was there all at once: it is set
 * last, and cleared first.
 */
struct pending_slot {
  uint64_t key;                 /* of block and page, plus 1; 0: free */
  uint64_t place;
  uint8_t bits[];               /* page_bytes of them */
};

/* Behind the file's first PENDING_HEADER_SIZE bytes are the slots. */
#define PENDING_HEADER_SIZE 4096

struct pending_layout {
  uint32_t page_bytes;          /* a multiple of 8 */
  uint32_t nr_slots;
};

static inline size_t
pending_slot_size (const struct pending_layout *layout)
{
  return sizeof (struct pending_slot) + layout->page_bytes;
}

static inline size_t
pending_file_size (const struct pending_layout *layout)
{
  return PENDING_HEADER_SIZE + layout->nr_slots * pending_slot_size (layout);
}

struct pending_journal {
  int folder, fd;               /* -1: there is none */
  char name[96];                /* in the folder */
  uint8_t *map;                 /* pending_file_size bytes; NULL: none */
  size_t size;
  bool disowned;                /* atomic */
};

#define PENDING_JOURNAL_INIT { -1, -1, "", NULL, 0, false }

/* The journal of the image, which may be one that was left, with *layout as
 * it was made, or a new one of *layout whose slots are zeros.  Without a
 * place for one, *out stays as it was and a warning is given.
 */
int pending_journal_open (const struct pending_image *image,
                          struct pending_layout *layout,
                          struct pending_journal *out, struct report *report,
                          struct err *err);

/* The one that was left, to look at; *out stays as it was if there is
 * none.
 */
int pending_journal_peek (const struct pending_image *image,
                          struct pending_layout *layout,
                          struct pending_journal *out, struct err *err);

/* Nobody is to count on what is in it, even if this process is killed now; it
 * stays locked and mapped.  By any thread.
 */
void pending_journal_disown (struct pending_journal *j);

/* Removes the file if that is asked for, or it was disowned. */
void pending_journal_close (struct pending_journal *j, bool remove);

#endif /* NBDIMAGE_FORMAT_PENDING_JOURNAL_H */
