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
#include "lib/format/compressed/fingerprint.h"

#define END_SIZE (64 * 1024)

int
fingerprint_of (struct block *file, struct fingerprint *fp, struct err *err)
{
  size_t len = (size_t) min_u64 (block_size (file), END_SIZE);
  CLEANUP_FREE uint8_t *buf = malloc (END_SIZE);
  struct fingerprint f = { .size = block_size (file) };
  int fd = block_file_fd (file), r;
  struct stat st;

  if (buf == NULL)
    return err_nomem (err);
  if (fd >= 0 && fstat (fd, &st) < 0)
    return err_sys (err, "fstat");
  if (fd >= 0 && S_ISREG (st.st_mode)) {
    f.is_file = true;
    f.inode = st.st_ino;
    f.mtime = st.st_mtim.tv_sec;
    f.mtime_ns = (uint32_t) st.st_mtim.tv_nsec;
    if ((uint64_t) st.st_size != f.size)
      return err_set (err, -EIO, "its size changed while it was open");
  }
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
