/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Backups that are encrypted (docs/NBI.md §12), written and read as a whole:
 * what is in the files, who can read them, and what becomes of one flipped bit.
 * The algorithms themselves are test-crypt.c's.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "lib/repo/backup.h"
#include "lib/repo/keyring.h"
#include "lib/repo/payload.h"
#include "lib/repo/verify.h"
#include "tests/support/bad-block.h"
#include "tests/support/nonces.h"
#include "tests/support/repo-memory.h"
#include "tests/support/rng.h"

#define CHUNK (16U * 1024)
#define NR_CHUNKS 300U
#define DISK_SIZE ((size_t) NR_CHUNKS * CHUNK - 5000)
#define MARK "Attack at dawn, and bring the cat. "
#define LABEL "a partition's secret name"

/*--- A backup ---------------------------------------------------------------*/

static const uint8_t key_file[40] = "not very random, but 40 bytes it has..";
static const struct crypt_secret secret = {
  NBI_SLOT_KEY_FILE, key_file, sizeof key_file,
};

struct encrypted {
  struct repo_memory repo;
  struct keyring *keys;
  struct nbi_header model;      /* key id and slots */
  uint8_t master[CRYPT_KEY_SIZE];
  uint8_t *disk;
};

/* Some text that compresses, some bytes that don't, some zeros. */
static void
fill (uint8_t *disk, uint64_t seed)
{
  struct rng rng = { seed };

  for (size_t i = 0; i < DISK_SIZE; ++i) {
    size_t c = i / CHUNK;

    if (c % 7 == 3)
      disk[i] = 0;
    else if (c % 3 == 0)
      disk[i] = (uint8_t) rng_next (&rng);
    else
      disk[i] = (uint8_t) (MARK[i % (sizeof MARK - 1)] + (i % CHUNK == 0
                                                            ? c % 60 : 0));
  }
}

static int
setup (void **state)
{
  struct encrypted *e = calloc (1, sizeof *e);

  assert_non_null (e);
  e->disk = malloc (DISK_SIZE);
  assert_non_null (e->disk);
  fill (e->disk, 1);
  repo_memory_init (&e->repo, 1024 * 1024);
  assert_int_equal (keyring_new (&secret, &e->keys, NULL), 0);
  assert_int_equal (keyring_make (e->keys, &e->model, e->master, NULL), 0);
  e->repo.caches.keys = e->keys;
  *state = e;
  return 0;
}

static int
teardown (void **state)
{
  struct encrypted *e = *state;

  repo_memory_destroy (&e->repo);
  keyring_free (e->keys);
  free (e->disk);
  free (e);
  return 0;
}

static int
try_to_back_up (struct encrypted *e, struct generation *base, uint64_t limit,
                enum nbi_codec codec, struct backup_result *result)
{
  struct manifest_partition partition = {
    .number = 1, .off = CHUNK, .len = 10 * CHUNK, .name = strdup (LABEL),
  };
  struct manifest m = { 0 };
  struct backup_options options = {
    .header = e->model, .master = e->master, .codec = codec, .threads = 3,
    .file_limit = limit, .base = base, .manifest = &m,
  };
  struct nbi_header *h = &options.header;
  struct block *disk = bad_block_new (e->disk, DISK_SIZE, NULL, 0);
  struct err err = ERR_INIT;
  int r;

  h->disk_size = DISK_SIZE;
  h->chunk_size = CHUNK;
  h->logical = 512;
  h->physical = 4096;
  h->time = 1700000000;
  strcpy (h->name, "a disk");
  memset (h->vault, 7, sizeof h->vault);
  assert_int_equal (uuid_new (h->run, NULL), 0);
  assert_int_equal (vector_append (&m.partitions, &partition), 0);
  m.source_path = strdup ("/dev/disk/by-id/" LABEL);
  r = backup_disk (disk, &options, &e->repo.place, result, NULL, &err);
  if (r < 0 && e->repo.fail_at == 0)
    fail_msg ("backing up: %s", err.msg);
  manifest_destroy (&m);
  block_unref (disk);
  return r;
}

static struct backup_result
back_up (struct encrypted *e, struct generation *base, uint64_t limit)
{
  struct backup_result result;

  assert_int_equal (try_to_back_up (e, base, limit, NBI_LZ4, &result), 0);
  return result;
}

static struct generation *
newest (struct encrypted *e)
{
  struct generation *gen;
  struct err err = ERR_INIT;

  if (repo_memory_newest (&e->repo, &gen, &err) < 0)
    fail_msg ("opening: %s", err.msg);
  return gen;
}

static void
reads_as_the_disk (struct encrypted *e, struct generation *gen)
{
  uint8_t *buf = malloc (DISK_SIZE);
  struct err err = ERR_INIT;

  assert_non_null (buf);
  if (generation_pread (gen, buf, DISK_SIZE, 0, &err) < 0)
    fail_msg ("reading: %s", err.msg);
  assert_memory_equal (buf, e->disk, DISK_SIZE);
  /* And by parts: the first time without the cache, then by way of it. */
  for (int again = 0; again < 3; ++again)
    for (size_t c = 1; c < NR_CHUNKS; c += 40) {
      assert_int_equal (generation_pread (gen, buf, 1000, c * CHUNK + 77,
                                          &err), 0);
      assert_memory_equal (buf, e->disk + c * CHUNK + 77, 1000);
    }
  free (buf);
}

/*--- What is wrong ----------------------------------------------------------*/

static int
count (void *opaque, struct file_reader *file,
       const struct verify_finding *finding, struct err *err)
{
  unsigned *nr = opaque;

  (void) file;
  (void) finding;
  (void) err;
  ++*nr;
  return 0;
}

static unsigned
findings_of (struct encrypted *e, const struct memory_file *memory)
{
  unsigned nr = 0;
  const struct verify verify = {
    .data = true, .found = count, .opaque = &nr,
  };
  struct file_reader *file;
  struct generation *gen;
  struct manifest m = { 0 };
  size_t len;
  const char *json;

  if (repo_memory_open (&e->repo, memory, &file, NULL) < 0)
    return 1;
  assert_int_equal (verify_file (file, &verify, NULL), 0);
  if (nr == 0 && memory->last) {
    assert_int_equal (generation_open (file, &e->repo.look_up,
                                       &e->repo.caches, &gen, NULL), 0);
    json = generation_manifest (gen, &len);
    assert_int_equal (manifest_read (json, len, generation_header (gen), &m,
                                     NULL), 0);
    assert_int_equal (verify_generation (gen, file, &m, &verify, NULL), 0);
    manifest_destroy (&m);
    generation_unref (gen);
  }
  file_reader_unref (file);
  return nr;
}

/*--- Tests ------------------------------------------------------------------*/

static void
what_is_written_can_be_read_with_its_key (void **state)
{
  static const enum nbi_codec codecs[] = { NBI_LZ4, NBI_ZSTD, NBI_STORED };
  struct encrypted *e = *state;
  struct backup_result result;
  struct generation *gen;

  for (size_t i = 0; i < sizeof codecs / sizeof codecs[0]; ++i) {
    assert_int_equal (try_to_back_up (e, NULL, 0, codecs[i], &result), 0);
    gen = newest (e);
    assert_true (nbi_encrypted (generation_header (gen)));
    reads_as_the_disk (e, gen);
    generation_unref (gen);
    assert_int_equal (findings_of (e, e->repo.files.ptr[i]), 0);
  }
}

/* Of many files; what did not change is known by its keyed identity. */
static void
next_one_writes_only_what_changed (void **state)
{
  struct encrypted *e = *state;
  struct backup_result result = back_up (e, NULL, 300 * 1024);
  struct generation *base = newest (e), *gen;

  assert_true (result.nr_files > 3);
  assert_true (result.counts.fresh > 100);
  memset (e->disk + 50 * CHUNK, 'x', 2 * CHUNK);
  result = back_up (e, base, 300 * 1024);
  assert_true (result.counts.fresh <= 2);
  gen = newest (e);
  reads_as_the_disk (e, gen);
  for (size_t i = 0; i < e->repo.files.len; ++i)
    assert_int_equal (findings_of (e, e->repo.files.ptr[i]), 0);
  generation_unref (gen);
  generation_unref (base);
}

/* An identity that is no hash of the plain bytes, so that nobody can tell by it
 * what they are; nor by that of zeros.
 */
static void
identities_are_no_hashes (const struct memory_file *file,
                          struct encrypted *e)
{
  uint8_t plain[DIGEST_SIZE], keyed[DIGEST_SIZE], key[CRYPT_KEY_SIZE];

  for (size_t c = 0; c < NR_CHUNKS - 1; ++c) {
    assert_int_equal (nbi_identity_with (NULL, e->disk + c * CHUNK, CHUNK,
                                         plain, NULL), 0);
    assert_null (memmem (file->bytes, file->len, plain, sizeof plain));
  }
  /* The other way round this is a test at all. */
  assert_int_equal (crypt_identity_key (e->master, key, NULL), 0);
  assert_int_equal (nbi_identity_with (key, e->disk, CHUNK, keyed, NULL), 0);
  assert_memory_not_equal (keyed, plain, sizeof keyed);
}

static bool
has (const struct memory_file *file, const char *text)
{
  return memmem (file->bytes, file->len, text, strlen (text)) != NULL;
}

/* The header's name is said to be in the clear, and is looked for to see that
 * looking finds something.
 */
static void
nothing_plain_is_in_the_files (void **state)
{
  static const char *const texts[] = {
    "Attack at dawn", "bring the cat", LABEL, "\"nbi\"", "generation",
    "partitions", "by-id",
  };
  struct encrypted *e = *state;
  struct backup_result result;

  /* Not compressed either, so that what is in the files is what is hidden. */
  assert_int_equal (try_to_back_up (e, NULL, 0, NBI_STORED, &result), 0);
  assert_true (has (e->repo.files.ptr[0], "a disk"));
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; ++i)
    if (has (e->repo.files.ptr[0], texts[i]))
      fail_msg ("‘%s’ is in the file", texts[i]);
  identities_are_no_hashes (e->repo.files.ptr[0], e);
  assert_null (memmem (e->repo.files.ptr[0]->bytes, e->repo.files.ptr[0]->len,
                       e->master, sizeof e->master));
}

/* The map, root and list of files too: their plain bytes have the UUID of the
 * file, which stands in headers and trailers only: twice each.
 */
static void
tables_are_not_readable (void **state)
{
  struct encrypted *e = *state;
  const struct memory_file *file;
  const uint8_t *p;
  unsigned nr = 0;

  back_up (e, NULL, 0);
  file = e->repo.files.ptr[0];
  p = file->bytes;
  while ((p = memmem (p, file->len - (size_t) (p - file->bytes), file->uuid,
                      UUID_SIZE)) != NULL) {
    ++nr;
    ++p;
  }
  assert_int_equal (nr, 4);
}

static void
without_a_key_there_are_no_bytes (void **state)
{
  struct encrypted *e = *state;
  struct err err = ERR_INIT;
  struct generation *gen = NULL;
  struct file_reader *file;
  struct nbi_record record;
  struct nbi_root root;

  back_up (e, NULL, 0);
  e->repo.caches.keys = NULL;
  assert_int_equal (repo_memory_newest (&e->repo, &gen, &err), -EACCES);
  assert_null (gen);
  assert_non_null (strstr (err.msg, "encrypted, and there is no key"));
  /* The header can be had, no table can. */
  assert_int_equal (repo_memory_open (&e->repo, e->repo.files.ptr[0], &file,
                                      NULL), 0);
  assert_string_equal (file_reader_header (file)->name, "a disk");
  assert_int_equal (file_reader_entry (file, 0, &record, NULL), -EACCES);
  assert_int_equal (file_reader_root (file, 0, &root, NULL), -EACCES);
  file_reader_unref (file);
}

static void
another_key_is_refused_at_opening (void **state)
{
  static const uint8_t other[40] = "another key file of 40 bytes, or so....";
  const struct crypt_secret wrong[] = {
    { NBI_SLOT_KEY_FILE, other, sizeof other },
    { NBI_SLOT_PASSPHRASE, "a passphrase", 12 },
  };
  static const char *const expected[] = {
    "it is encrypted, and this key file does not open it",
    "it is encrypted, and not for a passphrase",
  };
  struct encrypted *e = *state;

  back_up (e, NULL, 0);
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; ++i) {
    struct generation *gen = NULL;
    struct err err = ERR_INIT;
    struct keyring *keys;

    assert_int_equal (keyring_new (&wrong[i], &keys, NULL), 0);
    e->repo.caches.keys = keys;
    /* Each time: what was refused once is not opened later. */
    for (int again = 0; again < 2; ++again) {
      assert_int_equal (repo_memory_newest (&e->repo, &gen, &err), -EACCES);
      assert_null (gen);
      assert_string_equal (err.msg, expected[i]);
    }
    keyring_free (keys);
  }
}

/* Not encrypted. */
static void
back_up_plainly (struct encrypted *e)
{
  struct manifest m = { 0 };
  struct backup_options options = {
    .codec = NBI_LZ4, .manifest = &m,
    .header = {
      .disk_size = DISK_SIZE, .chunk_size = CHUNK, .logical = 512,
      .physical = 4096, .time = 1700000000, .name = "a disk",
    },
  };
  struct block *disk = bad_block_new (e->disk, DISK_SIZE, NULL, 0);
  struct backup_result result;

  assert_int_equal (uuid_new (options.header.run, NULL), 0);
  assert_int_equal (backup_disk (disk, &options, &e->repo.place, &result, NULL,
                                 NULL), 0);
  manifest_destroy (&m);
  block_unref (disk);
}

/* NBI-124: who has a key reads nothing that is not encrypted. */
static void
what_is_not_encrypted_is_refused_with_a_key (void **state)
{
  struct encrypted *e = *state;
  struct manifest m = { 0 };
  struct backup_options options = { .codec = NBI_LZ4, .manifest = &m };
  struct nbi_header *h = &options.header;
  struct block *disk = bad_block_new (e->disk, DISK_SIZE, NULL, 0);
  struct backup_result result;
  struct generation *gen = NULL, *base;
  struct err err = ERR_INIT;

  back_up_plainly (e);
  assert_int_equal (repo_memory_newest (&e->repo, &gen, &err), -EACCES);
  assert_non_null (strstr (err.msg, "NBI-124"));
  /* Nor is it a base for one that is. */
  e->repo.caches.keys = NULL;
  base = newest (e);
  *h = e->model;
  h->disk_size = DISK_SIZE;
  h->chunk_size = CHUNK;
  options.master = e->master;
  options.base = base;
  assert_int_equal (backup_disk (disk, &options, &e->repo.place, &result, NULL,
                                 &err), -EACCES);
  assert_non_null (strstr (err.msg, "NBI-124"));
  generation_unref (base);
  manifest_destroy (&m);
  block_unref (disk);
}

/* One bit of each structure there is, by where the trailer says it lies. */
static void
each_structure_is_checked (void **state)
{
  struct encrypted *e = *state;
  struct file_reader *reader;
  const struct nbi_trailer *t;
  struct nbi_record first;
  struct nbi_group group;
  struct memory_file *file;
  size_t end;

  back_up (e, NULL, 0);
  file = e->repo.files.ptr[0];
  end = file->len - 12288;
  assert_int_equal (repo_memory_open (&e->repo, file, &reader, NULL), 0);
  t = file_reader_trailer (reader);
  assert_int_equal (file_reader_entry (reader, 0, &first, NULL), 0);
  assert_int_equal (file_reader_group (reader, 0, &group, NULL), 0);
  {
    const size_t places[] = {
      /* header: name, key slot, checksum; record: header, payload, tag */
      256, 1024 + 70, 4092, first.off + 28, first.off + 64 + first.stored / 2,
      first.off + 64 + first.stored - 1,
      /* sheets: header, tag, entries, what is behind them */
      group.off + 6, group.off + 40, group.off + 100, t->directory + 33,
      t->directory + 64, t->directory + 4095, t->root + 47, t->root + 64,
      t->root + 4000, t->files + 32, t->files + 80, t->files + 3000,
      t->manifest.off + 4, t->manifest.off + 80,
      t->manifest.off + 64 + t->manifest.stored - 1,
      /* trailer's copy, header's copy, trailer: fields, HMAC */
      end + 40, end + 200, end + 4096 + 256, end + 8192 + 40, end + 8192 + 200,
    };

    for (size_t i = 0; i < sizeof places / sizeof places[0]; ++i) {
      file->bytes[places[i]] ^= 0x10;
      if (findings_of (e, file) == 0)
        fail_msg ("place %zu, at %zu, is not checked", i, places[i]);
      file->bytes[places[i]] ^= 0x10;
    }
  }
  file_reader_unref (reader);
  assert_int_equal (findings_of (e, file), 0);
}

/* One bit anywhere is found, in copies and in zeros between things too; and
 * what is read is never other bytes.
 */
static void
flipped_bits_are_refused (void **state)
{
  struct encrypted *e = *state;
  struct memory_file *file;
  uint8_t *buf = malloc (DISK_SIZE);
  struct rng rng = { 4711 };

  assert_non_null (buf);
  back_up (e, NULL, 0);
  file = e->repo.files.ptr[0];
  assert_int_equal (findings_of (e, file), 0);
  for (unsigned i = 0; i < 400; ++i) {
    /* Half of them in tables, manifest, and both ends. */
    size_t from = i % 2 ? 0 : file->len - 60 * 1024;
    size_t off = i < 100 ? file->len - 12288 + i * 123
      : from + rng_next (&rng) % (file->len - from);
    uint8_t bit = (uint8_t) (1U << rng_below (&rng, 8));
    struct generation *gen;

    file->bytes[off] ^= bit;
    if (findings_of (e, file) == 0)
      fail_msg ("a bit at %zu of %zu is not found", off, file->len);
    if (repo_memory_newest (&e->repo, &gen, NULL) == 0) {
      for (size_t at = 0; at < DISK_SIZE; at += CHUNK) {
        size_t len = DISK_SIZE - at < CHUNK ? DISK_SIZE - at : CHUNK;

        if (generation_pread (gen, buf, len, at, NULL) == 0)
          assert_memory_equal (buf, e->disk + at, len);
      }
      generation_unref (gen);
    }
    file->bytes[off] ^= bit;
  }
  free (buf);
}

/* Header and trailer have checksums that anybody can make right again; their
 * HMAC is for those who do.
 */
static void
header_that_was_made_right_again_is_refused (void **state)
{
  struct encrypted *e = *state;
  struct memory_file *file;
  struct nbi_header h;
  struct file_reader *reader;
  struct err err = ERR_INIT;
  uint8_t was[NBI_HEADER_SIZE], *copy;

  back_up (e, NULL, 0);
  file = e->repo.files.ptr[0];
  copy = file->bytes + file->len - NBI_TRAILER_SIZE - NBI_HEADER_SIZE;
  memcpy (was, copy, sizeof was);
  assert_int_equal (nbi_header_decode (copy, &h, NULL), 0);
  strcpy (h.name, "another disk");
  nbi_header_encode (&h, copy);
  assert_int_equal (repo_memory_open (&e->repo, file, &reader, &err),
                    -EBADMSG);
  assert_non_null (strstr (err.msg, "NBI-111"));
  memcpy (copy, was, sizeof was);
  assert_int_equal (repo_memory_open (&e->repo, file, &reader, NULL), 0);
  file_reader_unref (reader);
}

/* Two files with the same key: a record, or a sheet, of one is not taken for
 * that of the other, nor one for another of the same file.
 */
static void
records_can_not_change_places (void **state)
{
  struct encrypted *e = *state;
  struct memory_file *file;
  struct file_reader *reader;
  struct nbi_record a, b;
  struct generation *gen;
  uint8_t *buf = malloc (2 * CHUNK), *from, *to;
  struct backup_result result;
  struct err err = ERR_INIT;

  assert_non_null (buf);
  assert_int_equal (try_to_back_up (e, NULL, 0, NBI_STORED, &result), 0);
  file = e->repo.files.ptr[0];
  assert_int_equal (repo_memory_open (&e->repo, file, &reader, NULL), 0);
  assert_int_equal (file_reader_entry (reader, 0, &a, NULL), 0);
  assert_int_equal (file_reader_entry (reader, 1, &b, NULL), 0);
  assert_int_equal (a.stored, b.stored);
  from = file->bytes + a.off + NBI_RECORD_SIZE;
  to = file->bytes + b.off + NBI_RECORD_SIZE;
  memcpy (to, from, a.stored);
  gen = newest (e);
  assert_int_equal (generation_pread (gen, buf, CHUNK, CHUNK, &err),
                    -EBADMSG);
  assert_non_null (strstr (err.msg, "NBI-40"));
  /* And the tag alone says so. */
  b.xxh3 = a.xxh3;
  assert_int_equal (file_reader_check (&b, to, NULL), 0);
  assert_int_equal (file_reader_unseal (reader, &b, to, NULL), -EBADMSG);
  generation_unref (gen);
  file_reader_unref (reader);
  free (buf);
}

/* Whatever is written, and wherever it fails. */
static void
nonces_are_never_used_twice (void **state)
{
  struct encrypted *e = *state;
  struct backup_result result;
  struct generation *base;
  size_t before = nonces_count ();

  back_up (e, NULL, 0);
  base = newest (e);
  e->disk[5] ^= 1;
  back_up (e, base, 100 * 1024);
  generation_unref (base);
  /* Whoever fails tries again, into another file. */
  for (size_t at = 64; at < 2048; at *= 2) {
    e->repo.fail_at = at * 1024;
    (void) try_to_back_up (e, NULL, 0, NBI_LZ4, &result);
    e->repo.fail_at = 0;
  }
  assert_true (nonces_count () > before + 500);
  assert_false (nonces_have_twice ());
  /* This would be found. */
  nonces_repeat_one ();
  assert_true (nonces_have_twice ());
  nonces_forget_one ();
}

static int
say_no (void *opaque, char **passphrase, size_t *len, struct err *err)
{
  unsigned *nr = opaque;

  (void) passphrase;
  (void) len;
  ++*nr;
  return err_set (err, -ECANCELED, "nobody is there");
}

/* A keyring that asks does so once, and not for what is not encrypted. */
static void
who_is_asked_is_asked_once (void **state)
{
  struct encrypted *e = *state;
  struct file_reader *reader;
  struct keyring *keys;
  struct err err = ERR_INIT;
  unsigned nr = 0;

  back_up (e, NULL, 0);
  assert_int_equal (keyring_new_asking (say_no, &nr, &keys, NULL), 0);
  e->repo.caches.keys = keys;
  assert_int_equal (repo_memory_open (&e->repo, e->repo.files.ptr[0], &reader,
                                      NULL), 0);
  assert_int_equal (nr, 0);
  assert_int_equal (file_reader_unlock (reader, keys, &err), -ECANCELED);
  assert_int_equal (file_reader_unlock (reader, keys, &err), -ECANCELED);
  assert_string_equal (err.msg, "nobody is there");
  assert_int_equal (nr, 1);
  file_reader_unref (reader);
  keyring_free (keys);
}

static int
say_one (void *opaque, char **passphrase, size_t *len, struct err *err)
{
  (void) opaque;
  (void) err;
  *passphrase = strdup ("one");
  *len = 3;
  return 0;
}

/* Who was asked has a key from then on, as if it had been given: what is not
 * encrypted is not taken for what should be.
 */
static void
what_was_asked_for_counts_as_given (void **state)
{
  const struct crypt_secret pass = { NBI_SLOT_PASSPHRASE, "one", 3 };
  struct encrypted *e = *state;
  struct nbi_slot slot = { .passes = 1, .memory = 64, .lanes = 1 };
  struct memory_file *file;
  struct file_reader *reader;
  struct keyring *keys;
  struct err err = ERR_INIT;

  assert_int_equal (crypt_wrap (e->master, &pass, &slot, NULL), 0);
  nbi_slot_encode (&slot, e->model.slots);
  back_up (e, NULL, 0);
  file = e->repo.files.ptr[0];
  assert_int_equal (keyring_new_asking (say_one, NULL, &keys, NULL), 0);
  e->repo.caches.keys = keys;
  assert_int_equal (repo_memory_open (&e->repo, file, &reader, NULL), 0);
  assert_false (keyring_is_ready (keys));
  assert_int_equal (file_reader_unlock (reader, keys, NULL), 0);
  assert_true (keyring_is_ready (keys));
  file_reader_unref (reader);
  back_up_plainly (e);
  assert_int_equal (repo_memory_open (&e->repo, e->repo.files.ptr[1], &reader,
                                      &err), -EACCES);
  assert_non_null (strstr (err.msg, "NBI-124"));
  keyring_free (keys);
}

/* Slots that say a passphrase takes little, so that this is no test of
 * patience; each is tried, and one that is damaged is passed over.
 */
static void
any_slot_opens (void **state)
{
  const struct crypt_secret pass = { NBI_SLOT_PASSPHRASE, "one", 3 };
  const struct crypt_secret wrong = { NBI_SLOT_PASSPHRASE, "One", 3 };
  struct encrypted *e = *state;
  struct nbi_slot slot = { .passes = 1, .memory = 64, .lanes = 1 };
  struct nbi_header h = e->model;
  uint8_t master[CRYPT_KEY_SIZE];
  struct keyring *keys;

  memset (h.slots, 0xff, NBI_SLOT_SIZE);
  assert_int_equal (crypt_wrap (e->master, &secret, &slot, NULL), 0);
  slot.passes = slot.memory = slot.lanes = 0;
  nbi_slot_encode (&slot, h.slots + NBI_SLOT_SIZE);
  slot = (struct nbi_slot) { .passes = 1, .memory = 64, .lanes = 1 };
  assert_int_equal (crypt_wrap (e->master, &pass, &slot, NULL), 0);
  nbi_slot_encode (&slot, h.slots + 2 * NBI_SLOT_SIZE);
  h.nr_slots = 3;
  for (int i = 0; i < 3; ++i) {
    const struct crypt_secret *with = i == 0 ? &pass : i == 1 ? &secret
      : &wrong;

    assert_int_equal (keyring_new (with, &keys, NULL), 0);
    assert_int_equal (keyring_open_header (keys, &h, master, NULL),
                      i < 2 ? 0 : -EACCES);
    if (i < 2)
      assert_memory_equal (master, e->master, sizeof master);
    keyring_free (keys);
  }
}

/* 16 slots that a passphrase does not open, of two headers, and no more; what
 * is open stays so, and a key file costs nothing to try.
 */
static void
tries_have_an_end (void **state)
{
  const struct crypt_secret pass = { NBI_SLOT_PASSPHRASE, "one", 3 };
  const struct crypt_secret other = { NBI_SLOT_PASSPHRASE, "two", 3 };
  struct encrypted *e = *state;
  struct nbi_slot slot = { .passes = 1, .memory = 8, .lanes = 1 };
  struct nbi_header right = e->model, wrong = e->model;
  uint8_t master[CRYPT_KEY_SIZE];
  struct keyring *keys, *by_file;
  struct err err = ERR_INIT;

  assert_int_equal (crypt_wrap (e->master, &pass, &slot, NULL), 0);
  nbi_slot_encode (&slot, right.slots);
  assert_int_equal (crypt_wrap (e->master, &other, &slot, NULL), 0);
  wrong.nr_slots = NBI_MAX_SLOTS;
  for (unsigned i = 0; i < NBI_MAX_SLOTS; ++i)
    nbi_slot_encode (&slot, wrong.slots + (size_t) i * NBI_SLOT_SIZE);
  assert_int_equal (keyring_new (&pass, &keys, NULL), 0);
  assert_int_equal (keyring_open_header (keys, &right, master, NULL), 0);
  for (int i = 0; i < 2; ++i) {
    wrong.key_id[0]++;
    assert_int_equal (keyring_open_header (keys, &wrong, master, &err),
                      -EACCES);
    assert_non_null (strstr (err.msg, "this passphrase does not open it"));
  }
  wrong.key_id[0]++;
  memcpy (wrong.slots, right.slots, NBI_SLOT_SIZE);
  assert_int_equal (keyring_open_header (keys, &wrong, master, &err),
                    -EACCES);
  assert_non_null (strstr (err.msg, "did not open 16 key slots"));
  assert_int_equal (keyring_open_header (keys, &right, master, NULL), 0);
  keyring_free (keys);

  assert_int_equal (keyring_new (&secret, &by_file, NULL), 0);
  assert_int_equal (keyring_open_header (by_file, &wrong, master, NULL),
                    -EACCES);
  assert_int_equal (keyring_open_header (by_file, &e->model, master, NULL), 0);
  keyring_free (by_file);
}

static void
keys_leave_no_core (void **state)
{
  struct rlimit limit;
  struct keyring *keys;

  (void) state;
  assert_int_equal (getrlimit (RLIMIT_CORE, &limit), 0);
  if (limit.rlim_max == 0)
    skip ();
  limit.rlim_cur = limit.rlim_max;
  assert_int_equal (setrlimit (RLIMIT_CORE, &limit), 0);
  assert_int_equal (keyring_new (&secret, &keys, NULL), 0);
  assert_int_equal (getrlimit (RLIMIT_CORE, &limit), 0);
  assert_int_equal (limit.rlim_cur, 0);
  keyring_free (keys);
}

#define TEST(name) cmocka_unit_test_setup_teardown (name, setup, teardown)

int
main (void)
{
  const struct CMUnitTest tests[] = {
    TEST (what_is_written_can_be_read_with_its_key),
    TEST (next_one_writes_only_what_changed),
    TEST (nothing_plain_is_in_the_files),
    TEST (tables_are_not_readable),
    TEST (without_a_key_there_are_no_bytes),
    TEST (another_key_is_refused_at_opening),
    TEST (what_is_not_encrypted_is_refused_with_a_key),
    TEST (each_structure_is_checked),
    TEST (flipped_bits_are_refused),
    TEST (header_that_was_made_right_again_is_refused),
    TEST (records_can_not_change_places),
    TEST (nonces_are_never_used_twice),
    TEST (who_is_asked_is_asked_once),
    TEST (what_was_asked_for_counts_as_given),
    TEST (any_slot_opens),
    TEST (tries_have_an_end),
    TEST (keys_leave_no_core),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
