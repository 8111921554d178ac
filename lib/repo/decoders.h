/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What decoding a record needs besides its bytes: room for the payload as it
 * is stored, and as it is decoded, and what the codecs remember.  There are a
 * few of them, made when they are first needed; who comes when all are in use
 * waits (docs/NBI.md §11, "Memory").
 *
 * From many threads.
 */

#ifndef NBDIMAGE_REPO_DECODERS_H
#define NBDIMAGE_REPO_DECODERS_H

#include "lib/repo/file-reader.h"

/* Room for stored bytes that are read in one go. */
#define DECODERS_ROOM (NBI_CHUNK_MAX + NBI_RECORD_SIZE + NBI_TAG_SIZE)

struct decoders;

int decoders_new (struct decoders **out, struct err *err);      /* -ENOMEM */
void decoders_free (struct decoders *decoders);         /* NULL is fine */

/* Read and decode a record; plain has room for record->plain bytes.  NBI-40
 * to NBI-42; -EIO.
 */
int decoders_read (struct decoders *decoders, struct file_reader *file,
                   const struct nbi_record *record, void *plain,
                   struct err *err);

/* The same of len bytes of a record, `in' bytes from its beginning, which is
 * decoded no further than the codec has to.
 */
int decoders_read_part (struct decoders *decoders, struct file_reader *file,
                        const struct nbi_record *record, uint32_t in,
                        uint32_t len, void *buf, struct err *err);

/* As decoders_read for n records of a file that lie behind each other, not more
 * than DECODERS_ROOM from the payload of the first to the end of the last, with
 * one read.  Their plain bytes are put behind each other.
 */
int decoders_read_row (struct decoders *decoders, struct file_reader *file,
                       const struct nbi_record *records, size_t n,
                       void *plain, struct err *err);

#endif /* NBDIMAGE_REPO_DECODERS_H */
