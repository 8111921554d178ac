/* SPDX-License-Identifier: GPL-2.0-or-later */

/* There and back: disks of any size, with partitions, holes and bad sectors,
 * that change, grow and shrink, are backed up again and again with any options,
 * and generations are pruned at random.  Whatever is left reads as the disk
 * was, byte by byte; what was left out or could not be read is an error.
 *
 * 60 vaults, and 1,500 if NBDIMAGE_LONG is set.  NBDIMAGE_TRIPS_SEED=N is the
 * vault of seed N alone.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/repo/absent.h"
#include "lib/repo/keyring.h"
#include "lib/repo/prune.h"
#include "lib/repo/vault-backup.h"
#include "lib/repo/verify-vault.h"
#include "tests/support/bad-block.h"
#include "tests/support/counted.h"
#include "tests/support/patient-clock.h"
#include "tests/support/random-disk.h"
#include "tests/support/share.h"
#include "tests/support/store-model.h"

#define SEED 4711
#define DISKS 2
#define MAX_BAD 3
#define SECTOR RANDOM_DISK_SECTOR

struct disk {
  struct random_disk r;
  const char *name;
  uint32_t chunk;
  char checkpoint[64];          /* of the bitmap that has r.written */
};

/* What one sector of a generation is. */
enum state { AS_IT_WAS, ZEROS, ERROR };

struct version {
  uint8_t run[UUID_SIZE];
  unsigned disk;
  bool dropped;
  size_t size;
  uint8_t *bytes;
  uint8_t *states;              /* enum state, of each sector */
};

DEFINE_VECTOR (versions, struct version *);

struct trips {
  uint64_t seed;
  struct rng rng;
  struct store_model *model;
  struct patient_clock clock;
  struct store *store;
  struct keyring *keys;         /* NULL: it is not encrypted */
  struct report report;
  struct disk disks[DISKS];
  struct versions versions;
};

static struct {
  uint64_t backups, by_bitmap, prunes, dropped, read, errors, anew;
} totals;

static bool
chance (struct trips *t, unsigned one_in)
{
  return rng_below (&t->rng, one_in) == 0;
}

static uint64_t
below (struct trips *t, uint64_t n)
{
  return rng_next (&t->rng) % n;
}

static void
must (const struct trips *t, int r, const char *what, const struct err *err)
{
  if (r < 0)
    fail_msg ("seed %" PRIu64 ": %s: %s", t->seed, what, err->msg);
}

/*--- Backing up -------------------------------------------------------------*/

/* What of the disk is used: gaps, and of partitions that are chosen some. */
static bool
choose_used (struct trips *t, const struct disk *d, struct used_map *used)
{
  uint64_t at = 0;
  bool all = true, everything = chance (t, 2);

  for (unsigned i = 0; i <= d->r.nr_parts; ++i) {
    const struct random_part *p = &d->r.parts[i];
    uint64_t end = i < d->r.nr_parts ? p->off : d->r.size;

    assert_int_equal (used_map_add (used, at, end - at, NULL), 0);
    if (i == d->r.nr_parts)
      break;
    at = p->off + p->len;
    all &= p->chosen && everything;
    if (p->chosen && everything)
      assert_int_equal (used_map_add (used, p->off, p->len, NULL), 0);
    else if (p->chosen)
      for (int k = 0; k < 4; ++k)
        assert_int_equal (used_map_add
                          (used, p->off + below (t, p->len),
                           1 + below (t, 70000), NULL), 0);
  }
  used_map_finish (used);
  return !all;
}

/* What was written elsewhere in it is used, too: partitions that are not
 * chosen have no used bytes but those of others.
 */
static void
cut_absent (const struct disk *d, struct used_map *used)
{
  struct used_map cut;

  used_map_init (&cut, d->r.size, USED_MAP_LIMIT);
  for (size_t i = 0; i < used->runs.len; ++i) {
    uint64_t off = used->runs.ptr[i].off, end = off + used->runs.ptr[i].len;

    for (unsigned k = 0; k < d->r.nr_parts; ++k) {
      const struct random_part *p = &d->r.parts[k];

      if (p->chosen || p->off >= end || p->off + p->len <= off)
        continue;
      if (p->off > off)
        assert_int_equal (used_map_add (&cut, off, p->off - off, NULL), 0);
      off = min_u64 (end, p->off + p->len);
    }
    if (off < end)
      assert_int_equal (used_map_add (&cut, off, end - off, NULL), 0);
  }
  used_map_finish (&cut);
  used_map_free (used);
  *used = cut;
}

/* Never so much that the disk seems to be gone. */
static unsigned
choose_bad (struct trips *t, const struct disk *d,
            struct nbi_range bad[MAX_BAD])
{
  unsigned nr = d->r.size > 300000 && chance (t, 4)
    ? 1 + rng_below (&t->rng, MAX_BAD) : 0;

  for (unsigned i = 0; i < nr; ++i) {
    bad[i].off = round_down (below (t, d->r.size), SECTOR);
    bad[i].len = min_u64 (SECTOR * (1 + below (t, chance (t, 3) ? 90 : 3)),
                          d->r.size - bad[i].off);
  }
  return nr;
}

static bool
is_bad (const struct nbi_range *bad, unsigned nr, uint64_t off)
{
  for (unsigned i = 0; i < nr; ++i)
    if (off >= bad[i].off && off < bad[i].off + bad[i].len)
      return true;
  return false;
}

/* By whole chunks, as the backup has it. */
static struct version *
expect (struct trips *t, unsigned which, const struct used_map *used,
        const struct nbi_range *bad, unsigned nr_bad)
{
  const struct disk *d = &t->disks[which];
  struct version *v = calloc (1, sizeof *v);

  assert_non_null (v);
  v->disk = which;
  v->size = d->r.size;
  v->bytes = calloc (1, d->r.size);
  v->states = calloc (1, d->r.size / SECTOR + 1);
  assert_true (v->bytes != NULL && v->states != NULL);
  for (uint64_t off = 0; off < d->r.size; off += SECTOR) {
    uint64_t c = round_down (off, d->chunk);
    size_t len = (size_t) min_u64 (SECTOR, d->r.size - off);

    if (used != NULL && !used_map_touches (used, c, d->chunk))
      v->states[off / SECTOR] = random_disk_is_absent (&d->r, off)
        ? ERROR : ZEROS;
    else if (is_bad (bad, nr_bad, off))
      v->states[off / SECTOR] = ERROR;
    else if (!nbi_is_zeros (d->r.bytes + off, len))
      memcpy (v->bytes + off, d->r.bytes + off, len);
  }
  return v;
}

static void
describe (const struct disk *d, struct manifest *m)
{
  for (unsigned i = 0; i < d->r.nr_parts; ++i) {
    struct manifest_partition p = {
      .number = i + 1, .off = d->r.parts[i].off, .len = d->r.parts[i].len,
      .saved = strdup (d->r.parts[i].chosen ? "used" : MANIFEST_SAVED_NONE),
    };

    assert_non_null (p.saved);
    assert_int_equal (vector_append (&m->partitions, &p), 0);
  }
}

/* A bitmap begins with this backup. */
static void
begin_checkpoint (struct disk *d, struct manifest *m)
{
  uint8_t uuid[UUID_SIZE];
  char text[UUID_STRING_SIZE];

  assert_int_equal (uuid_new (uuid, NULL), 0);
  uuid_to_string (uuid, text);
  random_disk_begin (&d->r);
  snprintf (d->checkpoint, sizeof d->checkpoint, "cp-%s", text);
  m->checkpoint = strdup (d->checkpoint);
  assert_non_null (m->checkpoint);
}

static void
choose_options (struct trips *t, const struct disk *d,
                struct backup_options *o)
{
  o->codec = (enum nbi_codec) rng_below (&t->rng, 3);
  o->level = o->codec == NBI_ZSTD ? (int) rng_below (&t->rng, 12) - 4 : 0;
  o->threads = 1 + rng_below (&t->rng, 3);
  o->file_limit = chance (t, 2) ? VAULT_FILE_LIMIT
    : 40000 + below (t, 300000);
  o->report = &t->report;
  o->header.disk_size = d->r.size;
  o->header.chunk_size = d->chunk;
  o->header.logical = SECTOR;
  o->header.physical = 4096;
  snprintf (o->header.name, sizeof o->header.name, "%s", d->name);
}

static void
run_backup (struct trips *t, struct block *block, struct backup_options *o,
            struct vault_backup_result *result)
{
  struct generation_caches caches;
  struct vault *vault;
  struct err err = ERR_INIT;

  assert_int_equal (generation_caches_init (&caches, 1 << 20, NULL), 0);
  caches.keys = t->keys;
  must (t, vault_open (t->store, VAULT_WRITE, &vault, NULL, &err), "opening",
        &err);
  must (t, vault_backup (vault, block, o, &caches, result, &t->report, NULL,
                         &err), "backing up", &err);
  vault_close (vault);
  generation_caches_destroy (&caches);
}

static void
back_up (struct trips *t, unsigned which)
{
  struct disk *d = &t->disks[which];
  struct manifest manifest = { 0 };
  struct backup_options options = { .manifest = &manifest };
  struct changes changes = { .bitmap = NULL };
  struct vault_backup_result result;
  struct nbi_range bad[MAX_BAD];
  struct used_map used;
  struct version *v;
  struct block *block;
  char before[sizeof d->checkpoint];
  /* Which is not believed if the disk was resized, or the generation is gone
   * that it began with.
   */
  bool by_bitmap = d->checkpoint[0] != '\0' && chance (t, 2);
  unsigned nr_bad = by_bitmap ? 0 : choose_bad (t, d, bad);

  used_map_init (&used, d->r.size, USED_MAP_LIMIT);
  if (choose_used (t, d, &used))
    options.used = &used;
  cut_absent (d, &used);
  choose_options (t, d, &options);
  describe (d, &manifest);
  v = expect (t, which, options.used, bad, nr_bad);
  if (by_bitmap) {
    strcpy (before, d->checkpoint);
    changes.bitmap = before;
    changes.written = d->r.written;
    used_map_finish (&changes.written);
    used_map_init (&d->r.written, d->r.size, USED_MAP_LIMIT);
    options.changes = &changes;
  }
  begin_checkpoint (d, &manifest);
  block = bad_block_new (d->r.bytes, d->r.size, bad, nr_bad);
  run_backup (t, block, &options, &result);
  block_unref (block);
  memcpy (v->run, result.run, UUID_SIZE);
  assert_int_equal (vector_append (&t->versions, &v), 0);
  ++totals.backups;
  totals.by_bitmap += strcmp (manifest.changes, "bitmap") == 0;
  used_map_free (&changes.written);
  used_map_free (&used);
  manifest_destroy (&manifest);
}

/*--- Pruning ----------------------------------------------------------------*/

static struct version *
version_of (struct trips *t, const uint8_t run[UUID_SIZE])
{
  for (size_t i = 0; i < t->versions.len; ++i)
    if (memcmp (t->versions.ptr[i]->run, run, UUID_SIZE) == 0)
      return t->versions.ptr[i];
  fail_msg ("seed %" PRIu64 ": a generation that nobody made", t->seed);
  return NULL;
}

/* Any of them, also the newest. */
static void
prune (struct trips *t)
{
  const struct prune_options options = {
    .retention.keep[RETENTION_LAST] = 1, .trust_times = true,
  };
  struct prune_plan plan = { .nr_dropped = 0 };
  struct prune_result result;
  struct generation_caches caches;
  struct vault *vault;
  struct err err = ERR_INIT;

  assert_int_equal (generation_caches_init (&caches, 1 << 20, NULL), 0);
  caches.keys = t->keys;
  must (t, vault_open (t->store, VAULT_WRITE, &vault, NULL, &err), "opening",
        &err);
  must (t, prune_plan (vault, &caches, &options, &plan, &t->report, NULL,
                       &err), "planning", &err);
  for (size_t i = 0; i < plan.generations.len; ++i) {
    struct prune_generation *g = &plan.generations.ptr[i];

    if (g->fate != PRUNE_KEPT && g->fate != PRUNE_DROPPED)
      continue;
    g->fate = chance (t, 3) ? PRUNE_DROPPED : PRUNE_KEPT;
    if (g->fate == PRUNE_DROPPED) {
      version_of (t, g->run.run)->dropped = true;
      ++totals.dropped;
    }
  }
  must (t, prune_run (vault, &caches, &plan, &result, &t->report, NULL, &err),
        "pruning", &err);
  totals.anew += result.nr_rewritten;
  ++totals.prunes;
  prune_plan_free (&plan);
  vault_close (vault);
  generation_caches_destroy (&caches);
}

/*--- Reading ----------------------------------------------------------------*/

/* As an image of it is read: what was left out is no data. */
static int
read_from (struct generation *gen, const struct absent_vector *absent,
           uint8_t *buf, size_t len, uint64_t off, struct err *err)
{
  int r = absent_check (gen, absent, len, off, err);

  return r < 0 ? r : generation_pread (gen, buf, len, off, err);
}

/* Up to `end', which is the end of the sectors that are like the first. */
static void
read_alike (struct trips *t, struct generation *gen,
            const struct absent_vector *absent, const struct version *v,
            uint64_t off, uint64_t end)
{
  static uint8_t buf[200000];
  struct err err = ERR_INIT;

  while (off < end) {
    size_t len = (size_t) min_u64 (end - off, 1 + below (t, sizeof buf));
    int r;

    if (v->states[off / SECTOR] == ERROR)
      len = (size_t) min_u64 (len, SECTOR - off % SECTOR);
    r = read_from (gen, absent, buf, len, off, &err);
    if (v->states[off / SECTOR] == ERROR) {
      if (r != -EIO)
        fail_msg ("seed %" PRIu64 ": disk %u: what is not there is read at %"
                  PRIu64, t->seed, v->disk, off);
      ++totals.errors;
    }
    else {
      must (t, r, "reading", &err);
      if (memcmp (buf, v->bytes + off, len) != 0)
        fail_msg ("seed %" PRIu64 ": disk %u: other bytes from %" PRIu64
                  " to %" PRIu64, t->seed, v->disk, off, off + len);
      totals.read += len;
    }
    off += len;
  }
}

/* What is said to be a hole reads as zeros, and as no error. */
static void
check_holes (struct trips *t, struct generation *gen,
             const struct absent_vector *absent, const struct version *v)
{
  struct extent_list list = EXTENT_LIST_INIT, seen = EXTENT_LIST_INIT;
  struct err err = ERR_INIT;

  list.unallocated = true;
  must (t, generation_extents (gen, v->size, 0, &list, &err), "mapping", &err);
  for (size_t i = 0; i < list.v.len; ++i)
    must (t, absent_add_extent (absent, &list.v.ptr[i], &seen, &err),
          "mapping", &err);
  assert_int_equal (extent_list_end (&seen, 0), v->size);
  for (size_t i = 0; i < seen.v.len; ++i) {
    const struct extent *e = &seen.v.ptr[i];

    for (uint64_t off = e->off; off < e->off + e->len; off += SECTOR)
      if (e->kind != EXTENT_DATA && e->kind != EXTENT_UNREADABLE &&
          (v->states[off / SECTOR] == ERROR ||
           !nbi_is_zeros (v->bytes + off, 1)))
        fail_msg ("seed %" PRIu64 ": disk %u: no hole at %" PRIu64, t->seed,
                  v->disk, off);
  }
  extent_list_free (&list);
  extent_list_free (&seen);
}

static void
check_generation (struct trips *t, struct generation *gen,
                  const struct version *v)
{
  struct absent_vector absent = VECTOR_INIT;
  struct err err = ERR_INIT;

  assert_int_equal (generation_header (gen)->disk_size, v->size);
  must (t, absent_list_generation (gen, &absent, &err), "opening", &err);
  for (uint64_t off = 0, end; off < v->size; off = end) {
    end = round_down (off, SECTOR) + SECTOR;
    while (end < v->size &&
           (v->states[end / SECTOR] == ERROR) ==
           (v->states[off / SECTOR] == ERROR))
      end += SECTOR;
    end = min_u64 (end, v->size);
    read_alike (t, gen, &absent, v, off, end);
  }
  check_holes (t, gen, &absent, v);
  vector_free (&absent);
}

static int
tell_finding (void *opaque, struct file_reader *file,
              const struct verify_finding *finding, struct err *err)
{
  const struct trips *t = opaque;

  (void) file;
  (void) err;
  fail_msg ("seed %" PRIu64 ": %s: %s", t->seed, finding->kind,
            finding->what->msg);
  return -EBADMSG;
}

static void
check_all (struct trips *t)
{
  const struct verify verify = {
    .data = true, .found = tell_finding, .opaque = t,
  };
  struct verify_result result;
  struct generation_caches caches;
  struct vault *vault;
  struct vault_view *view;
  struct err err = ERR_INIT;
  size_t nr = 0;

  assert_int_equal (generation_caches_init (&caches, 100000, NULL), 0);
  caches.keys = t->keys;
  must (t, vault_open (t->store, 0, &vault, NULL, &err), "opening", &err);
  must (t, vault_view_new (vault, &caches, &view, &err), "listing", &err);
  for (size_t i = 0; i < vault_view_runs (view)->len; ++i) {
    struct version *v = version_of (t, vault_view_runs (view)->ptr[i].run);
    struct vault_opened opened;
    int r = vault_view_open (view, i, false, &opened, NULL, &err);

    if (r == -ENOENT && v->dropped)
      continue;
    must (t, r, "opening a generation", &err);
    assert_false (v->dropped);
    check_generation (t, opened.gen, v);
    vault_opened_close (&opened);
    ++nr;
  }
  for (size_t i = 0; i < t->versions.len; ++i)
    nr -= !t->versions.ptr[i]->dropped;
  if (nr != 0)
    fail_msg ("seed %" PRIu64 ": a generation is not there", t->seed);
  must (t, verify_vault (vault, &caches, &verify, &result, NULL, &err),
        "verifying", &err);
  vault_view_free (view);
  vault_close (vault);
  generation_caches_destroy (&caches);
}

/*--- All of it --------------------------------------------------------------*/

static void
make_vault (struct trips *t)
{
  static const char file[] = "a key file that has more than 32 bytes";
  const struct crypt_secret secret = { NBI_SLOT_KEY_FILE, file, sizeof file };
  struct nbi_header h = { .encryption = 0 };
  struct vault_about about = { .encryption = 0 };
  uint8_t master[CRYPT_KEY_SIZE];
  bool made;

  if (chance (t, 3)) {
    assert_int_equal (keyring_new (&secret, &t->keys, NULL), 0);
    assert_int_equal (keyring_make (t->keys, &h, master, NULL), 0);
    about.encryption = h.encryption;
    memcpy (about.key_id, h.key_id, sizeof about.key_id);
  }
  assert_int_equal (vault_make (t->store, &about, h.slots, h.nr_slots, &made,
                                NULL), 0);
}

static void
trip (uint64_t seed)
{
  struct trips t = { .seed = seed, .rng = { seed } };
  bool far = chance (&t, 15);

  t.model = store_model_new (seed);
  t.store = store_model_client (t.model, 0, true);
  patient_clock_init (&t.clock, store_model_clock (t.model));
  store_set_clock (t.store, &t.clock.clock);
  make_vault (&t);
  for (unsigned i = 0; i < DISKS; ++i) {
    struct disk *d = &t.disks[i];

    random_disk_init (&d->r, &t.rng, far && i == 0);
    d->name = i == 0 ? "a disk" : "another";
    d->chunk = far ? 16384 : 16384U << rng_below (&t.rng, 3);
  }
  for (unsigned n = far ? 4 : 4 + rng_below (&t.rng, 8); n > 0; --n) {
    unsigned which = rng_below (&t.rng, DISKS);

    back_up (&t, which);
    random_disk_change (&t.disks[which].r, &t.disks[!which].r);
    store_model_advance (t.model, rng_below (&t.rng, 200000));
    if (chance (&t, 3))
      prune (&t);
    if (chance (&t, 3))
      check_all (&t);
  }
  check_all (&t);
  for (unsigned i = 0; i < DISKS; ++i)
    random_disk_free (&t.disks[i].r);
  for (size_t i = 0; i < t.versions.len; ++i) {
    free (t.versions.ptr[i]->bytes);
    free (t.versions.ptr[i]->states);
    free (t.versions.ptr[i]);
  }
  vector_free (&t.versions);
  report_free (&t.report);
  store_close (t.store);
  store_model_free (t.model);
  keyring_free (t.keys);
}

static void
test_there_and_back (void **state)
{
  const char *one = getenv ("NBDIMAGE_TRIPS_SEED");
  unsigned nr = one != NULL ? 1
    : share_of (getenv ("NBDIMAGE_LONG") ? 1500 : 60);
  uint64_t seed = one != NULL ? strtoull (one, NULL, 10)
    : SEED + share_seed ();

  (void) state;
  for (unsigned i = 0; i < nr; ++i)
    trip (seed + i);
  printf ("%" PRIu64 " backups, %" PRIu64 " by a bitmap; %" PRIu64
          " prunes, %" PRIu64 " generations dropped, %" PRIu64 " files written"
          " anew; %" PRIu64 " MiB compared, %" PRIu64 " errors expected\n",
          totals.backups, totals.by_bitmap, totals.prunes, totals.dropped,
          totals.anew, totals.read >> 20, totals.errors);
  counted (totals.backups, "generations, there and back", 0, seed);
  if (one != NULL || nr < 20)
    return;
  assert_true (totals.by_bitmap > 0 && totals.dropped > 0 &&
               totals.anew > 0 && totals.errors > 0);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_there_and_back),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
