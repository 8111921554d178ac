/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A bit that flipped anywhere in a file of a vault: `verify' finds each, and no
 * read returns other bytes than were saved; it fails, or the bit is not in what
 * it needs.  500 of them, and 10,000 if NBDIMAGE_LONG is set.
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

#include "lib/base/cleanup.h"
#include "lib/repo/verify-vault.h"
#include "tests/support/counted.h"
#include "tests/support/vault-trial.h"

#define SEED 70
#define NR_FILES_MAX 64

struct file {
  char name[STORE_PATH_SIZE];
  char *bytes;
  size_t len;
};

struct flips {
  struct vault_trial *t;
  struct store *store;
  struct file files[NR_FILES_MAX];
  size_t nr_files;
  uint64_t all;                 /* bytes of them */

  uint64_t nr_findings;         /* of one verify */
  uint64_t refused, right, wrong;       /* pieces that were read */
};

static void
collect (struct flips *f)
{
  CLEANUP_FREE char *names = store_model_names (f->t->model);
  char *rest = NULL;

  for (char *name = strtok_r (names, "\n", &rest); name != NULL;
       name = strtok_r (NULL, "\n", &rest)) {
    struct file *file = &f->files[f->nr_files];
    size_t len = strlen (name);

    if (len < 4 || strcmp (name + len - 4, ".nbi") != 0)
      continue;
    assert_true (f->nr_files < NR_FILES_MAX && len < sizeof file->name);
    strcpy (file->name, name);
    assert_int_equal (store_read_all (f->store, name, 16 << 20, &file->bytes,
                                      &file->len, NULL), 0);
    f->all += file->len;
    ++f->nr_files;
  }
}

static void
put (struct flips *f, const struct file *file)
{
  int64_t time;

  assert_int_equal (store_rewrite (f->store, file->name, file->bytes,
                                   file->len, &time, NULL), 0);
}

static int
count (void *opaque, struct file_reader *file,
       const struct verify_finding *finding, struct err *err)
{
  struct flips *f = opaque;

  (void) file;
  (void) finding;
  (void) err;
  ++f->nr_findings;
  return 0;
}

/* Read all of a generation, piece by piece. */
static void
read_generation (struct flips *f, struct generation *gen)
{
  static uint8_t buf[TRIAL_CHUNK_SIZE];
  const struct trial_version *saved = NULL;

  for (size_t i = 0; i < f->t->nr; ++i)
    if (memcmp (f->t->versions[i].run, generation_header (gen)->run,
                UUID_SIZE) == 0)
      saved = &f->t->versions[i];
  if (saved == NULL) {
    ++f->wrong;
    return;
  }
  for (size_t off = 0; off < TRIAL_DISK_SIZE; off += sizeof buf) {
    size_t n = TRIAL_DISK_SIZE - off < sizeof buf ? TRIAL_DISK_SIZE - off
      : sizeof buf;

    if (generation_pread (gen, buf, n, off, NULL) < 0)
      ++f->refused;
    else if (memcmp (buf, saved->bytes + off, n) == 0)
      ++f->right;
    else
      ++f->wrong;
  }
}

static void
read_all (struct flips *f, struct vault *vault,
          const struct generation_caches *caches)
{
  struct vault_view *view;

  assert_int_equal (vault_view_new (vault, caches, &view, NULL), 0);
  for (size_t i = 0; i < vault_view_runs (view)->len; ++i) {
    struct vault_opened opened;

    if (vault_view_open (view, i, false, &opened, NULL, NULL) < 0) {
      ++f->refused;
      continue;
    }
    read_generation (f, opened.gen);
    vault_opened_close (&opened);
  }
  vault_view_free (view);
}

/* Nothing of before is in the caches. */
static bool
look (struct flips *f, bool verified)
{
  const struct verify verify = { .data = true, .found = count, .opaque = f };
  struct verify_result result;
  struct generation_caches caches;
  struct vault *vault;
  bool ok = true;

  assert_int_equal (generation_caches_init (&caches, 1 << 20, NULL), 0);
  assert_int_equal (vault_open (f->store, 0, &vault, NULL, NULL), 0);
  f->nr_findings = 0;
  if (verified)
    ok = verify_vault (vault, &caches, &verify, &result, NULL, NULL) == 0;
  else
    read_all (f, vault, &caches);
  vault_close (vault);
  generation_caches_destroy (&caches);
  return ok;
}

/* One of all bits of all files. */
static struct file *
choose (struct flips *f, size_t *at)
{
  uint64_t off = rng_next (&f->t->rng) % f->all;
  size_t i = 0;

  while (off >= f->files[i].len)
    off -= f->files[i++].len;
  *at = (size_t) off;
  return &f->files[i];
}

static void
flips_init (struct flips *f)
{
  *f = (struct flips) { .t = vault_trial_new (SEED) };
  for (int i = 0; i < 3; ++i) {
    vault_trial_back_up_well (f->t, 0, NULL);
    vault_trial_change (f->t, 0, 2);
  }
  f->store = vault_trial_store (f->t, 0);
  collect (f);
  assert_true (f->nr_files >= 3);
}

static void
flips_free (struct flips *f)
{
  for (size_t i = 0; i < f->nr_files; ++i)
    free (f->files[i].bytes);
  store_close (f->store);
  vault_trial_free (f->t);
}

static void
test_flips (void **state)
{
  unsigned nr = getenv ("NBDIMAGE_LONG") ? 10000 : 500;
  uint64_t missed = 0, pieces;
  struct flips f;

  (void) state;
  flips_init (&f);
  assert_true (look (&f, true));
  assert_int_equal (f.nr_findings, 0);
  look (&f, false);
  assert_true (f.refused == 0 && f.wrong == 0 && f.right > 0);
  pieces = f.right;
  for (unsigned i = 0; i < nr; ++i) {
    size_t at;
    struct file *file = choose (&f, &at);
    char bit = (char) (1 << rng_next (&f.t->rng) % 8);

    file->bytes[at] ^= bit;
    put (&f, file);
    if (!look (&f, true) || f.nr_findings == 0) {
      ++missed;
      printf ("not found: bit 0x%02x of byte %zu of %s\n", (uint8_t) bit, at,
              file->name);
    }
    look (&f, false);
    file->bytes[at] ^= bit;
    put (&f, file);
  }
  printf ("%" PRIu64 " pieces right, %" PRIu64 " refused\n", f.right,
          f.refused);
  counted (nr, "bit flips in a vault", missed + f.wrong, SEED);
  assert_int_equal (missed, 0);
  assert_int_equal (f.wrong, 0);
  assert_true (f.refused > 0 && f.right > pieces);
  assert_true (look (&f, true));
  assert_int_equal (f.nr_findings, 0);
  flips_free (&f);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_flips),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
