/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Finding records and sheets without tables: docs/NBI.md §16, step 3 and "bytes
 * were lost or added".  And what reading them shares with it.
 */

#ifndef NBDIMAGE_REPO_SALVAGE_SCAN_H
#define NBDIMAGE_REPO_SALVAGE_SCAN_H

#include "lib/repo/payload.h"
#include "lib/repo/salvage-file.h"

/* Fill listed, scanned, sheets and manifest of a file of which the rest is
 * known, and put them in order.  Records that are not where they say that they
 * belong are told.
 */
int salvage_scan (struct salvage_file *file, struct report *report,
                  struct job *job, struct err *err);

/* Is the sheet in buf, which says that it lies at `stated', whole, of this
 * file, and of any table?  *out gets `off' as the place where it is, and plain
 * the sheet, decrypted.
 */
bool salvage_is_sheet (const struct salvage_file *file, const uint8_t *buf,
                       uint64_t off, uint64_t stated,
                       struct salvage_sheet *out,
                       uint8_t plain[NBI_SHEET_SIZE]);

/* Of plain bytes, as the file's tables have it. */
int salvage_identity (const struct salvage_file *file, const void *plain,
                      size_t len, uint8_t id[DIGEST_SIZE], struct err *err);

/* What decoding needs, for records whose payload has room in it. */
struct salvage_reading {
  struct payload_decoder *decoder;
  uint8_t *payload;
};

/* Destroy it after a failure too. */
int salvage_reading_init (struct salvage_reading *reading, size_t room,
                          struct err *err);
void salvage_reading_destroy (struct salvage_reading *reading);

/* NBI-40 to NBI-42. */
int salvage_read_record (const struct salvage_file *file,
                         const struct nbi_record *record,
                         struct salvage_reading *reading, uint8_t *plain,
                         struct err *err);

/* In records that are in order by ordinal; NULL: there is none. */
const struct nbi_record *salvage_find_record (
  const struct salvage_records *records, uint32_t ordinal);

int salvage_compare_sheets (const void *a, const void *b);

#endif /* NBDIMAGE_REPO_SALVAGE_SCAN_H */
