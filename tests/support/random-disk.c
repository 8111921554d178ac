/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "tests/support/random-disk.h"

#define SECTOR RANDOM_DISK_SECTOR

static uint64_t
below (struct random_disk *d, uint64_t n)
{
  return rng_next (d->rng) % n;
}

static bool
chance (struct random_disk *d, unsigned one_in)
{
  return rng_below (d->rng, one_in) == 0;
}

/* Noise, text, zeros, or what is elsewhere on a disk. */
static void
write_at (struct random_disk *d, const struct random_disk *other, size_t off,
          size_t len)
{
  unsigned what = rng_below (d->rng, 5);

  len = min_u64 (len, d->size - off);
  if (what == 0)
    memset (d->bytes + off, 0, len);
  else if (what == 1 && other->size > len)
    memmove (d->bytes + off,
             other->bytes + round_down (below (d, other->size - len), SECTOR),
             len);
  else
    for (size_t i = 0; i < len; ++i)
      d->bytes[off + i] = what == 2 ? (uint8_t) rng_next (d->rng)
        : (uint8_t) ("a text "[i % 7] + what + i / 9000);
  if (used_map_add (&d->written, off, len, NULL) < 0)
    abort ();
}

static size_t
any_size (struct random_disk *d)
{
  if (d->room == RANDOM_DISK_FAR)
    return RANDOM_DISK_FAR - SECTOR * below (d, 20);
  return SECTOR * (1 + below (d, RANDOM_DISK_SMALL / SECTOR - 1)) +
    (chance (d, 4) ? 1 + below (d, SECTOR - 1) : 0);
}

/* What is new is zeros, as what is behind the end. */
static void
resize (struct random_disk *d)
{
  size_t size = any_size (d);

  if (size < d->size)
    memset (d->bytes + size, 0, d->size - size);
  d->size = size;
}

/* With gaps or none, any of them chosen or not. */
static void
partition (struct random_disk *d)
{
  uint64_t at = 0;

  d->nr_parts = 0;
  for (unsigned n = rng_below (d->rng, RANDOM_DISK_PARTS + 1); n > 0; --n) {
    struct random_part *p = &d->parts[d->nr_parts];

    at += chance (d, 3) ? 0 : SECTOR * below (d, 100);
    if (at + 2 * SECTOR >= d->size)
      return;
    p->off = at;
    p->len = SECTOR * (1 + below (d, (d->size - at) / SECTOR));
    p->len = min_u64 (p->len, d->size - at);
    p->chosen = !chance (d, 3);
    at += p->len;
    d->nr_parts++;
  }
}

void
random_disk_init (struct random_disk *d, struct rng *rng, bool far)
{
  *d = (struct random_disk) {
    .rng = rng, .room = far ? RANDOM_DISK_FAR : RANDOM_DISK_SMALL,
  };
  d->bytes = calloc (1, d->room);
  if (d->bytes == NULL)
    abort ();
  d->size = any_size (d);
  random_disk_begin (d);
  for (int i = 0; i < 6; ++i)
    write_at (d, d, round_down (below (d, d->size), SECTOR), 90000);
  partition (d);
}

void
random_disk_free (struct random_disk *d)
{
  used_map_free (&d->written);
  free (d->bytes);
}

void
random_disk_change (struct random_disk *d, const struct random_disk *other)
{
  unsigned how = rng_below (d->rng, 4);
  bool resized = chance (d, 5);

  if (resized)
    resize (d);
  if (resized || chance (d, 4))
    partition (d);
  for (unsigned n = how == 0 ? 0 : how == 1 ? 1 : 20; n > 0; --n)
    write_at (d, chance (d, 2) ? d : other,
              round_down (below (d, d->size), SECTOR),
              how == 1 ? d->size / 8 + 1 : how == 2 ? 512 : 4096);
}

void
random_disk_begin (struct random_disk *d)
{
  used_map_free (&d->written);
  used_map_init (&d->written, d->size, USED_MAP_LIMIT);
}

bool
random_disk_is_absent (const struct random_disk *d, uint64_t off)
{
  for (unsigned i = 0; i < d->nr_parts; ++i)
    if (!d->parts[i].chosen && off >= d->parts[i].off &&
        off < d->parts[i].off + d->parts[i].len)
      return true;
  return false;
}
