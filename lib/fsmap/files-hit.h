/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which files of a file system have bytes in some ranges of it, and are damaged
 * when these are lost?
 *
 * A program of its own finds that out, nbdimage-files (tools/files/), with
 * libtsk, which knows ext2 to ext4, NTFS, FAT, exFAT, HFS+, UFS and ISO 9660:
 * nobody wrote that for images that are damaged, or malicious.  It asks for
 * what it reads (files-protocol.h), and may crash.
 */

#ifndef NBDIMAGE_FSMAP_FILES_HIT_H
#define NBDIMAGE_FSMAP_FILES_HIT_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/err.h"
#include "lib/base/job.h"
#include "lib/base/vector.h"
#include "lib/block/block.h"

struct fs_range {
  uint64_t off, len;            /* bytes of the partition; len is not 0 */
};

struct fs_hit {
  char *path;                   /* from the file system's root: "/etc/fstab" */
  uint64_t size;                /* bytes of the file */
  uint64_t hit;                 /* bytes of its blocks in the ranges */
};

DEFINE_VECTOR (fs_hit_vector, struct fs_hit);

struct fs_hits {
  struct fs_hit_vector v;       /* in the order of its folders; a file of
                                   several names comes with each of them */
  char *note;                   /* why there may be more, or none could be
                                   told: a sentence without full stop; NULL:
                                   these are all */
};

#define FS_HITS_INIT { VECTOR_INIT, NULL }

/* The ranges ascend and do not touch.  program: nbdimage-files; NULL: beside
 * the program that runs, or where it is installed.  What can't be told is a
 * note; errors are -ENOMEM, -ECANCELED, and those of the system.  The caller
 * frees *out with fs_hits_free when this succeeded.  The thread that calls this
 * reads the block.
 */
int fs_files_hit (struct block *partition, const struct fs_range *ranges,
                  size_t nr_ranges, const char *program, struct fs_hits *out,
                  struct job *job, struct err *err);

void fs_hits_free (struct fs_hits *hits);

#endif /* NBDIMAGE_FSMAP_FILES_HIT_H */
