/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A disk becomes a generation: docs/NBI.md §14 from B4 on, wherever the files
 * go.
 *
 *   read → zero test → identity → the same as before? → compress → append
 *
 * All but the last is done by many threads at once, each at its own part of
 * the disk; they append one after the other, in the order of the disk.  So the
 * files of the same disk are the same each time, but for what is random in
 * them.  Memory: 4 MiB and what a codec keeps for each thread, 32 MiB of
 * identities, and what map_writer and file_writer say; with proofs 2 MiB, and
 * what decoders have.
 */

#ifndef NBDIMAGE_REPO_BACKUP_H
#define NBDIMAGE_REPO_BACKUP_H

#include "lib/base/job.h"
#include "lib/base/report.h"
#include "lib/fsmap/used-map.h"
#include "lib/repo/changes.h"
#include "lib/repo/generation.h"
#include "lib/repo/leftovers.h"
#include "lib/repo/manifest.h"
#include "lib/repo/run.h"

#define BACKUP_CHUNK_SIZE (UINT32_C (64) * 1024)

struct backup_options {
  /* What the headers say: disk_size to physical, name, creator, run, vault,
   * time; the rest is set here.
   */
  struct nbi_header header;

  /* The key, if the files are to be encrypted: the header has its id and key
   * slots then.  NULL: they are not.  Of CRYPT_KEY_SIZE bytes.
   */
  const uint8_t *master;

  /* Of a copy: what is encrypted may be written without encryption. */
  bool decrypt;

  enum nbi_codec codec;
  int level;                    /* of zstd; 0: the usual one */
  unsigned threads;             /* 0: as many as there are processors */
  uint64_t file_limit;          /* bytes of a file; 0: there is only one */

  /* What of the disk is used, finished; NULL: everything. */
  const struct used_map *used;

  /* The generation before, with the same chunk size: what did not change
   * since is not written again.  NULL: there is none.
   */
  struct generation *base;

  /* Records of the base are referred to only if they were read, and they, and
   * what else their file has but its records, are whole; otherwise chunks and
   * pages are written again, and of_base is told how many of which file.  Not
   * of a copy.
   */
  bool prove;
  struct report *of_base;

  /* What was written since some moment.  Believed if it can be (changes.h), and
   * what it does not have is taken from the base then, unread.  NULL: nothing
   * is known.  report: where it is said that it could not be.
   */
  const struct changes *changes;
  struct report *report;

  /* Called before any of the disk is read, when there is nothing else to wait
   * for; what used and manifest point to may change in it.  An error is the
   * backup's.  NULL: nobody is called.
   */
  int (*before_read) (void *opaque, struct job *job, struct err *err);

  /* Called once all of the disk was read: is it certain that it did not change
   * meanwhile?  An error is the backup's.  NULL: nobody is asked.
   */
  int (*all_read) (void *opaque, struct err *err);
  void *opaque;

  /* Not a disk is backed up but this generation copied: its records are moved
   * as they are, so that codec, level and used do not matter; size and chunks
   * in the header are its.  The disk is the same as a block, for its extents.
   * NULL: it is a disk.
   */
  struct generation *from;

  /* What interrupted runs wrote, with the same chunk size, NULL if there is
   * nothing.  Files of it that the generation refers to are marked as used,
   * and said to lie in the folder of this run.
   */
  struct leftovers *leftovers;

  /* What else the manifest says: hashes, counts and what is in the header
   * are set here.  Of a copy it is that of what is copied.
   */
  struct manifest *manifest;
};

struct backup_result {
  struct manifest_counts counts;        /* as in the manifest */
  uint64_t read;                /* bytes of the disk, but for what is read to
                                   find out what is on it */
  uint64_t adopted;             /* chunks, of counts.fresh, that an interrupted
                                   run had written */
  uint64_t bytes;               /* of the files, all of them, also of those of
                                   interrupted runs that are used */
  uint32_t nr_files;            /* the same */
};

/* Back up the disk, which has the size that the header says, and which must
 * not change meanwhile.  Sectors that can't be read are recorded, and told by
 * the result.  job: phase "backing up", or "copying", in bytes of the disk;
 * -ECANCELED.
 * -EFBIG at once for a disk of more chunks than there may be (NBI-16, NBI-103).
 * After a failure the files are torn, and nothing was ended.  Messages about
 * the disk name it; those about files are the place's.
 */
int backup_disk (struct block *disk, const struct backup_options *options,
                 const struct run_place *place, struct backup_result *result,
                 struct job *job, struct err *err);

#endif /* NBDIMAGE_REPO_BACKUP_H */
