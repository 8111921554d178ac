/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Generations share most of their pages, so that each page is looked into only
 * once.  That it was is a bit of its own: a map that is damaged may say of any
 * record that it is live, and that must not hide what another one says.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/repo/liveness.h"

void
liveness_destroy (struct liveness *l)
{
  for (size_t i = 0; i < l->files.len; ++i) {
    free (l->files.ptr[i].live);
    free (l->files.ptr[i].visited);
  }
  vector_free (&l->files);
}

/*--- Files ------------------------------------------------------------------*/

int
liveness_add (struct liveness *l, const uint8_t uuid[UUID_SIZE],
              struct err *err)
{
  struct live_file file = { .root = false };

  memcpy (file.uuid, uuid, UUID_SIZE);
  return vector_append (&l->files, &file) < 0 ? err_nomem (err) : 0;
}

static int
compare (const void *a, const void *b)
{
  const struct live_file *x = a, *y = b;

  return memcmp (x->uuid, y->uuid, UUID_SIZE);
}

void
liveness_sort (struct liveness *l)
{
  struct live_files *files = &l->files;
  size_t kept = 0;

  if (files->len > 0)
    qsort (files->ptr, files->len, sizeof *files->ptr, compare);
  for (size_t i = 0; i < files->len; ++i)
    if (kept == 0 || compare (&files->ptr[kept - 1], &files->ptr[i]) != 0)
      files->ptr[kept++] = files->ptr[i];
  files->len = kept;
}

struct live_file *
liveness_find (const struct liveness *l, const uint8_t uuid[UUID_SIZE])
{
  struct live_file wanted;

  if (l->files.len == 0)
    return NULL;
  memcpy (wanted.uuid, uuid, UUID_SIZE);
  return bsearch (&wanted, l->files.ptr, l->files.len, sizeof *l->files.ptr,
                  compare);
}

/* How many records it has is asked of the file itself, once; so it is known to
 * be there, and to open.
 */
static int
open_file (struct live_file *file, struct vault_view *view,
           const struct nbi_file *entry, struct err *err)
{
  struct file_reader *reader;
  uint32_t n;
  int r;

  if (file->live != NULL)
    return 0;
  r = vault_view_look_up (view, entry, &reader, NULL, err);
  if (r < 0)
    return r;
  n = file_reader_trailer (reader)->nr_ordinals;
  file_reader_unref (reader);
  file->live = calloc (n / 8 + 1, 1);
  file->visited = calloc (n / 8 + 1, 1);
  if (file->live == NULL || file->visited == NULL) {
    free (file->live);
    free (file->visited);
    file->live = file->visited = NULL;
    return err_nomem (err);
  }
  file->nr_ordinals = n;
  return 0;
}

/*--- One generation ---------------------------------------------------------*/

struct marking {
  struct live_file **files;     /* by index in the generation's list */
  struct live_file *page_file;  /* where the page is, once that was told */
  uint32_t page;                /* its ordinal */
};

/* The generation's files, opened. */
static int
find_files (const struct liveness *l, struct vault_view *view,
            const struct vault_opened *opened, struct live_file **files,
            struct err *err)
{
  uint32_t n = file_reader_trailer (opened->last)->nr_files;

  for (uint32_t i = 0; i < n; ++i) {
    struct nbi_file entry;
    char text[UUID_STRING_SIZE];
    int r = generation_file (opened->gen, i, &entry, err);

    if (r < 0)
      return r;
    files[i] = liveness_find (l, entry.uuid);
    if (files[i] == NULL) {
      uuid_to_string (entry.uuid, text);
      return nbi_refuse (err, 131, "the file %s that the generation needs is "
                         "not there", text);
    }
    r = open_file (files[i], view, &entry, err);
    if (r < 0)
      return r;
  }
  return 0;
}

static bool
has_bit (const uint8_t *bits, uint32_t i)
{
  return (bits[i / 8] >> i % 8 & 1) != 0;
}

static void
set_bit (uint8_t *bits, uint32_t i)
{
  bits[i / 8] |= (uint8_t) (1U << i % 8);
}

/* Records in a row.  The first one told of a page is the page itself. */
static int
mark_records (void *opaque, uint32_t index, uint32_t ordinal, uint32_t count,
              struct err *err)
{
  struct marking *m = opaque;
  struct live_file *file = m->files[index];

  if (ordinal >= file->nr_ordinals || count > file->nr_ordinals - ordinal)
    return nbi_refuse (err, 79, "the map has records %" PRIu32 " to %" PRIu64
                       " of a file with %" PRIu32, ordinal,
                       (uint64_t) ordinal + count - 1, file->nr_ordinals);
  for (uint32_t i = ordinal; i < ordinal + count; ++i)
    if (!has_bit (file->live, i)) {
      set_bit (file->live, i);
      ++file->nr_live;
    }
  if (m->page_file != NULL)
    return 0;
  m->page_file = file;
  m->page = ordinal;
  return has_bit (file->visited, ordinal) ? GENERATION_KNOWN : 0;
}

/* It was looked into only if all of it was. */
static int
mark_page (struct marking *m, struct generation *gen, uint64_t page,
           struct err *err)
{
  int r;

  m->page_file = NULL;
  r = generation_page_visit (gen, page, mark_records, m, err);
  if (r == 0 && m->page_file != NULL)
    set_bit (m->page_file->visited, m->page);
  return r;
}

int
liveness_mark (struct liveness *l, struct vault_view *view,
               const struct vault_opened *opened, struct job *job,
               struct err *err)
{
  const struct nbi_header *h = generation_header (opened->gen);
  uint32_t n = file_reader_trailer (opened->last)->nr_files;
  CLEANUP_FREE struct live_file **files = calloc (n + UINT64_C (1),
                                                  sizeof *files);
  struct marking m = { .files = files };
  struct live_file *root = liveness_find (l, h->file);
  int r;

  if (files == NULL)
    return err_nomem (err);
  if (root == NULL)
    return err_set (err, -ENOENT, "the file with the root came or went "
                    "meanwhile");
  root->root = true;
  r = find_files (l, view, opened, files, err);
  for (uint64_t page = 0; r == 0 && page < nbi_nr_pages (h); ++page) {
    r = mark_page (&m, opened->gen, page, err);
    if (r == 0)
      r = job_advance (job, min_u64 ((uint64_t) NBI_PAGE_CHUNKS *
                                     h->chunk_size, h->disk_size -
                                     page * NBI_PAGE_CHUNKS * h->chunk_size),
                       err);
  }
  return r;
}
