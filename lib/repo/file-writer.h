/* SPDX-License-Identifier: GPL-2.0-or-later */

/* One file of a backup image, written front to back: docs/NBI.md §3.
 *
 *   file_writer_new (&header, sink, &writer, err);
 *   for (...)
 *     file_writer_add (writer, &record, payload, err);
 *   file_writer_end (writer, NULL or &ending, err);
 *   file_writer_free (writer);
 *
 * It keeps the entries of the records since the last group of sheets (512
 * KiB), a buffer of 1 MiB (its own, or the sink's), if it is encrypted another
 * one, and 24 bytes for each group, whatever the size of the file.  Nothing is
 * flushed: that is for whoever owns the sink.  Once something has failed,
 * everything fails, and the file is torn.
 *
 * By one thread at a time.
 */

#ifndef NBDIMAGE_REPO_FILE_WRITER_H
#define NBDIMAGE_REPO_FILE_WRITER_H

#include "lib/repo/nbi-header.h"
#include "lib/repo/nbi-record.h"
#include "lib/repo/nbi-sheet.h"
#include "lib/repo/sink.h"

struct file_writer;

/* What the last file of a run has at its end (§8, §9).  Entries are asked for
 * once, in ascending order.
 */
struct file_ending {
  uint64_t nr_pages;
  uint32_t nr_files, nr_ranges;
  int (*root) (void *opaque, uint64_t i, struct nbi_root *root,
               struct err *err);
  int (*file) (void *opaque, uint64_t i, struct nbi_file *file,
               struct err *err);
  int (*range) (void *opaque, uint64_t i, struct nbi_range *range,
                struct err *err);
  void *opaque;

  /* The manifest's record, as for file_writer_add, and its payload. */
  struct nbi_record manifest;
  const void *payload;
};

/* header and sink stay, and are the caller's, until file_writer_free; the
 * header has its salt, and its nonce, which no other file has.  master: the
 * key, if the header says that it is encrypted, of which nothing is kept but
 * what is made of it; otherwise NULL.  Writes nothing yet.  -ENOMEM; -EACCES:
 * NBI-124.
 */
int file_writer_new (const struct nbi_header *header, const uint8_t *master,
                     struct sink *sink, struct file_writer **out,
                     struct err *err);

/* Append a record, encrypted if the file is.  The caller has set kind, codec,
 * number, stored, plain and identity; ordinal, off and xxh3 are set here, and
 * of what is encrypted stored becomes that with the tag.  -EFBIG where there
 * is no ordinal left; the sink's errors.
 */
int file_writer_add (struct file_writer *writer, struct nbi_record *record,
                     const void *payload, struct err *err);

/* The same of a record that an earlier edition of the file has with the next
 * ordinal, as it is stored there: nothing is encrypted again.
 */
int file_writer_add_stored (struct file_writer *writer,
                            struct nbi_record *record, const void *payload,
                            struct err *err);

/* Leave out the next ordinal: its record was dropped (§7, tombstones). */
int file_writer_skip (struct file_writer *writer, struct err *err);

/* How large the file is, in bytes, if it ends after one more record with so
 * many stored bytes, without a tag, and without an ending.
 */
uint64_t file_writer_size_with (const struct file_writer *writer,
                                uint32_t stored);

/* Bytes so far, written or buffered. */
uint64_t file_writer_size (const struct file_writer *writer);

/* Ordinals so far: the next record's. */
uint32_t file_writer_ordinals (const struct file_writer *writer);

/* Tables, ending (NULL: not the last file of a run) and trailer.  Once. */
int file_writer_end (struct file_writer *writer,
                     const struct file_ending *ending, struct err *err);

/* NULL is fine. */
void file_writer_free (struct file_writer *writer);

#endif /* NBDIMAGE_REPO_FILE_WRITER_H */
