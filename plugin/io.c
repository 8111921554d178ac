/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "lib/base/checked.h"
#include "plugin/export.h"
#include "plugin/io.h"
#include "plugin/report.h"

/* nbdkit keeps a buffer of the size of the largest request for each of its
 * threads, so this bounds its memory.
 */
#define MAX_REQUEST (UINT32_C (32) * 1024 * 1024)

/* A page of the client, and what disks and file systems use today. */
#define DEFAULT_PREFERRED 4096

/* What nbdkit takes from a plugin. */
#define LARGEST_MINIMUM (UINT32_C (64) * 1024)
#define SMALLEST_PREFERRED 512

/* In an answer to block status: a client that wants more asks again. */
#define MAX_EXTENTS_AT_ONCE 4096

static int
fail (const struct connection *conn, const struct err *err)
{
  return plugin_fail (conn->name, err);
}

/*--- what it is ------------------------------------------------------------*/

int64_t
io_get_size (void *handle)
{
  struct connection *conn = handle;
  uint64_t size = image_size (conn->image);

  if (size > INT64_MAX)
    return plugin_error ("%s: the disk of %" PRIu64 " bytes is larger than "
                         "NBD allows", conn->name, size);
  return (int64_t) size;
}

/* An image may have a minimum (an NBD server below that takes whole blocks
 * only).  Reading is done around it, so that it is for who writes, and for
 * all where it is the size of a sector: a partition table that counts in
 * sectors of 4096 bytes means something else in sectors of 512.  A disk that
 * does not end with a whole block can't state it: clients would leave out its
 * end, or fail there.
 */
static uint32_t
minimum_to_state (struct image *img, const struct block_sizes *sizes)
{
  bool is_sector = sizes->logical == sizes->minimum;

  if ((!image_writable (img) && !is_sector) ||
      !is_power_of_2 (sizes->minimum) || image_size (img) % sizes->minimum != 0)
    return 1;
  return (uint32_t) min_u64 (sizes->minimum, LARGEST_MINIMUM);
}

int
io_block_size (void *handle, uint32_t *minimum, uint32_t *preferred,
               uint32_t *maximum)
{
  struct connection *conn = handle;
  struct block_sizes sizes;
  uint32_t min, pref;

  image_get_sizes (conn->image, &sizes);
  min = minimum_to_state (conn->image, &sizes);
  pref = is_power_of_2 (sizes.preferred) ? sizes.preferred
    : DEFAULT_PREFERRED;
  pref = (uint32_t) max_u64 (pref, max_u64 (sizes.minimum,
                                            SMALLEST_PREFERRED));
  *minimum = min;
  *preferred = (uint32_t) min_u64 (pref, MAX_REQUEST);
  *maximum = MAX_REQUEST;
  return 0;
}

int
io_can_write (void *handle)
{
  struct connection *conn = handle;

  return image_writable (conn->image);
}

/*--- requests --------------------------------------------------------------*/

int
io_pread (void *handle, void *buf, uint32_t count, uint64_t offset,
          uint32_t flags)
{
  struct connection *conn = handle;
  struct err err = ERR_INIT;

  (void) flags;
  if (image_pread (conn->image, buf, count, offset, &err) < 0)
    return fail (conn, &err);
  return 0;
}

static unsigned
block_flags (uint32_t flags)
{
  return (flags & NBDKIT_FLAG_FUA ? BLOCK_FUA : 0) |
    (flags & NBDKIT_FLAG_FAST_ZERO ? BLOCK_FAST : 0);
}

int
io_pwrite (void *handle, const void *buf, uint32_t count, uint64_t offset,
           uint32_t flags)
{
  struct connection *conn = handle;
  struct err err = ERR_INIT;

  if (image_pwrite (conn->image, buf, count, offset, block_flags (flags),
                    &err) < 0)
    return fail (conn, &err);
  return 0;
}

/* -ENOTSUP makes nbdkit write zeros, or tells a client that asked for a fast
 * way that there is none: no failure to speak of.
 */
int
io_zero (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  struct connection *conn = handle;
  unsigned how = block_flags (flags);
  struct err err = ERR_INIT;

  if (!(flags & NBDKIT_FLAG_MAY_TRIM))
    how |= BLOCK_NO_HOLE;
  if (image_zero (conn->image, count, offset, how, &err) == 0)
    return 0;
  if (err.code == -ENOTSUP)
    return plugin_fail_quietly (conn->name, &err);
  return fail (conn, &err);
}

int
io_trim (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  struct connection *conn = handle;
  struct err err = ERR_INIT;

  if (image_trim (conn->image, count, offset, block_flags (flags), &err) < 0)
    return fail (conn, &err);
  return 0;
}

int
io_flush (void *handle, uint32_t flags)
{
  struct connection *conn = handle;
  struct err err = ERR_INIT;

  (void) flags;
  if (image_flush (conn->image, &err) < 0)
    return fail (conn, &err);
  return 0;
}

/* A hint: the client loses nothing when it fails. */
int
io_cache (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  struct connection *conn = handle;
  struct err err = ERR_INIT;

  (void) flags;
  if (image_cache (conn->image, count, offset, &err) < 0)
    plugin_debug ("%s: %s", conn->name, err.msg);
  return 0;
}

/*--- extents ---------------------------------------------------------------*/

/* Only what surely reads as zeros is said to; what the file system does not
 * use is a hole with anything in it.
 */
static uint32_t
nbd_type (enum extent_kind kind)
{
  switch (kind) {
  case EXTENT_ZERO:
    return NBDKIT_EXTENT_ZERO;
  case EXTENT_HOLE:
    return NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO;
  case EXTENT_UNALLOCATED:
    return NBDKIT_EXTENT_HOLE;
  case EXTENT_DATA:
  case EXTENT_UNREADABLE:
    break;
  }
  return 0;
}

/* Nothing behind the request is told: nbdkit would end with an assertion on
 * an extent of 4 GiB, which is what a client that asks about 2³²-1 bytes
 * would get from an image that has more of the same behind them.
 */
int
io_extents (void *handle, uint32_t count, uint64_t offset, uint32_t flags,
            struct nbdkit_extents *extents)
{
  struct connection *conn = handle;
  CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
  uint64_t end = offset + count;
  struct err err = ERR_INIT;

  list.limit = flags & NBDKIT_FLAG_REQ_ONE ? 1 : MAX_EXTENTS_AT_ONCE;
  if (image_extents (conn->image, count, offset, &list, &err) < 0)
    return fail (conn, &err);
  for (size_t i = 0; i < list.v.len; ++i) {
    const struct extent *e = &list.v.ptr[i];

    if (e->off >= end)
      break;
    if (nbdkit_add_extent (extents, e->off, min_u64 (e->len, end - e->off),
                           nbd_type (e->kind)) < 0)
      return -1;
  }
  return 0;
}
