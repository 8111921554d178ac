/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a vault has instead of what somebody looked for: a sentence that names
 * the first few of them.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/format/folder.h"
#include "lib/repo/vault-missing.h"

/* That are named, and of how many folders at most the headers are read. */
#define MOST_NAMED 4U
#define MOST_READ 64U

struct search {
  struct vault_view *view;
  const char *disk;             /* NULL: of all disks, the names */
  struct name_list found;       /* names of disks, or times */
  unsigned nr_read;
  bool is_cut;                  /* there may be others */
};

/* Its name, or its time, becomes one of those that are found. */
static int
add_run (struct search *s, size_t i, struct err *err)
{
  const struct vault_run *run = &vault_view_runs (s->view)->ptr[i];
  char time[VAULT_TIME_SIZE];
  struct vault_opened opened;
  const char *name;
  int r;

  s->nr_read++;
  if (vault_view_open (s->view, i, false, &opened, NULL, NULL) < 0)
    return 0;                   /* dropped, gone, or damaged */
  name = generation_header (opened.gen)->name;
  vault_time_to_string (run->time, time);
  r = s->disk == NULL ? name_list_add (&s->found, name, err)
    : strcmp (s->disk, name) == 0 ? name_list_add (&s->found, time, err) : 0;
  vault_opened_close (&opened);
  return r < 0 ? r : 0;
}

/* The newest first.  Of all disks one run of each DISK is enough. */
static int
look (struct search *s, struct err *err)
{
  const struct vault_runs *runs = vault_view_runs (s->view);
  struct name_list hints = VECTOR_INIT;
  char hint[VAULT_HINT_MAX + 1];
  int r = 0;

  if (s->disk != NULL)
    vault_hint (s->disk, hint);
  for (size_t i = runs->len; r == 0 && i-- > 0; ) {
    if (s->disk != NULL && strcmp (runs->ptr[i].disk, hint) != 0)
      continue;
    if (s->disk == NULL) {
      r = name_list_add (&hints, runs->ptr[i].disk, err);
      if (r == 1)
        r = 0;
      else if (r == 0)
        r = add_run (s, i, err);
    }
    else
      r = add_run (s, i, err);
    s->is_cut = s->found.len > MOST_NAMED || s->nr_read >= MOST_READ;
    if (s->is_cut)
      break;
  }
  name_list_free (&hints);
  return r;
}

/* "‘a’, ‘b’", and "…" if there are more. */
static void
join (const struct search *s, char *text, size_t size)
{
  size_t len = 0;

  text[0] = '\0';
  for (size_t i = 0; i < s->found.len && i < MOST_NAMED; ++i) {
    int n = snprintf (text + len, size - len, "%s‘%.60s’", i ? ", " : "",
                      s->found.ptr[i]);

    if (n < 0 || (size_t) n >= size - len)
      return;
    len += (size_t) n;
  }
  snprintf (text + len, size - len, "%s", s->is_cut ? ", …" : "");
}

int
vault_missing (struct vault_view *view, const char *disk_name,
               const char *which, struct err *err)
{
  struct search times = { .view = view, .disk = disk_name };
  struct search disks = { .view = view };
  char text[300];
  int r = which[0] == '\0' || strcmp (which, "latest") == 0 ? 0
    : look (&times, err);

  if (r == 0 && times.found.len == 0)
    r = look (&disks, err);
  join (times.found.len > 0 ? &times : &disks, text, sizeof text);
  if (r < 0)
    ;
  else if (times.found.len > 0)
    r = err_set (err, -ENOENT, "the vault has no generation ‘%.60s’ of "
                 "‘%.60s’; it has %s", which, disk_name, text);
  else if (disks.found.len > 0)
    r = err_set (err, -ENOENT, "the vault has no generation of ‘%.60s’; its "
                 "disks are %s", disk_name, text);
  else
    r = err_set (err, -ENOENT, "the vault has no generation of ‘%.60s’, nor "
                 "of any other disk that can be read", disk_name);
  name_list_free (&times.found);
  name_list_free (&disks.found);
  return r;
}
