/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/fdio.h"
#include "lib/fsmap/sparse-copy.h"

#define PIECE (256 * 1024)
#define STEP 4096               /* of a piece that can't be read as a whole */
#define MAX_EXTENTS 64          /* asked for at once */

int
sparse_copy_init (struct sparse_copy *copy, struct block *from,
                  struct err *err)
{
  CLEANUP_CLOSE int fd = -1;
  uint64_t size = block_size (from);

  if (size > INT64_MAX)
    return err_set (err, -ENOTSUP, "%" PRIu64 " bytes are too much to look "
                    "for file systems in", size);
  fd = memfd_create ("nbdimage", MFD_CLOEXEC);
  if (fd < 0)
    return err_sys (err, "memfd_create");
  if (ftruncate (fd, (off_t) size) < 0)
    return err_sys (err, "setting the size of a memfd to %" PRIu64, size);
  *copy = (struct sparse_copy) {
    .from = from, .size = size, .fd = steal_fd (&fd),
  };
  return 0;
}

static bool
is_zero (const uint8_t *buf, size_t len)
{
  return buf[0] == 0 && memcmp (buf, buf + 1, len - 1) == 0;
}

int
sparse_copy_go_on (const struct sparse_copy *copy, int r)
{
  return copy->skips && (r == -EIO || r == -EBADMSG) ? 0 : r;
}

static int
copy_piece (struct sparse_copy *copy, uint8_t *buf, uint64_t off, size_t n,
            struct err *err)
{
  int r = block_pread (copy->from, buf, n, off, err);

  return r < 0 || is_zero (buf, n) ? r
    : fd_pwrite (copy->fd, buf, n, off, err);
}

/* What can be read of a piece. */
static int
copy_rest (struct sparse_copy *copy, uint8_t *buf, uint64_t off, size_t len,
           struct err *err)
{
  int r = 0;

  for (size_t done = 0; r == 0 && done < len; done += STEP)
    r = sparse_copy_go_on (copy, copy_piece (copy, buf, off + done,
                                             min_u64 (STEP, len - done), err));
  return r;
}

static int
copy_data (struct sparse_copy *copy, uint64_t off, uint64_t len,
           struct err *err)
{
  CLEANUP_FREE uint8_t *buf = malloc ((size_t) min_u64 (len, PIECE));

  if (buf == NULL)
    return err_nomem (err);
  while (len > 0) {
    size_t n = (size_t) min_u64 (len, PIECE);
    int r = copy_piece (copy, buf, off, n, err);

    if (r < 0 && sparse_copy_go_on (copy, r) == 0)
      r = copy_rest (copy, buf, off, n, err);
    if (r < 0)
      return r;
    off += n;
    len -= n;
  }
  return 0;
}

/* Data is copied, and so is what can't be read: the attempt says why. */
static bool
reads_as_zeros (const struct extent *e)
{
  return e->kind == EXTENT_ZERO || e->kind == EXTENT_HOLE;
}

int
sparse_copy_range (struct sparse_copy *copy, uint64_t off, uint64_t len,
                   struct err *err)
{
  uint64_t end;
  int r = 0;

  if (off >= copy->size)
    return 0;
  end = off + min_u64 (len, copy->size - off);
  while (off < end && r == 0) {
    CLEANUP_EXTENT_LIST struct extent_list list = { .limit = MAX_EXTENTS };

    r = block_extents (copy->from, end - off, off, &list, err);
    for (size_t i = 0; i < list.v.len && r == 0; ++i) {
      const struct extent *e = &list.v.ptr[i];

      if (!reads_as_zeros (e))
        r = copy_data (copy, e->off, e->len, err);
    }
    off = extent_list_end (&list, end);
  }
  return r;
}

void
sparse_copy_close (struct sparse_copy *copy)
{
  if (copy->fd >= 0)
    close (copy->fd);
  copy->fd = -1;
}
