/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/checked.h"
#include "lib/repo/absent.h"

int
absent_list (const struct manifest *m, struct absent_vector *list,
             struct err *err)
{
  for (size_t i = 0; i < m->partitions.len; ++i) {
    const struct manifest_partition *p = &m->partitions.ptr[i];
    const struct absent absent = { p->number, p->off, p->len };

    if (manifest_partition_is_absent (p) && p->len > 0 &&
        vector_append (list, &absent) < 0)
      return err_nomem (err);
  }
  return 0;
}

int
absent_list_generation (struct generation *gen, struct absent_vector *list,
                        struct err *err)
{
  struct manifest m;
  size_t len;
  const char *json = generation_manifest (gen, &len);
  int r = manifest_read (json, len, generation_header (gen), &m, err);

  if (r == 0)
    r = absent_list (&m, list, err);
  else
    err_in (err, "manifest");
  manifest_destroy (&m);
  return r;
}

bool
absent_has (const struct absent_vector *list, uint64_t number)
{
  for (size_t i = 0; i < list->len; ++i)
    if (list->ptr[i].number == number)
      return true;
  return false;
}

static bool
has_place (const struct absent_vector *list, const struct absent *a)
{
  for (size_t i = 0; i < list->len; ++i)
    if (list->ptr[i].off == a->off && list->ptr[i].len == a->len)
      return true;
  return false;
}

bool
absent_same (const struct absent_vector *a, const struct absent_vector *b)
{
  for (size_t i = 0; i < a->len; ++i)
    if (!has_place (b, &a->ptr[i]))
      return false;
  for (size_t i = 0; i < b->len; ++i)
    if (!has_place (a, &b->ptr[i]))
      return false;
  return true;
}

char *
absent_to_text (const struct absent_vector *list)
{
  char *text = NULL;
  size_t size;
  FILE *fp = open_memstream (&text, &size);

  if (fp == NULL)
    return NULL;
  fputs (list->len == 1 ? "partition" : "partitions", fp);
  for (size_t i = 0; i < list->len; ++i)
    fprintf (fp, "%s %" PRIu64, i == 0 ? "" : i + 1 == list->len ? " and"
             : ",", list->ptr[i].number);
  if (fclose (fp) != 0) {
    free (text);
    return NULL;
  }
  return text;
}

/*--- Reading ----------------------------------------------------------------*/

/* Of one partition, from off to end, which lie in it. */
static int
check_one (struct generation *gen, const struct absent *a, uint64_t off,
           uint64_t end, struct err *err)
{
  uint32_t chunk_size = generation_header (gen)->chunk_size;

  while (off < end) {
    struct generation_run run;
    int r = generation_run_at (gen, off / chunk_size, &run, err);
    uint64_t next;

    if (r < 0)
      return r;
    next = min_u64 (run.end * chunk_size, end);
    if (run.kind == NBI_UNALLOCATED)
      return err_set (err, -EIO, "bytes %" PRIu64 " to %" PRIu64 " are not in "
                      "the backup: partition %" PRIu64 " was left out of it",
                      off, next - 1, a->number);
    off = next;
  }
  return 0;
}

int
absent_check (struct generation *gen, const struct absent_vector *list,
              uint64_t len, uint64_t off, struct err *err)
{
  int r = 0;

  for (size_t i = 0; r == 0 && i < list->len; ++i) {
    const struct absent *a = &list->ptr[i];
    uint64_t start = max_u64 (a->off, off);
    uint64_t end = min_u64 (a->off + a->len, off + len);

    if (start < end)
      r = check_one (gen, a, start, end, err);
  }
  return r;
}

/*--- Extents ----------------------------------------------------------------*/

/* Is it absent at off, and up to where, at most `end', is that so? */
static bool
is_absent_at (const struct absent_vector *list, uint64_t off, uint64_t end,
              uint64_t *until)
{
  *until = end;
  for (size_t i = 0; i < list->len; ++i) {
    const struct absent *a = &list->ptr[i];

    if (a->off <= off && off < a->off + a->len) {
      *until = min_u64 (a->off + a->len, end);
      return true;
    }
    if (a->off > off)
      *until = min_u64 (*until, a->off);
  }
  return false;
}

int
absent_add_extent (const struct absent_vector *list, const struct extent *e,
                   struct extent_list *out, struct err *err)
{
  uint64_t off = e->off, end = e->off + e->len;
  int r = 0;

  if (e->kind != EXTENT_UNALLOCATED || list->len == 0)
    return extent_list_add (out, e->off, e->len, e->kind, e->layer, err);
  while (r == 0 && off < end) {
    uint64_t until;
    bool absent = is_absent_at (list, off, end, &until);

    r = extent_list_add (out, off, until - off,
                         absent ? EXTENT_UNREADABLE : e->kind, e->layer, err);
    off = until;
  }
  return r;
}
