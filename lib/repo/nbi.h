/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The numbers of docs/NBI.md: sizes, limits, kinds.  And how a rule of that
 * page is broken: every refusal ends in its number, "... (NBI-17)".
 */

#ifndef NBDIMAGE_REPO_NBI_H
#define NBDIMAGE_REPO_NBI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

#define NBI_HEADER_SIZE 4096
#define NBI_TRAILER_SIZE 4096
/* At the end: the copy of the trailer, the copy of the header, the trailer. */
#define NBI_TAIL_SIZE (NBI_TRAILER_SIZE + NBI_HEADER_SIZE + NBI_TRAILER_SIZE)
#define NBI_SHEET_SIZE 4096
#define NBI_RECORD_SIZE 64              /* a record's header */
#define NBI_MIN_SIZE (NBI_HEADER_SIZE + NBI_TAIL_SIZE)
#define NBI_MAX_SIZE (UINT64_C (1) << 62)

#define NBI_CHUNK_MIN (UINT32_C (16) * 1024)
#define NBI_CHUNK_MAX (UINT32_C (1024) * 1024)
#define NBI_MAX_CHUNKS (UINT64_C (1) << 32)
#define NBI_PAGE_CHUNKS 4096            /* in a page of the map */
#define NBI_PAGE_MAX 98312              /* bytes of one, plain */
#define NBI_MANIFEST_MAX (UINT32_C (1024) * 1024)
#define NBI_MAX_FILES (UINT32_C (1) << 20)
#define NBI_MAX_EDITION (UINT32_C (1) << 30)
#define NBI_MAX_TIME UINT64_C (253402300799)     /* the end of the year 9999 */
#define NBI_TAG_SIZE 16                 /* of what is encrypted */

/* Neither an ordinal nor the index of a file. */
#define NBI_NONE UINT32_MAX

enum nbi_kind {
  NBI_CHUNK = 1,
  NBI_PAGE = 2,
  NBI_MANIFEST = 3,
};

enum nbi_codec {
  NBI_STORED = 0,
  NBI_LZ4 = 1,
  NBI_ZSTD = 2,
};

/* What a chunk of the disk is (§8). */
enum nbi_cell_kind {
  NBI_ZERO = 0,
  NBI_UNALLOCATED = 1,
  NBI_UNREADABLE = 2,
  NBI_DATA = 3,
  NBI_DATA_IN_PART = 4,         /* some sectors could not be read */
};

/* Damage: the sentence and " (NBI-rule)".  Returns -EBADMSG. */
int nbi_refuse (struct err *err, int rule, const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 3, 4)));

/* Whole, but beyond this reader: the same with -ENOTSUP. */
int nbi_beyond (struct err *err, int rule, const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 3, 4)));

/* What breaks a rule that refers to others: "PREFIX: WHY (NBI-rule)", with the
 * code of `why'.
 */
int nbi_refuse_as (struct err *err, int rule, const char *prefix,
                   const struct err *why);

/* NBI-1: refuse what is not zeros; `what' is for the message. */
int nbi_check_zeros (const uint8_t *buf, size_t off, size_t len,
                     const char *what, struct err *err);

/* NBI-20, of a text in `size' bytes: valid UTF-8 that has no control character
 * and none that is not seen or turns the direction, a zero at its end, and
 * zeros behind that.  It may be empty.
 */
bool nbi_text_is_right (const char *text, size_t size);

bool nbi_is_zeros (const uint8_t *buf, size_t len);

#endif /* NBDIMAGE_REPO_NBI_H */
