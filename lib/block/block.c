/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/block/block-ops.h"

/* How many zeros are written at once where an implementation has no better
 * way.
 */
#define ZERO_CHUNK (64 * 1024)

int
block_init (struct block *b, const struct block_ops *ops, const char *name,
            uint64_t size, bool writable, struct err *err)
{
  b->name = strdup (name);
  if (b->name == NULL)
    return err_nomem (err);
  b->ops = ops;
  b->refs = 1;
  b->size = size;
  b->writable = writable;
  b->sizes = (struct block_sizes) { .minimum = 1 };
  return 0;
}

struct block *
block_ref (struct block *b)
{
  __atomic_add_fetch (&b->refs, 1, __ATOMIC_RELAXED);
  return b;
}

void
block_unref (struct block *b)
{
  if (b == NULL || __atomic_sub_fetch (&b->refs, 1, __ATOMIC_ACQ_REL) > 0)
    return;
  if (b->ops->close)
    b->ops->close (b);
  free (b->name);
  free (b);
}

void
block_cleanup (struct block **b)
{
  block_unref (*b);
}

uint64_t
block_size (const struct block *b)
{
  return __atomic_load_n (&b->size, __ATOMIC_ACQUIRE);
}

static void
set_size (struct block *b, uint64_t size)
{
  __atomic_store_n (&b->size, size, __ATOMIC_RELEASE);
}

const char *
block_name (const struct block *b)
{
  return b->name;
}

bool
block_writable (const struct block *b)
{
  return b->writable;
}

void
block_get_sizes (const struct block *b, struct block_sizes *sizes)
{
  *sizes = b->sizes;
}

static int
check_range (const struct block *b, uint64_t len, uint64_t off,
             struct err *err)
{
  uint64_t size = block_size (b);

  if (!range_fits (off, len, size))
    return err_set (err, -EINVAL, "%" PRIu64 " bytes at offset %" PRIu64
                    " are not inside its %" PRIu64 " bytes",
                    len, off, size);
  return 0;
}

static int
check_write (const struct block *b, uint64_t len, uint64_t off,
             struct err *err)
{
  if (!b->writable)
    return err_set (err, -EROFS, "is open for reading only");
  return check_range (b, len, off, err);
}

int
block_pread (struct block *b, void *buf, size_t len, uint64_t off,
             struct err *err)
{
  int r = check_range (b, len, off, err);

  if (r < 0 || len == 0)
    return r;
  return b->ops->pread (b, buf, len, off, err);
}

int
block_pwrite (struct block *b, const void *buf, size_t len, uint64_t off,
              unsigned flags, struct err *err)
{
  int r = check_write (b, len, off, err);

  if (r < 0 || len == 0)
    return r;
  return b->ops->pwrite (b, buf, len, off, flags, err);
}

int
block_pwrite_through (struct block *b, const void *buf, size_t len,
                      uint64_t off, struct err *err)
{
  int r = check_write (b, len, off, err);

  if (r < 0 || len == 0)
    return r;
  if (b->ops->pwrite_through)
    return b->ops->pwrite_through (b, buf, len, off, err);
  r = b->ops->pwrite (b, buf, len, off, 0, err);
  return r < 0 ? r : block_flush (b, err);
}

int
block_write_zeros (struct block *b, uint64_t len, uint64_t off,
                   unsigned flags, struct err *err)
{
  static const char zeros[ZERO_CHUNK];
  int r = 0;

  if (flags & BLOCK_FAST)
    return err_set (err, -ENOTSUP, "no fast way to write zeros");
  while (r == 0 && len > 0) {
    size_t n = (size_t) min_u64 (len, sizeof zeros);

    r = b->ops->pwrite (b, zeros, n, off, 0, err);
    len -= n;
    off += n;
  }
  /* One flush for all of them. */
  if (r == 0 && flags & BLOCK_FUA)
    r = block_flush (b, err);
  return r;
}

int
block_zero (struct block *b, uint64_t len, uint64_t off, unsigned flags,
            struct err *err)
{
  int r = check_write (b, len, off, err);

  if (r < 0 || len == 0)
    return r;
  if (b->ops->zero == NULL)
    return block_write_zeros (b, len, off, flags, err);
  return b->ops->zero (b, len, off, flags, err);
}

int
block_trim (struct block *b, uint64_t len, uint64_t off, unsigned flags,
            struct err *err)
{
  int r = check_write (b, len, off, err);

  if (r < 0 || len == 0 || b->ops->trim == NULL)
    return r;
  return b->ops->trim (b, len, off, flags, err);
}

int
block_flush (struct block *b, struct err *err)
{
  if (!b->writable || b->ops->flush == NULL)
    return 0;
  return b->ops->flush (b, err);
}

int
block_extents (struct block *b, uint64_t len, uint64_t off,
               struct extent_list *list, struct err *err)
{
  int r = check_range (b, len, off, err);

  if (r < 0 || len == 0)
    return r;
  if (b->ops->extents == NULL)
    return extent_list_add (list, off, len, EXTENT_DATA, 0, err);
  return b->ops->extents (b, len, off, list, err);
}

int
block_cache (struct block *b, uint64_t len, uint64_t off, struct err *err)
{
  int r = check_range (b, len, off, err);

  if (r < 0 || len == 0 || b->ops->cache == NULL)
    return r;
  return b->ops->cache (b, len, off, err);
}

/*--- Size -------------------------------------------------------------------*/

bool
block_can_resize (const struct block *b)
{
  return b->can_resize;
}

static int
check_resize (const struct block *b, uint64_t size, struct err *err)
{
  if (!b->writable)
    return err_set (err, -EROFS, "is open for reading only");
  if (!b->can_resize)
    return err_set (err, -ENOTSUP, "can't change its size");
  if (size > INT64_MAX)
    return err_set (err, -EFBIG, "can't be of %" PRIu64 " bytes", size);
  return 0;
}

int
block_append (struct block *b, const void *buf, size_t len, uint64_t off,
              struct err *err)
{
  uint64_t end;
  int r;

  if (!checked_add (off, len, &end))
    end = UINT64_MAX;
  r = check_resize (b, end, err);
  if (r == 0 && end <= block_size (b))
    return block_pwrite (b, buf, len, off, 0, err);
  if (r == 0)
    r = b->ops->append (b, buf, len, off, err);
  if (r == 0)
    set_size (b, end);
  return r;
}

int
block_resize (struct block *b, uint64_t size, struct err *err)
{
  int r = check_resize (b, size, err);

  if (r == 0)
    r = b->ops->resize (b, size, err);
  if (r == 0)
    set_size (b, size);
  return r;
}
