/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What interrupted runs wrote of a disk, so that the next one need not write
 * it again (docs/NBI.md §14, "Adopting"): whole files, which it refers to as
 * they are, and files that were being written, of which records are copied.
 *
 * Nothing of it is believed: a whole file is looked at from front to back
 * before it is taken, and a record counts only for a chunk of which the source
 * has been read.  Memory: 200 bytes for each file, 16 for each record of what
 * was being written, of which there are LEFTOVERS_RECORDS at most.
 */

#ifndef NBDIMAGE_REPO_LEFTOVERS_H
#define NBDIMAGE_REPO_LEFTOVERS_H

#include "lib/base/job.h"
#include "lib/base/vector.h"
#include "lib/base/cache.h"
#include "lib/repo/keyring.h"
#include "lib/repo/nbi-record.h"
#include "lib/repo/store.h"

#define LEFTOVERS_RECORDS (1024 * 1024)
#define LEFTOVERS_PARTS 16      /* files that were being written */

struct leftovers;

struct leftover_file {
  uint8_t uuid[UUID_SIZE];
  char *path;                   /* in the store */
  uint64_t size;                /* bytes */
  uint32_t nr_ordinals;
  uint32_t first, last;         /* numbers of its first and last chunk */
  uint32_t reach;               /* the largest `last' up to here */
  bool used;                    /* the generation refers to it */
};

DEFINE_VECTOR (leftover_files, struct leftover_file);

/* store, sheets (file_reader_sheets) and keys (NULL: there are none) stay the
 * caller's.  model: what the
 * files must have in common with the run: vault, size of chunks, encryption.
 */
int leftovers_new (struct store *store, struct cache *sheets,
                   struct keyring *keys, const struct nbi_header *model,
                   struct leftovers **out, struct err *err);
void leftovers_free (struct leftovers *l);      /* NULL is fine */

/* A whole file, of edition 0, that has this name and UUID.  -EBADMSG,
 * -ENOTSUP, -EIO, ...: it is not used; it is damaged, of another vault, or
 * can't be read.  -ENOMEM; -ECANCELED by the job, which is told of bytes of the
 * file.
 */
int leftovers_add_file (struct leftovers *l, const char *path,
                        const uint8_t uuid[UUID_SIZE], struct job *job,
                        struct err *err);

/* One that was being written: the records in front of the first that is not
 * whole.  Errors as above.
 */
int leftovers_add_part (struct leftovers *l, const char *path,
                        struct err *err);

/* All were added: from here on from many threads. */
void leftovers_ready (struct leftovers *l);

bool leftovers_are_none (const struct leftovers *l);

/* Is a chunk of this number, length and identity in a whole file?  Then *record
 * is that file's entry, and file gets its UUID.
 */
bool leftovers_find (struct leftovers *l, struct nbi_record *record,
                     uint8_t file[UUID_SIZE]);

/* Is a chunk of this number and length that has these bytes in a file that was
 * being written?  Then codec and stored length of the record are set, and room,
 * which has record->plain bytes, has the payload.  Not of what is encrypted: it
 * would be decrypted, decoded, and encrypted anew, and saves compressing only.
 */
bool leftovers_copy (struct leftovers *l, const void *plain,
                     struct nbi_record *record, void *room);

/* The generation refers to the file of this UUID: its size in bytes; 0: it is
 * none of these.  By one thread, as the list of whole files.
 */
uint64_t leftovers_use (struct leftovers *l, const uint8_t file[UUID_SIZE]);
const struct leftover_files *leftovers_files (const struct leftovers *l);

#endif /* NBDIMAGE_REPO_LEFTOVERS_H */
