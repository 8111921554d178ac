/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a kind of store supplies.  Only implementations of stores include this;
 * everyone else calls the functions of store.h, which say what each of these
 * does.
 *
 * The entry points check names, so that no part of one is empty, "." or "..",
 * and only `stat', `list' and `flush_folder' are called with "".  They put the
 * name in front of the message.  All slots are there; where a store can't do
 * what one says, it answers -ENOTSUP, and is refused by store_try, but for
 * flush_folder, which may be missing: names are then as safe as the store
 * makes them.
 */

#ifndef NBDIMAGE_REPO_STORE_OPS_H
#define NBDIMAGE_REPO_STORE_OPS_H

#include "lib/repo/store.h"

struct store_ops {
  void (*close) (struct store *s);

  /* The implementation's struct, which begins with a struct store_file of
   * zeros.  write is never called with 0 bytes, nor after a failure.  end
   * frees it, whatever it returns.
   */
  int (*make) (struct store *s, const char *name, struct store_file **out,
               struct err *err);
  int (*write) (struct store_file *f, const void *buf, size_t len,
                struct err *err);
  int (*flush) (struct store_file *f, struct err *err);
  int (*end) (struct store_file *f, struct err *err);

  int (*rewrite) (struct store *s, const char *name, const void *buf,
                  size_t len, int64_t *time, struct err *err);
  int (*open) (struct store *s, const char *name, struct block **out,
               struct err *err);
  int (*stat) (struct store *s, const char *name, struct store_stat *out,
               struct err *err);
  int (*list) (struct store *s, const char *folder,
               int (*fn) (void *opaque, const struct store_entry *entry,
                          struct err *err),
               void *opaque, struct err *err);
  int (*make_folder) (struct store *s, const char *name, struct err *err);
  int (*delete_folder) (struct store *s, const char *name, struct err *err);
  int (*delete) (struct store *s, const char *name, struct err *err);
  int (*rename) (struct store *s, const char *from, const char *to,
                 struct err *err);
  int (*flush_folder) (struct store *s, const char *name, struct err *err);
  int (*space) (struct store *s, uint64_t *bytes, struct err *err);

  /* Of servers; NULL where nothing is waited for, and no connection breaks. */
  void (*set_job) (struct store *s, struct job *job);
  unsigned (*connections) (struct store *s);
};

/* Every implementation's struct begins with this one. */
struct store {
  const struct store_ops *ops;
  char *name;                   /* owned; freed by store_close */
  unsigned lag;                 /* seconds */
  bool local;
  const struct repo_clock *clock;
};

struct store_file {
  struct store *store;          /* set by store_make, like all of it */
  uint64_t size;                /* bytes that were written */
  int failed;                   /* what the first failure was; 0: none */
};

/* Set up the base of a new store.  -ENOMEM leaves nothing behind. */
int store_init (struct store *s, const struct store_ops *ops,
                const char *name, unsigned lag, bool local,
                struct err *err);

#endif /* NBDIMAGE_REPO_STORE_OPS_H */
