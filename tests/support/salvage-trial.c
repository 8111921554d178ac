/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/checked.h"
#include "lib/block/memory.h"
#include "lib/repo/backup.h"
#include "tests/support/rng.h"
#include "tests/support/salvage-trial.h"

/*--- A disk, and its files --------------------------------------------------*/

struct keyring *keys;

/* What is saved with keys has these. */
static struct nbi_header key_model;
static uint8_t master[CRYPT_KEY_SIZE];

/* Some of it does not compress, some does, some is zeros, some a copy, and
 * some is not used.
 */
static void
make_disk (struct saved *s, struct rng *rng, struct used_map *used)
{
  s->disk = calloc (1, SIZE);
  assert_non_null (s->disk);
  used_map_init (used, SIZE, USED_MAP_LIMIT);
  for (size_t c = 0; c < CHUNKS; ++c) {
    uint8_t *p = s->disk + c * CHUNK;
    size_t len = (size_t) min_u64 (CHUNK, SIZE - c * CHUNK);
    unsigned what = c == 0 ? 0 : rng_below (rng, 6);

    if (what < 2)
      for (size_t i = 0; i < len; ++i)
        p[i] = (uint8_t) rng_next (rng);
    else if (what == 2)
      for (size_t i = 0; i < len; ++i)
        p[i] = (uint8_t) ("some text "[i % 10] + c);
    else if (what == 3)
      memcpy (p, s->disk + rng_below (rng, (unsigned) c) * CHUNK, len);
    s->unallocated[c] = what == 5;
    if (what != 5)
      assert_int_equal (used_map_add (used, c * CHUNK, len, NULL), 0);
  }
  used_map_finish (used);
}

void
save_with (struct saved *s, uint64_t seed, uint64_t limit,
           const struct memory_file *inner)
{
  struct rng rng = { seed };
  struct manifest manifest = { .time = 0 };
  CLEANUP_USED_MAP struct used_map used;
  struct backup_options options = {
    .header = { .disk_size = SIZE, .chunk_size = CHUNK, .logical = 512,
                .physical = 4096, .time = 1700000000 },
    .codec = NBI_LZ4, .threads = 1, .used = &used, .file_limit = limit,
    .manifest = &manifest,
  };
  struct backup_result result;
  struct block *block;
  struct err err = ERR_INIT;

  *s = (struct saved) { .disk = NULL };
  if (keys != NULL) {
    struct nbi_header *h = &options.header;

    options.master = master;
    h->need = key_model.need;
    h->encryption = key_model.encryption;
    h->nr_slots = key_model.nr_slots;
    memcpy (h->key_id, key_model.key_id, sizeof h->key_id);
    memcpy (h->slots, key_model.slots, sizeof h->slots);
  }
  make_disk (s, &rng, &used);
  if (inner != NULL) {
    size_t len = (size_t) min_u64 (inner->len, SIZE - CHUNK);

    memcpy (s->disk + CHUNK, inner->bytes, len);
    assert_int_equal (used_map_add (&used, CHUNK, len, NULL), 0);
    used_map_finish (&used);
  }
  strcpy (options.header.name, "a disk");
  assert_int_equal (uuid_new (options.header.run, NULL), 0);
  if (limit > 0)
    memset (options.header.vault, 7, UUID_SIZE);
  repo_memory_init (&s->repo, 1 << 20);
  s->repo.caches.keys = keys;
  assert_int_equal (block_memory_new ("disk", s->disk, SIZE, &block, NULL),
                    0);
  if (backup_disk (block, &options, &s->repo.place, &result, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  block_unref (block);
  manifest_destroy (&manifest);
}

void
save (struct saved *s, uint64_t seed, uint64_t limit)
{
  save_with (s, seed, limit, NULL);
}

void
forget (struct saved *s)
{
  free (s->disk);
  repo_memory_destroy (&s->repo);
}

const struct memory_file *
file_of (const struct saved *s, size_t i)
{
  return s->repo.files.ptr[i];
}

void
list_records (struct saved *s, size_t i, struct salvage_records *out)
{
  struct file_reader *reader;

  assert_int_equal (repo_memory_open (&s->repo, file_of (s, i), &reader, NULL),
                    0);
  for (uint32_t k = 0; k < file_reader_trailer (reader)->nr_ordinals; ++k) {
    struct nbi_record record;

    assert_int_equal (file_reader_entry (reader, k, &record, NULL), 0);
    assert_int_equal (vector_append (out, &record), 0);
  }
  file_reader_unref (reader);
}

int
with_a_key (void **state)
{
  static const uint8_t file[32] = "a key file of thirty-two bytes.";
  const struct crypt_secret secret = { NBI_SLOT_KEY_FILE, file, sizeof file };

  (void) state;
  key_model = (struct nbi_header) { .need = 0 };
  return keyring_new (&secret, &keys, NULL) < 0 ||
    keyring_make (keys, &key_model, master, NULL) < 0;
}

int
without_one (void **state)
{
  (void) state;
  keyring_free (keys);
  keys = NULL;
  return 0;
}

/*--- Salvaging --------------------------------------------------------------*/

int
attempt (struct attempt *a, const struct damaged *files, size_t n,
         struct err *err)
{
  const struct salvage_choice choice = { NULL, NULL };
  int r = 0;

  *a = (struct attempt) { .salvage = NULL };
  for (size_t i = 0; r == 0 && i < n; ++i) {
    struct salvage_file *file;
    struct block *block;

    assert_int_equal (block_memory_new ("file", files[i].bytes, files[i].len,
                                        &block, NULL), 0);
    r = salvage_file_new (block, files[i].name ? files[i].name : "x", keys,
                          &file, NULL, NULL, err);
    block_unref (block);
    if (r == 0)
      assert_int_equal (vector_append (&a->files, &file), 0);
  }
  if (r == 0)
    r = salvage_new (&a->files, &choice, &a->salvage, err);
  if (r == 0) {
    assert_int_equal (salvage_to_block (a->salvage, &a->disk, err), 0);
    salvage_get_counts (a->salvage, &a->counts);
  }
  return r;
}

void
done (struct attempt *a)
{
  block_unref (a->disk);
  salvage_free (a->salvage);
  for (size_t i = 0; i < a->files.len; ++i)
    salvage_file_free (a->files.ptr[i]);
  vector_free (&a->files);
}

bool
had (const struct saved *s, const struct attempt *a, uint64_t c)
{
  uint8_t buf[CHUNK];
  size_t len = (size_t) min_u64 (CHUNK, SIZE - c * CHUNK);

  /* What is behind the end is lost with who said where it is. */
  if (c * CHUNK + len > block_size (a->disk) ||
      block_pread (a->disk, buf, len, c * CHUNK, NULL) < 0)
    return false;
  if (memcmp (buf, s->disk + c * CHUNK, len) != 0)
    fail_msg ("chunk %" PRIu64 " has other bytes", c);
  return true;
}

unsigned
count_had (const struct saved *s, const struct attempt *a)
{
  unsigned n = 0;

  for (uint64_t c = 0; c < CHUNKS; ++c)
    n += had (s, a, c);
  return n;
}
