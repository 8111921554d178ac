/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The map, page by page: salvage.h says from what. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/repo/nbi-page.h"
#include "lib/repo/salvage-private.h"

/* Where a record is, of a page or chunk with some number. */
struct place {
  uint32_t file;                /* and 1; 0: there is none */
  uint32_t ordinal;
};

struct mapping {
  struct salvage *s;
  struct place *pages;          /* by number, what was written last */
  struct place *chunks;         /* the same; NULL: not needed yet */
  uint8_t *plain;               /* room for a page */
};

/*--- By number --------------------------------------------------------------*/

static void
note (struct place *places, uint64_t nr, uint32_t file,
      const struct nbi_record *record)
{
  struct place *p;

  if (record->number >= nr)
    return;
  p = &places[record->number];
  if (p->file != file + 1 || p->ordinal < record->ordinal)
    *p = (struct place) { file + 1, record->ordinal };
}

static void
note_records (struct place *places, uint64_t nr, enum nbi_kind kind,
              uint32_t file, const struct salvage_records *records)
{
  for (size_t i = 0; i < records->len; ++i)
    if (records->ptr[i].kind == kind)
      note (places, nr, file, &records->ptr[i]);
}

/* The files of the run, in the order in which they were written: what comes
 * later wins.
 */
static int
by_number (const struct salvage *s, uint64_t nr, enum nbi_kind kind,
           struct place **out, struct err *err)
{
  struct place *places = calloc (nr, sizeof *places);
  uint64_t below = 0;

  if (places == NULL)
    return err_nomem (err);
  /* Few files have the same number: editions of one. */
  for (bool more = true; more;) {
    uint64_t next = UINT64_MAX;

    more = false;
    for (size_t i = 0; i < s->files->len; ++i) {
      const struct salvage_file *f = s->files->ptr[i];

      if (!salvage_has (s, f) || f->header.number < below)
        continue;
      if (f->header.number == below) {
        note_records (places, nr, kind, (uint32_t) i, &f->listed);
        note_records (places, nr, kind, (uint32_t) i, &f->scanned);
      }
      else if (f->header.number < next)
        next = f->header.number;
    }
    if (next != UINT64_MAX) {
      below = next;
      more = true;
    }
  }
  *out = places;
  return 0;
}

/*--- A page -----------------------------------------------------------------*/

static void
fill (struct salvage *s, uint64_t page, uint32_t first, uint32_t n,
      struct salvage_cell cell)
{
  struct salvage_cell *cells = s->cells + page * NBI_PAGE_CHUNKS + first;

  for (uint32_t i = 0; i < n; ++i) {
    cells[i] = cell;
    if (nbi_kind_has_data (cell.kind))
      cell.ordinal++;
  }
}

static void
take_page (struct salvage *s, uint64_t page, const struct nbi_page *p)
{
  for (uint32_t i = 0; i < p->nr_runs; ++i) {
    const struct nbi_run *run = &p->runs[i];
    struct salvage_cell cell = { .kind = run->kind };

    if (nbi_kind_has_data (run->kind)) {
      cell.file = salvage_find_file (s, p->files[run->file]);
      cell.ordinal = run->ordinal;
      if (cell.file == NBI_NONE)
        cell = (struct salvage_cell) { .kind = SALVAGE_LOST };
    }
    fill (s, page, run->first, run->count, cell);
  }
}

/* Is there such a page in that record?  Then it is taken. */
static bool
try_page (struct mapping *m, uint64_t page, uint32_t file, uint32_t ordinal)
{
  struct salvage *s = m->s;
  CLEANUP_FREE struct nbi_page *p = NULL;
  struct nbi_record record;

  if (salvage_read (s, file, ordinal, NBI_PAGE, 0, m->plain, NBI_PAGE_MAX,
                    &record, NULL) < 0 ||
      nbi_page_decode (m->plain, record.plain,
                       nbi_page_chunks (&s->header, page), &p, NULL) < 0)
    return false;
  take_page (s, page, p);
  return true;
}

/* What the root says; false: its sheet, or the page, is lost. */
static bool
page_by_root (struct mapping *m, uint64_t page)
{
  struct salvage *s = m->s;
  uint8_t entry[NBI_ROOT_SIZE], named[NBI_FILE_SIZE];
  struct nbi_root root;
  uint32_t file;

  if (s->last == NULL ||
      !salvage_file_entry (s->last, NBI_TABLE_ROOT, page, entry) ||
      nbi_root_decode (entry, NBI_MAX_FILES, &root, NULL) < 0)
    return false;
  s->counts.has_root = true;
  if (root.file == NBI_NONE) {
    fill (s, page, 0, nbi_page_chunks (&s->header, page),
          (struct salvage_cell) { .kind = (uint8_t) root.ordinal });
    return true;
  }
  if (!salvage_file_entry (s->last, NBI_TABLE_FILES, root.file, named))
    return false;
  file = salvage_find_file (s, named);
  return file != NBI_NONE && try_page (m, page, file, root.ordinal);
}

static bool
page_by_number (struct mapping *m, uint64_t page)
{
  const struct place *place = &m->pages[page];

  return place->file != 0 &&
    try_page (m, page, place->file - 1, place->ordinal);
}

static int
chunks_by_number (struct mapping *m, uint64_t page, struct err *err)
{
  struct salvage *s = m->s;
  uint32_t n = nbi_page_chunks (&s->header, page);
  int r = 0;

  if (m->chunks == NULL)
    r = by_number (s, nbi_nr_chunks (&s->header), NBI_CHUNK, &m->chunks, err);
  for (uint32_t i = 0; r == 0 && i < n; ++i) {
    const struct place *place = &m->chunks[page * NBI_PAGE_CHUNKS + i];
    struct salvage_cell cell = { .kind = SALVAGE_LOST };

    if (place->file != 0)
      cell = (struct salvage_cell) { place->file - 1, place->ordinal,
                                     NBI_DATA };
    fill (s, page, i, 1, cell);
  }
  return r;
}

static int
make_page (struct mapping *m, uint64_t page, struct err *err)
{
  struct salvage_counts *counts = &m->s->counts;

  counts->pages++;
  if (page_by_root (m, page))
    return 0;
  if (page_by_number (m, page)) {
    counts->pages_unproven++;
    return 0;
  }
  counts->pages_lost++;
  return chunks_by_number (m, page, err);
}

/*----------------------------------------------------------------------------*/

static void
count (struct salvage *s)
{
  uint64_t n = nbi_nr_chunks (&s->header);

  for (uint64_t c = 0; c < n; ++c)
    switch (s->cells[c].kind) {
    case NBI_ZERO:
      s->counts.zero++;
      break;
    case NBI_UNALLOCATED:
      s->counts.unallocated++;
      break;
    case NBI_UNREADABLE:
      s->counts.unreadable++;
      break;
    case SALVAGE_LOST:
      s->counts.lost++;
      break;
    default:
      s->counts.data++;
    }
}

int
salvage_make_map (struct salvage *s, struct err *err)
{
  struct mapping m = { .s = s, .plain = malloc (NBI_PAGE_MAX) };
  uint64_t nr_pages = nbi_nr_pages (&s->header);
  int r = m.plain == NULL ? err_nomem (err) : 0;

  if (r == 0)
    r = by_number (s, nr_pages, NBI_PAGE, &m.pages, err);
  for (uint64_t page = 0; r == 0 && page < nr_pages; ++page)
    r = make_page (&m, page, err);
  if (r == 0)
    count (s);
  free (m.plain);
  free (m.pages);
  free (m.chunks);
  return r;
}
