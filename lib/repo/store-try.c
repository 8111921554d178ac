/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Does what a vault needs of a store hold?  Tried, one operation after the
 * other, with a folder `.trial-UUID' that goes from partial/ to broken/ to
 * files/ and back, and files in it (docs/NBI.md §13, "The store").  A name that
 * begins with a dot is nobody's, so that a crash leaves nothing that counts.
 */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/uuid.h"
#include "lib/repo/store-ops.h"

#define TRIAL_SIZE 64
static const char bytes[] = "This folder is a trial, and can be deleted.\n";

struct trial {
  struct store *store;
  struct report *report;
  char name[TRIAL_SIZE];        /* of the folder */
};

/* A name: "WHERE/.trial-…", or "WHERE/.trial-…/FILE". */
static const char *
path (const struct trial *t, const char *where, const char *file,
      char buf[STORE_PATH_SIZE])
{
  snprintf (buf, STORE_PATH_SIZE, "%s/%s%s%s", where, t->name,
            file ? "/" : "", file ? file : "");
  return buf;
}

/* The store says that it did something, and did not. */
static int
refuse (struct err *err, const char *fmt, ...)
{
  char text[200];
  va_list ap;

  va_start (ap, fmt);
  vsnprintf (text, sizeof text, fmt, ap);
  va_end (ap);
  return err_set (err, -ENOTSUP, "a vault can't be here: %s", text);
}

/* An operation that must fail with one number. */
static int
must_fail (int r, int with, const char *what, struct err *err)
{
  if (r == with)
    return 0;
  if (r == 0)
    return refuse (err, "%s did not fail", what);
  return err_in (err, "a vault can't be here: %s failed in another way", what);
}

static int
must_work (int r, const char *what, struct err *err)
{
  return r == 0 ? 0 : err_in (err, "a vault can't be here: to %s", what);
}

static int
try_rename (const struct trial *t, const char *from, const char *from_file,
            const char *to, const char *to_file, struct err *err)
{
  char a[STORE_PATH_SIZE], b[STORE_PATH_SIZE];

  return store_rename (t->store, path (t, from, from_file, a),
                       path (t, to, to_file, b), err);
}

static int
try_reading (const struct trial *t, const char *where, const char *file,
             struct err *err)
{
  CLEANUP_BLOCK struct block *block = NULL;
  char name[STORE_PATH_SIZE], part[8];
  struct store_stat st;
  int r = store_open (t->store, path (t, where, file, name), &block, err);

  if (r == 0)
    r = store_stat (t->store, name, &st, err);
  if (r == 0 && (st.kind != STORE_FILE || st.size != sizeof bytes ||
                 block_size (block) != sizeof bytes))
    return refuse (err, "a file is not as large as what was written");
  if (r == 0)
    r = block_pread (block, part, sizeof part, 5, err);
  if (r == 0 && memcmp (part, bytes + 5, sizeof part) != 0)
    return refuse (err, "a file has other bytes than were written");
  return must_work (r, "read a file", err);
}

static int
try_files (const struct trial *t, struct err *err)
{
  char a[STORE_PATH_SIZE], b[STORE_PATH_SIZE];
  int64_t time;
  int r;

  path (t, "partial", "a", a);
  path (t, "partial", "b", b);
  r = must_work (store_put (t->store, a, bytes, sizeof bytes, err),
                 "make a file and flush it", err);
  if (r == 0)
    r = must_fail (store_put (t->store, a, bytes, 1, err), -EEXIST,
                   "making a file that is there", err);
  if (r == 0)
    r = try_reading (t, "partial", "a", err);
  if (r == 0)
    r = must_work (store_put (t->store, b, bytes, sizeof bytes, err),
                   "make a second file", err);
  if (r == 0)
    r = must_fail (store_rename (t->store, a, b, err), -EEXIST,
                   "renaming a file to a name that is there", err);
  if (r == 0)
    r = must_work (store_rewrite (t->store, b, bytes, sizeof bytes, &time, err),
                   "write a file anew", err);
  if (r == 0)
    r = must_work (store_delete (t->store, b, err), "delete a file", err);
  if (r == 0)
    r = must_work (store_rename (t->store, a, b, err), "rename a file", err);
  if (r == 0)
    r = must_fail (store_rename (t->store, a, b, err), -ENOENT,
                   "renaming a file that is gone", err);
  return r == 0 ? try_reading (t, "partial", "b", err) : r;
}

/* From one folder to the other: there it is, here it is not. */
static int
try_move (const struct trial *t, const char *from, const char *to,
          struct err *err)
{
  int r = must_work (try_rename (t, from, NULL, to, NULL, err),
                     "rename a folder into another folder", err);

  if (r == 0)
    r = must_fail (try_rename (t, from, NULL, to, "late", err), -ENOENT,
                   "renaming a folder that is gone", err);
  return r == 0 ? try_reading (t, to, "b", err) : r;
}

/* A second folder of the name, with a file: nothing replaces it. */
static int
try_replacing (const struct trial *t, struct err *err)
{
  char folder[STORE_PATH_SIZE], file[STORE_PATH_SIZE];
  int r;

  path (t, "files", NULL, folder);
  path (t, "files", "a", file);
  r = must_work (store_make_folder (t->store, folder, err), "make a folder",
                 err);
  if (r == 0)
    r = must_work (store_put (t->store, file, bytes, 1, err), "make a file",
                   err);
  if (r == 0)
    r = must_fail (try_rename (t, "partial", NULL, "files", NULL, err),
                   -EEXIST, "renaming a folder to a name that is there", err);
  if (r == 0)
    r = must_fail (store_delete_folder (t->store, folder, err), -ENOTEMPTY,
                   "deleting a folder that has a file", err);
  if (r == 0)
    r = must_work (store_delete (t->store, file, err), "delete a file", err);
  if (r == 0)
    r = must_work (store_delete_folder (t->store, folder, err),
                   "delete a folder", err);
  return r;
}

struct seen {
  const char *name;
  unsigned times;
};

static int
look_for (void *opaque, const struct store_entry *e, struct err *err)
{
  struct seen *seen = opaque;

  (void) err;
  if (strcmp (e->name, seen->name) == 0)
    seen->times += e->kind == STORE_FOLDER ? 1 : 2;
  return 0;
}

static int
try_listing (const struct trial *t, struct err *err)
{
  struct seen seen = { t->name, 0 };
  int r = must_work (store_list (t->store, "partial", look_for, &seen, err),
                     "list a folder", err);

  if (r == 0 && seen.times != 1)
    return refuse (err, "a listing does not show a folder that was made");
  return r;
}

/* Straight to the store, which may answer that it can't. */
static int
try_flushing (const struct trial *t, struct err *err)
{
  char name[STORE_PATH_SIZE];
  int r = t->store->ops->flush_folder (t->store,
                                       path (t, "partial", NULL, name), err);

  if (r == -ENOTSUP) {
    report_warn (t->report, "%s: folders can't be flushed here: after a power "
                 "cut, what was reported last may be as it was before",
                 store_name (t->store));
    return 0;
  }
  return must_work (r, "flush a folder", err);
}

static int
try_all (const struct trial *t, struct err *err)
{
  static const char *const way[][2] = {
    { "partial", "broken" }, { "broken", "partial" }, { "partial", "files" },
    { "files", "broken" }, { "broken", "partial" },
  };
  char folder[STORE_PATH_SIZE];
  int r;

  path (t, "partial", NULL, folder);
  r = must_work (store_make_folder (t->store, folder, err), "make a folder",
                 err);
  if (r == 0)
    r = must_fail (store_make_folder (t->store, folder, err), -EEXIST,
                   "making a folder that is there", err);
  if (r == 0)
    r = try_listing (t, err);
  if (r == 0)
    r = try_files (t, err);
  if (r == 0)
    r = try_flushing (t, err);
  for (size_t i = 0; r == 0 && i < sizeof way / sizeof way[0]; ++i)
    r = try_move (t, way[i][0], way[i][1], err);
  return r == 0 ? try_replacing (t, err) : r;
}

/* What a trial leaves that went well.  0: that is away. */
static int
clean_up_after_success (const struct trial *t)
{
  char name[STORE_PATH_SIZE];
  int r = store_delete (t->store, path (t, "partial", "b", name), NULL);

  return r < 0 ? r
    : store_delete_folder (t->store, path (t, "partial", NULL, name), NULL);
}

static void
clean_up (const struct trial *t)
{
  static const char *const folders[] = { "partial", "broken", "files" };
  static const char *const files[] = { "a", "b", "late" };
  char name[STORE_PATH_SIZE];

  for (size_t i = 0; i < 3; ++i) {
    for (size_t j = 0; j < 3; ++j)
      store_delete (t->store, path (t, folders[i], files[j], name), NULL);
    store_delete_folder (t->store, path (t, folders[i], NULL, name), NULL);
  }
}

int
store_try (struct store *store, struct report *report, struct err *err)
{
  struct trial t = { .store = store, .report = report };
  char text[UUID_STRING_SIZE];
  uint8_t uuid[UUID_SIZE];
  int r = uuid_new (uuid, err);

  if (r < 0)
    return r;
  uuid_to_string (uuid, text);
  snprintf (t.name, sizeof t.name, ".trial-%s", text);
  r = try_all (&t, err);
  if (r < 0 || clean_up_after_success (&t) < 0)
    clean_up (&t);
  return r;
}
