/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What reading a record does not ask, and saying that it is whole does: verify,
 * and a backup that proves what it refers to.
 *
 * From many threads; the record is its file's entry (file_reader_entry).
 */

#ifndef NBDIMAGE_REPO_RECORD_PROOF_H
#define NBDIMAGE_REPO_RECORD_PROOF_H

#include "lib/repo/decoders.h"

/* Does the header in front of the payload say what the table says?  NBI-30 to
 * NBI-38, and NBI-67; -EIO.
 */
int record_proof_header (struct file_reader *file,
                         const struct nbi_record *record, struct err *err);

/* Does the payload, decoded, have the table's identity?  NBI-40 to NBI-43;
 * -EIO.  room is for record->plain bytes.
 */
int record_proof_data (struct file_reader *file,
                       const struct nbi_record *record,
                       struct decoders *decoders, uint8_t *room,
                       struct err *err);

#endif /* NBDIMAGE_REPO_RECORD_PROOF_H */
