/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/repo/nbi-page.h"
#include "lib/repo/salvage-private.h"
#include "lib/repo/vault-names.h"

/*--- Files ------------------------------------------------------------------*/

static int
compare_files (const void *a, const void *b)
{
  const struct salvage_file *x = *(struct salvage_file *const *) a;
  const struct salvage_file *y = *(struct salvage_file *const *) b;
  int r = memcmp (x->header.file, y->header.file, UUID_SIZE);

  if (r != 0)
    return r;
  return (x->header.edition < y->header.edition) -
    (x->header.edition > y->header.edition);
}

uint32_t
salvage_find_file (const struct salvage *s, const uint8_t uuid[UUID_SIZE])
{
  size_t low = 0, high = s->files->len;

  while (low < high) {
    size_t middle = low + (high - low) / 2;

    if (memcmp (s->files->ptr[middle]->header.file, uuid, UUID_SIZE) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return low < s->files->len &&
    memcmp (s->files->ptr[low]->header.file, uuid, UUID_SIZE) == 0
    ? (uint32_t) low : NBI_NONE;
}

/* NBI-124: whoever can write to the folder could put a file there that is not
 * encrypted, and say that it is of this run.
 */
static bool
has_same_key (const struct salvage *s, const struct salvage_file *file)
{
  return file->header.encryption == s->header.encryption &&
    memcmp (file->header.key_id, s->header.key_id, NBI_KEY_ID_SIZE) == 0;
}

bool
salvage_has (const struct salvage *s, const struct salvage_file *file)
{
  return memcmp (file->header.run, s->header.run, UUID_SIZE) == 0 &&
    has_same_key (s, file);
}

int
salvage_read (const struct salvage *s, uint32_t file, uint32_t ordinal,
              enum nbi_kind kind, uint32_t len, uint8_t *plain, size_t room,
              struct nbi_record *record, struct err *err)
{
  const struct salvage_file *first = s->files->ptr[file];
  int r = -ENOENT;

  for (size_t i = file; r < 0 && r != -ENOMEM && i < s->files->len; ++i) {
    const struct salvage_file *f = s->files->ptr[i];

    if (memcmp (f->header.file, first->header.file, UUID_SIZE) != 0)
      break;
    if (has_same_key (s, f))
      r = salvage_file_read (f, ordinal, kind, len, plain, room, record, err);
  }
  return r;
}

/*--- Which generation -------------------------------------------------------*/

/* Does a text of hex digits, dashes or a time begin so? */
static bool
begins (const struct nbi_header *h, const char *wanted)
{
  char id[UUID_STRING_SIZE], when[VAULT_TIME_SIZE];
  const char *p = id;

  vault_time_to_string (h->time, when);
  if (strncmp (when, wanted, strlen (wanted)) == 0)
    return true;
  uuid_to_string (h->run, id);
  for (; *wanted != '\0'; ++wanted) {
    if (*wanted == '-')
      continue;
    p += *p == '-';
    if (*p == '\0' || *p++ != *wanted)
      return false;
  }
  return true;
}

static bool
is_candidate (const struct salvage *s, const struct salvage_file *f,
              const struct salvage_choice *choice)
{
  return (!s->is_encrypted || f->crypt != NULL) &&
    (choice->disk == NULL || strcmp (f->header.name, choice->disk) == 0) &&
    (choice->generation == NULL || begins (&f->header, choice->generation));
}

/* A file of which the header is there is a better witness of the disk. */
static bool
is_better (const struct salvage_file *f, const struct salvage_file *than)
{
  if (than == NULL || f->guessed != than->guessed)
    return than == NULL || than->guessed;
  return f->header.time > than->header.time;
}

static int
choose (struct salvage *s, const struct salvage_choice *choice,
        struct err *err)
{
  const struct salvage_file *best = NULL;

  for (size_t i = 0; i < s->files->len; ++i)
    s->is_encrypted |= s->files->ptr[i]->crypt != NULL;
  for (size_t i = 0; i < s->files->len; ++i) {
    const struct salvage_file *f = s->files->ptr[i];

    if (!is_candidate (s, f, choice))
      continue;
    if (best != NULL && !f->guessed && !best->guessed &&
        strcmp (best->header.name, f->header.name) != 0)
      return err_set (err, -EINVAL, "the files are of several disks, ‘%s’ and "
                      "‘%s’ among them; --name says of which",
                      best->header.name, f->header.name);
    if (best != NULL && choice->generation != NULL &&
        memcmp (best->header.run, f->header.run, UUID_SIZE) != 0)
      return err_set (err, -EINVAL, "several generations begin with ‘%s’",
                      choice->generation);
    if (is_better (f, best))
      best = f;
  }
  if (best == NULL)
    return err_set (err, -ENOENT, "none of the files is of such a disk and "
                    "generation");
  s->header = best->header;
  return 0;
}

/* The file of the run with the most sheets of a root. */
static void
find_last (struct salvage *s)
{
  size_t most = 0;

  for (size_t i = 0; i < s->files->len; ++i) {
    struct salvage_file *f = s->files->ptr[i];
    size_t n = 0;

    for (size_t k = 0; salvage_has (s, f) && k < f->sheets.len; ++k)
      n += f->sheets.ptr[k].table == NBI_TABLE_ROOT;
    if (n > most) {
      most = n;
      s->last = f;
    }
  }
}

/*--- What is beside the map -------------------------------------------------*/

static int
find_manifest (struct salvage *s, struct err *err)
{
  for (size_t i = 0; i < s->files->len && s->manifest == NULL; ++i) {
    const struct salvage_file *f = s->files->ptr[i];
    CLEANUP_FREE char *text = NULL;

    if (!salvage_has (s, f) || f->manifest.plain == 0)
      continue;
    text = calloc (1, (size_t) f->manifest.plain + 1);
    if (text == NULL)
      return err_nomem (err);
    if (salvage_file_manifest (f, (uint8_t *) text, err) < 0)
      continue;
    s->manifest_len = f->manifest.plain;
    s->manifest = steal_ptr (&text);
  }
  s->counts.has_manifest = s->manifest != NULL;
  return 0;
}

/* All of them, or none: one that is lost would make zeros of what could not be
 * read.
 */
static int
find_ranges (struct salvage *s, struct err *err)
{
  uint8_t entry[NBI_RANGE_SIZE], before[NBI_RANGE_SIZE];
  uint64_t nr;

  if (s->last == NULL || !salvage_file_ranges (s->last, &nr))
    return 0;
  for (uint64_t i = 0; i < nr; ++i) {
    struct nbi_range range;

    if (!salvage_file_entry (s->last, NBI_TABLE_RANGES, i, entry) ||
        nbi_range_decode (entry, i > 0 ? before : NULL, &s->header, &range,
                          NULL) < 0)
      return 0;
    memcpy (before, entry, sizeof before);
    if (vector_append (&s->ranges, &range) < 0)
      return err_nomem (err);
  }
  s->has_ranges = true;
  return 0;
}

/*--- A file that does not say which it is -----------------------------------*/

#define MAX_EDITION 1000        /* that is tried (step 1) */

static bool
try_uuid (struct salvage_file *f, const uint8_t uuid[UUID_SIZE])
{
  uint64_t salt;

  for (uint32_t edition = 0; edition <= MAX_EDITION; ++edition)
    if (nbi_salt (uuid, edition, &salt, NULL) == 0 &&
        salt == f->header.salt) {
      memcpy (f->header.file, uuid, UUID_SIZE);
      f->header.edition = edition;
      f->has_uuid = true;
      return true;
    }
  return false;
}

/* One of the files that its own pages name, if that makes its salt. */
static int
learn_uuid (struct salvage_file *f, struct err *err)
{
  CLEANUP_FREE uint8_t *plain = malloc (NBI_PAGE_MAX);

  if (plain == NULL)
    return err_nomem (err);
  for (size_t i = 0; i < f->scanned.len; ++i) {
    const struct nbi_record *record = &f->scanned.ptr[i];
    CLEANUP_FREE struct nbi_page *page = NULL;
    struct nbi_record found;

    if (record->kind != NBI_PAGE ||
        salvage_file_read (f, record->ordinal, NBI_PAGE, 0, plain,
                           NBI_PAGE_MAX, &found, NULL) < 0 ||
        nbi_page_decode (plain, found.plain,
                         nbi_page_chunks (&f->header, record->number), &page,
                         NULL) < 0)
      continue;
    for (uint32_t k = 0; k < page->nr_files; ++k)
      if (try_uuid (f, page->files[k]))
        return 0;
  }
  return 0;
}

static int
learn_uuids (struct salvage *s, struct err *err)
{
  int r = 0;

  for (size_t i = 0; r == 0 && i < s->files->len; ++i)
    if (!s->files->ptr[i]->has_uuid)
      r = learn_uuid (s->files->ptr[i], err);
  return r;
}

/*----------------------------------------------------------------------------*/

static int
make (struct salvage *s, const struct salvage_choice *choice, struct err *err)
{
  uint64_t n;
  int r = learn_uuids (s, err);

  if (r < 0)
    return r;
  qsort (s->files->ptr, s->files->len, sizeof s->files->ptr[0],
         compare_files);
  r = choose (s, choice, err);
  if (r < 0)
    return r;
  n = nbi_nr_chunks (&s->header);
  s->cells = calloc (n, sizeof *s->cells);
  s->bad = calloc (n / 8 + 1, 1);
  if (s->cells == NULL || s->bad == NULL)
    return err_set (err, -ENOMEM, "not enough memory for the map of a disk of %"
                    PRIu64 " bytes in chunks of %" PRIu32, s->header.disk_size,
                    s->header.chunk_size);
  find_last (s);
  r = find_manifest (s, err);
  if (r == 0)
    r = find_ranges (s, err);
  return r < 0 ? r : salvage_make_map (s, err);
}

int
salvage_new (struct salvage_files *files, const struct salvage_choice *choice,
             struct salvage **out, struct err *err)
{
  struct salvage *s = calloc (1, sizeof *s);
  int r;

  if (s == NULL)
    return err_nomem (err);
  s->files = files;
  r = make (s, choice, err);
  if (r < 0)
    salvage_free (s);
  else
    *out = s;
  return r;
}

void
salvage_free (struct salvage *s)
{
  if (s == NULL)
    return;
  free (s->cells);
  free (s->bad);
  free (s->manifest);
  vector_free (&s->ranges);
  free (s);
}

const struct nbi_header *
salvage_header (const struct salvage *s)
{
  return &s->header;
}

void
salvage_get_counts (const struct salvage *s, struct salvage_counts *out)
{
  *out = s->counts;
}

const char *
salvage_manifest (const struct salvage *s, size_t *len)
{
  *len = s->manifest_len;
  return s->manifest;
}
