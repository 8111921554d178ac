/* SPDX-License-Identifier: GPL-2.0-or-later */

/* All that was ever done is a list of changes over a first state; a state in
 * between is made by doing them again up to there.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/vector.h"
#include "lib/block/memory.h"
#include "lib/repo/store-ops.h"
#include "tests/support/rng.h"
#include "tests/support/store-model.h"

#define FIRST_TIME INT64_C (1795362720)

/* Bytes of a file; they only grow. */
struct content {
  char *bytes;
  size_t len, durable;          /* durable: on stable storage */
};

struct node {
  char *path;                   /* "": the vault */
  struct content *content;      /* NULL: a folder */
  size_t len;                   /* of the content, in this state */
  int64_t time;
  unsigned touched;             /* number of the last change of names in it */
};

DEFINE_VECTOR (state, struct node);

enum change_kind {
  MAKE_FOLDER,
  MAKE_FILE,
  GROW,                         /* to len */
  REWRITE,                      /* with another content */
  RENAME,
  DELETE,
  SET_TIME,
};

struct change {
  enum change_kind kind;
  char *a, *b;                  /* names; NULL where there is none */
  struct content *content;
  size_t len;
  int64_t time, at;             /* that files get; when it was done */
  const void *client;
};

DEFINE_VECTOR (changes, struct change);
DEFINE_VECTOR (contents, struct content *);

struct store_model {
  pthread_mutex_t lock;         /* all of it */
  struct rng rng;
  uint64_t now;                 /* nanoseconds since FIRST_TIME */
  struct state base, current;
  struct changes changes;       /* from base to current */
  struct contents contents;     /* all there ever were */
  unsigned kept;                /* a power cut keeps these changes */
  unsigned epoch;               /* power cuts so far */
  uint64_t space;               /* what it says is free */
  struct repo_clock clock;
  void (*tick) (void *opaque);
  void *tick_opaque;
};

struct client {
  struct store base;
  struct store_model *model;
  unsigned epoch;
};

struct model_file {
  struct store_file base;
  struct content *content;
  unsigned epoch;
};

static void *
need (void *p)
{
  if (p == NULL)
    abort ();
  return p;
}

#define APPEND(v, item)                                         \
  do {                                                          \
    if (vector_append ((v), (item)) < 0)                        \
      abort ();                                                 \
  } while (0)

/*--- States -----------------------------------------------------------------*/

static struct node *
find (const struct state *s, const char *path)
{
  for (size_t i = 0; i < s->len; ++i)
    if (strcmp (s->ptr[i].path, path) == 0)
      return &s->ptr[i];
  return NULL;
}

/* The name of the folder that a name is in, for free(). */
static char *
folder_of (const char *path)
{
  const char *slash = strrchr (path, '/');

  return need (strndup (path, slash ? (size_t) (slash - path) : 0));
}

static bool
is_in (const char *path, const char *folder)
{
  size_t len = strlen (folder);

  return len == 0 ? path[0] != '\0'
    : strncmp (path, folder, len) == 0 && path[len] == '/';
}

static void
touch (struct state *s, const char *path, int64_t time, unsigned number)
{
  CLEANUP_FREE char *folder = folder_of (path);
  struct node *n = find (s, folder);

  if (n) {
    n->time = time;
    n->touched = number;
  }
}

static void
add_node (struct state *s, const char *path, struct content *content,
          int64_t time, unsigned number)
{
  struct node n = { need (strdup (path)), content, 0, time, number };

  APPEND (s, &n);
}

static void
move (struct node *n, const char *from, const char *to)
{
  char *path;

  if (asprintf (&path, "%s%s", to, n->path + strlen (from)) < 0)
    abort ();
  free (n->path);
  n->path = path;
}

static void
apply (struct state *s, const struct change *c, unsigned number)
{
  struct node *n = c->a ? find (s, c->a) : NULL;

  switch (c->kind) {
  case MAKE_FOLDER:
  case MAKE_FILE:
    add_node (s, c->a, c->content, c->time, number);
    break;
  case GROW:
    for (size_t i = 0; i < s->len; ++i)
      if (s->ptr[i].content == c->content) {
        s->ptr[i].len = c->len;
        s->ptr[i].time = c->time;
      }
    return;
  case REWRITE:
    n->content = c->content;
    n->len = c->len;
    n->time = c->time;
    return;
  case SET_TIME:
    n->time = c->time;
    return;
  case RENAME:
    n->touched = number;
    for (size_t i = 0; i < s->len; ++i)
      if (strcmp (s->ptr[i].path, c->a) == 0 || is_in (s->ptr[i].path, c->a))
        move (&s->ptr[i], c->a, c->b);
    touch (s, c->b, c->time, number);
    break;
  case DELETE:
    free (n->path);
    *n = s->ptr[--s->len];
    break;
  }
  touch (s, c->a, c->time, number);
}

static void
free_state (struct state *s)
{
  for (size_t i = 0; i < s->len; ++i)
    free (s->ptr[i].path);
  vector_free (s);
}

/* After so many changes. */
static struct state
state_at (const struct store_model *m, unsigned number)
{
  struct state s = VECTOR_INIT;

  for (size_t i = 0; i < m->base.len; ++i) {
    struct node n = m->base.ptr[i];

    n.path = need (strdup (n.path));
    APPEND (&s, &n);
  }
  for (unsigned i = 0; i < number; ++i)
    apply (&s, &m->changes.ptr[i], i + 1);
  return s;
}

static int64_t
seconds (const struct store_model *m)
{
  return FIRST_TIME + (int64_t) (m->now / REPO_SECOND);
}

static void
change (struct store *s, enum change_kind kind, const char *a, const char *b,
        struct content *content, size_t len)
{
  struct store_model *m = ((struct client *) s)->model;
  struct change c = {
    kind, a ? need (strdup (a)) : NULL, b ? need (strdup (b)) : NULL,
    content, len, seconds (m), seconds (m), s,
  };

  APPEND (&m->changes, &c);
  apply (&m->current, &c, (unsigned) m->changes.len);
}

static struct content *
new_content (struct store_model *m, const void *bytes, size_t len)
{
  struct content *c = need (calloc (1, sizeof *c));

  c->bytes = need (malloc (len + 1));
  memcpy (c->bytes, bytes, len);
  c->len = len;
  APPEND (&m->contents, &c);
  return c;
}

/*--- What a client is shown -------------------------------------------------*/

/* Does it change what is in the folder, or whether it is there? */
static bool
changes_folder (const char *path, const char *folder)
{
  CLEANUP_FREE char *parent = path ? folder_of (path) : NULL;

  return path && (strcmp (parent, folder) == 0 || strcmp (path, folder) == 0 ||
                  is_in (folder, path));
}

static bool
is_about (const struct change *c, const char *folder)
{
  return changes_folder (c->a, folder) || changes_folder (c->b, folder);
}

/* How a folder may look: as at any moment of the last `lag' seconds, but not
 * before what the client itself did in it.
 */
static unsigned
choose (struct store *s, const char *folder)
{
  struct store_model *m = ((struct client *) s)->model;
  unsigned last = (unsigned) m->changes.len, first = last;
  int64_t since = seconds (m) - (int64_t) s->lag;

  if (s->lag == 0)
    return last;
  for (; first > 0; --first) {
    const struct change *c = &m->changes.ptr[first - 1];

    if (c->at < since || (c->client == s && is_about (c, folder)))
      break;
  }
  return first + rng_below (&m->rng, last - first + 1);
}

/*--- Operations -------------------------------------------------------------*/

static struct store_model *
enter (struct store *s)
{
  struct store_model *m = ((struct client *) s)->model;

  pthread_mutex_lock (&m->lock);
  return m;
}

/* The lock is given back, whatever happens. */
#define ENTER(m, s)                                                     \
  __attribute__ ((__cleanup__ (cleanup_mutex_unlock)))                  \
  pthread_mutex_t *leave_ = &enter (s)->lock;                           \
  struct store_model *m = ((struct client *) (s))->model;               \
                                                                        \
  (void) leave_;                                                        \
  if (((struct client *) (s))->epoch != m->epoch)                       \
    return err_set (err, -EIO, "the power was cut")

static int
no_such (struct err *err)
{
  return err_set (err, -ENOENT, "no such name");
}

/* Can a name be made: is its folder there, and it is not? */
static int
check_free (const struct store_model *m, const char *name, struct err *err)
{
  CLEANUP_FREE char *folder = folder_of (name);
  const struct node *n = find (&m->current, folder);

  if (n == NULL)
    return no_such (err);
  if (n->content)
    return err_set (err, -EBADMSG, "its folder is a file (NBI-132)");
  if (find (&m->current, name))
    return err_set (err, -EEXIST, "is there already");
  return 0;
}

/* What is there, unless this client is told that it is not. */
static int
look_up (struct store *s, const char *name, struct node **out,
         struct err *err)
{
  struct store_model *m = ((struct client *) s)->model;
  CLEANUP_FREE char *folder = folder_of (name);
  struct node *n = find (&m->current, name);
  unsigned shown = choose (s, folder);

  if (n && name[0] && shown < m->changes.len) {
    struct state then = state_at (m, shown);

    if (find (&then, name) == NULL)
      n = NULL;
    free_state (&then);
  }
  if (n == NULL)
    return no_such (err);
  *out = n;
  return 0;
}

static int
model_make (struct store *s, const char *name, struct store_file **out,
            struct err *err)
{
  ENTER (m, s);
  struct model_file *f;
  int r = check_free (m, name, err);

  if (r < 0)
    return r;
  f = need (calloc (1, sizeof *f));
  f->content = new_content (m, "", 0);
  f->epoch = m->epoch;
  change (s, MAKE_FILE, name, NULL, f->content, 0);
  *out = &f->base;
  return 0;
}

static int
model_write (struct store_file *file, const void *buf, size_t len,
             struct err *err)
{
  struct store *s = file->store;
  ENTER (m, s);
  struct content *c = ((struct model_file *) file)->content;

  if (((struct model_file *) file)->epoch != m->epoch)
    return err_set (err, -EIO, "the power was cut");
  c->bytes = need (realloc (c->bytes, c->len + len));
  memcpy (c->bytes + c->len, buf, len);
  c->len += len;
  change (s, GROW, NULL, NULL, c, c->len);
  return 0;
}

static int
model_flush (struct store_file *file, struct err *err)
{
  struct store *s = file->store;
  ENTER (m, s);
  struct content *c = ((struct model_file *) file)->content;

  c->durable = c->len;
  return 0;
}

static int
model_end (struct store_file *file, struct err *err)
{
  (void) err;
  free (file);
  return 0;
}

static int
model_rewrite (struct store *s, const char *name, const void *buf, size_t len,
               int64_t *time, struct err *err)
{
  ENTER (m, s);
  struct node *n;
  int r = look_up (s, name, &n, err);

  if (r < 0)
    return r;
  if (n->content == NULL)
    return err_set (err, -EBADMSG, "is no regular file (NBI-132)");
  change (s, REWRITE, name, NULL, new_content (m, buf, len), len);
  *time = seconds (m);
  return 0;
}

static int
model_open (struct store *s, const char *name, struct block **out,
            struct err *err)
{
  ENTER (m, s);
  struct node *n;
  int r = look_up (s, name, &n, err);

  if (r < 0)
    return r;
  if (n->content == NULL)
    return err_set (err, -EBADMSG, "is no regular file (NBI-132)");
  return block_memory_new (name, n->content->bytes, n->len, out, err);
}

static int
model_stat (struct store *s, const char *name, struct store_stat *out,
            struct err *err)
{
  ENTER (m, s);
  struct node *n;
  int r = look_up (s, name, &n, err);

  if (r < 0)
    return r;
  out->kind = n->content ? STORE_FILE : STORE_FOLDER;
  out->size = n->len;
  out->time = n->time;
  return 0;
}

struct name {
  char *name;
  enum store_kind kind;
};

DEFINE_VECTOR (names, struct name);

static int
take_names (struct store *s, const char *folder, struct names *names,
            struct err *err)
{
  ENTER (m, s);
  size_t skip = folder[0] ? strlen (folder) + 1 : 0;
  unsigned shown = choose (s, folder);
  bool as_it_is = shown == m->changes.len;
  struct state then = VECTOR_INIT, *state = &then;
  const struct node *n;
  int r;

  if (as_it_is)
    state = &m->current;
  else
    then = state_at (m, shown);
  n = find (state, folder);
  r = n == NULL ? no_such (err)
    : n->content ? err_set (err, -EBADMSG, "is no folder (NBI-132)") : 0;
  for (size_t i = 0; r == 0 && i < state->len; ++i) {
    const char *path = state->ptr[i].path;

    if (is_in (path, folder) && strchr (path + skip, '/') == NULL) {
      struct name name = { need (strdup (path + skip)),
                           state->ptr[i].content ? STORE_FILE : STORE_FOLDER };

      APPEND (names, &name);
    }
  }
  free_state (&then);
  return r;
}

/* The callback may use the store. */
static int
model_list (struct store *s, const char *folder,
            int (*fn) (void *opaque, const struct store_entry *entry,
                       struct err *err),
            void *opaque, struct err *err)
{
  struct names names = VECTOR_INIT;
  int r = take_names (s, folder, &names, err);

  for (size_t i = 0; i < names.len; ++i) {
    struct store_entry e = { names.ptr[i].name, names.ptr[i].kind };

    if (r == 0)
      r = fn (opaque, &e, err);
    free (names.ptr[i].name);
  }
  vector_free (&names);
  return r;
}

static int
model_make_folder (struct store *s, const char *name, struct err *err)
{
  ENTER (m, s);
  int r = check_free (m, name, err);

  if (r == 0)
    change (s, MAKE_FOLDER, name, NULL, NULL, 0);
  return r;
}

static int
model_delete_folder (struct store *s, const char *name, struct err *err)
{
  ENTER (m, s);
  const struct node *n = find (&m->current, name);

  if (n == NULL)
    return no_such (err);
  if (n->content)
    return err_set (err, -EBADMSG, "is no folder (NBI-132)");
  for (size_t i = 0; i < m->current.len; ++i)
    if (is_in (m->current.ptr[i].path, name))
      return err_set (err, -ENOTEMPTY, "is not empty");
  change (s, DELETE, name, NULL, NULL, 0);
  return 0;
}

static int
model_delete (struct store *s, const char *name, struct err *err)
{
  ENTER (m, s);
  const struct node *n = find (&m->current, name);

  if (n == NULL)
    return no_such (err);
  if (n->content == NULL)
    return err_set (err, -EISDIR, "is a folder");
  change (s, DELETE, name, NULL, NULL, 0);
  return 0;
}

static int
model_rename (struct store *s, const char *from, const char *to,
              struct err *err)
{
  ENTER (m, s);
  int r;

  if (find (&m->current, from) == NULL)
    return no_such (err);
  if (is_in (to, from))
    return err_set (err, -EINVAL, "can't be moved into itself");
  r = check_free (m, to, err);
  if (r == 0)
    change (s, RENAME, from, to, NULL, 0);
  return r;
}

static int
model_flush_folder (struct store *s, const char *name, struct err *err)
{
  ENTER (m, s);
  const struct node *n = find (&m->current, name);

  if (n == NULL)
    return no_such (err);
  if (n->content)
    return err_set (err, -EBADMSG, "is no folder (NBI-132)");
  if (n->touched > m->kept)
    m->kept = n->touched;
  return 0;
}

static int
model_space (struct store *s, uint64_t *bytes, struct err *err)
{
  ENTER (m, s);

  *bytes = m->space;
  return 0;
}

static void
model_close (struct store *s)
{
  free (s);
}

static const struct store_ops model_ops = {
  .close = model_close,
  .make = model_make,
  .write = model_write,
  .flush = model_flush,
  .end = model_end,
  .rewrite = model_rewrite,
  .open = model_open,
  .stat = model_stat,
  .list = model_list,
  .make_folder = model_make_folder,
  .delete_folder = model_delete_folder,
  .delete = model_delete,
  .rename = model_rename,
  .flush_folder = model_flush_folder,
  .space = model_space,
};

/*--- Time -------------------------------------------------------------------*/

static uint64_t
model_now (void *opaque)
{
  struct store_model *m = opaque;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->lock);

  return m->now;
}

static int
model_sleep_until (void *opaque, uint64_t when, struct job *job,
                   struct err *err)
{
  struct store_model *m = opaque;
  void (*tick) (void *);
  void *tick_opaque;
  int r = job_check (job, err);

  if (r < 0)
    return r;
  pthread_mutex_lock (&m->lock);
  if (m->now < when)
    m->now = when;
  tick = m->tick;
  tick_opaque = m->tick_opaque;
  pthread_mutex_unlock (&m->lock);
  if (tick)
    tick (tick_opaque);
  return job_check (job, err);
}

int64_t
store_model_time (struct store_model *m)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->lock);

  return seconds (m);
}

void
store_model_advance (struct store_model *m, unsigned n)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->lock);

  m->now += n * REPO_SECOND;
}

void
store_model_set_back (struct store_model *m, unsigned n)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->lock);

  m->now -= n * REPO_SECOND;
}

void
store_model_set_space (struct store_model *m, uint64_t bytes)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->lock);

  m->space = bytes;
}

void
store_model_set_time (struct store_model *m, const char *name, int64_t time)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->lock);
  struct change c = { SET_TIME, need (strdup (name)), NULL, NULL, 0, time,
                      seconds (m), NULL };

  if (find (&m->current, name) == NULL)
    abort ();
  APPEND (&m->changes, &c);
  apply (&m->current, &c, (unsigned) m->changes.len);
}

const struct repo_clock *
store_model_clock (struct store_model *m)
{
  return &m->clock;
}

void
store_model_on_sleep (struct store_model *m, void (*tick) (void *opaque),
                      void *opaque)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->lock);

  m->tick = tick;
  m->tick_opaque = opaque;
}

/*--- Power ------------------------------------------------------------------*/

void
store_model_states (struct store_model *m, unsigned *first, unsigned *last)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->lock);

  *first = m->kept;
  *last = (unsigned) m->changes.len;
}

static void
free_changes (struct changes *changes)
{
  for (size_t i = 0; i < changes->len; ++i) {
    free (changes->ptr[i].a);
    free (changes->ptr[i].b);
  }
  vector_free (changes);
}

/* What is left of a file: what was flushed, and perhaps some more, of which
 * some is zeros.
 */
static void
lose_bytes (struct store_model *m, struct node *n)
{
  struct content *old = n->content, *c;
  size_t len = old->durable;

  if (n->len > len)
    len += rng_below (&m->rng, (unsigned) (n->len - len) + 1);
  c = new_content (m, old->bytes, len);
  if (len > old->durable && rng_below (&m->rng, 2)) {
    size_t lost = rng_below (&m->rng, (unsigned) (len - old->durable)) + 1;

    memset (c->bytes + len - lost, 0, lost);
  }
  c->durable = len;
  n->content = c;
  n->len = len;
}

void
store_model_cut (struct store_model *m, unsigned number)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->lock);
  struct state s;

  if (number < m->kept || number > m->changes.len)
    abort ();
  s = state_at (m, number);
  for (size_t i = 0; i < s.len; ++i) {
    s.ptr[i].touched = 0;
    if (s.ptr[i].content)
      lose_bytes (m, &s.ptr[i]);
  }
  free_state (&m->base);
  free_state (&m->current);
  free_changes (&m->changes);
  m->base = s;
  m->current = state_at (m, 0);
  m->kept = 0;
  ++m->epoch;
}

/*--- The model --------------------------------------------------------------*/

struct store_model *
store_model_new (uint64_t seed)
{
  struct store_model *m = need (calloc (1, sizeof *m));

  pthread_mutex_init (&m->lock, NULL);
  m->rng.state = seed;
  m->space = UINT64_C (1) << 40;
  m->clock = (struct repo_clock) { model_now, model_sleep_until, m };
  add_node (&m->base, "", NULL, FIRST_TIME, 0);
  m->current = state_at (m, 0);
  return m;
}

void
store_model_free (struct store_model *m)
{
  free_state (&m->base);
  free_state (&m->current);
  free_changes (&m->changes);
  for (size_t i = 0; i < m->contents.len; ++i) {
    free (m->contents.ptr[i]->bytes);
    free (m->contents.ptr[i]);
  }
  vector_free (&m->contents);
  pthread_mutex_destroy (&m->lock);
  free (m);
}

struct store *
store_model_client (struct store_model *m, unsigned lag, bool local)
{
  struct client *c = need (calloc (1, sizeof *c));

  if (store_init (&c->base, &model_ops, "model", lag, local, NULL) < 0)
    abort ();
  c->base.clock = &m->clock;
  c->model = m;
  c->epoch = m->epoch;
  return &c->base;
}

static int
compare_nodes (const void *a, const void *b)
{
  return strcmp (((const struct node *) a)->path,
                 ((const struct node *) b)->path);
}

char *
store_model_names (struct store_model *m)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->lock);
  struct state s = state_at (m, (unsigned) m->changes.len);
  char *text = NULL;
  size_t size;
  FILE *fp = need (open_memstream (&text, &size));

  qsort (s.ptr, s.len, sizeof *s.ptr, compare_nodes);
  for (size_t i = 0; i < s.len; ++i)
    if (s.ptr[i].path[0])
      fprintf (fp, "%s%s\n", s.ptr[i].path, s.ptr[i].content ? "" : "/");
  fclose (fp);
  free_state (&s);
  return text;
}
