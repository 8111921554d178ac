/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Two ways to put sessions into a file:
 *
 *   one after the other     0: first session · gap · N: second · …
 *     as read from a disc, or put together with cat.  Sector 16 describes
 *     the first.
 *   growing                 0: copy of the last descriptors · 32: first ·
 *                           gap · N: second · …
 *     as xorriso and growisofs write to what can be overwritten.  Sector 16
 *     describes the last.
 *
 * The sizes of the volumes are relative to the start of the session, the
 * places in it absolute.  A session begins at a multiple of 16 sectors not
 * far behind the one before: the lead-out and lead-in of a CD take 11400
 * sectors, a file has up to 150 of padding and 31 to round up.
 *
 * A volume that lies in this one (an ISO image as a file or partition) is no
 * session: its places count from its own start, so that its root directory
 * is not where it seems to be.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/format/iso/sessions.h"

#define MAX_SESSIONS 99         /* tracks of a CD */
#define UNIT 16                 /* sectors: where a session may begin */
#define WINDOW 12288            /* sectors: how far to look for the next */
#define GROWING_START 32        /* sector: of the first of a growing file */
#define RECORD_SIZE 34          /* of a directory, with its own name */

/* Does the record at the root directory say that it is there? */
static bool
is_root (struct block *block, uint32_t root)
{
  uint64_t off = (uint64_t) root * ISO_SECTOR;
  uint8_t record[RECORD_SIZE];

  return range_fits (off, sizeof record, block_size (block)) &&
    block_pread (block, record, sizeof record, off, NULL) == 0 &&
    record[0] >= RECORD_SIZE && get_le32 (record + 2) == root &&
    record[32] == 1 && record[33] == 0;
}

/* Does a session begin at that sector? */
static bool
is_session (struct block *block, uint32_t start, struct iso_session *session)
{
  uint64_t off = ((uint64_t) start + ISO_FIRST_SECTOR) * ISO_SECTOR;
  uint8_t d[ISO_SECTOR];

  if (!range_fits (off, sizeof d, block_size (block)) ||
      block_pread (block, d, 7, off, NULL) < 0 ||
      memcmp (d, "\1CD001\1", 7) != 0 ||
      block_pread (block, d, sizeof d, off, NULL) < 0 ||
      get_le16 (d + 128) != ISO_SECTOR)
    return false;
  *session = (struct iso_session) {
    .start = start,
    .end = ((uint64_t) start + get_le32 (d + 80)) * ISO_SECTOR,
    .root = get_le32 (d + 156 + 2),
  };
  memcpy (session->volume_id, d + 40, sizeof session->volume_id);
  return session->root >= start && is_root (block, session->root);
}

/* The first session in the window from a sector on. */
static bool
find_next (struct block *block, uint64_t from, struct iso_session *session)
{
  uint64_t end = min_u64 (from + WINDOW, block_size (block) / ISO_SECTOR);

  for (uint64_t start = round_up (from, UNIT);
       start < end && start <= UINT32_MAX; start += UNIT)
    if (is_session (block, (uint32_t) start, session))
      return true;
  return false;
}

int
iso_sessions_find (struct block *block, const struct iso9660 *iso,
                   struct iso_session_vector *sessions,
                   struct report *report, struct err *err)
{
  struct iso_session s;

  if (!is_session (block, GROWING_START, &s) && !is_session (block, 0, &s))
    return 0;
  do {
    if (sessions->len == MAX_SESSIONS) {
      report_warn (report, "there are more than %d sessions; those from "
                   "sector %" PRIu32 " on are not looked at", MAX_SESSIONS,
                   s.start);
      break;
    }
    if (vector_append (sessions, &s) < 0)
      return err_nomem (err);
    /* What is empty or ends before it begins is gone past all the same. */
  } while (find_next (block, max_u64 (s.end / ISO_SECTOR,
                                      (uint64_t) s.start + UNIT), &s));

  /* One alone is what the descriptors at sector 16 say already. */
  if (sessions->len == 1 && sessions->ptr[0].root == iso->root_block)
    vector_free (sessions);
  return 0;
}

size_t
iso_sessions_seen (const struct iso_session_vector *sessions,
                   const struct iso9660 *iso)
{
  for (size_t i = sessions->len; i-- > 0;)
    if (sessions->ptr[i].root == iso->root_block)
      return i;
  return sessions->len;
}
