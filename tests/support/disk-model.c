/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/vector.h"
#include "tests/support/disk-model.h"

#define CHUNK 128U              /* sectors that are read at once */

enum state { BEGUN, DONE, FAILED };

struct entry {
  struct disk_op op;
  uint64_t number;              /* from 1, in the order of the beginnings */
  enum state state;
  uint64_t ended;               /* clock */
  uint8_t *zeroed;              /* of a trim that was done: for each sector,
                                   did it become zero? */
};

DEFINE_VECTOR (entries, struct entry);

struct disk_model {
  unsigned nr_sectors;
  uint8_t *now, *stable;
  uint64_t *stable_number;      /* of the operation that made it so; 0 */
  struct entries entries;       /* that are not stable, oldest first */
  uint64_t clock, last_number;
};

static void
must (bool ok)
{
  if (!ok)
    abort ();
}

/*--- Operations -------------------------------------------------------------*/

void
disk_fill_sector (uint8_t sector[DISK_SECTOR], uint32_t id)
{
  for (unsigned i = 0; i < DISK_SECTOR; i += 4)
    put_be32 (sector + i, id == 0 ? 0 : id * 2654435761U + i);
}

/* Blocks begin and end where much can go wrong. */
static unsigned
random_first (struct rng *rng, unsigned nr_sectors, unsigned per_block)
{
  unsigned block = rng_below (rng, nr_sectors) / per_block * per_block;
  unsigned near = per_block < 24 ? per_block : 24, s = block;

  switch (rng_below (rng, 4)) {
  case 0:
    s = block + rng_below (rng, near);
    break;
  case 1:
    s = block + per_block - 1 - rng_below (rng, near);
    break;
  case 2:
    s = block + rng_below (rng, per_block);
    break;
  }
  return s < nr_sectors ? s : nr_sectors - 1;
}

static unsigned
random_number (struct rng *rng, unsigned per_block)
{
  switch (rng_below (rng, 8)) {
  case 0:
    return 1 + rng_below (rng, per_block + per_block / 2);
  case 1: case 2:
    return 8;
  default:
    return 1 + rng_below (rng, 24);
  }
}

struct disk_op
disk_op_random (struct rng *rng, unsigned nr_sectors, unsigned per_block,
                uint32_t *next_id)
{
  struct disk_op op = { .kind = DISK_WRITE, .id = *next_id };
  unsigned i = rng_below (rng, 8);

  op.first = random_first (rng, nr_sectors, per_block);
  op.nr = random_number (rng, per_block);
  if (i >= 5)
    op.kind = i >= 7 ? DISK_TRIM : DISK_ZERO;
  if (op.kind != DISK_WRITE && rng_below (rng, 3)) {
    op.first -= op.first % per_block;
    op.nr = per_block * (1 + rng_below (rng, 2));
  }
  if (op.nr > nr_sectors - op.first)
    op.nr = nr_sectors - op.first;
  if (rng_below (rng, 16) == 0)
    op.flags |= BLOCK_FUA;
  if (op.kind == DISK_ZERO && rng_below (rng, 4) == 0)
    op.flags |= BLOCK_NO_HOLE;
  *next_id += op.nr;
  return op;
}

uint8_t *
disk_op_bytes (const struct disk_op *op)
{
  uint8_t *bytes = malloc (op->nr * (size_t) DISK_SECTOR);

  must (bytes != NULL);
  for (unsigned i = 0; i < op->nr; ++i)
    disk_fill_sector (bytes + i * (size_t) DISK_SECTOR, op->id + i);
  return bytes;
}

int
disk_op_do (const struct disk_op *op, const uint8_t *bytes, struct image *img,
            struct err *err)
{
  uint64_t off = op->first * (uint64_t) DISK_SECTOR;
  size_t len = op->nr * (size_t) DISK_SECTOR;

  switch (op->kind) {
  case DISK_ZERO:
    return image_zero (img, len, off, op->flags, err);
  case DISK_TRIM:
    return image_trim (img, len, off, op->flags, err);
  default:
    return image_pwrite (img, bytes, len, off, op->flags, err);
  }
}

int
disk_op_run (const struct disk_op *op, struct image *img, struct err *err)
{
  CLEANUP_FREE uint8_t *bytes = NULL;

  if (op->kind == DISK_WRITE)
    bytes = disk_op_bytes (op);
  return disk_op_do (op, bytes, img, err);
}

/*--- The model --------------------------------------------------------------*/

struct disk_model *
disk_model_new (const uint8_t *bytes, unsigned nr_sectors)
{
  struct disk_model *m = calloc (1, sizeof *m);
  size_t len = nr_sectors * (size_t) DISK_SECTOR;

  must (m != NULL);
  m->nr_sectors = nr_sectors;
  m->now = malloc (len);
  m->stable = malloc (len);
  m->stable_number = calloc (nr_sectors, sizeof m->stable_number[0]);
  must (m->now && m->stable && m->stable_number);
  memcpy (m->now, bytes, len);
  memcpy (m->stable, bytes, len);
  return m;
}

void
disk_model_free (struct disk_model *m)
{
  if (m == NULL)
    return;
  for (size_t i = 0; i < m->entries.len; ++i)
    free (m->entries.ptr[i].zeroed);
  vector_free (&m->entries);
  free (m->now);
  free (m->stable);
  free (m->stable_number);
  free (m);
}

unsigned
disk_model_nr_sectors (const struct disk_model *m)
{
  return m->nr_sectors;
}

static uint8_t *
sector_of (uint8_t *bytes, unsigned s)
{
  return bytes + s * (size_t) DISK_SECTOR;
}

static bool
is_zero (const uint8_t *sector)
{
  return sector[0] == 0 && memcmp (sector, sector + 1, DISK_SECTOR - 1) == 0;
}

static bool
covers (const struct entry *e, unsigned s)
{
  return s >= e->op.first && s - e->op.first < e->op.nr;
}

/* What it makes of a sector that it covers, if it does anything. */
static void
value_of (const struct entry *e, unsigned s, uint8_t *sector)
{
  disk_fill_sector (sector, e->op.kind == DISK_WRITE
                    ? e->op.id + (s - e->op.first) : 0);
}

/* A trim may have left it as it was. */
static bool
has_changed (const struct entry *e, unsigned s)
{
  return e->op.kind != DISK_TRIM ||
    (e->zeroed && e->zeroed[s - e->op.first]);
}

uint64_t
disk_model_begin (struct disk_model *m, const struct disk_op *op)
{
  struct entry e = { .op = *op, .number = ++m->last_number, .state = BEGUN };

  must (op->nr > 0 && op->nr <= m->nr_sectors &&
        op->first <= m->nr_sectors - op->nr);
  m->clock++;
  must (vector_append (&m->entries, &e) == 0);
  return e.number;
}

static size_t
find_entry (const struct disk_model *m, uint64_t number)
{
  size_t i = m->entries.len;

  while (i-- > 0)
    if (m->entries.ptr[i].number == number)
      return i;
  abort ();
}

/* Its sectors are on stable storage, and no older operation matters there. */
static void
make_stable (struct disk_model *m, const struct entry *e)
{
  for (unsigned s = e->op.first; s < e->op.first + e->op.nr; ++s) {
    if (m->stable_number[s] > e->number)
      continue;
    if (has_changed (e, s)) {
      value_of (e, s, sector_of (m->stable, s));
      m->stable_number[s] = e->number;
    }
  }
}

static void
remove_entry (struct disk_model *m, size_t i)
{
  struct entries *v = &m->entries;

  free (v->ptr[i].zeroed);
  memmove (v->ptr + i, v->ptr + i + 1, (v->len - i - 1) * sizeof v->ptr[0]);
  v->len--;
}

void
disk_model_end (struct disk_model *m, uint64_t number, bool ok,
                const uint8_t *bytes)
{
  size_t n = find_entry (m, number);
  struct entry *e = &m->entries.ptr[n];

  e->state = ok ? DONE : FAILED;
  e->ended = ++m->clock;
  if (!ok)
    return;
  if (e->op.kind == DISK_TRIM) {
    e->zeroed = malloc (e->op.nr);
    must (e->zeroed != NULL && bytes != NULL);
    for (unsigned i = 0; i < e->op.nr; ++i)
      e->zeroed[i] = is_zero (bytes + i * (size_t) DISK_SECTOR);
  }
  for (unsigned s = e->op.first; s < e->op.first + e->op.nr; ++s)
    if (has_changed (e, s))
      value_of (e, s, sector_of (m->now, s));
  /* What a trim with FUA left as it was, need not be stable. */
  if (e->op.flags & BLOCK_FUA && e->op.kind != DISK_TRIM) {
    make_stable (m, e);
    remove_entry (m, n);
  }
}

uint64_t
disk_model_flush_begin (struct disk_model *m)
{
  return ++m->clock;
}

void
disk_model_flush_end (struct disk_model *m, uint64_t begun)
{
  struct entries *v = &m->entries;
  size_t kept = 0;

  for (size_t i = 0; i < v->len; ++i) {
    struct entry *e = &v->ptr[i];

    if (e->state == DONE && e->ended < begun) {
      make_stable (m, e);
      free (e->zeroed);
    }
    else
      v->ptr[kept++] = *e;
  }
  v->len = kept;
}

/*--- What it allows ---------------------------------------------------------*/

/* A sector that is not as it was made last. */
static bool
is_allowed (const struct disk_model *m, unsigned s, const uint8_t *sector,
            bool after_crash)
{
  uint8_t value[DISK_SECTOR];

  for (size_t i = m->entries.len; i-- > 0;) {
    const struct entry *e = &m->entries.ptr[i];

    if (!covers (e, s) || e->number < m->stable_number[s])
      continue;
    value_of (e, s, value);
    if (memcmp (sector, value, DISK_SECTOR) == 0 &&
        (after_crash || e->state != DONE || has_changed (e, s)))
      return true;
    if (!after_crash && e->state == DONE && has_changed (e, s))
      return false;
  }
  return memcmp (sector, sector_of (m->stable, s), DISK_SECTOR) == 0;
}

bool
disk_model_allows (const struct disk_model *m, const uint8_t *bytes,
                   unsigned first, unsigned nr, bool after_crash,
                   unsigned *wrong)
{
  const uint8_t *now = sector_of (m->now, first);

  if (memcmp (bytes, now, nr * (size_t) DISK_SECTOR) == 0)
    return true;
  for (unsigned i = 0; i < nr; ++i) {
    const uint8_t *sector = bytes + i * (size_t) DISK_SECTOR;

    if (memcmp (sector, now + i * (size_t) DISK_SECTOR, DISK_SECTOR) != 0 &&
        !is_allowed (m, first + i, sector, after_crash)) {
      *wrong = first + i;
      return false;
    }
  }
  return true;
}

int
disk_model_check (const struct disk_model *m, struct image *img,
                  bool after_crash, struct err *err)
{
  unsigned end = (unsigned) min_u64 (m->nr_sectors,
                                     image_size (img) / DISK_SECTOR);
  uint8_t buf[CHUNK * DISK_SECTOR];

  for (unsigned s = 0, nr; s < end; s += nr) {
    unsigned wrong;
    int r;

    nr = end - s < CHUNK ? end - s : CHUNK;
    r = image_pread (img, buf, nr * (size_t) DISK_SECTOR,
                     s * (uint64_t) DISK_SECTOR, err);
    if (r < 0)
      return r;
    if (!disk_model_allows (m, buf, s, nr, after_crash, &wrong))
      return err_set (err, -EILSEQ, "sector %u begins with %08x, which it "
                      "never held, or lost", wrong,
                      get_be32 (buf + (wrong - s) * (size_t) DISK_SECTOR));
  }
  return 0;
}

int
disk_model_settle (struct disk_model *m, struct image *img, struct err *err)
{
  size_t len = m->nr_sectors * (size_t) DISK_SECTOR;
  int r = disk_model_check (m, img, true, err);

  if (r == 0 && image_size (img) < len)
    len = image_size (img) / DISK_SECTOR * DISK_SECTOR;
  if (r == 0)
    r = image_pread (img, m->now, len, 0, err);
  if (r < 0)
    return r;
  memcpy (m->stable, m->now, len);
  for (size_t i = 0; i < m->entries.len; ++i) {
    must (m->entries.ptr[i].state != BEGUN);
    free (m->entries.ptr[i].zeroed);
  }
  m->entries.len = 0;
  for (unsigned s = 0; s < m->nr_sectors; ++s)
    m->stable_number[s] = m->last_number;
  return 0;
}
