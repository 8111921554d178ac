/* SPDX-License-Identifier: GPL-2.0-or-later */

/* One file of a backup image, open for reading: docs/NBI.md §11.
 *
 * Opening takes one read, or two; everything else is read when it is asked
 * for.  Sheets of tables are kept in a cache that many files share.  All
 * functions but the last unref may be called from many threads.
 *
 * -EBADMSG and -ENOTSUP end in the number of the rule; nothing here names the
 * file: that is file_reader_name, which whoever called puts in front (err_in).
 */

#ifndef NBDIMAGE_REPO_FILE_READER_H
#define NBDIMAGE_REPO_FILE_READER_H

#include "lib/base/report.h"
#include "lib/block/block.h"
#include "lib/base/cache.h"
#include "lib/repo/keyring.h"
#include "lib/repo/nbi-header.h"
#include "lib/repo/nbi-record.h"
#include "lib/repo/nbi-sheet.h"
#include "lib/repo/nbi-trailer.h"

struct file_reader;

/* Keeps a reference to the block.  sheets: of file_reader_sheets; stays the
 * caller's, and longer than the reader.  keys: NULL, or what opens it if it is
 * encrypted, and if nobody has to be asked (NBI-124; a wrong one: -EACCES).
 * Without a key header and trailer can be had, everything else is -EACCES
 * (NBI-41).  NBI-10 to NBI-24 and NBI-100 to NBI-111; where a copy had to be
 * taken, a warning.
 */
int file_reader_open (struct block *block, struct cache *sheets,
                      struct keyring *keys, struct file_reader **out,
                      struct report *report, struct err *err);

/* If it is encrypted and has no key yet: ask for it.  Before many threads have
 * the reader.  NBI-111, NBI-124; -EACCES.
 */
int file_reader_unlock (struct file_reader *reader, struct keyring *keys,
                        struct err *err);

/* The identity of plain bytes in this file. */
int file_reader_identity (struct file_reader *reader, const void *plain,
                          size_t len, uint8_t id[DIGEST_SIZE],
                          struct err *err);

/* Decrypt a payload in place, if the file is encrypted; the record's stored
 * length becomes that without the tag, as payload_decode wants it.  NBI-41.
 */
int file_reader_unseal (struct file_reader *reader, struct nbi_record *record,
                        void *payload, struct err *err);

/* A cache for sheets of so many bytes.  -ENOMEM. */
int file_reader_sheets (size_t limit, struct cache **out, struct err *err);

struct file_reader *file_reader_ref (struct file_reader *reader);
void file_reader_unref (struct file_reader *reader);    /* NULL is fine */

const char *file_reader_name (const struct file_reader *reader);
struct block *file_reader_block (const struct file_reader *reader);
const struct nbi_header *file_reader_header (const struct file_reader *reader);
const struct nbi_trailer *file_reader_trailer (const struct file_reader *r);

/* A number that no other reader of this process has, ever: for keys. */
uint64_t file_reader_id (const struct file_reader *reader);

/* Where what is in front of the tail ends (§2, "the data's end"). */
uint64_t file_reader_end (const struct file_reader *reader);

/* The chunk table's entry.  A tombstone has kind 0; so has one in a sheet that
 * was left out.  -EBADMSG too if there is no such ordinal (NBI-79, NBI-81).
 */
int file_reader_entry (struct file_reader *reader, uint32_t ordinal,
                       struct nbi_record *record, struct err *err);

/* Group g of the chunk table, below the number of groups. */
int file_reader_group (struct file_reader *reader, uint32_t g,
                       struct nbi_group *group, struct err *err);

/* Entries of the tables of the last file of a run; i is below their number. */
int file_reader_root (struct file_reader *reader, uint64_t page,
                      struct nbi_root *root, struct err *err);
int file_reader_file (struct file_reader *reader, uint32_t i,
                      struct nbi_file *file, struct err *err);
int file_reader_range (struct file_reader *reader, uint32_t i,
                       struct nbi_range *range, struct err *err);

/* Is this the payload of the record, as it is stored?  NBI-40. */
int file_reader_check (const struct nbi_record *record, const void *payload,
                       struct err *err);

#endif /* NBDIMAGE_REPO_FILE_READER_H */
