/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <xxhash.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/block/file.h"
#include "lib/block/split.h"
#include "lib/format/compressed/fingerprint.h"

#define END_SIZE (64 * 1024)

static int
look_at (struct block *file, struct fingerprint *f, struct err *err)
{
  int fd = block_file_fd (file);
  struct stat st;

  if (fd >= 0 && fstat (fd, &st) < 0)
    return err_sys (err, "fstat");
  if (fd < 0 || !S_ISREG (st.st_mode))
    return 0;
  f->is_file = true;
  f->inode = st.st_ino;
  f->mtime = st.st_mtim.tv_sec;
  f->mtime_ns = (uint32_t) st.st_mtim.tv_nsec;
  if ((uint64_t) st.st_size != block_size (file))
    return err_set (err, -EIO, "its size changed while it was open");
  return 0;
}

/* The time is that of the newest, the inode a hash of those and of the times
 * of all.
 */
static int
look_at_pieces (struct block *file, struct fingerprint *f, struct err *err)
{
  XXH64_hash_t hash = 0;

  f->is_file = true;
  for (size_t i = 0; i < block_split_nr (file); ++i) {
    struct fingerprint piece = { .is_file = false };
    uint64_t facts[4];
    int r = look_at (block_split_piece (file, i), &piece, err);

    if (r < 0)
      return r;
    facts[0] = hash;
    facts[1] = piece.inode;
    facts[2] = (uint64_t) piece.mtime;
    facts[3] = piece.mtime_ns;
    hash = XXH3_64bits (facts, sizeof facts);
    f->is_file = f->is_file && piece.is_file;
    if (piece.mtime > f->mtime)
      f->mtime = piece.mtime;
  }
  f->inode = hash;
  return 0;
}

int
fingerprint_of (struct block *file, struct fingerprint *fp, struct err *err)
{
  size_t len = (size_t) min_u64 (block_size (file), END_SIZE);
  CLEANUP_FREE uint8_t *buf = malloc (END_SIZE);
  struct fingerprint f = { .size = block_size (file) };
  int r;

  if (buf == NULL)
    return err_nomem (err);
  r = block_split_nr (file) > 0 ? look_at_pieces (file, &f, err)
                                : look_at (file, &f, err);
  if (r < 0)
    return r;
  r = block_pread (file, buf, len, 0, err);
  if (r < 0)
    return r;
  f.head = XXH3_64bits (buf, len);
  r = block_pread (file, buf, len, f.size - len, err);
  if (r < 0)
    return r;
  f.tail = XXH3_64bits (buf, len);
  *fp = f;
  return 0;
}

bool
fingerprint_same (const struct fingerprint *a, const struct fingerprint *b)
{
  return a->is_file == b->is_file && a->inode == b->inode &&
    a->mtime == b->mtime && a->mtime_ns == b->mtime_ns &&
    a->size == b->size && a->head == b->head && a->tail == b->tail;
}
