/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which partitions were left out of the backup (absent.h) only the manifest
 * says.  Where that is lost, a partition of which the map has nothing at all
 * counts as left out, for even an empty file system has something that is used:
 * what is not there is then an error, not zeros.
 */

#include <config.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/repo/salvage-private.h"

struct chunks {
  uint64_t first, end;
};

static struct chunks
chunks_of (const struct salvage *s, const struct manifest_partition *p)
{
  uint64_t n = nbi_nr_chunks (&s->header);
  uint32_t size = s->header.chunk_size;

  return (struct chunks) {
    min_u64 (p->off / size, n), min_u64 (div_round_up (p->off + p->len, size),
                                         n),
  };
}

/* Those that are its alone say whether it was saved; of a small one without
 * any, those that it has in common with others.
 */
static struct chunks
own_chunks (const struct salvage *s, const struct manifest_partition *p)
{
  struct chunks own;

  manifest_chunks (p->off, p->len, s->header.chunk_size, s->header.disk_size,
                   &own.first, &own.end);
  own.end += own.first;
  return own.first < own.end ? own : chunks_of (s, p);
}

static bool
has_kind (const struct salvage *s, struct chunks chunks, unsigned kind)
{
  for (uint64_t c = chunks.first; c < chunks.end; ++c)
    if (s->cells[c].kind == kind)
      return true;
  return false;
}

static bool
has_any (const struct salvage *s, struct chunks chunks)
{
  for (uint64_t c = chunks.first; c < chunks.end; ++c)
    if (s->cells[c].kind != NBI_UNALLOCATED &&
        s->cells[c].kind != SALVAGE_LOST)
      return true;
  return false;
}

static int
judge (const struct salvage *s, struct manifest_partition *p,
       struct report *report, struct err *err)
{
  struct chunks own = own_chunks (s, p);
  bool absent = !has_any (s, own);
  char *saved;

  if (!has_kind (s, chunks_of (s, p), NBI_UNALLOCATED))
    return 0;
  if (absent && has_kind (s, own, SALVAGE_LOST))
    report_warn (report, "partition %" PRIu64 ": nobody knows whether it was "
                 "left out of the backup, for pages of the map are lost too; "
                 "nothing of it is there", p->number);
  else if (absent)
    report_warn (report, "partition %" PRIu64 " was left out of the backup, "
                 "as nothing of it is in the map", p->number);
  saved = strdup (absent ? MANIFEST_SAVED_NONE : "used");
  if (saved == NULL)
    return err_nomem (err);
  free (p->saved);
  p->saved = saved;
  return 0;
}

/* What is left out has a place only by a table. */
static void
lose_unallocated (struct salvage *s)
{
  uint64_t n = nbi_nr_chunks (&s->header);

  for (uint64_t c = 0; c < n; ++c)
    if (s->cells[c].kind == NBI_UNALLOCATED)
      s->cells[c].kind = SALVAGE_LOST;
  s->counts.lost += s->counts.unallocated;
  s->counts.unallocated = 0;
}

int
salvage_find_absent (struct salvage *s, struct manifest *m,
                     struct report *report, struct err *err)
{
  int r = 0;

  if (m->table_kind == NULL && s->counts.unallocated > 0) {
    report_warn (report, "the partition table is lost as well: of what is "
                 "not allocated nobody knows whether it was left out of the "
                 "backup, so that it is lost");
    lose_unallocated (s);
  }
  for (size_t i = 0; r == 0 && i < m->partitions.len; ++i)
    r = judge (s, &m->partitions.ptr[i], report, err);
  return r;
}
