/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A file is walked from front to back, by its tables: every byte of it is a
 * record's, a sheet's, or a gap of less than 4096 zeros (NBI-67).  Where a
 * table is damaged, the next thing that is known may lie anywhere behind.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/repo/verify-crew.h"

struct walk {
  struct file_reader *file;
  const struct verify *v;
  struct verify_crew *crew;
  struct verify_piece *pieces;  /* that were gathered, and not looked at yet */
  size_t nr_pieces;
  uint64_t pos;                 /* what is in front was looked at */
  bool lost;                    /* not known what begins at pos */
  uint64_t nr_records, stored;  /* that are there */
  uint64_t nr_told;
};

static int
tell (struct walk *w, const char *kind, uint64_t off, const struct err *what,
      struct err *err)
{
  const struct verify_finding finding = {
    .kind = kind, .off = off, .what = what,
  };

  ++w->nr_told;
  return w->v->found (w->v->opaque, w->file, &finding, err);
}

/* r, unless it is about the file: then that is told. */
static int
tell_if (struct walk *w, int r, const char *kind, uint64_t off,
         const struct err *what, struct err *err)
{
  if (r == 0)
    return 0;
  if (verify_is_finding (r))
    return tell (w, kind, off, what, err);
  if (err != NULL)
    *err = *what;
  return r;
}

/*--- Gaps -------------------------------------------------------------------*/

/* Something begins at off, and takes len bytes. */
static int
step_to (struct walk *w, const char *what, uint64_t off, uint64_t len,
         struct err *err)
{
  uint8_t gap[NBI_SHEET_SIZE];
  struct err why = ERR_INIT;
  uint64_t n = off - w->pos;
  int r = 0;

  if (off < w->pos)
    nbi_refuse (&why, 67, "%s at %" PRIu64 " begins in front of %" PRIu64
                ", where what is before it ends", what, off, w->pos);
  else if (!w->lost && n >= sizeof gap)
    nbi_refuse (&why, 67, "%" PRIu64 " bytes in front of %s are nobody's", n,
                what);
  else if (!w->lost && n > 0) {
    r = block_pread (file_reader_block (w->file), gap, (size_t) n, w->pos,
                     &why);
    if (r == 0 && !nbi_is_zeros (gap, (size_t) n))
      nbi_refuse (&why, 67, "not only zeros in front of %s", what);
  }
  r = tell_if (w, why.code, "nbi-gap", w->pos, &why, err);
  w->lost = false;
  w->pos = max_u64 (w->pos, off + len);
  return r < 0 ? r : job_advance (w->v->job, 0, err);
}

/*--- Records ----------------------------------------------------------------*/

/* What is wrong with those that were gathered. */
static int
tell_pieces (struct walk *w, struct err *err)
{
  int r = 0;

  for (size_t i = 0; r == 0 && i < w->nr_pieces; ++i) {
    const struct verify_piece *p = &w->pieces[i];

    r = tell_if (w, p->header.code, "nbi-record", p->record.off, &p->header,
                 err);
    if (r == 0)
      r = tell_if (w, p->data.code, "nbi-data", p->record.off, &p->data, err);
  }
  return r;
}

static int
look_at_pieces (struct walk *w, struct err *err)
{
  const struct verify *v = w->v;
  struct verify_passed passed = { .clean = false };
  int r;

  if (w->nr_pieces == 0)
    return 0;
  r = verify_crew_run (w->crew, w->file, w->pieces, w->nr_pieces, err);
  if (r == 0)
    r = tell_pieces (w, err);
  for (size_t i = 0; i < w->nr_pieces; ++i)
    passed.bytes += NBI_RECORD_SIZE + w->pieces[i].record.stored;
  passed.records = w->nr_pieces;
  passed.end = w->pieces[w->nr_pieces - 1].record.ordinal + 1;
  passed.clean = w->nr_told == 0;
  w->nr_pieces = 0;
  return r < 0 || v->passed == NULL ? r
    : v->passed (v->opaque, w->file, &passed, err);
}

static int
check_record (struct walk *w, const struct nbi_record *record,
              struct err *err)
{
  const struct verify *v = w->v;
  struct verify_piece *piece;
  int r;

  r = step_to (w, "a record", record->off, NBI_RECORD_SIZE + record->stored,
               err);
  if (r < 0 || (v->wants != NULL && record->ordinal != NBI_NONE &&
                !v->wants (v->opaque, w->file, record)))
    return r;
  piece = &w->pieces[w->nr_pieces++];
  piece->record = *record;
  piece->header.code = piece->data.code = 0;
  return w->nr_pieces < VERIFY_PIECES ? 0 : look_at_pieces (w, err);
}

/*--- Tables -----------------------------------------------------------------*/

/* The ordinals of one sheet, of which there may be none. */
static int
check_sheet (struct walk *w, uint32_t first, uint32_t end, bool *any,
             struct err *err)
{
  *any = false;
  for (uint32_t ordinal = first; ordinal < end; ++ordinal) {
    struct err why = ERR_INIT;
    struct nbi_record record;
    int r = file_reader_entry (w->file, ordinal, &record, &why);

    if (r < 0) {
      w->lost = true;
      r = tell_if (w, r, "nbi-table", VERIFY_NOWHERE, &why, err);
      if (r < 0)
        return r;
      /* Of a sheet that is damaged no entry can be had. */
      *any = true;
      return 0;
    }
    if (record.kind == 0)
      continue;
    *any = true;
    ++w->nr_records;
    w->stored += record.stored;
    r = check_record (w, &record, err);
    if (r < 0)
      return r;
  }
  return 0;
}

static int
refuse_tombstones (struct walk *w, uint64_t off, struct err *err)
{
  struct err why = ERR_INIT;

  nbi_refuse (&why, 63, "a sheet of the chunk table has nothing but records "
              "that were dropped");
  return tell (w, "nbi-table", off, &why, err);
}

static int
check_group (struct walk *w, uint32_t g, struct err *err)
{
  uint32_t nr = file_reader_trailer (w->file)->nr_ordinals;
  struct err why = ERR_INIT;
  struct nbi_group group;
  unsigned nr_sheets = 0;
  int r = file_reader_group (w->file, g, &group, &why);

  if (r < 0) {
    w->lost = true;
    return tell_if (w, r, "nbi-table", VERIFY_NOWHERE, &why, err);
  }
  for (unsigned i = 0; i < NBI_GROUP_SHEETS; ++i) {
    uint64_t first = ((uint64_t) g * NBI_GROUP_SHEETS + i) *
      NBI_SHEET_ORDINALS;
    bool any;

    if (nbi_group_sheet (&group, i) == 0)
      continue;
    ++nr_sheets;
    r = check_sheet (w, (uint32_t) first,
                     (uint32_t) min_u64 (first + NBI_SHEET_ORDINALS, nr), &any,
                     err);
    if (r == 0 && !any)
      r = refuse_tombstones (w, nbi_group_sheet (&group, i), err);
    if (r < 0)
      return r;
  }
  return nr_sheets == 0 ? 0
    : step_to (w, "a group of sheets", group.off,
               (uint64_t) nr_sheets * NBI_SHEET_SIZE, err);
}

/* All entries of a table are read, for what reading refuses. */
struct table {
  const char *name;
  enum nbi_table table;
  uint64_t off, n;
  int (*read) (struct file_reader *file, uint64_t i, struct err *why);
};

static int
read_group (struct file_reader *file, uint64_t i, struct err *why)
{
  struct nbi_group group;

  return file_reader_group (file, (uint32_t) i, &group, why);
}

static int
read_root (struct file_reader *file, uint64_t i, struct err *why)
{
  struct nbi_root root;

  return file_reader_root (file, i, &root, why);
}

static int
read_file (struct file_reader *file, uint64_t i, struct err *why)
{
  struct nbi_file entry;

  return file_reader_file (file, (uint32_t) i, &entry, why);
}

static int
read_range (struct file_reader *file, uint64_t i, struct err *why)
{
  struct nbi_range range;

  return file_reader_range (file, (uint32_t) i, &range, why);
}

static int
check_table (struct walk *w, const struct table *t, struct err *err)
{
  uint32_t full = nbi_sheet_entries (t->table);
  uint64_t len = nbi_nr_sheets (t->table, t->n) * NBI_SHEET_SIZE;
  int r;

  if (t->off == 0)
    return 0;
  r = step_to (w, t->name, t->off, len, err);
  for (uint64_t i = 0; r == 0 && i < t->n; ++i) {
    struct err why = ERR_INIT;
    int found = t->read (w->file, i, &why);

    r = tell_if (w, found, "nbi-table",
                 t->off + i / full * NBI_SHEET_SIZE, &why, err);
    /* Of a sheet that is damaged no entry can be had. */
    if (found < 0)
      i = round_up (i + 1, full) - 1;
  }
  return r < 0 ? r : job_advance (w->v->job, len, err);
}

static int
check_tables (struct walk *w, struct err *err)
{
  const struct nbi_trailer *t = file_reader_trailer (w->file);
  const struct table tables[] = {
    { "the directory", NBI_TABLE_DIRECTORY, t->directory,
      div_round_up (t->nr_ordinals, NBI_GROUP_ORDINALS), read_group },
    { "the root", NBI_TABLE_ROOT, t->root,
      nbi_nr_pages (file_reader_header (w->file)), read_root },
    { "the list of files", NBI_TABLE_FILES, t->files, t->nr_files, read_file },
    { "the list of what can't be read", NBI_TABLE_RANGES, t->ranges,
      t->nr_ranges, read_range },
  };
  int r = 0;

  for (size_t i = 0; r == 0 && i < sizeof tables / sizeof tables[0]; ++i)
    r = check_table (w, &tables[i], err);
  return r;
}

/*--- Both ends --------------------------------------------------------------*/

/* NBI-25 and NBI-112. */
static int
check_copies (struct walk *w, struct err *err)
{
  uint64_t end = file_reader_end (w->file);
  uint8_t first[NBI_HEADER_SIZE], tail[NBI_TAIL_SIZE];
  const uint8_t *copy = tail + NBI_TRAILER_SIZE;
  struct err why = ERR_INIT;
  int r;

  r = block_pread (file_reader_block (w->file), first, sizeof first, 0, &why);
  if (r == 0)
    r = block_pread (file_reader_block (w->file), tail, sizeof tail, end,
                     &why);
  if (r < 0)
    return tell_if (w, r, "nbi-header", 0, &why, err);
  if (memcmp (first, copy, sizeof first) != 0) {
    nbi_refuse (&why, 25, "the header and its copy differ");
    r = tell (w, "nbi-header", 0, &why, err);
  }
  if (r == 0 && memcmp (tail, copy + NBI_HEADER_SIZE, NBI_TRAILER_SIZE) != 0) {
    nbi_refuse (&why, 112, "the trailer and its copy differ");
    r = tell (w, "nbi-trailer", end, &why, err);
  }
  return r;
}

/* NBI-68. */
static int
check_numbers (struct walk *w, struct err *err)
{
  const struct nbi_trailer *t = file_reader_trailer (w->file);
  struct err why = ERR_INIT;

  if (w->nr_records == t->nr_records && w->stored == t->stored)
    return 0;
  nbi_refuse (&why, 68, "the tables have %" PRIu64 " records with %" PRIu64
              " bytes, the trailer has %" PRIu32 " with %" PRIu64,
              w->nr_records, w->stored, t->nr_records, t->stored);
  return tell (w, "nbi-trailer", file_reader_end (w->file), &why, err);
}

static int
walk (struct walk *w, struct err *err)
{
  const struct nbi_trailer *t = file_reader_trailer (w->file);
  uint64_t nr_groups = div_round_up (t->nr_ordinals, NBI_GROUP_ORDINALS);
  int r = check_copies (w, err);

  for (uint64_t g = 0; r == 0 && g < nr_groups; ++g)
    r = check_group (w, (uint32_t) g, err);
  if (r == 0)
    r = look_at_pieces (w, err);
  if (r == 0)
    r = check_tables (w, err);
  if (r == 0 && t->manifest.off != 0)
    r = check_record (w, &t->manifest, err);
  if (r == 0)
    r = look_at_pieces (w, err);
  if (r == 0)
    r = step_to (w, "the trailer", file_reader_end (w->file), 0, err);
  return r < 0 ? r : check_numbers (w, err);
}

int
verify_file (struct file_reader *file, const struct verify *v,
             struct err *err)
{
  CLEANUP_FREE struct verify_piece *pieces =
    malloc (VERIFY_PIECES * sizeof *pieces);
  struct walk w = {
    .file = file, .v = v, .pieces = pieces, .pos = NBI_HEADER_SIZE,
  };
  int r;

  if (pieces == NULL)
    return err_nomem (err);
  r = verify_crew_new (v, &w.crew, err);
  if (r == 0 && v->begin == NULL)
    job_start (v->job, "checking", file_reader_end (file));
  if (r == 0)
    r = walk (&w, err);
  verify_crew_free (w.crew);
  return r;
}
