/* SPDX-License-Identifier: GPL-2.0-or-later */

/* used-damage IMAGE COUNT [FROM]
 *
 * What is said of a file system with one byte that is wrong, COUNT times, each
 * time a byte that was looked at when all was well.  It must be an answer; and
 * of every tenth the end is missing too.  With FROM, of which checksums or
 * copies protect all that lies at FROM and behind, the answer must not have
 * less than that without damage: more, or all.
 *
 * Prints how many answers were of which kind.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/block/block-ops.h"
#include "lib/block/file.h"
#include "lib/block/window.h"
#include "lib/fsmap/used.h"
#include "tests/support/rng.h"

struct place {
  uint64_t off;
  size_t len;
};

DEFINE_VECTOR (places, struct place);

/* Another block with one wrong byte; remembers what was read. */
struct damaged {
  struct block base;
  struct block *below;          /* not referenced */
  uint64_t at;                  /* UINT64_MAX: nowhere */
  uint8_t mask;                 /* what is changed there */
  struct places *places;        /* NULL: not remembered */
};

static void
die (const char *what, const struct err *err)
{
  fprintf (stderr, "used-damage: %s: %s\n", what, err->msg);
  exit (1);
}

static int
damaged_pread (struct block *b, void *buf, size_t len, uint64_t off,
               struct err *err)
{
  struct damaged *d = (struct damaged *) b;
  struct place place = { off, len };
  int r = block_pread (d->below, buf, len, off, err);

  if (r == 0 && d->at >= off && d->at - off < len)
    ((uint8_t *) buf)[d->at - off] ^= d->mask;
  if (d->places && vector_append (d->places, &place) < 0)
    abort ();
  return r;
}

static const struct block_ops damaged_ops = { .pread = damaged_pread };

static void
look (struct block *below, const char *kind, uint64_t at, uint8_t mask,
      struct places *places, struct fs_used *out)
{
  struct damaged *d = calloc (1, sizeof *d);
  struct err err = ERR_INIT;

  if (d == NULL || block_init (&d->base, &damaged_ops, "damaged",
                               block_size (below), false, &err) < 0)
    die ("block", &err);
  d->below = below;
  d->at = at;
  d->mask = mask;
  d->places = places;
  if (fs_used_as (&d->base, kind, out, NULL, &err) < 0)
    die (kind, &err);
  block_unref (&d->base);
}

static void
check_order (const struct fs_used *used, uint64_t size)
{
  uint64_t end = 0;

  for (size_t i = 0; i < used->map.runs.len; ++i) {
    const struct used_run *run = &used->map.runs.ptr[i];

    if ((i > 0 && run->off <= end) || run->len == 0 ||
        !range_fits (run->off, run->len, size))
      abort ();
    end = run->off + run->len;
  }
  if (used->map.size != size || used_map_bytes (&used->map) != used->bytes ||
      (used->verdict == FS_USED_WHOLE) != (used->reason[0] != '\0') ||
      (used->verdict == FS_USED_WHOLE && used->bytes != size))
    abort ();
}

static bool
has_all (const struct fs_used *used, const struct fs_used *good)
{
  for (size_t i = 0; i < good->map.runs.len; ++i)
    if (!used_map_covers (&used->map, good->map.runs.ptr[i].off,
                          good->map.runs.ptr[i].len))
      return false;
  return true;
}

struct counts {
  unsigned whole, same, other;
};

static void
damage_byte (struct block *block, const struct fs_used *good, uint64_t at,
             uint8_t mask, uint64_t from, struct counts *counts)
{
  struct fs_used used;

  look (block, good->kind, at, mask, NULL, &used);
  check_order (&used, block_size (block));
  if (used.verdict == FS_USED_WHOLE)
    counts->whole++;
  else if (used.bytes == good->bytes && has_all (&used, good))
    counts->same++;
  else
    counts->other++;
  if (at >= from && !has_all (&used, good)) {
    fprintf (stderr, "used-damage: %s: with byte %" PRIu64 " ^ 0x%02x, less "
             "is used\n", good->kind, at, mask);
    exit (1);
  }
  fs_used_free (&used);
}

static void
cut_off (struct block *block, const struct fs_used *good, uint64_t at,
         uint8_t mask, uint64_t size)
{
  CLEANUP_BLOCK struct block *window = NULL;
  struct err err = ERR_INIT;
  struct fs_used used;

  if (block_window_new (block, 0, size, &window, &err) < 0)
    die ("window", &err);
  look (window, good->kind, at, mask, NULL, &used);
  check_order (&used, size);
  fs_used_free (&used);
}

int
main (int argc, char *argv[])
{
  CLEANUP_BLOCK struct block *block = NULL;
  struct places places = VECTOR_INIT;
  struct counts counts = { 0, 0, 0 };
  struct fs_used good, again;
  struct err err = ERR_INIT;
  struct rng rng = { 4711 };
  uint64_t from = UINT64_MAX;

  if (argc < 3 || argc > 4) {
    fprintf (stderr, "usage: used-damage IMAGE COUNT [FROM]\n");
    return 2;
  }
  if (argc == 4)
    from = strtoull (argv[3], NULL, 10);
  if (block_file_open (argv[1], 0, &block, NULL, &err) < 0 ||
      fs_used (block, &good, NULL, &err) < 0)
    die (argv[1], &err);
  if (good.verdict == FS_USED_WHOLE) {
    fprintf (stderr, "used-damage: %s: %s\n", argv[1], good.reason);
    return 1;
  }
  look (block, good.kind, UINT64_MAX, 0, &places, &again);
  if (again.bytes != good.bytes)
    abort ();
  fs_used_free (&again);
  for (unsigned i = 0; i < strtoul (argv[2], NULL, 10); ++i) {
    const struct place *p = &places.ptr[rng_next (&rng) % places.len];
    uint64_t at = p->off + rng_next (&rng) % p->len;
    uint8_t mask = rng_below (&rng, 2) ?
      (uint8_t) (1U << rng_below (&rng, 8)) :
      (uint8_t) (1 + rng_below (&rng, 255));

    damage_byte (block, &good, at, mask, from, &counts);
    if (i % 10 == 0)
      cut_off (block, &good, at, mask, rng_next (&rng) % block_size (block));
  }
  printf ("%s: %zu reads; whole %u, the same %u, others %u\n", good.kind,
          places.len, counts.whole, counts.same, counts.other);
  fs_used_free (&good);
  vector_free (&places);
  return counts.whole > 0 && counts.whole + counts.same > 0 ? 0 : 1;
}
