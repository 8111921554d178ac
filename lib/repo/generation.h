/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A generation: a disk as one run saved it, to be read (docs/NBI.md §8, §11).
 *
 * Opening reads one file's ends and the manifest.  Pages of the map, other
 * files and records are read when they are needed, and kept in caches whose
 * limits do not depend on the size of the disk, nor on how many generations
 * there are.  All functions but the last unref may be called from many
 * threads; no lock is held while anything is read or decoded.
 *
 * Bytes that can't be had are an error, never zeros: -EIO with the reason.
 */

#ifndef NBDIMAGE_REPO_GENERATION_H
#define NBDIMAGE_REPO_GENERATION_H

#include "lib/block/extents.h"
#include "lib/repo/file-reader.h"

struct decoders;
struct generation;

/* What several generations may share. */
struct generation_caches {
  struct cache *sheets;         /* file_reader_sheets */
  struct cache *pages;          /* decoded pages of maps */
  struct cache *chunks;         /* decoded chunks */
  struct cache *files;          /* open files; those of folders */
  struct decoders *decoders;    /* so many reads at a time for all of them */
  struct keyring *keys;         /* for what is encrypted; NULL until the caller
                                   sets it, whose it stays */
};

/* chunks: bytes of decoded chunks to keep.  -ENOMEM with nothing made. */
int generation_caches_init (struct generation_caches *caches, size_t chunks,
                            struct err *err);
void generation_caches_destroy (struct generation_caches *caches);

/* Where the generation's other files are. */
struct generation_files {
  /* The file of that UUID, in the folder of that run.  A reference is the
   * caller's.  What is opened may be asked for again.
   */
  int (*open) (void *opaque, const struct nbi_file *file,
               struct file_reader **out, struct err *err);

  /* The highest edition of it below this one that opens: what is damaged in a
   * higher one may be whole there (§13).  -ENOENT: there is none.  NULL: there
   * never are any.
   */
  int (*open_lower) (void *opaque, const struct nbi_file *file,
                     uint32_t edition, struct file_reader **out,
                     struct err *err);
  void *opaque;
};

/* The generation that ends in this file, of which a reference is kept.
 * files: NULL, if it needs no other file; stays the caller's.  -ENOENT if no
 * generation ends in it.
 */
int generation_open (struct file_reader *last,
                     const struct generation_files *files,
                     const struct generation_caches *caches,
                     struct generation **out, struct err *err);

/* Open all files that it needs, now, and keep them open as long as it is: what
 * is deleted meanwhile on a local store can still be read.  Before it is read.
 * -EBADMSG: one of them is not there (NBI-131).  Nothing is kept after a
 * failure.
 */
int generation_hold_files (struct generation *gen, struct err *err);

/* How many files it needs. */
uint32_t generation_nr_files (const struct generation *gen);

/* The i-th of them, opened; a reference is the caller's. */
int generation_get_file (struct generation *gen, uint32_t i,
                         struct file_reader **out, struct err *err);

struct generation *generation_ref (struct generation *gen);
void generation_unref (struct generation *gen); /* NULL is fine */

/* The header of the file with its root: name, size, chunk size, time. */
const struct nbi_header *generation_header (const struct generation *gen);

/* The manifest as it is written, JSON of *len bytes and a zero behind; lives
 * as long as the generation.  Not checked yet.
 */
const char *generation_manifest (const struct generation *gen, size_t *len);

/* What chunk c, below the number of chunks, is; of data, in which record it
 * lies, and of which file, with a reference that is the caller's.
 */
struct generation_chunk {
  enum nbi_cell_kind kind;
  struct file_reader *file;     /* NULL if it has no data */
  uint32_t index;               /* of the file in the generation's list */
  uint32_t ordinal;
};

int generation_find (struct generation *gen, uint64_t c,
                     struct generation_chunk *chunk, struct err *err);

/* The same of the chunks from c on that are alike, up to `end' (within the
 * chunk's page): all without data of that kind, or in records that follow each
 * other in one file.
 */
struct generation_run {
  uint64_t end;                 /* the first chunk behind it */
  enum nbi_cell_kind kind;
  uint32_t index, ordinal;      /* as above, of chunk c; if it has data */
};

int generation_run_at (struct generation *gen, uint64_t c,
                       struct generation_run *run, struct err *err);

/* The record's entry, checked against the chunk (NBI-79). */
int generation_record (struct generation *gen, uint64_t c,
                       const struct generation_chunk *chunk,
                       struct nbi_record *record, struct err *err);

/* Entry i of its list of files. */
int generation_file (struct generation *gen, uint32_t i,
                     struct nbi_file *file, struct err *err);

/* Where page p of the map is, if it is a record and no uniform page (then
 * *is_record is false).
 */
int generation_page (struct generation *gen, uint64_t page, bool *is_record,
                     uint32_t *index, struct nbi_record *record,
                     struct err *err);

/* Add to uses, which has one for each file of the list, what page p uses: the
 * file that its record lies in, and those that it names (§8).
 */
int generation_page_uses (struct generation *gen, uint64_t page,
                          uint32_t *uses, struct err *err);

#define GENERATION_KNOWN 1      /* from a callback: not this page */

/* What page p of the map refers to, in the records of which file of the list:
 * first the record that the page itself is, unless it is uniform; then, in the
 * order of the disk, those of its chunks, as many at once as are in a row.  fn
 * returns 0 to go on, an error, or for the page's own record GENERATION_KNOWN:
 * then the page is not read.  An ordinal may be one that the file does not
 * have.
 */
int generation_page_visit (struct generation *gen, uint64_t page,
                           int (*fn) (void *opaque, uint32_t index,
                                      uint32_t ordinal, uint32_t count,
                                      struct err *err),
                           void *opaque, struct err *err);

/* The first range that can't be read and ends behind off; *found is false if
 * there is none.
 */
int generation_range_after (struct generation *gen, uint64_t off,
                            struct nbi_range *range, bool *found,
                            struct err *err);

/* Inside the disk; bytes. */
int generation_pread (struct generation *gen, void *buf, size_t len,
                      uint64_t off, struct err *err);

/* Data, or holes that read as zeros; what can't be read counts as data.  May
 * end early at the limit of the list.
 */
int generation_extents (struct generation *gen, uint64_t len, uint64_t off,
                        struct extent_list *list, struct err *err);

#endif /* NBDIMAGE_REPO_GENERATION_H */
