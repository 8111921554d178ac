/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "lib/base/cleanup.h"
#include "lib/repo/store-ops.h"
#include "tests/support/store-faulty.h"

struct faulty {
  struct store base;
  struct store *below;
  pthread_mutex_t lock;         /* of the count: leases have threads */
  struct store_fault fault;
  unsigned count;
  unsigned connections;
  void (*watch) (void *opaque, unsigned op, const char *name);
  void *opaque;
};

struct faulty_file {
  struct store_file base;
  struct store_file *below;
};

static struct faulty *
faulty (struct store *s)
{
  return (struct faulty *) s;
}

enum verdict {
  DO_IT,
  FAIL,
  DO_PART,
  DO_AND_FAIL,
  LIE,
};

static enum verdict
judge (struct store *s, unsigned op, const char *name)
{
  struct faulty *f = faulty (s);
  const struct store_fault *fault = &f->fault;
  enum verdict verdict = DO_IT;

  if (f->watch)
    f->watch (f->opaque, op, name);
  pthread_mutex_lock (&f->lock);
  if (fault->ops & op)
    ++f->count;
  if (fault->at == 0)
    ;
  else if (fault->kind == STORE_FAULT_KILLED && f->count >= fault->at)
    verdict = FAIL;
  else if ((fault->ops & op) && f->count == fault->at)
    verdict = fault->kind == STORE_FAULT_LOST ? DO_AND_FAIL
      : fault->kind == STORE_FAULT_PART ? DO_PART
      : fault->kind == STORE_FAULT_LIE ? LIE : FAIL;
  pthread_mutex_unlock (&f->lock);
  return verdict;
}

static int
injected (struct store *s, struct err *err)
{
  return err_set (err, faulty (s)->fault.code, "injected");
}

/* What an operation that is all or nothing returns. */
#define JUDGED(op, name, call)                                          \
  do {                                                                  \
    enum verdict verdict_ = judge (s, (op), (name));                    \
    int r_;                                                             \
                                                                        \
    if (verdict_ == FAIL || verdict_ == DO_PART)                        \
      return injected (s, err);                                         \
    if (verdict_ == LIE)                                                \
      return 0;                                                         \
    r_ = (call);                                                        \
    return verdict_ == DO_AND_FAIL ? injected (s, err) : r_;            \
  } while (0)

static int
faulty_make (struct store *s, const char *name, struct store_file **out,
             struct err *err)
{
  enum verdict verdict = judge (s, STORE_OP_MAKE, name);
  struct faulty_file *f;
  int r;

  if (verdict == FAIL || verdict == DO_PART || verdict == LIE)
    return injected (s, err);
  f = calloc (1, sizeof *f);
  if (f == NULL)
    return err_nomem (err);
  r = store_make (faulty (s)->below, name, &f->below, err);
  if (verdict == DO_AND_FAIL) {
    if (r == 0)
      store_end (f->below, NULL);
    r = injected (s, err);
  }
  if (r < 0)
    free (f);
  else
    *out = &f->base;
  return r;
}

static int
faulty_write (struct store_file *file, const void *buf, size_t len,
              struct err *err)
{
  struct store_file *below = ((struct faulty_file *) file)->below;
  enum verdict verdict = judge (file->store, STORE_OP_WRITE, "");
  int r = 0;

  if (verdict == LIE)
    return 0;
  if (verdict != FAIL)
    r = store_write (below, buf, verdict == DO_PART ? len / 2 : len, err);
  return verdict == DO_IT ? r : injected (file->store, err);
}

static int
faulty_flush (struct store_file *file, struct err *err)
{
  struct store *s = file->store;

  JUDGED (STORE_OP_FLUSH, "",
          store_flush (((struct faulty_file *) file)->below, err));
}

/* The file is gone in any case. */
static int
faulty_end (struct store_file *file, struct err *err)
{
  struct store *s = file->store;
  enum verdict verdict = judge (s, STORE_OP_END, "");
  int r = store_end (((struct faulty_file *) file)->below, err);

  free (file);
  return verdict == DO_IT ? r : injected (s, err);
}

static int
faulty_rewrite (struct store *s, const char *name, const void *buf, size_t len,
                int64_t *time, struct err *err)
{
  enum verdict verdict = judge (s, STORE_OP_REWRITE, name);
  int r;

  if (verdict != DO_IT && verdict != DO_AND_FAIL)
    return injected (s, err);
  r = store_rewrite (faulty (s)->below, name, buf, len, time, err);
  return verdict == DO_IT ? r : injected (s, err);
}

static int
faulty_open (struct store *s, const char *name, struct block **out,
             struct err *err)
{
  if (judge (s, STORE_OP_OPEN, name) != DO_IT)
    return injected (s, err);
  return store_open (faulty (s)->below, name, out, err);
}

static int
faulty_stat (struct store *s, const char *name, struct store_stat *out,
             struct err *err)
{
  if (judge (s, STORE_OP_STAT, name) != DO_IT)
    return injected (s, err);
  return store_stat (faulty (s)->below, name, out, err);
}

struct half {
  int (*fn) (void *opaque, const struct store_entry *entry, struct err *err);
  void *opaque;
  unsigned total, seen;
};

static int
count_one (void *opaque, const struct store_entry *entry, struct err *err)
{
  (void) entry;
  (void) err;
  ++((struct half *) opaque)->total;
  return 0;
}

static int
show_half (void *opaque, const struct store_entry *entry, struct err *err)
{
  struct half *half = opaque;

  if (half->seen++ >= half->total / 2)
    return STORE_STOP;
  return half->fn (half->opaque, entry, err);
}

static int
faulty_list (struct store *s, const char *folder,
             int (*fn) (void *opaque, const struct store_entry *entry,
                        struct err *err),
             void *opaque, struct err *err)
{
  struct store *below = faulty (s)->below;
  enum verdict verdict = judge (s, STORE_OP_LIST, folder);
  struct half half = { fn, opaque, 0, 0 };
  int r = 0;

  if (verdict == FAIL || verdict == LIE)
    return injected (s, err);
  if (verdict == DO_PART) {
    r = store_list (below, folder, count_one, &half, err);
    if (r == 0)
      r = store_list (below, folder, show_half, &half, err);
  }
  else
    r = store_list (below, folder, fn, opaque, err);
  return verdict == DO_IT ? r : injected (s, err);
}

static int
faulty_make_folder (struct store *s, const char *name, struct err *err)
{
  JUDGED (STORE_OP_MAKE_FOLDER, name,
          store_make_folder (faulty (s)->below, name, err));
}

static int
faulty_delete_folder (struct store *s, const char *name, struct err *err)
{
  JUDGED (STORE_OP_DELETE_FOLDER, name,
          store_delete_folder (faulty (s)->below, name, err));
}

static int
faulty_delete (struct store *s, const char *name, struct err *err)
{
  JUDGED (STORE_OP_DELETE, name, store_delete (faulty (s)->below, name, err));
}

static int
faulty_rename (struct store *s, const char *from, const char *to,
               struct err *err)
{
  JUDGED (STORE_OP_RENAME, from,
          store_rename (faulty (s)->below, from, to, err));
}

static int
faulty_flush_folder (struct store *s, const char *name, struct err *err)
{
  JUDGED (STORE_OP_FLUSH_FOLDER, name,
          store_flush_folder (faulty (s)->below, name, err));
}

static int
faulty_space (struct store *s, uint64_t *bytes, struct err *err)
{
  if (judge (s, STORE_OP_SPACE, "") != DO_IT)
    return injected (s, err);
  return store_space (faulty (s)->below, bytes, err);
}

static void
faulty_close (struct store *s)
{
  pthread_mutex_destroy (&faulty (s)->lock);
  free (s);
}

static unsigned
faulty_connections (struct store *s)
{
  return faulty (s)->connections;
}

void
store_faulty_reconnect (struct store *s)
{
  faulty (s)->connections++;
}

static const struct store_ops faulty_ops = {
  .close = faulty_close,
  .make = faulty_make,
  .write = faulty_write,
  .flush = faulty_flush,
  .end = faulty_end,
  .rewrite = faulty_rewrite,
  .open = faulty_open,
  .stat = faulty_stat,
  .list = faulty_list,
  .make_folder = faulty_make_folder,
  .delete_folder = faulty_delete_folder,
  .delete = faulty_delete,
  .rename = faulty_rename,
  .flush_folder = faulty_flush_folder,
  .space = faulty_space,
  .connections = faulty_connections,
};

struct store *
store_faulty_new (struct store *below)
{
  struct faulty *f = calloc (1, sizeof *f);

  if (f == NULL ||
      store_init (&f->base, &faulty_ops, store_name (below),
                  store_lag (below), store_is_local (below), NULL) < 0)
    abort ();
  f->below = below;
  f->connections = 1;
  f->base.clock = store_clock (below);
  pthread_mutex_init (&f->lock, NULL);
  return &f->base;
}

void
store_faulty_set (struct store *s, const struct store_fault *fault)
{
  faulty (s)->fault = *fault;
  faulty (s)->count = 0;
}

unsigned
store_faulty_count (const struct store *s)
{
  return ((const struct faulty *) s)->count;
}

void
store_faulty_watch (struct store *s,
                    void (*fn) (void *opaque, unsigned op, const char *name),
                    void *opaque)
{
  faulty (s)->watch = fn;
  faulty (s)->opaque = opaque;
}
