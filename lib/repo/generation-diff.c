/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/repo/absent.h"
#include "lib/repo/generation-diff.h"
#include "lib/repo/generation-private.h"

struct pair {
  struct generation *before, *after;
  const struct nbi_header *h;   /* of after */
  uint64_t before_size;         /* bytes */
};

/* Where one has a partition that was left out of the other, nothing tells how
 * it changed.
 */
static int
check_absent (struct generation *before, struct generation *after,
              struct err *err)
{
  struct absent_vector a = VECTOR_INIT, b = VECTOR_INIT;
  int r = absent_list_generation (before, &a, err);

  if (r == 0)
    r = absent_list_generation (after, &b, err);
  if (r == 0 && !absent_same (&a, &b))
    r = err_set (err, -EINVAL, "other partitions were left out of one than of "
                 "the other");
  vector_free (&a);
  vector_free (&b);
  return r;
}

int
generation_diff_check (struct generation *before, struct generation *after,
                       struct err *err)
{
  const struct nbi_header *a = generation_header (before);
  const struct nbi_header *b = generation_header (after);

  if (a->chunk_size != b->chunk_size)
    return err_set (err, -EINVAL, "the chunks of one have %" PRIu32 " bytes, "
                    "those of the other %" PRIu32, a->chunk_size,
                    b->chunk_size);
  if (a->encryption != b->encryption ||
      memcmp (a->key_id, b->key_id, sizeof a->key_id) != 0)
    return err_set (err, -EACCES, "the identities of their chunks were made "
                    "with different keys");
  return check_absent (before, after, err);
}

/*--- Whole pages ------------------------------------------------------------*/

/* Is there anything in the range that can't be read? */
static int
has_ranges (struct generation *gen, uint64_t off, uint64_t end, bool *has,
            struct err *err)
{
  struct nbi_range range;
  int r;

  *has = false;
  if (file_reader_trailer (gen->last)->nr_ranges == 0)
    return 0;
  r = generation_range_after (gen, off, &range, has, err);
  if (r == 0 && *has)
    *has = range.off < end;
  return r;
}

/* Pages of the same hash read the same, if all of them can be read: what can't
 * be counts as zeros there.
 */
static int
page_is_same (const struct pair *p, uint64_t page, bool *is, struct err *err)
{
  uint64_t len = (uint64_t) NBI_PAGE_CHUNKS * p->h->chunk_size;
  uint64_t off = page * len, end = min_u64 (off + len, p->h->disk_size);
  struct nbi_root a, b;
  bool bad = false;
  int r;

  *is = false;
  if (end > p->before_size || end != min_u64 (off + len, p->before_size))
    return 0;
  r = file_reader_root (p->before->last, page, &a, err);
  if (r == 0)
    r = file_reader_root (p->after->last, page, &b, err);
  if (r < 0 || memcmp (a.hash, b.hash, DIGEST_SIZE) != 0)
    return r;
  r = has_ranges (p->before, off, end, &bad, err);
  if (r == 0 && !bad)
    r = has_ranges (p->after, off, end, &bad, err);
  *is = r == 0 && !bad;
  return r;
}

/*--- Chunks -----------------------------------------------------------------*/

static bool
is_zero (enum nbi_cell_kind kind)
{
  return kind == NBI_ZERO || kind == NBI_UNALLOCATED;
}

/* Are both in the same record, and so all that follows in the runs? */
static int
same_place (const struct pair *p, const struct generation_run *a,
            const struct generation_run *b, bool *is, struct err *err)
{
  struct nbi_file x, y;
  int r;

  *is = false;
  if (a->ordinal != b->ordinal)
    return 0;
  r = generation_file (p->before, a->index, &x, err);
  if (r == 0)
    r = generation_file (p->after, b->index, &y, err);
  if (r == 0)
    *is = memcmp (x.uuid, y.uuid, UUID_SIZE) == 0;
  return r;
}

static int
read_entry (struct generation *gen, uint64_t c, struct nbi_record *record,
            struct err *err)
{
  struct generation_chunk chunk;
  int r = generation_find (gen, c, &chunk, err);

  if (r < 0)
    return r;
  r = generation_record (gen, c, &chunk, record, err);
  if (r < 0)
    r = err_in (err, "%s", file_reader_name (chunk.file));
  file_reader_unref (chunk.file);
  return r;
}

/* Both are data: what the tables say of them. */
static int
same_bytes (const struct pair *p, uint64_t c, bool *is, struct err *err)
{
  struct nbi_record a, b;
  int r = read_entry (p->before, c, &a, err);

  if (r == 0)
    r = read_entry (p->after, c, &b, err);
  if (r < 0)
    return err_in (err, "chunk %" PRIu64, c);
  *is = a.plain == b.plain &&
    memcmp (a.identity, b.identity, DIGEST_SIZE) == 0;
  return 0;
}

/* Is what can't be read of the range the same? */
static int
same_ranges (const struct pair *p, uint64_t off, uint64_t end, bool *is,
             struct err *err)
{
  *is = true;
  while (off < end) {
    struct nbi_range a = { end, 0 }, b = { end, 0 };
    bool found_a, found_b;
    int r = generation_range_after (p->before, off, &a, &found_a, err);

    if (r == 0)
      r = generation_range_after (p->after, off, &b, &found_b, err);
    if (r < 0)
      return r;
    found_a = found_a && a.off < end;
    found_b = found_b && b.off < end;
    if (!found_a && !found_b)
      return 0;
    *is = found_a && found_b && max_u64 (a.off, off) == max_u64 (b.off, off) &&
      min_u64 (a.off + a.len, end) == min_u64 (b.off + b.len, end);
    if (!*is)
      return 0;
    off = a.off + a.len;
  }
  return 0;
}

/* One chunk of data in both. */
static int
same_chunk (const struct pair *p, uint64_t c, enum nbi_cell_kind kind,
            bool *is, struct err *err)
{
  uint64_t off = c * p->h->chunk_size;
  int r = same_bytes (p, c, is, err);

  if (r == 0 && *is && kind == NBI_DATA_IN_PART)
    r = same_ranges (p, off, off + nbi_chunk_len (p->h, c), is, err);
  return r;
}

/* From chunk c on: are they the same, and as many as *end says? */
static int
compare (const struct pair *p, uint64_t c, const struct generation_run *a,
         const struct generation_run *b, uint64_t *end, bool *is,
         struct err *err)
{
  int r;

  *end = min_u64 (a->end, b->end);
  *is = is_zero (a->kind) && is_zero (b->kind);
  if (*is)
    return 0;
  *is = a->kind == NBI_UNREADABLE && b->kind == NBI_UNREADABLE;
  if (*is || a->kind != b->kind)
    return 0;
  if (a->kind == NBI_DATA) {
    r = same_place (p, a, b, is, err);
    if (r < 0 || *is)
      return r;
  }
  *end = c + 1;
  return same_chunk (p, c, a->kind, is, err);
}

static enum extent_kind
changed_to (enum nbi_cell_kind kind)
{
  return is_zero (kind) ? EXTENT_ZERO
    : kind == NBI_UNREADABLE ? EXTENT_UNREADABLE : EXTENT_DATA;
}

/*--- Extents ----------------------------------------------------------------*/

/* What begins at off, inside both disks, up to *next. */
static int
look_inside (const struct pair *p, uint64_t off, uint64_t *next,
             enum extent_kind *kind, struct err *err)
{
  uint64_t c = off / p->h->chunk_size, end = c + 1;
  struct generation_run a, b;
  bool same = false;
  int r = generation_run_at (p->before, c, &a, err);

  if (r == 0)
    r = generation_run_at (p->after, c, &b, err);
  if (r == 0)
    r = compare (p, c, &a, &b, &end, &same, err);
  if (r < 0)
    return r;
  *kind = same ? EXTENT_UNALLOCATED : changed_to (b.kind);
  *next = min_u64 (end * p->h->chunk_size, p->h->disk_size);
  /* The last chunk may have become longer, by zeros. */
  if (same)
    *next = min_u64 (*next, p->before_size);
  return 0;
}

static int
look_behind (const struct pair *p, uint64_t off, uint64_t *next,
             enum extent_kind *kind, struct err *err)
{
  struct generation_run b;
  int r = generation_run_at (p->after, off / p->h->chunk_size, &b, err);

  if (r < 0)
    return r;
  *kind = changed_to (b.kind);
  *next = min_u64 (b.end * p->h->chunk_size, p->h->disk_size);
  return 0;
}

int
generation_diff_extents (struct generation *before, struct generation *after,
                         uint64_t len, uint64_t off, struct extent_list *list,
                         struct err *err)
{
  const struct pair p = {
    .before = before, .after = after, .h = generation_header (after),
    .before_size = generation_header (before)->disk_size,
  };
  uint64_t page_len = (uint64_t) NBI_PAGE_CHUNKS * p.h->chunk_size;
  uint64_t end = off + len, looked_at = UINT64_MAX;
  int r = 0;

  while (r == 0 && off < end && !extent_list_full (list)) {
    enum extent_kind kind = EXTENT_UNALLOCATED;
    uint64_t page = off / page_len, next = (page + 1) * page_len;
    bool same = false;

    if (page != looked_at)
      r = page_is_same (&p, page, &same, err);
    looked_at = page;
    if (r == 0 && !same)
      r = off < p.before_size ? look_inside (&p, off, &next, &kind, err)
        : look_behind (&p, off, &next, &kind, err);
    if (r < 0)
      break;
    next = min_u64 (next, end);
    r = extent_list_add (list, off, next - off, kind, 0, err);
    off = next;
  }
  return r;
}
