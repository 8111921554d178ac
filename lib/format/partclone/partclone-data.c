/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The blocks of the image, and the checksums between them.
 *
 * A strip is what one checksum covers, a run some strips of together 256 KiB.
 * Runs are read and verified as a whole, and kept in a cache without their
 * checksums.  Where there are none, nothing is kept.  Strips that are longer
 * are read by partclone-strip.c, but for those of version 1: they are blocks.
 *
 * A CRC that goes on from strip to strip needs no reading from the start: the
 * one that is stored before a strip is what its own goes on from.  If that one
 * is damaged, so is the run.
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "lib/base/cache.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/partclone/partclone.h"

#define RUN_SIZE ((uint64_t) 256 * 1024)
#define CACHE_SIZE ((size_t) 32 * 1024 * 1024)

struct partclone_data {
  struct block *file;
  const struct partclone_header *h;
  uint64_t per_run;             /* blocks: whole strips */
  struct cache *cache;          /* of runs; or: */
  struct partclone_strips *strips;
};

int
partclone_data_new (struct block *file, const struct partclone_header *h,
                    struct partclone_data **out, struct err *err)
{
  struct partclone_data *data = calloc (1, sizeof *data);
  uint64_t strip = (uint64_t) h->per_sum * h->block_size;
  int r;

  if (data == NULL)
    return err_nomem (err);
  data->file = file;
  data->h = h;
  data->per_run = max_u64 (RUN_SIZE / strip, 1) * h->per_sum;
  if (strip > RUN_SIZE && (h->sum == PARTCLONE_SUM_CRC32 ||
                           h->sum == PARTCLONE_SUM_XXH64))
    r = partclone_strips_new (file, h, &data->strips, err);
  else
    r = cache_new (CACHE_SIZE, free, &data->cache, err);
  if (r < 0)
    partclone_data_free (data);
  else
    *out = data;
  return r;
}

void
partclone_data_free (struct partclone_data *data)
{
  if (data == NULL)
    return;
  cache_free (data->cache);
  partclone_strips_free (data->strips);
  free (data);
}

/*--- Runs -------------------------------------------------------------------*/

static int
check_strip (const struct partclone_header *h, const uint8_t *strip,
             size_t len, const uint8_t *before, uint64_t off,
             struct err *err)
{
  struct partclone_summing summing;
  int r = partclone_sum_begin (&summing, h, before, err);

  if (r < 0)
    return r;
  partclone_sum_add (&summing, strip, len);
  return partclone_sum_check (h, partclone_sum_end (&summing), strip + len,
                              len, off, err);
}

/* Verify nr blocks at raw, which lie at off in the file, and put them
 * together.  If they are chained and not the first, the checksum before them
 * is before raw.
 */
static int
verify (const struct partclone_header *h, uint8_t *raw, uint64_t nr,
        bool is_first, uint64_t off, struct err *err)
{
  uint8_t *to = raw, *from = raw, before[8];
  bool goes_on = h->is_chained && !is_first;
  int r = 0;

  if (goes_on)
    memcpy (before, raw - h->sum_size, h->sum_size);
  while (r == 0 && nr > 0) {
    uint64_t n = min_u64 (h->per_sum, nr);
    size_t len = (size_t) (n * h->block_size);

    r = check_strip (h, from, len, goes_on ? before : NULL,
                     off + (uint64_t) (from - raw), err);
    goes_on = h->is_chained;
    memcpy (before, from + len, h->sum_size);
    memmove (to, from, len);
    to += len;
    from += len + h->sum_size;
    nr -= n;
  }
  return r;
}

static int
make_run (void *opaque, const struct cache_key *key, void **value,
          size_t *size, struct err *err)
{
  const struct partclone_data *data = opaque;
  const struct partclone_header *h = data->h;
  uint64_t first = key->number * data->per_run;
  uint64_t nr = min_u64 (data->per_run, h->nr_used - first);
  uint64_t off = partclone_offset (h, first);
  size_t ahead = h->is_chained && first > 0 ? h->sum_size : 0;
  size_t len = (size_t) (nr * h->block_size +
                         div_round_up (nr, h->per_sum) * h->sum_size);
  CLEANUP_FREE uint8_t *raw = malloc (ahead + len);
  int r = raw ? block_pread (data->file, raw, ahead + len, off - ahead, err)
              : err_nomem (err);

  if (r == 0)
    r = verify (h, raw + ahead, nr, first == 0, off, err);
  if (r < 0)
    return r;
  if (ahead > 0)
    memmove (raw, raw + ahead, (size_t) (nr * h->block_size));
  *value = steal_ptr (&raw);
  *size = len;
  return 0;
}

static int
read_run (struct partclone_data *data, uint64_t n, void *buf, size_t len,
          uint64_t in_run, struct err *err)
{
  const struct cache_key key = { 0, n };
  const struct cache_maker maker = { make_run, data };
  struct cache_item *item;
  int r = cache_get (data->cache, &key, &maker, &item, err);

  if (r < 0)
    return r;
  memcpy (buf, (const uint8_t *) cache_value (item) + in_run, len);
  cache_put (data->cache, item);
  return 0;
}

int
partclone_data_read (struct partclone_data *data, void *buf, size_t len,
                     uint64_t ordinal, uint64_t in_block, struct err *err)
{
  const struct partclone_header *h = data->h;
  uint64_t run_size = data->per_run * h->block_size;
  uint64_t pos = ordinal * h->block_size + in_block;
  uint8_t *p = buf;
  int r = 0;

  if (h->sum == PARTCLONE_SUM_NONE)
    return block_pread (data->file, buf, len, h->data_off + pos, err);
  if (data->strips)
    return partclone_strips_read (data->strips, buf, len, pos, err);
  while (r == 0 && len > 0) {
    uint64_t in_run = pos % run_size;
    size_t now = (size_t) min_u64 (run_size - in_run, len);

    r = read_run (data, pos / run_size, p, now, in_run, err);
    p += now;
    pos += now;
    len -= now;
  }
  return r;
}
