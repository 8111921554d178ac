/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A table of sectors that were read lately.
 *
 * A sector has one slot where it may be (direct-mapped): a lookup is one
 * comparison, a new sector replaces what was there, and nothing else needs
 * to be kept in order.  One sector of bitmap describes 2 MiB of disk, so
 * that the table covers 8 GiB of a disk with the usual blocks.  Slots are
 * touched only when used, and so is their memory.
 *
 * Locks: each slot is guarded by one of a few mutexes, held while 512 bytes
 * are copied and never while reading or writing the file.  Two threads that
 * miss the same sector both read it.
 *
 * Where sectors are written, through here, a slot counts the changes: before
 * the file is written and after.  Who has read the file meanwhile may have
 * the old bytes, sees that the number is another, and does not put them into
 * the slot.
 */

#include <config.h>

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/sector-cache.h"

#define SLOT_BITS 12
#define NR_SLOTS (1U << SLOT_BITS)
#define NR_LOCKS 64U
#define LAYER_BITS 7            /* SECTOR_CACHE_LAYERS */

struct slot {
  uint64_t key;                 /* of layer and sector; 0: empty */
  uint64_t changes;             /* to sectors that belong here */
  uint8_t bytes[SECTOR_CACHE_UNIT];
};

struct sector_cache {
  pthread_mutex_t locks[NR_LOCKS];      /* slot i by lock i % NR_LOCKS */
  struct slot *slots;
};

struct sector_cache *
sector_cache_new (void)
{
  CLEANUP_FREE struct sector_cache *cache = calloc (1, sizeof *cache);

  if (cache == NULL)
    return NULL;
  cache->slots = calloc (NR_SLOTS, sizeof cache->slots[0]);
  if (cache->slots == NULL)
    return NULL;
  for (unsigned i = 0; i < NR_LOCKS; ++i)
    pthread_mutex_init (&cache->locks[i], NULL);
  return steal_ptr (&cache);
}

void
sector_cache_free (struct sector_cache *cache)
{
  if (cache == NULL)
    return;
  for (unsigned i = 0; i < NR_LOCKS; ++i)
    pthread_mutex_destroy (&cache->locks[i]);
  free (cache->slots);
  free (cache);
}

/* Never 0.  Files end before 2^63 bytes, so that sectors have 54 bits. */
static uint64_t
make_key (unsigned layer, uint64_t sector)
{
  return (sector << LAYER_BITS | layer) + 1;
}

/* Multiplying by 2^64 divided by the golden ratio spreads keys at regular
 * distances, which is how bitmaps lie in a file.
 */
static unsigned
slot_of (uint64_t key)
{
  return (unsigned) ((key * UINT64_C (0x9E3779B97F4A7C15)) >>
                     (64 - SLOT_BITS));
}

/* *changes is for put. */
static bool
get (struct sector_cache *cache, uint64_t key, uint8_t buf[SECTOR_CACHE_UNIT],
     uint64_t *changes)
{
  unsigned i = slot_of (key);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&cache->locks[i % NR_LOCKS]);

  *changes = cache->slots[i].changes;
  if (cache->slots[i].key != key)
    return false;
  memcpy (buf, cache->slots[i].bytes, SECTOR_CACHE_UNIT);
  return true;
}

/* Unless there was a change since get. */
static void
put (struct sector_cache *cache, uint64_t key,
     const uint8_t buf[SECTOR_CACHE_UNIT], uint64_t changes)
{
  unsigned i = slot_of (key);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&cache->locks[i % NR_LOCKS]);

  if (cache->slots[i].changes != changes)
    return;
  cache->slots[i].key = key;
  memcpy (cache->slots[i].bytes, buf, SECTOR_CACHE_UNIT);
}

/* buf is what the sector is now; NULL: that is not known. */
static void
change (struct sector_cache *cache, uint64_t key, const uint8_t *buf)
{
  unsigned i = slot_of (key);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&cache->locks[i % NR_LOCKS]);

  cache->slots[i].changes++;
  if (buf) {
    cache->slots[i].key = key;
    memcpy (cache->slots[i].bytes, buf, SECTOR_CACHE_UNIT);
  }
  else if (cache->slots[i].key == key)
    cache->slots[i].key = 0;
}

int
sector_cache_read (struct sector_cache *cache, struct block *block,
                   unsigned layer, uint64_t sector,
                   uint8_t buf[SECTOR_CACHE_UNIT], struct err *err)
{
  uint64_t off = sector * SECTOR_CACHE_UNIT, key = make_key (layer, sector);
  uint64_t changes;
  size_t len;
  int r;

  assert (layer < SECTOR_CACHE_LAYERS);
  assert (off < block_size (block));
  if (get (cache, key, buf, &changes))
    return 0;
  len = (size_t) min_u64 (SECTOR_CACHE_UNIT, block_size (block) - off);
  r = block_pread (block, buf, len, off, err);
  if (r < 0)
    return r;
  memset (buf + len, 0, SECTOR_CACHE_UNIT - len);
  put (cache, key, buf, changes);
  return 0;
}

int
sector_cache_write (struct sector_cache *cache, struct block *block,
                    unsigned layer, uint64_t sector,
                    const uint8_t buf[SECTOR_CACHE_UNIT], struct err *err)
{
  uint64_t key = make_key (layer, sector);
  int r;

  assert (layer < SECTOR_CACHE_LAYERS);
  change (cache, key, NULL);
  r = block_pwrite (block, buf, SECTOR_CACHE_UNIT, sector * SECTOR_CACHE_UNIT,
                    0, err);
  change (cache, key, r == 0 ? buf : NULL);
  return r;
}
