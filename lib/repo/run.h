/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The files of one run, as records are appended to it: when one is as large as
 * it should be, it ends and the next one begins (docs/NBI.md §3, §14 B5).
 * Where the files go, and what makes them safe, is the caller's: a file of its
 * own, a folder of a vault.
 *
 * By one thread at a time.  Once something has failed, everything fails.
 */

#ifndef NBDIMAGE_REPO_RUN_H
#define NBDIMAGE_REPO_RUN_H

#include "lib/repo/file-table.h"
#include "lib/repo/file-writer.h"

struct run;

struct run_place {
  /* A new file with this header, to which bytes go until it ends.  The sink
   * stays valid until then.
   */
  int (*begin) (void *opaque, const struct nbi_header *header,
                struct sink **sink, struct err *err);

  /* All bytes of that file were written.  last: a generation ends in it. */
  int (*end) (void *opaque, const struct nbi_header *header, bool last,
              struct err *err);
  void *opaque;
};

/* model: the header of all files, but for UUID, number, salt and nonce; it is
 * copied.  master: as for file_writer_new; stays the caller's.  folder: the
 * run's RUN, as in the list of files.  limit: bytes that a file should not
 * exceed; 0: one file, whatever its size.  place and files stay the caller's.
 */
int run_new (const struct nbi_header *model, const uint8_t *master,
             uint64_t limit, const struct run_place *place,
             struct file_table *files, struct run **out, struct err *err);

/* Append a record, as file_writer_add; *file gets the number of its file in
 * the table.
 */
int run_add (struct run *run, struct nbi_record *record, const void *payload,
             uint32_t *file, struct err *err);

/* The header of the file that is being written, for what its end needs. */
const struct nbi_header *run_header (const struct run *run);

/* The last file ends with this. */
int run_end (struct run *run, const struct file_ending *ending,
             struct err *err);

/* Bytes of all files, so far as they are written. */
uint64_t run_bytes (const struct run *run);

void run_free (struct run *run);        /* NULL is fine */

#endif /* NBDIMAGE_REPO_RUN_H */
