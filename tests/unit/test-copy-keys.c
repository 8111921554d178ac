/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Copies that have another key than what they are copied from, or none
 * (docs/NBI.md §13): from plain, key A and key B to each of these.
 */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/repo/backup.h"
#include "lib/repo/keyring.h"
#include "lib/repo/verify.h"
#include "tests/support/bad-block.h"
#include "tests/support/nonces.h"
#include "tests/support/repo-memory.h"
#include "tests/support/rng.h"

#define CHUNK (16U * 1024)
#define NR_CHUNKS 200U
#define DISK_SIZE ((size_t) NR_CHUNKS * CHUNK - 3000)
#define TEXT "so that something is there that can be compressed "

static uint8_t disk_bytes[DISK_SIZE];

/* Where backups are, and with which key. */
struct place {
  struct repo_memory repo;
  struct keyring *keys;         /* NULL: not encrypted */
  struct nbi_header model;
  uint8_t master[CRYPT_KEY_SIZE];
};

/* key: "": none. */
static void
place_init (struct place *p, const char *key)
{
  uint8_t bytes[CRYPT_KEY_FILE_MIN] = { 0 };
  const struct crypt_secret secret = {
    NBI_SLOT_KEY_FILE, bytes, sizeof bytes,
  };

  *p = (struct place) { .keys = NULL };
  repo_memory_init (&p->repo, 1024 * 1024);
  if (key[0] == '\0')
    return;
  bytes[0] = (uint8_t) key[0];
  assert_int_equal (keyring_new (&secret, &p->keys, NULL), 0);
  assert_int_equal (keyring_make (p->keys, &p->model, p->master, NULL), 0);
  p->repo.caches.keys = p->keys;
}

static void
place_destroy (struct place *p)
{
  repo_memory_destroy (&p->repo);
  keyring_free (p->keys);
}

/* Text, random bytes, zeros, and some chunks that are the same. */
static void
fill (uint64_t seed)
{
  struct rng rng = { seed };

  for (size_t i = 0; i < DISK_SIZE; ++i) {
    size_t c = i / CHUNK;

    disk_bytes[i] = c % 5 == 0 ? (uint8_t) rng_next (&rng)
      : c % 7 == 0 ? 0 : (uint8_t) (TEXT[i % (sizeof TEXT - 1)] + c % 40);
  }
}

static struct backup_options
options_for (struct place *p)
{
  struct backup_options options = {
    .header = p->model, .master = p->keys != NULL ? p->master : NULL,
    .threads = 3, .file_limit = 300 * 1024,
  };
  struct nbi_header *h = &options.header;

  h->disk_size = DISK_SIZE;
  h->chunk_size = CHUNK;
  h->logical = 512;
  h->physical = 4096;
  h->time = 1700000000;
  memset (h->vault, 7, sizeof h->vault);
  strcpy (h->name, "a disk");
  assert_int_equal (uuid_new (h->run, NULL), 0);
  return options;
}

static int
run (struct place *p, struct backup_options *options,
     struct backup_result *result, struct err *err)
{
  struct block *disk = bad_block_new (disk_bytes, DISK_SIZE, NULL, 0);
  struct manifest m = { 0 };
  const char *json;
  size_t len;
  int r;

  if (options->from != NULL) {
    json = generation_manifest (options->from, &len);
    assert_int_equal (manifest_read (json, len,
                                     generation_header (options->from), &m,
                                     NULL), 0);
  }
  options->manifest = &m;
  r = backup_disk (disk, options, &p->repo.place, result, NULL, err);
  manifest_destroy (&m);
  block_unref (disk);
  return r;
}

static struct generation *
newest (struct place *p)
{
  struct generation *gen;
  struct err err = ERR_INIT;

  if (repo_memory_newest (&p->repo, &gen, &err) < 0)
    fail_msg ("opening: %s", err.msg);
  return gen;
}

static struct backup_result
back_up (struct place *p, enum nbi_codec codec)
{
  struct backup_options options = options_for (p);
  struct backup_result result;
  struct err err = ERR_INIT;

  options.codec = codec;
  if (run (p, &options, &result, &err) < 0)
    fail_msg ("backing up: %s", err.msg);
  return result;
}

static int
copy (struct place *to, struct generation *from, struct generation *base,
      bool decrypt, struct backup_result *result, struct err *err)
{
  struct backup_options options = options_for (to);

  options.from = from;
  options.base = base;
  options.decrypt = decrypt;
  return run (to, &options, result, err);
}

static int
refuse (void *opaque, struct file_reader *file,
        const struct verify_finding *finding, struct err *err)
{
  (void) opaque;
  (void) file;
  return err_set (err, -EBADMSG, "%s", finding->what->msg);
}

/* It reads as the disk, and is whole: each record's identity is of the place's
 * key, and all hashes add up.
 */
static void
is_right (struct place *p)
{
  const struct verify verify = { .data = true, .found = refuse };
  struct generation *gen = newest (p);
  uint8_t *buf = malloc (DISK_SIZE);
  struct manifest m = { 0 };
  struct err err = ERR_INIT;
  const char *json;
  size_t len;

  assert_non_null (buf);
  assert_int_equal (nbi_encrypted (generation_header (gen)), p->keys != NULL);
  assert_int_equal (generation_pread (gen, buf, DISK_SIZE, 0, NULL), 0);
  assert_memory_equal (buf, disk_bytes, DISK_SIZE);
  free (buf);
  json = generation_manifest (gen, &len);
  assert_int_equal (manifest_read (json, len, generation_header (gen), &m,
                                   NULL), 0);
  for (size_t i = 0; i < p->repo.files.len; ++i) {
    const struct memory_file *file = p->repo.files.ptr[i];
    struct file_reader *reader;

    assert_int_equal (repo_memory_open (&p->repo, file, &reader, NULL), 0);
    if (verify_file (reader, &verify, &err) < 0 ||
        (i == p->repo.files.len - 1 &&
         verify_generation (gen, reader, &m, &verify, &err) < 0))
      fail_msg ("%s", err.msg);
    file_reader_unref (reader);
  }
  manifest_destroy (&m);
  generation_unref (gen);
}

/* Bytes of all payloads, without tags, as they are compressed. */
static uint64_t
net_bytes (struct place *p)
{
  uint64_t bytes = 0;

  for (size_t i = 0; i < p->repo.files.len; ++i) {
    struct file_reader *reader;
    struct nbi_record record;
    uint32_t nr;

    assert_int_equal (repo_memory_open (&p->repo, p->repo.files.ptr[i],
                                        &reader, NULL), 0);
    nr = file_reader_trailer (reader)->nr_ordinals;
    for (uint32_t k = 0; k < nr; ++k) {
      assert_int_equal (file_reader_entry (reader, k, &record, NULL), 0);
      if (record.kind == NBI_CHUNK)
        bytes += record.stored - (p->keys != NULL ? NBI_TAG_SIZE : 0);
    }
    file_reader_unref (reader);
  }
  return bytes;
}

static const char *const keys[] = { "", "A", "B" };

/*--- Tests ------------------------------------------------------------------*/

static void
each_key_can_be_another (void **state)
{
  static const enum nbi_codec codecs[] = { NBI_ZSTD, NBI_LZ4, NBI_STORED };

  (void) state;
  for (size_t i = 0; i < 9; ++i) {
    struct place from, to;
    struct backup_result was, is;
    struct generation *gen;
    struct err err = ERR_INIT;

    fill (i + 1);
    place_init (&from, keys[i / 3]);
    place_init (&to, keys[i % 3]);
    was = back_up (&from, codecs[i % 3]);
    gen = newest (&from);
    if (copy (&to, gen, NULL, true, &is, &err) < 0)
      fail_msg ("from ‘%s’ to ‘%s’: %s", keys[i / 3], keys[i % 3], err.msg);
    assert_int_equal (is.counts.data, was.counts.data);
    assert_int_equal (is.counts.fresh, was.counts.fresh);
    is_right (&to);
    /* As it was compressed. */
    assert_int_equal (net_bytes (&to), net_bytes (&from));
    generation_unref (gen);
    place_destroy (&from);
    place_destroy (&to);
  }
  assert_false (nonces_have_twice ());
}

/* By the identities that it has there. */
static void
what_is_there_is_not_copied_again (void **state)
{
  struct place from, to;
  struct backup_result result;
  struct generation *gen, *base;

  (void) state;
  fill (20);
  place_init (&from, "A");
  place_init (&to, "B");
  back_up (&from, NBI_LZ4);
  gen = newest (&from);
  assert_int_equal (copy (&to, gen, NULL, false, &result, NULL), 0);
  generation_unref (gen);
  memset (disk_bytes + 30 * CHUNK, 'x', 2 * CHUNK + 5);
  back_up (&from, NBI_LZ4);
  gen = newest (&from);
  base = newest (&to);
  assert_int_equal (copy (&to, gen, base, false, &result, NULL), 0);
  assert_true (result.counts.fresh >= 1 && result.counts.fresh <= 3);
  is_right (&to);
  generation_unref (base);
  generation_unref (gen);
  place_destroy (&from);
  place_destroy (&to);
}

static void
nothing_is_decrypted_unless_that_is_said (void **state)
{
  struct place from, to;
  struct backup_result result;
  struct generation *gen;
  struct err err = ERR_INIT;

  (void) state;
  fill (30);
  place_init (&from, "A");
  place_init (&to, "");
  back_up (&from, NBI_LZ4);
  gen = newest (&from);
  assert_int_equal (copy (&to, gen, NULL, false, &result, &err), -EACCES);
  assert_non_null (strstr (err.msg, "the copy would not be"));
  assert_int_equal (to.repo.files.len, 0);
  generation_unref (gen);
  place_destroy (&from);
  place_destroy (&to);
}

/* A payload that is not what its identity says, of which all checksums are
 * right: it would get an identity that is right in the copy.
 */
static void
wrong_identity_is_not_made_right (void **state)
{
  struct place from, to;
  struct backup_result result;
  struct generation *gen;
  struct nbi_group group;
  struct file_reader *reader;
  struct memory_file *file;
  struct err err = ERR_INIT;
  uint8_t *sheet;

  (void) state;
  fill (40);
  place_init (&from, "");
  place_init (&to, "B");
  back_up (&from, NBI_STORED);
  file = from.repo.files.ptr[0];
  assert_int_equal (repo_memory_open (&from.repo, file, &reader, NULL), 0);
  assert_int_equal (file_reader_group (reader, 0, &group, NULL), 0);
  sheet = file->bytes + group.off;
  {
    const struct nbi_header *h = file_reader_header (reader);
    struct nbi_sheet s = {
      .salt = h->salt, .off = group.off, .table = NBI_TABLE_CHUNKS,
      .count = (uint32_t) (sheet[6] | sheet[7] << 8),
    };

    memcpy (s.nonce, h->nonce, sizeof s.nonce);
    sheet[NBI_SHEET_HEADER + 32] ^= 1;  /* the first identity */
    nbi_sheet_seal (&s, sheet);
  }
  file_reader_unref (reader);
  gen = newest (&from);
  assert_int_equal (copy (&to, gen, NULL, false, &result, &err), -EBADMSG);
  assert_non_null (strstr (err.msg, "NBI-43"));
  generation_unref (gen);
  place_destroy (&from);
  place_destroy (&to);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (each_key_can_be_another),
    cmocka_unit_test (what_is_there_is_not_copied_again),
    cmocka_unit_test (nothing_is_decrypted_unless_that_is_said),
    cmocka_unit_test (wrong_identity_is_not_made_right),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
