/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What of the base a backup refers to is read first, if that is wanted, as
 * verify would: a piece that is damaged is not referred to for ever.  Nor is
 * any of a file whose ends, tables or manifest are: whoever has that file needs
 * them.
 *
 * A record that a disk has several times is read once, mostly: what came of it
 * is remembered by its place in a table, where another one may drive it out.
 * That costs reading it again, and nothing else.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/repo/backup-private.h"
#include "lib/repo/record-proof.h"
#include "lib/repo/verify.h"

#define REMEMBERED (UINT32_C (1) << 18) /* records; a power of 2 */

struct backup_proofs {
  struct generation *base;      /* the caller's */
  struct job *job;
  struct decoders *decoders;
  bool *is_bad;                 /* by file of the base's list */

  /* All of it is atomic.  Of a record: (file + 1) << 33 | ordinal << 1 |
   * damaged; 0: nothing.
   */
  uint64_t *remembered;
  uint64_t *damaged;            /* chunks, by file of the base's list */
  uint64_t lost, pages;
};

_Static_assert (NBI_MAX_FILES < UINT32_C (1) << 30, "31 bits for file + 1");

/*--- Files ------------------------------------------------------------------*/

static bool
wants_none (void *opaque, struct file_reader *file,
            const struct nbi_record *record)
{
  (void) opaque;
  (void) file;
  (void) record;
  return false;
}

static int
note_bad (void *opaque, struct file_reader *file,
          const struct verify_finding *finding, struct err *err)
{
  (void) file;
  (void) finding;
  (void) err;
  *(bool *) opaque = true;
  return 0;
}

/* All but its chunks and pages.  One that can't be had has none to refer to. */
static int
look_at_file (struct backup_proofs *p, uint32_t i, struct err *err)
{
  const struct verify v = {
    .data = true, .job = p->job, .wants = wants_none, .found = note_bad,
    .opaque = &p->is_bad[i],
  };
  struct err why = ERR_INIT;
  struct file_reader *file;
  int r;

  if (generation_get_file (p->base, i, &file, NULL) < 0)
    return 0;
  r = verify_file (file, &v, &why);
  file_reader_unref (file);
  if (r == -ENOMEM || r == -ECANCELED)
    return err_set (err, r, "%s", why.msg);
  if (r < 0)
    p->is_bad[i] = true;
  return 0;
}

static int
look_at_files (struct backup_proofs *p, struct err *err)
{
  uint32_t nr = generation_nr_files (p->base);
  int r = 0;

  for (uint32_t i = 0; r == 0 && i < nr; ++i) {
    r = job_check (p->job, err);
    if (r == 0)
      r = look_at_file (p, i, err);
  }
  return r;
}

/*----------------------------------------------------------------------------*/

int
backup_proofs_new (struct generation *base, struct job *job,
                   struct backup_proofs **out, struct err *err)
{
  struct backup_proofs *p = calloc (1, sizeof *p);
  size_t nr = (size_t) generation_nr_files (base) + 1;
  int r;

  if (p == NULL)
    return err_nomem (err);
  p->base = base;
  p->job = job;
  p->remembered = calloc (REMEMBERED, sizeof *p->remembered);
  p->damaged = calloc (nr, sizeof *p->damaged);
  p->is_bad = calloc (nr, sizeof *p->is_bad);
  r = p->remembered == NULL || p->damaged == NULL || p->is_bad == NULL
    ? err_nomem (err) : decoders_new (&p->decoders, err);
  if (r == 0)
    r = look_at_files (p, err);
  if (r < 0)
    backup_proofs_free (p);
  else
    *out = p;
  return r;
}

void
backup_proofs_free (struct backup_proofs *p)
{
  if (p == NULL)
    return;
  decoders_free (p->decoders);
  free (p->remembered);
  free (p->damaged);
  free (p->is_bad);
  free (p);
}

/*--- One record -------------------------------------------------------------*/

/* 0: *is.  That it can't be read, for whatever reason, is no proof. */
static int
prove (const struct backup_proofs *p, struct file_reader *file,
       const struct nbi_record *record, uint8_t *room, bool *is,
       struct err *err)
{
  struct err why = ERR_INIT;
  int r = job_check (p->job, err);

  if (r < 0)
    return r;
  r = record_proof_header (file, record, &why);
  if (r == 0)
    r = record_proof_data (file, record, p->decoders, room, &why);
  if (r == -ENOMEM)
    return err_nomem (err);
  *is = r == 0;
  return 0;
}

/* Records that lie behind each other do not drive each other out. */
static uint64_t *
place_of (const struct backup_proofs *p, uint32_t file, uint32_t ordinal)
{
  return &p->remembered[(ordinal + file * UINT32_C (0x9e3779b1)) %
                        REMEMBERED];
}

int
backup_prove (struct backup_proofs *p, const struct generation_chunk *chunk,
              const struct nbi_record *record, uint8_t *room, bool *is,
              struct err *err)
{
  uint64_t *place = place_of (p, chunk->index, chunk->ordinal);
  uint64_t name = (UINT64_C (1) + chunk->index) << 33 |
    (uint64_t) chunk->ordinal << 1;
  uint64_t known = __atomic_load_n (place, __ATOMIC_RELAXED);
  int r;

  if (p->is_bad[chunk->index]) {
    *is = false;
    return 0;
  }
  if ((known & ~UINT64_C (1)) == name) {
    *is = (known & 1) == 0;
    return 0;
  }
  r = prove (p, chunk->file, record, room, is, err);
  if (r == 0)
    __atomic_store_n (place, name | !*is, __ATOMIC_RELAXED);
  return r;
}

int
backup_prove_page (struct backup_proofs *p, uint32_t index,
                   const struct nbi_record *record, bool *is, struct err *err)
{
  CLEANUP_FREE uint8_t *room = malloc (record->plain);
  struct file_reader *file;
  int r;

  if (room == NULL)
    return err_nomem (err);
  *is = false;
  if (p->is_bad[index] ||
      generation_get_file (p->base, index, &file, NULL) < 0)
    return 0;
  r = prove (p, file, record, room, is, err);
  file_reader_unref (file);
  return r;
}

/*--- What is damaged --------------------------------------------------------*/

void
backup_proofs_damaged (struct backup_proofs *p, uint32_t file)
{
  if (p != NULL)
    __atomic_add_fetch (&p->damaged[file], 1, __ATOMIC_RELAXED);
}

void
backup_proofs_lost (struct backup_proofs *p)
{
  if (p != NULL)
    __atomic_add_fetch (&p->lost, 1, __ATOMIC_RELAXED);
}

void
backup_proofs_damaged_page (struct backup_proofs *p)
{
  if (p != NULL)
    __atomic_add_fetch (&p->pages, 1, __ATOMIC_RELAXED);
}

/* The report is about the vault, so that its name need not be said. */
static const char *
name_in_vault (const struct file_reader *file)
{
  const char *name = file_reader_name (file), *at = name + strlen (name);
  unsigned slashes = 0;         /* files/RUN/UUID.nbi */

  while (at > name && (at[-1] != '/' || ++slashes < 3))
    --at;
  return at;
}

static void
tell_file (const struct backup_proofs *p, uint32_t i, struct report *report)
{
  uint64_t n = p->damaged[i];
  struct file_reader *file;

  if (generation_get_file (p->base, i, &file, NULL) < 0) {
    report_warn (report, "%" PRIu64 " chunk%s of a file that can't be opened "
                 "any more %s damaged and saved anew", n, n == 1 ? "" : "s",
                 n == 1 ? "was" : "were");
    return;
  }
  if (p->is_bad[i])
    report_warn (report, "%s is damaged, not only its chunks; %" PRIu64 " of "
                 "them %s saved anew", name_in_vault (file), n,
                 n == 1 ? "was" : "were");
  else
    report_warn (report, "%" PRIu64 " chunk%s of %s %s damaged and %s saved "
                 "anew", n, n == 1 ? "" : "s", name_in_vault (file),
                 n == 1 ? "is" : "are", n == 1 ? "was" : "were");
  file_reader_unref (file);
}

void
backup_proofs_tell (const struct backup_proofs *p, struct report *report)
{
  uint32_t nr = p != NULL ? generation_nr_files (p->base) : 0;

  for (uint32_t i = 0; i < nr; ++i)
    if (p->damaged[i] > 0)
      tell_file (p, i, report);
  if (p != NULL && p->lost > 0)
    report_warn (report, "of %" PRIu64 " chunk%s it can't be read where the "
                 "generation before has them; %s saved anew", p->lost,
                 p->lost == 1 ? "" : "s", p->lost == 1 ? "it was"
                 : "they were");
  if (p != NULL && p->pages > 0)
    report_warn (report, "%" PRIu64 " page%s of the map of the generation "
                 "before %s damaged and %s written anew", p->pages,
                 p->pages == 1 ? "" : "s", p->pages == 1 ? "is" : "are",
                 p->pages == 1 ? "was" : "were");
}
