/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Blocks whose checksums cover much: Clonezilla has one for each 10 MiB.
 *
 * A strip is what one checksum covers.  It is read in pieces, and verified as a
 * whole, when something of it is wanted for the first time; what is kept then
 * are the hashes of its pieces, by which one piece can be verified when it has
 * to be read again.  So reading at random takes long only once for each strip,
 * and no memory for more than a piece.
 *
 * Pieces are kept as they were read, verified or not, with their hashes: what
 * is read front to back is read once.  Making hashes waits for pieces, and
 * making a piece waits for nothing.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "lib/base/cache.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/partclone/partclone.h"

#define PIECE ((uint64_t) 256 * 1024)
#define PIECES_SIZE ((size_t) 32 * 1024 * 1024)
#define HASHES_SIZE ((size_t) 8 * 1024 * 1024)
#define ITEM_SIZE 128           /* about what the cache takes for each */

struct piece {
  uint64_t hash;                /* XXH3 */
  uint8_t bytes[];
};

struct partclone_strips {
  struct block *file;
  const struct partclone_header *h;
  uint64_t size;                /* bytes, without its checksum; the last one
                                   has less */
  struct cache *pieces;         /* by their offsets in the file */
  struct cache *hashes;         /* of a strip that was verified, uint64_t for
                                   each piece; by its number */
};

int
partclone_strips_new (struct block *file, const struct partclone_header *h,
                      struct partclone_strips **out, struct err *err)
{
  struct partclone_strips *s = calloc (1, sizeof *s);
  int r;

  if (s == NULL)
    return err_nomem (err);
  s->file = file;
  s->h = h;
  s->size = (uint64_t) h->per_sum * h->block_size;
  r = cache_new (PIECES_SIZE, free, &s->pieces, err);
  if (r == 0)
    r = cache_new (HASHES_SIZE, free, &s->hashes, err);
  if (r < 0)
    partclone_strips_free (s);
  else
    *out = s;
  return r;
}

void
partclone_strips_free (struct partclone_strips *s)
{
  if (s == NULL)
    return;
  cache_free (s->pieces);
  cache_free (s->hashes);
  free (s);
}

/* Where a strip begins in the file. */
static uint64_t
strip_off (const struct partclone_strips *s, uint64_t n)
{
  return s->h->data_off + n * (s->size + s->h->sum_size);
}

static uint64_t
strip_len (const struct partclone_strips *s, uint64_t n)
{
  return min_u64 (s->size, s->h->nr_used * s->h->block_size - n * s->size);
}

/*--- Pieces -----------------------------------------------------------------*/

struct wanted {
  const struct partclone_strips *strips;
  size_t len;                   /* bytes of the piece */
};

static int
make_piece (void *opaque, const struct cache_key *key, void **value,
            size_t *size, struct err *err)
{
  const struct wanted *w = opaque;
  CLEANUP_FREE struct piece *piece = malloc (sizeof *piece + w->len);
  int r = piece ? block_pread (w->strips->file, piece->bytes, w->len,
                               key->number, err) : err_nomem (err);

  if (r < 0)
    return r;
  piece->hash = XXH3_64bits (piece->bytes, w->len);
  *value = steal_ptr (&piece);
  *size = sizeof *piece + w->len + ITEM_SIZE;
  return 0;
}

/* The k-th piece of the n-th strip, which *len bytes were got of. */
static int
get_piece (const struct partclone_strips *s, uint64_t n, uint64_t k,
           struct cache_item **item, size_t *len, struct err *err)
{
  struct wanted w = { s, (size_t) min_u64 (PIECE,
                                           strip_len (s, n) - k * PIECE) };
  const struct cache_key key = { 0, strip_off (s, n) + k * PIECE };
  const struct cache_maker maker = { make_piece, &w };

  *len = w.len;
  return cache_get (s->pieces, &key, &maker, item, err);
}

/*--- Strips -----------------------------------------------------------------*/

static int
add_pieces (const struct partclone_strips *s, uint64_t n, uint64_t nr,
            struct partclone_summing *sum, uint64_t *hashes, struct err *err)
{
  for (uint64_t k = 0; k < nr; ++k) {
    struct cache_item *item;
    const struct piece *piece;
    size_t len;
    int r = get_piece (s, n, k, &item, &len, err);

    if (r < 0)
      return r;
    piece = cache_value (item);
    partclone_sum_add (sum, piece->bytes, len);
    hashes[k] = piece->hash;
    cache_put (s->pieces, item);
  }
  return 0;
}

/* What a checksum that goes on goes on from is the one before it. */
static int
verify (const struct partclone_strips *s, uint64_t n, uint64_t nr,
        uint64_t *hashes, struct err *err)
{
  uint64_t off = strip_off (s, n), len = strip_len (s, n), sum;
  bool goes_on = s->h->is_chained && n > 0;
  struct partclone_summing summing;
  uint8_t before[8], stored[8];
  int r = goes_on ? block_pread (s->file, before, s->h->sum_size,
                                 off - s->h->sum_size, err) : 0;

  if (r == 0)
    r = partclone_sum_begin (&summing, s->h, goes_on ? before : NULL, err);
  if (r < 0)
    return r;
  r = add_pieces (s, n, nr, &summing, hashes, err);
  sum = partclone_sum_end (&summing);
  if (r == 0)
    r = block_pread (s->file, stored, s->h->sum_size, off + len, err);
  return r < 0 ? r : partclone_sum_check (s->h, sum, stored, len, off, err);
}

static int
make_hashes (void *opaque, const struct cache_key *key, void **value,
             size_t *size, struct err *err)
{
  const struct partclone_strips *s = opaque;
  uint64_t nr = div_round_up (strip_len (s, key->number), PIECE);
  CLEANUP_FREE uint64_t *hashes = calloc ((size_t) nr, sizeof *hashes);
  int r = hashes ? verify (s, key->number, nr, hashes, err) : err_nomem (err);

  if (r < 0)
    return r;
  *value = steal_ptr (&hashes);
  *size = (size_t) nr * sizeof *hashes + ITEM_SIZE;
  return 0;
}

/* Up to the end of a piece: *done bytes. */
static int
read_piece (struct partclone_strips *s, uint8_t *buf, size_t len,
            uint64_t pos, size_t *done, struct err *err)
{
  uint64_t n = pos / s->size, in_strip = pos % s->size, k = in_strip / PIECE;
  const struct cache_key key = { 0, n };
  const struct cache_maker maker = { make_hashes, s };
  struct cache_item *hashes, *item;
  const struct piece *piece;
  size_t piece_len;
  int r = cache_get (s->hashes, &key, &maker, &hashes, err);

  if (r < 0)
    return r;
  r = get_piece (s, n, k, &item, &piece_len, err);
  if (r == 0) {
    piece = cache_value (item);
    *done = (size_t) min_u64 (len, piece_len - in_strip % PIECE);
    memcpy (buf, piece->bytes + in_strip % PIECE, *done);
    if (piece->hash != ((const uint64_t *) cache_value (hashes))[k])
      r = err_set (err, -EIO, "its blocks changed since they were verified, at "
                   "offset %" PRIu64, strip_off (s, n) + k * PIECE);
    cache_put (s->pieces, item);
  }
  cache_put (s->hashes, hashes);
  return r;
}

int
partclone_strips_read (struct partclone_strips *s, void *buf, size_t len,
                       uint64_t pos, struct err *err)
{
  uint8_t *p = buf;
  int r = 0;

  while (r == 0 && len > 0) {
    size_t done = 0;

    r = read_piece (s, p, len, pos, &done, err);
    p += done;
    pos += done;
    len -= done;
  }
  return r;
}
