/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The threads of lib/copy/crew.h take pieces of the disk and look at those
 * parts of them that the image does not have itself (own_extents).  Each
 * notes what differs in a list of its own, which is in ascending order, as
 * the pieces are; in the end the lists become one.
 *
 * Memory is two pieces for each thread, and what differs: 32 bytes for each
 * stretch of it.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/copy/crew.h"
#include "lib/format/image-ops.h"
#include "lib/format/rebase-compare.h"

#define UNIT 4096
#define EXTENTS_AT_ONCE 1024
#define ZERO_MAX (UINT64_C (64) << 20)

struct comparison {
  struct image *old, *new;      /* new NULL: zeros */
  struct extent_vector *found;  /* by slot of the crew */
};

static int
add_range (struct extent_vector *to, uint64_t off, uint64_t len,
           struct err *err)
{
  struct extent e = { off, len, EXTENT_DATA, 0 };
  struct extent *last = to->len > 0 ? &to->ptr[to->len - 1] : NULL;

  if (last && last->off + last->len == off) {
    last->len += len;
    return 0;
  }
  return vector_append (to, &e) < 0 ? err_nomem (err) : 0;
}

/*--- A piece ----------------------------------------------------------------*/

/* Behind its end a parent is zero. */
static int
read_new (const struct comparison *c, uint8_t *buf, size_t len, uint64_t off,
          struct err *err)
{
  uint64_t size = c->new ? image_size (c->new) : 0;
  size_t has = off < size ? (size_t) min_u64 (len, size - off) : 0;
  int r = has > 0 ? image_pread (c->new, buf, has, off, err) : 0;

  memset (buf + has, 0, len - has);
  return r < 0 ? err_in (err, "parent %s", image_name (c->new)) : 0;
}

static int
compare_piece (const struct comparison *c, const struct crew_member *me,
               size_t len, uint64_t off, struct err *err)
{
  uint8_t *a = me->buffers[0], *b = me->buffers[1];
  int r = image_pread (c->old, a, len, off, err);

  if (r == 0)
    r = read_new (c, b, len, off, err);
  if (r < 0 || memcmp (a, b, len) == 0)
    return r;
  for (size_t i = 0, n; r == 0 && i < len; i += n) {
    n = (size_t) min_u64 (UNIT - (off + i) % UNIT, len - i);
    if (memcmp (a + i, b + i, n) != 0)
      r = add_range (&c->found[me->slot], off + i, n, err);
  }
  return r;
}

/* How many bytes from off on are known to be zero in the new parent? */
static uint64_t
zeros_in_new (const struct comparison *c, uint64_t len, uint64_t off)
{
  CLEANUP_EXTENT_LIST struct extent_list list = { .limit = 1 };
  uint64_t size = c->new ? image_size (c->new) : 0;

  if (off >= size)
    return len;
  if (image_extents (c->new, min_u64 (len, size - off), off, &list,
                     NULL) < 0 ||
      list.v.len == 0 || !copy_kind_is_zero (list.v.ptr[0].kind))
    return 0;
  return min_u64 (len, list.v.ptr[0].len);
}

/* A part that the image does not have itself. */
static int
compare_part (struct crew *crew, const struct crew_member *me, uint64_t len,
              uint64_t off, struct err *err)
{
  const struct comparison *c = crew->opaque;
  int r = 0;

  while (r == 0 && len > 0) {
    uint64_t n = me->range.zero ? zeros_in_new (c, len, off) : 0;

    if (n == 0) {
      n = min_u64 (len, crew->ranges.piece);
      r = compare_piece (c, me, (size_t) n, off, err);
    }
    if (r == 0)
      r = job_check (crew->ranges.job, err);
    off += n;
    len -= n;
  }
  return r;
}

static int
compare_range (struct crew *crew, struct crew_member *me, struct err *err)
{
  struct image *img = ((const struct comparison *) crew->opaque)->old;
  uint64_t off = me->range.off, end = off + me->range.len;
  int r = 0;

  while (r == 0 && off < end) {
    CLEANUP_EXTENT_LIST struct extent_list list = {
      .limit = EXTENTS_AT_ONCE
    };

    r = img->ops->own_extents (img, end - off, off, &list, err);
    for (size_t i = 0; r == 0 && i < list.v.len; ++i)
      if (list.v.ptr[i].kind == EXTENT_HOLE)
        r = compare_part (crew, me, list.v.ptr[i].len, list.v.ptr[i].off,
                          err);
    off = extent_list_end (&list, off);
  }
  return r;
}

/*--- All of it --------------------------------------------------------------*/

/* The list that goes on with the range that comes first, or nr. */
static unsigned
first_list (const struct extent_vector *lists, const size_t *at, unsigned nr)
{
  unsigned first = nr;

  for (unsigned i = 0; i < nr; ++i)
    if (at[i] < lists[i].len &&
        (first == nr ||
         lists[i].ptr[at[i]].off < lists[first].ptr[at[first]].off))
      first = i;
  return first;
}

static int
join (const struct extent_vector *lists, unsigned nr,
      struct extent_vector *out, uint64_t *bytes, struct err *err)
{
  size_t at[COPY_MAX_THREADS] = { 0 };
  unsigned i;
  int r = 0;

  *bytes = 0;
  while (r == 0 && (i = first_list (lists, at, nr)) < nr) {
    const struct extent *e = &lists[i].ptr[at[i]++];

    *bytes += e->len;
    r = add_range (out, e->off, e->len, err);
  }
  return r;
}

static int
run (struct crew *crew, struct job *job, struct err *err)
{
  int r = copy_ranges_init (&crew->ranges, 0, err);

  if (r < 0)
    return r;
  job_start (job, "comparing", crew->ranges.end);
  r = crew_run (crew, err);
  copy_ranges_free (&crew->ranges);
  return r;
}

int
rebase_compare (struct image *img, struct image *parent,
                struct extent_vector *out, uint64_t *bytes, struct job *job,
                struct err *err)
{
  struct extent_vector found[COPY_DEFAULT_THREADS] = { VECTOR_INIT };
  struct comparison c = { img, parent, found };
  CLEANUP_BLOCK struct block *disk = NULL;
  struct crew crew = {
    .nr_buffers = 2,
    .work = compare_range,
    .opaque = &c,
    .ranges = {
      .end = image_size (img),
      .piece = COPY_PIECE,
      .zero_max = ZERO_MAX,
      .nr_slots = COPY_DEFAULT_THREADS,
      .job = job,
    },
  };
  int r = image_to_block (img, &disk, err);

  crew.ranges.from = disk;
  if (r == 0)
    r = run (&crew, job, err);
  if (r == 0)
    r = join (found, COPY_DEFAULT_THREADS, out, bytes, err);
  for (unsigned i = 0; i < COPY_DEFAULT_THREADS; ++i)
    vector_free (&found[i]);
  return r;
}

/*--- Whole units ------------------------------------------------------------*/

/* Does the image have all of [off, end) itself? */
static int
has_all (struct image *img, uint64_t off, uint64_t end, bool *all,
         struct err *err)
{
  int r = 0;

  *all = true;
  while (r == 0 && *all && off < end) {
    CLEANUP_EXTENT_LIST struct extent_list list = {
      .limit = EXTENTS_AT_ONCE
    };

    r = img->ops->own_extents (img, end - off, off, &list, err);
    for (size_t i = 0; r == 0 && i < list.v.len; ++i)
      *all = *all && list.v.ptr[i].kind != EXTENT_HOLE;
    off = extent_list_end (&list, off);
  }
  return r;
}

/* Does the file have a place for this unit and not all of what belongs
 * there?
 */
static int
is_partial (struct image *img, uint64_t off, uint64_t end, bool *partial,
            struct err *err)
{
  bool has, all = false;
  int r = img->ops->has_unit (img, off, &has, err);

  if (r == 0 && has)
    r = has_all (img, off, end, &all, err);
  if (r == 0)
    *partial = has && !all;
  return r;
}

static int
add_units (struct image *img, uint64_t unit,
           const struct extent_vector *ranges, struct extent_vector *out,
           struct err *err)
{
  uint64_t size = image_size (img), end;
  size_t i = 0;
  int r = 0;

  for (uint64_t off = 0; r == 0 && off < size; off = end) {
    bool is_wanted;

    end = off + min_u64 (unit, size - off);
    while (i < ranges->len && ranges->ptr[i].off + ranges->ptr[i].len <= off)
      i++;
    is_wanted = i < ranges->len && ranges->ptr[i].off < end;
    if (!is_wanted)
      r = is_partial (img, off, end, &is_wanted, err);
    if (r == 0 && is_wanted)
      r = add_range (out, off, end - off, err);
  }
  return r;
}

int
rebase_whole_units (struct image *img, struct extent_vector *ranges,
                    uint64_t *bytes, struct err *err)
{
  CLEANUP_IMAGE_INFO struct image_info info = { .type = NULL };
  struct extent_vector units = VECTOR_INIT;
  int r = image_get_info (img, &info, err);

  if (r == 0)
    r = add_units (img, info.allocation_size, ranges, &units, err);
  if (r < 0) {
    vector_free (&units);
    return r;
  }
  vector_free (ranges);
  *ranges = units;
  *bytes = 0;
  for (size_t i = 0; i < units.len; ++i)
    *bytes += units.ptr[i].len;
  return 0;
}
