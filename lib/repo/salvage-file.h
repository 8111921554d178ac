/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is whole in one file of a backup image, however damaged, by reading all
 * of it once: docs/NBI.md §16, steps 1 to 3.
 *
 * Of each record there may be two accounts: the table's (listed), whose record
 * may be damaged, and the record's own (scanned), which is whole.  Memory: 80
 * bytes for each account, 24 for each sheet.
 */

#ifndef NBDIMAGE_REPO_SALVAGE_FILE_H
#define NBDIMAGE_REPO_SALVAGE_FILE_H

#include "lib/base/job.h"
#include "lib/base/report.h"
#include "lib/base/vector.h"
#include "lib/block/block.h"
#include "lib/repo/keyring.h"
#include "lib/repo/nbi-record.h"
#include "lib/repo/nbi-sheet.h"

DEFINE_VECTOR (salvage_records, struct nbi_record);

struct salvage_sheet {
  uint64_t off;                 /* in the file */
  uint64_t stated;              /* where it says that it belongs: the same,
                                   unless bytes were lost or added */
  uint32_t number, count;       /* in its table; of entries */
  enum nbi_table table;
};

DEFINE_VECTOR (salvage_sheets, struct salvage_sheet);

struct salvage_file {
  struct block *block;          /* referenced */
  struct nbi_header header;     /* or what could be found out of it: */
  struct crypt *crypt;          /* NULL: it is not encrypted */
  bool guessed;                 /* neither copy of it is whole */
  bool has_uuid;                /* UUID and edition are known */
  bool has_nonce;               /* so that sheets can be told */
  bool has_trailer;
  uint32_t nr_ranges;           /* if it has a trailer */
  uint64_t end;                 /* of the data: bytes */
  struct salvage_records listed, scanned;       /* by ordinal */
  struct salvage_sheets sheets; /* by table and number */
  struct nbi_record manifest;   /* the last one; plain 0: there is none */
};

/* Look at all of it; name: of the file, without its folder, for what it may
 * say.  What could not be known otherwise than by a guess is told.  keys: what
 * opens it if it is encrypted, or NULL; then it needs a header or its copy, and
 * what is not encrypted is refused.  -EACCES: that, or no key, or another;
 * -EBADMSG for one with no sign of ours; -ECANCELED.
 */
int salvage_file_new (struct block *block, const char *name,
                      struct keyring *keys, struct salvage_file **out,
                      struct report *report, struct job *job,
                      struct err *err);
void salvage_file_free (struct salvage_file *file);     /* NULL is fine */

/* A record's bytes, proven by XXH3, and by the identity if a table has it:
 * plain has room for record->plain.  Tries the table's account, then its own;
 * *record is the one that was good.  -ENOENT: there is none of that kind and
 * length (0: any) with that ordinal; -EBADMSG, -EIO: none is whole.  From many
 * threads.
 */
int salvage_file_read (const struct salvage_file *file, uint32_t ordinal,
                       enum nbi_kind kind, uint32_t len, uint8_t *plain,
                       size_t room, struct nbi_record *record,
                       struct err *err);

/* The manifest; plain has room for it. */
int salvage_file_manifest (const struct salvage_file *file, uint8_t *plain,
                           struct err *err);

/* Entry i of a table whose sheets have `full' entries each; false: its sheet
 * is lost.  entry has room for one.
 */
bool salvage_file_entry (const struct salvage_file *file,
                         enum nbi_table table, uint64_t i, uint8_t *entry);

/* How many entries the ranges have; false: some sheet of them is lost, or it
 * can't be known.
 */
bool salvage_file_ranges (const struct salvage_file *file, uint64_t *nr);

#endif /* NBDIMAGE_REPO_SALVAGE_FILE_H */
