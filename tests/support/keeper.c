/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/keeper.h"

int
keeper_put (struct store *store, struct rng *rng, const char *path,
            struct kept *kept, struct err *err)
{
  struct vault_runs runs = VECTOR_INIT;
  struct vault *vault = NULL;
  int r = vault_open (store, 0, &vault, NULL, err);

  if (r == 0)
    r = vault_list (vault, 0, &runs, err);
  if (r == 0 && runs.len == 0)
    r = err_set (err, -ENOENT, "there is no generation");
  if (r == 0) {
    const struct vault_run *run =
      &runs.ptr[rng_below (rng, (unsigned) runs.len)];

    *kept = (struct kept) { .released = false };
    memcpy (kept->run, run->run, UUID_SIZE);
    snprintf (kept->path, sizeof kept->path, "%s", path);
    r = keep_put (vault, run, path, NULL, err);
  }
  vector_free (&runs);
  vault_close (vault);
  return r;
}

bool
keeper_holds (const struct kept_list *list, const uint8_t run[UUID_SIZE])
{
  for (size_t i = 0; i < list->len; ++i)
    if (!list->ptr[i].released &&
        memcmp (list->ptr[i].run, run, UUID_SIZE) == 0)
      return true;
  return false;
}

/* The keeps in a vault that wanted() says yes to. */
struct releasing {
  bool (*wanted) (const void *opaque, const uint8_t run[UUID_SIZE],
                  const char *path);
  const void *opaque;
  bool only_count;
  unsigned nr;
};

static int
release_in (struct vault *vault, const struct vault_run *run,
            struct releasing *what, struct err *err)
{
  CLEANUP_VAULT_FOLDER struct vault_folder names = { .dropped = false };
  char folder[STORE_PATH_SIZE];
  int r;

  snprintf (folder, sizeof folder, "files/%s", run->folder);
  r = vault_look_in (vault, folder, 0, &names, err);
  for (size_t i = 0; r == 0 && i < names.keeps.len; ++i) {
    const uint8_t *uuid = names.keeps.ptr[i].uuid;
    struct keep keep = KEEP_INIT;
    int known = keep_read (vault, run->folder, uuid, &keep, NULL);

    /* One that was cut off is nobody's that was told. */
    if (what->wanted (what->opaque, run->run, known == 0 ? keep.path : "")) {
      ++what->nr;
      if (!what->only_count)
        r = keep_release (vault, run->folder, uuid, err);
    }
    keep_destroy (&keep);
  }
  return r == -ENOENT ? 0 : r;
}

static int
release (struct store *store, struct releasing *what, struct err *err)
{
  struct vault_runs runs = VECTOR_INIT;
  struct vault *vault = NULL;
  int r = vault_open (store, 0, &vault, NULL, err);

  if (r == 0)
    r = vault_list (vault, 0, &runs, err);
  for (size_t i = 0; r == 0 && i < runs.len; ++i)
    r = release_in (vault, &runs.ptr[i], what, err);
  vector_free (&runs);
  vault_close (vault);
  return r;
}

static bool
is_it (const void *opaque, const uint8_t run[UUID_SIZE], const char *path)
{
  const struct kept *kept = opaque;

  return memcmp (kept->run, run, UUID_SIZE) == 0 &&
    strcmp (kept->path, path) == 0;
}

int
keeper_release (struct store *store, const struct kept *kept, struct err *err)
{
  struct releasing what = { .wanted = is_it, .opaque = kept };

  return release (store, &what, err);
}

static bool
is_other (const void *opaque, const uint8_t run[UUID_SIZE], const char *path)
{
  const struct kept_list *list = opaque;

  for (size_t i = 0; i < list->len; ++i)
    if (!list->ptr[i].released && is_it (&list->ptr[i], run, path))
      return false;
  return true;
}

int
keeper_others (struct store *store, const struct kept_list *list,
               bool take_away, unsigned *nr, struct err *err)
{
  struct releasing what = {
    .wanted = is_other, .opaque = list, .only_count = !take_away,
  };
  int r = release (store, &what, err);

  *nr = what.nr;
  return r;
}
