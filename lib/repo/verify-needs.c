/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/repo/verify-needs.h"
#include "lib/repo/verify.h"

/* Of one file of the list, which ascends by UUIDs (NBI-77). */
struct needed {
  uint8_t uuid[UUID_SIZE];
  uint8_t *bits;                /* NULL: the file can't be had */
  uint32_t nr_ordinals;
  uint64_t count;
};

struct verify_needs {
  struct needed *files;
  uint32_t nr_files;
  bool complete;                /* all that it needs is known */
};

static int
add (void *opaque, uint32_t index, uint32_t ordinal, uint32_t count,
     struct err *err)
{
  struct verify_needs *needs = opaque;
  struct needed *file;

  (void) err;
  if (index >= needs->nr_files)
    return 0;
  file = &needs->files[index];
  for (uint64_t i = ordinal;
       file->bits != NULL && i < min_u64 ((uint64_t) ordinal + count,
                                          file->nr_ordinals); ++i) {
    uint8_t bit = (uint8_t) (1U << i % 8);

    file->count += (file->bits[i / 8] & bit) == 0;
    file->bits[i / 8] |= bit;
  }
  return 0;
}

/* Of a sparse table most of the bits are never touched, and take no memory. */
static int
set_up_file (struct verify_needs *needs, struct generation *gen, uint32_t i,
             struct err *err)
{
  struct needed *n = &needs->files[i];
  struct file_reader *file;
  struct err why = ERR_INIT;
  struct nbi_file entry;
  int r = generation_file (gen, i, &entry, &why);

  if (r == 0) {
    memcpy (n->uuid, entry.uuid, UUID_SIZE);
    r = generation_get_file (gen, i, &file, &why);
  }
  if (r < 0) {
    if (verify_is_finding (r)) {
      needs->complete = false;
      return 0;
    }
    if (err != NULL)
      *err = why;
    return r;
  }
  n->nr_ordinals = file_reader_trailer (file)->nr_ordinals;
  n->bits = calloc (1, (size_t) n->nr_ordinals / 8 + 1);
  file_reader_unref (file);
  return n->bits != NULL ? 0 : err_nomem (err);
}

static int
read_map (struct verify_needs *needs, struct generation *gen, struct job *job,
          struct err *err)
{
  const struct nbi_header *h = generation_header (gen);
  uint64_t len = (uint64_t) NBI_PAGE_CHUNKS * h->chunk_size;
  int r = 0;

  job_start (job, "reading the map", h->disk_size);
  for (uint64_t page = 0; r == 0 && page < nbi_nr_pages (h); ++page) {
    struct err why = ERR_INIT;

    r = generation_page_visit (gen, page, add, needs, &why);
    if (verify_is_finding (r)) {
      needs->complete = false;
      r = 0;
    }
    else if (r < 0 && err != NULL)
      *err = why;
    if (r == 0)
      r = job_advance (job, min_u64 (len, h->disk_size - page * len), err);
  }
  return r;
}

int
verify_needs_new (struct generation *gen, struct job *job,
                  struct verify_needs **out, struct err *err)
{
  struct verify_needs *needs = calloc (1, sizeof *needs);
  int r = 0;

  if (needs == NULL)
    return err_nomem (err);
  needs->complete = true;
  needs->nr_files = generation_nr_files (gen);
  needs->files = calloc ((size_t) needs->nr_files + 1, sizeof *needs->files);
  if (needs->files == NULL)
    r = err_nomem (err);
  for (uint32_t i = 0; r == 0 && i < needs->nr_files; ++i)
    r = set_up_file (needs, gen, i, err);
  if (r == 0)
    r = read_map (needs, gen, job, err);
  if (r < 0)
    verify_needs_free (needs);
  else
    *out = needs;
  return r;
}

void
verify_needs_free (struct verify_needs *needs)
{
  if (needs == NULL)
    return;
  for (uint32_t i = 0; needs->files != NULL && i < needs->nr_files; ++i)
    free (needs->files[i].bits);
  free (needs->files);
  free (needs);
}

static int
compare (const void *uuid, const void *file)
{
  return memcmp (uuid, ((const struct needed *) file)->uuid, UUID_SIZE);
}

/* Entries that can't be had have no UUID, and are not where it would be. */
static const struct needed *
find (const struct verify_needs *needs, const uint8_t uuid[UUID_SIZE])
{
  if (needs->complete)
    return bsearch (uuid, needs->files, needs->nr_files, sizeof *needs->files,
                    compare);
  for (uint32_t i = 0; i < needs->nr_files; ++i)
    if (compare (uuid, &needs->files[i]) == 0)
      return &needs->files[i];
  return NULL;
}

bool
verify_needs_are_complete (const struct verify_needs *needs)
{
  return needs->complete;
}

bool
verify_needs_has (const struct verify_needs *needs,
                  const uint8_t uuid[UUID_SIZE], uint32_t ordinal)
{
  const struct needed *file = find (needs, uuid);

  return file != NULL && file->bits != NULL && ordinal < file->nr_ordinals &&
    (file->bits[ordinal / 8] >> ordinal % 8 & 1) != 0;
}

uint64_t
verify_needs_count (const struct verify_needs *needs,
                    const uint8_t uuid[UUID_SIZE])
{
  const struct needed *file = find (needs, uuid);

  return file != NULL ? file->count : 0;
}

uint64_t
verify_needs_count_all (const struct verify_needs *needs)
{
  uint64_t n = 0;

  for (uint32_t i = 0; i < needs->nr_files; ++i)
    n += needs->files[i].count;
  return n;
}
