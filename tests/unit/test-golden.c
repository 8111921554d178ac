/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The files in tests/data/nbi are what version 1 of the format is, whatever
 * becomes of this code: today's reader gets each disk out of them, and today's
 * writer, given the same disks, the same clock and the same random numbers,
 * writes them byte by byte.  (Of what a codec made that is said only with the
 * versions of the libraries that made them.)  tests/cli/test-golden.sh looks at
 * them by commands.
 *
 *   tests/unit/test-golden --make FOLDER
 *
 * makes them anew, which nobody should have to do: a file that is there may be
 * in somebody's vault.  A feature that is new gets a new file.
 *
 * Linked with -Wl,--wrap=getrandom,--wrap=time.
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
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#include <cmocka.h>

#include <lz4.h>
#include <zstd.h>

#include "lib/base/cleanup.h"
#include "lib/block/memory.h"
#include "lib/repo/backup.h"
#include "lib/repo/image-nbi.h"
#include "lib/repo/vault.h"
#include "tests/support/bad-block.h"
#include "tests/support/repo-memory.h"
#include "tests/support/rng.h"

#define NOW UINT64_C (1795449120)       /* 2026-11-22T15:52:00Z */
#define PASSPHRASE "correct horse battery staple"
#define MADE_WITH_LZ4 10904
#define MADE_WITH_ZSTD 10504

/*--- What is random otherwise -----------------------------------------------*/

static struct rng randomness;

ssize_t __wrap_getrandom (void *buf, size_t len, unsigned flags);
time_t __wrap_time (time_t *out);

ssize_t
__wrap_getrandom (void *buf, size_t len, unsigned flags)
{
  (void) flags;
  for (size_t i = 0; i < len; ++i)
    ((uint8_t *) buf)[i] = (uint8_t) rng_next (&randomness);
  return (ssize_t) len;
}

time_t
__wrap_time (time_t *out)
{
  if (out != NULL)
    *out = NOW + 60;
  return NOW + 60;
}

/*--- The disks --------------------------------------------------------------*/

#define CHUNK (16 * 1024)

struct golden {
  const char *name;             /* of the file, or the folder of a vault */
  size_t size;                  /* of the disk */
  uint32_t chunk_size, sector_size;
  enum nbi_codec codec;
  void (*fill) (uint8_t *disk, size_t size);
  bool encrypted;
  bool by_parts;                /* some of it is not used or not chosen */
  struct nbi_range bad[3];
  unsigned nr_bad;
  unsigned generations;         /* of a vault; 0: one file */
};

static void
text (uint8_t *p, size_t len, unsigned which)
{
  static const char words[] = "What is saved once is to be read for ever. ";

  for (size_t i = 0; i < len; ++i)
    p[i] = (uint8_t) words[i % (sizeof words - 1)];
  if (len > 100)
    snprintf ((char *) p, 100, "Chunk %u of this disk.\n", which);
}

/* Noise, twice the same, zeros, and text. */
static void
fill_a_bit (uint8_t *disk, size_t size)
{
  struct rng rng = { 1 };

  for (size_t i = 0; i < 2 * 512; ++i)
    disk[i] = (uint8_t) rng_next (&rng);
  memcpy (disk + 3 * CHUNK, disk, CHUNK);
  text (disk + 4 * CHUNK + 700, 900, 4);
  text (disk + size - 300, 300, 9);
}

/* More than a page of the map, of which most is zeros. */
static void
fill_far (uint8_t *disk, size_t size)
{
  struct rng rng = { 2 };

  for (size_t i = 0; i < CHUNK; ++i)
    disk[i] = (uint8_t) rng_next (&rng);
  for (unsigned c = 2; c < 40; ++c)
    text (disk + c * CHUNK, CHUNK, c / 2);
  text (disk + (size_t) 4095 * CHUNK, 3 * CHUNK, 4095);
  text (disk + size - 1000, 1000, 9999);
}

static void
fill_with_text (uint8_t *disk, size_t size)
{
  for (size_t off = 0; off < size; off += CHUNK)
    text (disk + off, size - off < CHUNK ? size - off : CHUNK,
          (unsigned) (off / CHUNK));
}

static const struct golden goldens[] = {
  { "stored.nbi", 10 * CHUNK - 1000, CHUNK, 512, NBI_STORED, fill_a_bit,
    .nr_bad = 0 },
  { "lz4.nbi", (size_t) 4200 * CHUNK + 512, CHUNK, 512, NBI_LZ4, fill_far,
    .nr_bad = 0 },
  { "zstd.nbi", 30 * 65536, 65536, 4096, NBI_ZSTD, fill_with_text,
    .by_parts = true },
  { "unreadable.nbi", 9 * CHUNK, CHUNK, 512, NBI_STORED, fill_a_bit,
    .bad = { { 512, 512 }, { CHUNK, CHUNK }, { 4 * CHUNK + 1024, 1536 } },
    .nr_bad = 3 },
  { "encrypted.nbi", 10 * CHUNK - 1000, CHUNK, 512, NBI_STORED, fill_a_bit,
    .encrypted = true },
  { "vault", 10 * CHUNK - 1000, CHUNK, 512, NBI_STORED,
    fill_with_text, .generations = 3 },
};

#define NR_GOLDENS (sizeof goldens / sizeof goldens[0])

/*--- Backing them up --------------------------------------------------------*/

/* A passphrase that takes no time, and a key file. */
static void
make_keys (struct nbi_header *h, uint8_t master[CRYPT_KEY_SIZE])
{
  static const char file[] = "a key file that has more than 32 bytes\n";
  const struct crypt_secret secrets[2] = {
    { NBI_SLOT_PASSPHRASE, PASSPHRASE, sizeof PASSPHRASE - 1 },
    { NBI_SLOT_KEY_FILE, file, sizeof file - 1 },
  };

  assert_int_equal (crypt_master_new (master, NULL), 0);
  assert_int_equal (crypt_key_id (master, h->key_id, NULL), 0);
  h->need = NBI_NEED_ENCRYPTED;
  h->encryption = 1;
  h->nr_slots = 2;
  for (int i = 0; i < 2; ++i) {
    struct nbi_slot slot = { .kind = 0 };

    snprintf (slot.label, sizeof slot.label, "way in %d", i);
    if (i == 0) {
      slot.passes = slot.lanes = 1;
      slot.memory = 8;
    }
    assert_int_equal (crypt_wrap (master, &secrets[i], &slot, NULL), 0);
    nbi_slot_encode (&slot, h->slots + i * NBI_SLOT_SIZE);
  }
}

static void
set (char **member, const char *text)
{
  *member = strdup (text);
  assert_non_null (*member);
}

/* Two partitions: of one the first part is used, the other is not chosen. */
static void
choose_parts (struct manifest *m, struct used_map *used)
{
  struct manifest_partition parts[2] = {
    { .number = 1, .off = 65536, .len = 10 * 65536 },
    { .number = 2, .off = 12 * 65536 + 4096, .len = 12 * 65536 },
  };

  set (&parts[0].type, "83");
  set (&parts[0].saved, "used");
  set (&parts[0].fs.type, "ext4");
  set (&parts[0].fs.label, "first");
  parts[0].fs.block_size = 4096;
  parts[0].fs.used = 4 * 65536;
  set (&parts[1].type, "07");
  set (&parts[1].saved, MANIFEST_SAVED_NONE);
  set (&m->table_kind, "mbr");
  set (&m->table_id, "12345678");
  set (&m->held, "offline");
  set (&m->checkpoint, "vm-01234567-89ab-4cde-8f01-23456789abcd");
  for (int i = 0; i < 2; ++i)
    assert_int_equal (vector_append (&m->partitions, &parts[i]), 0);
  assert_int_equal (used_map_add (used, 0, 5 * 65536, NULL), 0);
  assert_int_equal (used_map_add (used, 11 * 65536, 65536 + 4096, NULL), 0);
  assert_int_equal (used_map_add (used, 24 * 65536 + 4096, 6 * 65536, NULL),
                    0);
  used_map_finish (used);
}

static struct block *
disk_of (const struct golden *g, uint8_t *bytes)
{
  struct block *block;

  if (g->nr_bad > 0)
    return bad_block_new (bytes, g->size, g->bad, g->nr_bad);
  assert_int_equal (block_memory_new ("a disk", bytes, g->size, &block, NULL),
                    0);
  return block;
}

static void
back_up (const struct golden *g, uint8_t *bytes, unsigned nr,
         struct repo_memory *repo)
{
  CLEANUP_BLOCK struct block *disk = disk_of (g, bytes);
  CLEANUP_USED_MAP struct used_map used;
  struct manifest manifest = { .time = 0 };
  struct backup_options options = {
    .header = {
      .disk_size = g->size, .chunk_size = g->chunk_size,
      .logical = g->sector_size, .physical = 4096,
      .time = NOW + 86400 * nr, .name = "golden", .creator = "nbdimage 1",
    },
    .codec = g->codec, .threads = 1, .manifest = &manifest,
  };
  uint8_t master[CRYPT_KEY_SIZE];
  struct backup_result result;
  struct err err = ERR_INIT;

  used_map_init (&used, g->size, USED_MAP_LIMIT);
  if (g->by_parts) {
    choose_parts (&manifest, &used);
    options.used = &used;
  }
  if (g->encrypted) {
    make_keys (&options.header, master);
    options.master = master;
  }
  assert_int_equal (uuid_new (options.header.run, NULL), 0);
  if (g->generations > 0) {
    memset (options.header.vault, 0x77, UUID_SIZE);
    options.file_limit = 100 * 1024;
  }
  if (nr > 0)
    assert_int_equal (repo_memory_newest (repo, &options.base, NULL), 0);
  if (backup_disk (disk, &options, &repo->place, &result, NULL, &err) < 0)
    fail_msg ("%s: %s", g->name, err.msg);
  generation_unref (options.base);
  manifest_destroy (&manifest);
}

/*--- Files ------------------------------------------------------------------*/

#define PATH_SIZE 1024

struct place {
  const char *folder;
  bool make;                    /* otherwise compare */
  unsigned nr;                  /* files, so far */
};

static void
make_folders (char *path)
{
  for (char *p = path; (p = strchr (p + 1, '/')) != NULL; *p = '/') {
    *p = '\0';
    mkdir (path, 0777);
  }
}

static void
put_or_compare (struct place *place, const char *name, const void *bytes,
                size_t len)
{
  char path[PATH_SIZE];
  uint8_t *there = malloc (len + 1);
  FILE *fp;

  assert_non_null (there);
  snprintf (path, sizeof path, "%s/%s", place->folder, name);
  if (place->make)
    make_folders (path);
  fp = fopen (path, place->make ? "w" : "r");
  if (fp == NULL)
    fail_msg ("%s: %s", path, strerror (errno));
  if (place->make)
    assert_int_equal (fwrite (bytes, 1, len, fp), len);
  else {
    size_t n = fread (there, 1, len + 1, fp), i = 0;

    while (i < n && i < len && there[i] == ((const uint8_t *) bytes)[i])
      ++i;
    if (i < len || n != len)
      fail_msg ("%s: the writer makes another file today, from byte %zu on",
                path, i);
  }
  assert_int_equal (fclose (fp), 0);
  ++place->nr;
  free (there);
}

static void
put_vault (struct place *place, const char *name, struct repo_memory *repo)
{
  struct vault_about about = { .created = NOW };
  char path[2 * PATH_SIZE], folder[VAULT_NAME_SIZE], file[VAULT_NAME_SIZE];
  char *json;
  size_t len;

  memset (about.uuid, 0x77, UUID_SIZE);
  assert_int_equal (vault_about_encode (&about, &json, &len, NULL), 0);
  snprintf (path, sizeof path, "%s/vault/" VAULT_JSON, name);
  put_or_compare (place, path, json, len);
  free (json);
  for (size_t i = 0; i < repo->files.len; ++i) {
    const struct memory_file *f = repo->files.ptr[i];
    struct file_reader *reader;

    assert_int_equal (repo_memory_open (repo, f, &reader, NULL), 0);
    vault_name_run (folder, "golden", file_reader_header (reader)->time,
                    f->run);
    vault_name_nbi (file, f->uuid, 0, f->last);
    snprintf (path, sizeof path, "%s/files/%s/%s", name, folder, file);
    put_or_compare (place, path, f->bytes, f->len);
    file_reader_unref (reader);
  }
}

/* What changes from one generation to the next.  In the end a single chunk of
 * the first file is still of use.
 */
static void
change (uint8_t *bytes, size_t size, unsigned nr)
{
  text (bytes + (nr == 1 ? 1 : 5) * CHUNK, 2 * CHUNK, 100 + nr);
  if (nr == 2)
    memset (bytes, 0, CHUNK);
  text (bytes + size - 200, 200, nr);
}

static void
golden (const struct golden *g, struct place *place)
{
  uint8_t *bytes = calloc (1, g->size);
  struct repo_memory repo;

  assert_non_null (bytes);
  randomness = (struct rng) { 1000 + (uint64_t) (g - goldens) };
  g->fill (bytes, g->size);
  repo_memory_init (&repo, 1024 * 1024);
  back_up (g, bytes, 0, &repo);
  for (unsigned nr = 1; nr < g->generations; ++nr) {
    change (bytes, g->size, nr);
    back_up (g, bytes, nr, &repo);
  }
  if (g->generations > 0)
    put_vault (place, g->name, &repo);
  else {
    assert_int_equal (repo.files.len, 1);
    put_or_compare (place, g->name, repo.files.ptr[0]->bytes,
                    repo.files.ptr[0]->len);
  }
  repo_memory_destroy (&repo);
  free (bytes);
}

static const char *
data_folder (void)
{
  static char folder[PATH_SIZE];
  const char *top = getenv ("abs_top_srcdir");

  snprintf (folder, sizeof folder, "%s/tests/data/nbi",
            top != NULL ? top : ".");
  return folder;
}

static void
test_the_writer_writes_them (void **state)
{
  struct place place = { .folder = data_folder () };

  (void) state;
  for (size_t i = 0; i < NR_GOLDENS; ++i) {
    const struct golden *g = &goldens[i];

    if ((g->codec == NBI_LZ4 && LZ4_versionNumber () != MADE_WITH_LZ4) ||
        (g->codec == NBI_ZSTD && ZSTD_versionNumber () != MADE_WITH_ZSTD))
      print_message ("%s: another version of the codec's library made it\n",
                     g->name);
    else
      golden (g, &place);
  }
  print_message ("%u files\n", place.nr);
  assert_true (place.nr >= 8);
}

/*--- Reading ----------------------------------------------------------------*/

/* Is it not in the backup, on purpose? */
static bool
is_absent (const struct golden *g, uint64_t off)
{
  for (unsigned i = 0; i < g->nr_bad; ++i)
    if (off >= g->bad[i].off && off < g->bad[i].off + g->bad[i].len)
      return true;
  return g->by_parts && off >= 13 * 65536 && off < 24 * 65536;
}

/* No file system uses it. */
static bool
is_unused (const struct golden *g, uint64_t off)
{
  return g->by_parts && off >= 5 * 65536 && off < 11 * 65536;
}

/* By sectors: what they have are the disk's bytes, and they are no more and no
 * fewer than they should be.
 */
static void
read_it (const struct golden *g, const char *path, const uint8_t *bytes)
{
  static const uint8_t zeros[512];
  struct err err = ERR_INIT;
  struct image *img;
  uint8_t buf[512];

  if (image_open (path, NULL, &img, NULL, &err) < 0)
    fail_msg ("%s: %s", path, err.msg);
  assert_int_equal (image_size (img), g->size);
  for (uint64_t off = 0; off < g->size; off += sizeof buf) {
    size_t len = g->size - off < sizeof buf ? g->size - off : sizeof buf;
    int r = image_pread (img, buf, len, off, &err);

    if (is_absent (g, off)) {
      if (r != -EIO)
        fail_msg ("%s: %" PRIu64 " is read: %d", path, off, r);
      continue;
    }
    if (r < 0)
      fail_msg ("%s: %s", path, err.msg);
    if (memcmp (buf, is_unused (g, off) ? zeros : bytes + off, len) != 0)
      fail_msg ("%s: other bytes at %" PRIu64, path, off);
  }
  image_unref (img);
}

static void
read_generations (const struct golden *g)
{
  uint8_t *bytes = calloc (1, g->size);
  char path[2 * PATH_SIZE];

  assert_non_null (bytes);
  g->fill (bytes, g->size);
  if (g->generations == 0) {
    snprintf (path, sizeof path, "%s/%s", data_folder (), g->name);
    read_it (g, path, bytes);
  }
  for (unsigned nr = 0; nr < g->generations; ++nr) {
    if (nr > 0)
      change (bytes, g->size, nr);
    snprintf (path, sizeof path, "%s/%s/golden@202611%u", data_folder (),
              g->name, 23 + nr);
    read_it (g, path, bytes);
  }
  /* Of which two were dropped, and a file was written anew. */
  if (g->generations > 0) {
    snprintf (path, sizeof path, "%s/pruned/golden", data_folder ());
    read_it (g, path, bytes);
  }
  free (bytes);
}

static void
test_the_reader_reads_them (void **state)
{
  const struct crypt_secret secret = {
    NBI_SLOT_PASSPHRASE, PASSPHRASE, sizeof PASSPHRASE - 1
  };
  struct keyring *keys;

  (void) state;
  assert_int_equal (keyring_new (&secret, &keys, NULL), 0);
  nbi_register ();
  for (size_t i = 0; i < NR_GOLDENS; ++i) {
    nbi_use_keys (goldens[i].encrypted ? keys : NULL);
    read_generations (&goldens[i]);
  }
  keyring_free (keys);
}

int
main (int argc, char **argv)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_the_writer_writes_them),
    cmocka_unit_test (test_the_reader_reads_them),
  };

  if (argc == 3 && strcmp (argv[1], "--make") == 0) {
    struct place place = { .folder = argv[2], .make = true };

    for (size_t i = 0; i < NR_GOLDENS; ++i)
      golden (&goldens[i], &place);
    return 0;
  }
  return cmocka_run_group_tests (tests, NULL, NULL);
}
