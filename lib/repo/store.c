/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The entry points: what holds for every kind of store is seen to here. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/base/uuid.h"
#include "lib/repo/store-ops.h"

int
store_init (struct store *s, const struct store_ops *ops, const char *name,
            unsigned lag, bool local, struct err *err)
{
  s->name = strdup (name);
  if (s->name == NULL)
    return err_nomem (err);
  s->ops = ops;
  s->lag = lag;
  s->local = local;
  s->clock = &repo_clock_boottime;
  return 0;
}

void
store_close (struct store *s)
{
  if (s == NULL)
    return;
  free (s->name);
  s->ops->close (s);
}

void
store_cleanup (struct store **s)
{
  store_close (*s);
}

const char *
store_name (const struct store *s)
{
  return s->name;
}

bool
store_is_local (const struct store *s)
{
  return s->local;
}

static bool
part_is_right (const char *part, size_t len)
{
  return len > 0 && len <= STORE_NAME_MAX &&
    !(part[0] == '.' && (len == 1 || (len == 2 && part[1] == '.')));
}

/* Names come from listings, where a server can say what it likes. */
static int
check_name (const char *name, struct err *err)
{
  char text[TEXT_NAME_SIZE];
  const char *part = name, *slash;
  bool right = strlen (name) < STORE_PATH_SIZE;

  while (right && (slash = strchr (part, '/')) != NULL) {
    right = part_is_right (part, (size_t) (slash - part));
    part = slash + 1;
  }
  if (right && part_is_right (part, strlen (part)))
    return 0;
  return err_set (err, -EINVAL, "‘%s’ is not a name in a vault",
                  text_clean (name, text, sizeof text));
}

static int
check_folder (const char *name, struct err *err)
{
  return name[0] == '\0' ? 0 : check_name (name, err);
}

/* Put the name in front of what went wrong. */
static int
said (int r, const char *name, struct err *err)
{
  char text[TEXT_NAME_SIZE];

  if (r < 0)
    err_in (err, "%s", name[0] ? text_clean (name, text, sizeof text)
                               : "the vault's folder");
  return r;
}

int
store_make (struct store *s, const char *name, struct store_file **out,
            struct err *err)
{
  struct store_file *f;
  int r = check_name (name, err);

  if (r < 0)
    return r;
  r = s->ops->make (s, name, &f, err);
  if (r < 0)
    return said (r, name, err);
  f->store = s;
  f->size = 0;
  f->failed = 0;
  *out = f;
  return 0;
}

static int
failed_before (const struct store_file *f, struct err *err)
{
  return err_set (err, f->failed, "a write or flush of the file has failed "
                  "before");
}

int
store_write (struct store_file *f, const void *buf, size_t len,
             struct err *err)
{
  int r = 0;

  if (f->failed < 0)
    return failed_before (f, err);
  if (len > 0)
    r = f->store->ops->write (f, buf, len, err);
  if (r < 0)
    f->failed = r;
  else
    f->size += len;
  return r;
}

int
store_flush (struct store_file *f, struct err *err)
{
  int r;

  if (f->failed < 0)
    return failed_before (f, err);
  r = f->store->ops->flush (f, err);
  if (r < 0)
    f->failed = r;
  return r;
}

uint64_t
store_file_size (const struct store_file *f)
{
  return f->size;
}

int
store_end (struct store_file *f, struct err *err)
{
  return f ? f->store->ops->end (f, err) : 0;
}

int
store_put (struct store *s, const char *name, const void *buf, size_t len,
           struct err *err)
{
  struct store_file *f;
  int r = store_make (s, name, &f, err), r2;

  if (r < 0)
    return r;
  r = store_write (f, buf, len, err);
  if (r == 0)
    r = store_flush (f, err);
  /* What went wrong first is what is told. */
  r2 = store_end (f, r < 0 ? NULL : err);
  return said (r < 0 ? r : r2, name, err);
}

int
store_rewrite (struct store *s, const char *name, const void *buf, size_t len,
               int64_t *time, struct err *err)
{
  int r = check_name (name, err);

  if (r < 0)
    return r;
  return said (s->ops->rewrite (s, name, buf, len, time, err), name, err);
}

int
store_open (struct store *s, const char *name, struct block **out,
            struct err *err)
{
  int r = check_name (name, err);

  if (r < 0)
    return r;
  return said (s->ops->open (s, name, out, err), name, err);
}

int
store_read_all (struct store *s, const char *name, size_t max, char **buf,
                size_t *len, struct err *err)
{
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_FREE char *bytes = NULL;
  uint64_t size;
  int r = store_open (s, name, &block, err);

  if (r < 0)
    return r;
  size = block_size (block);
  if (size > max) {
    err_set (err, -EFBIG, "has %llu bytes, more than %zu",
             (unsigned long long) size, max);
    return said (-EFBIG, name, err);
  }
  bytes = malloc ((size_t) size + 1);
  if (bytes == NULL)
    return err_nomem (err);
  r = block_pread (block, bytes, (size_t) size, 0, err);
  if (r < 0)
    return said (r, name, err);
  bytes[size] = '\0';
  *len = (size_t) size;
  *buf = steal_ptr (&bytes);
  return 0;
}

int
store_stat (struct store *s, const char *name, struct store_stat *out,
            struct err *err)
{
  int r = check_folder (name, err);

  if (r < 0)
    return r;
  return said (s->ops->stat (s, name, out, err), name, err);
}

int
store_time (struct store *s, const char *folder, int64_t *time,
            struct err *err)
{
  char name[STORE_PATH_SIZE], text[UUID_STRING_SIZE];
  uint8_t uuid[UUID_SIZE];
  struct store_stat st;
  int r = uuid_new (uuid, err), r2;

  if (r < 0)
    return r;
  uuid_to_string (uuid, text);
  if ((size_t) snprintf (name, sizeof name, "%s%s.time-%s", folder,
                         folder[0] ? "/" : "", text) >= sizeof name)
    return err_set (err, -EINVAL, "the folder's name is too long");
  r = store_put (s, name, text, 1, err);
  if (r == -EINVAL || r == -EEXIST || r == -ENOENT)
    return r;
  if (r == 0)
    r = store_stat (s, name, &st, err);
  r2 = store_delete (s, name, r < 0 ? NULL : err);
  if (r == 0 && r2 == 0)
    *time = st.time;
  return r < 0 ? r : r2;
}

/* A callback that only sees what can be a name. */
struct listing {
  int (*fn) (void *opaque, const struct store_entry *entry, struct err *err);
  void *opaque;
};

static int
list_one (void *opaque, const struct store_entry *e, struct err *err)
{
  const struct listing *l = opaque;

  if (!part_is_right (e->name, strlen (e->name)) || strchr (e->name, '/'))
    return err_set (err, -EBADMSG, "a listing has what can't be a name");
  return l->fn (l->opaque, e, err);
}

int
store_list (struct store *s, const char *folder,
            int (*fn) (void *opaque, const struct store_entry *entry,
                       struct err *err),
            void *opaque, struct err *err)
{
  struct listing l = { fn, opaque };
  int r = check_folder (folder, err);

  if (r < 0)
    return r;
  r = s->ops->list (s, folder, list_one, &l, err);
  return r == STORE_STOP ? 0 : said (r, folder, err);
}

int
store_make_folder (struct store *s, const char *name, struct err *err)
{
  int r = check_name (name, err);

  if (r < 0)
    return r;
  return said (s->ops->make_folder (s, name, err), name, err);
}

int
store_delete_folder (struct store *s, const char *name, struct err *err)
{
  int r = check_name (name, err);

  if (r < 0)
    return r;
  return said (s->ops->delete_folder (s, name, err), name, err);
}

int
store_delete (struct store *s, const char *name, struct err *err)
{
  int r = check_name (name, err);

  if (r < 0)
    return r;
  return said (s->ops->delete (s, name, err), name, err);
}

int
store_rename (struct store *s, const char *from, const char *to,
              struct err *err)
{
  int r = check_name (from, err);

  if (r == 0)
    r = check_name (to, err);
  if (r < 0)
    return r;
  return said (s->ops->rename (s, from, to, err), from, err);
}

int
store_flush_folder (struct store *s, const char *name, struct err *err)
{
  int r = check_folder (name, err);

  if (r < 0)
    return r;
  r = s->ops->flush_folder (s, name, err);
  return r == -ENOTSUP ? 0 : said (r, name, err);
}

int
store_space (struct store *s, uint64_t *bytes, struct err *err)
{
  return s->ops->space (s, bytes, err);
}

unsigned
store_lag (const struct store *s)
{
  return s->lag;
}

int
store_set_lag (struct store *s, unsigned seconds, struct err *err)
{
  if (seconds > STORE_LAG_MAX)
    return err_set (err, -EINVAL, "a lag of %u seconds is more than a day",
                    seconds);
  s->lag = seconds;
  return 0;
}

void
store_set_job (struct store *s, struct job *job)
{
  if (s->ops->set_job)
    s->ops->set_job (s, job);
}

unsigned
store_connections (struct store *s)
{
  return s->ops->connections ? s->ops->connections (s) : 1;
}

void
store_set_clock (struct store *s, const struct repo_clock *clock)
{
  s->clock = clock;
}

const struct repo_clock *
store_clock (const struct store *s)
{
  return s->clock;
}

/* One second more: the clock of whoever answers may count whole ones. */
int
store_wait (struct store *s, struct job *job, struct err *err)
{
  int r = job_check (job, err);

  if (r < 0 || s->lag == 0)
    return r;
  return repo_clock_sleep_until (s->clock,
                                 repo_clock_now (s->clock) +
                                   ((uint64_t) s->lag + 1) * REPO_SECOND,
                                 job, err);
}
