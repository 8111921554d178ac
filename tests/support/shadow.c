/* SPDX-License-Identifier: GPL-2.0-or-later */

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

#include "lib/block/memory.h"
#include "lib/repo/verify-vault.h"
#include "tests/support/shadow.h"

#define CACHE (1 << 20)

struct shadow_version *
shadow_begin (struct shadow_versions *versions, const char *name,
              const uint8_t *bytes)
{
  struct shadow_version *version = calloc (1, sizeof *version);

  if (version == NULL || vector_append (versions, &version) < 0)
    abort ();
  snprintf (version->name, sizeof version->name, "%s", name);
  memcpy (version->bytes, bytes, SHADOW_DISK);
  return version;
}

void
shadow_free (struct shadow_versions *versions)
{
  for (size_t i = 0; i < versions->len; ++i)
    free (versions->ptr[i]);
  vector_free (versions);
}

void
shadow_make_vault (struct store *store)
{
  struct vault_about about = { .worm_days = 0 };
  struct err err = ERR_INIT;
  bool made;

  if (vault_make (store, &about, NULL, 0, &made, &err) < 0)
    fail_msg ("making a vault: %s", err.msg);
}

void
shadow_fill (struct rng *rng, uint8_t bytes[SHADOW_DISK])
{
  memset (bytes, 0, SHADOW_DISK);
  for (size_t i = 0; i < SHADOW_DISK / 2; ++i)
    bytes[i] = (uint8_t) rng_next (rng);
}

void
shadow_change (struct rng *rng, uint8_t bytes[SHADOW_DISK])
{
  for (int i = 0; i < 3; ++i) {
    size_t off = rng_next (rng) % (SHADOW_DISK - 5000);

    for (size_t k = 0; k < 5000; ++k)
      bytes[off + k] = (uint8_t) rng_next (rng);
  }
}

int
shadow_back_up (struct store *store, struct shadow_version *version,
                uint32_t chunk_size, struct report *report, struct err *err)
{
  struct block *block;
  struct manifest manifest = { 0 };
  struct backup_options options = {
    .codec = NBI_LZ4, .threads = 1, .file_limit = SHADOW_FILE,
    .manifest = &manifest,
    .header = {
      .disk_size = SHADOW_DISK, .chunk_size = chunk_size, .logical = 512,
      .physical = 4096,
    },
  };
  struct generation_caches caches;
  struct vault *vault = NULL;
  int r;

  snprintf (options.header.name, sizeof options.header.name, "%s",
            version->name);
  if (block_memory_new ("a disk", version->bytes, SHADOW_DISK, &block,
                        NULL) < 0 ||
      generation_caches_init (&caches, CACHE, NULL) < 0)
    abort ();
  r = vault_open (store, VAULT_WRITE, &vault, report, err);
  if (r == 0)
    r = vault_backup (vault, block, &options, &caches, &version->result,
                      report, NULL, err);
  version->header = options.header;
  version->reported = r == 0;
  vault_close (vault);
  generation_caches_destroy (&caches);
  block_unref (block);
  manifest_destroy (&manifest);
  return r;
}

/*--- Checking ---------------------------------------------------------------*/

static const struct shadow_version *
find (const struct shadow_versions *versions, const uint8_t run[UUID_SIZE])
{
  for (size_t i = 0; i < versions->len; ++i)
    if (memcmp (versions->ptr[i]->header.run, run, UUID_SIZE) == 0)
      return versions->ptr[i];
  return NULL;
}

/* 1: it is there, and was reported. */
static size_t
check_generation (struct vault_view *view, size_t i,
                  const struct shadow_versions *versions, const char *what)
{
  const struct vault_run *run = &vault_view_runs (view)->ptr[i];
  const struct shadow_version *version = find (versions, run->run);
  struct vault_opened opened;
  struct err err = ERR_INIT;
  uint8_t buf[SHADOW_DISK];
  int r;

  if (version == NULL)
    fail_msg ("%s: %s was never begun", what, run->folder);
  r = vault_view_open (view, i, false, &opened, NULL, &err);
  if (r == -ENOENT && (!version->reported || version->dropped))
    return 0;                   /* marked, as it could not be flushed */
  if (r < 0 || generation_pread (opened.gen, buf, sizeof buf, 0, &err) < 0)
    fail_msg ("%s: %s: %s", what, run->folder, err.msg);
  vault_opened_close (&opened);
  for (size_t k = 0; k < sizeof buf; ++k)
    if (buf[k] != version->bytes[k])
      fail_msg ("%s: %s: byte %zu is %02x, not %02x", what, run->folder, k,
                buf[k], version->bytes[k]);
  return version->reported && !version->dropped;
}

static int
fail_finding (void *opaque, struct file_reader *file,
              const struct verify_finding *finding, struct err *err)
{
  (void) err;
  fail_msg ("%s: %s: %s", (const char *) opaque,
            file ? file_reader_name (file) : "", finding->what->msg);
  return 0;
}

static void
check_whole (struct vault *vault, const struct generation_caches *caches,
             const char *what)
{
  const struct verify v = {
    .data = true, .found = fail_finding, .opaque = (void *) what,
  };
  struct verify_result result;
  struct err err = ERR_INIT;

  if (verify_vault (vault, caches, &v, &result, NULL, &err) < 0)
    fail_msg ("%s: verifying: %s", what, err.msg);
}

size_t
shadow_check (struct store *store, const struct shadow_versions *versions,
              const char *what)
{
  struct generation_caches caches;
  struct err err = ERR_INIT;
  struct vault_view *view;
  struct vault *vault;
  size_t nr, found = 0;

  if (generation_caches_init (&caches, CACHE, NULL) < 0)
    abort ();
  if (vault_open (store, 0, &vault, NULL, &err) < 0 ||
      vault_view_new (vault, &caches, &view, &err) < 0)
    fail_msg ("%s: opening: %s", what, err.msg);
  nr = vault_view_runs (view)->len;
  for (size_t i = 0; i < nr; ++i)
    found += check_generation (view, i, versions, what);
  for (size_t i = 0; i < versions->len; ++i)
    if (versions->ptr[i]->reported && !versions->ptr[i]->dropped) {
      if (found == 0)
        fail_msg ("%s: a generation that was reported is not there", what);
      --found;
    }
  vault_view_free (view);
  check_whole (vault, &caches, what);
  vault_close (vault);
  generation_caches_destroy (&caches);
  return nr;
}
