/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A fixed VHD is its disk and then a footer, of which there is no copy.  While
 * the file is longer than the footer says, the disk has the size in the
 * footer; that is what keeps it whole on the way:
 *
 *   grow     1. The footer, as it is, is written at the new end, with zeros
 *               in between.  fdatasync.
 *            2. Behind the old disk, where the old footer is, come zeros.
 *               fdatasync.
 *            3. The footer at the end gets the new size.  fdatasync.
 *   shrink   1. The footer at the end gets the new size.  fdatasync.
 *            2. It is written behind the new disk.  fdatasync.
 *            3. The file is cut off behind that.  fdatasync.
 *
 * A crash leaves the old disk until 3, or 1, and then the new one; and if the
 * file is longer than its footer says, the same again goes on.
 *
 * One thing the file system has to see to: that 1 of growing leaves the new
 * size of the file with the footer, or the old size.  Those that write the
 * data of an append before its size (ext4 unless data=writeback, XFS, btrfs)
 * do; on others the footer may be lost if the power fails just then.  It lies
 * where it was, and the disk in front of it is whole; the file is taken for
 * raw, with a warning, as one that was cut off is.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/vhd/vhd-resize.h"

#define PIECE (1024 * 1024)

static uint64_t
stated_size (const struct vhd_edit *e)
{
  return e->layer->footers.footer.current_size;
}

static bool
is_zero (const uint8_t *p, size_t len)
{
  return len == 0 || (p[0] == 0 && memcmp (p, p + 1, len - 1) == 0);
}

/* Is the range of the file zero, but for sectors that are the footer? */
static int
see_rest (struct vhd_edit *e, uint64_t off, uint64_t len, bool *zero,
          struct err *err)
{
  CLEANUP_FREE uint8_t *buf = malloc (PIECE);

  if (buf == NULL)
    return err_nomem (err);
  for (*zero = true; *zero && len > 0;) {
    CLEANUP_EXTENT_LIST struct extent_list list = { .limit = 1 };
    uint64_t n = min_u64 (len, PIECE);
    int r = block_extents (e->block, len, off, &list, err);

    if (r == 0 && list.v.ptr[0].kind == EXTENT_HOLE)
      n = list.v.ptr[0].len;
    else if (r == 0)
      r = block_pread (e->block, buf, (size_t) n, off, err);
    if (r < 0)
      return r;
    for (size_t i = 0; list.v.ptr[0].kind != EXTENT_HOLE && *zero && i < n;
         i += VHD_SECTOR_SIZE)
      *zero = is_zero (buf + i, (size_t) min_u64 (VHD_SECTOR_SIZE, n - i)) ||
        memcmp (buf + i, e->footer, VHD_FOOTER_SIZE) == 0;
    off += n;
    len -= n;
  }
  return 0;
}

int
vhd_resize_fixed_plan (struct vhd_edit *e, struct image_resize_plan *plan,
                       struct err *err)
{
  uint64_t end = e->layer->footers.end, stated = stated_size (e);
  bool zero = true;
  int r;

  if (end < stated)
    return err_set (err, -EROFS, "can't be changed: its footer states a size "
                    "of %" PRIu64 " bytes, and only %" PRIu64 " are in front "
                    "of it", stated, end);
  if (plan->size > INT64_MAX - VHD_FOOTER_SIZE)
    return err_set (err, -EINVAL, "a fixed VHD with a disk of %" PRIu64
                    " bytes can't be", plan->size);
  plan->is_done = plan->size == stated && end == stated;
  plan->is_interrupted = end != stated;
  r = see_rest (e, stated, end - stated, &zero, err);
  if (r == 0)
    plan->loses_rest = !zero;
  return r;
}

static int
write_and_flush (struct vhd_edit *e, uint64_t off, struct err *err)
{
  int r = block_pwrite (e->block, e->footer, VHD_FOOTER_SIZE, off, 0, err);

  return r < 0 ? r : block_flush (e->block, err);
}

/* The footer, whatever it says, at another end; nothing that the disk has
 * lies behind it.
 */
static int
move_end (struct vhd_edit *e, uint64_t end, struct err *err)
{
  uint64_t old_end = e->layer->footers.end;
  int r;

  if (end == old_end)
    return 0;
  if (end > old_end)
    r = block_append (e->block, e->footer, VHD_FOOTER_SIZE, end, err);
  else {
    r = write_and_flush (e, end, err);
    if (r == 0)
      r = block_resize (e->block, end + VHD_FOOTER_SIZE, err);
  }
  return r < 0 ? r : block_flush (e->block, err);
}

static int
grow (struct vhd_edit *e, uint64_t size, struct err *err)
{
  uint64_t stated = stated_size (e);
  int r = move_end (e, size, err);

  if (r == 0)
    r = block_zero (e->block, size - stated, stated, 0, err);
  if (r == 0)
    r = block_flush (e->block, err);
  if (r < 0)
    return r;
  vhd_edit_put_size (e->footer, size);
  return write_and_flush (e, size, err);
}

static int
shrink (struct vhd_edit *e, uint64_t size, struct err *err)
{
  int r = 0;

  if (size != stated_size (e)) {
    vhd_edit_put_size (e->footer, size);
    r = write_and_flush (e, e->layer->footers.end, err);
  }
  return r < 0 ? r : move_end (e, size, err);
}

int
vhd_resize_fixed (struct vhd_edit *e, uint64_t size, struct err *err)
{
  return size > stated_size (e) ? grow (e, size, err) : shrink (e, size, err);
}
