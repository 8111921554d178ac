/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A file as it is once its log was replayed, without touching it: where the
 * log has something to say, the page comes out of the log, elsewhere the
 * file.  Both are read when they are asked for.  And the same in the file
 * itself.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/block/block-ops.h"
#include "lib/format/vhdx/vhdx.h"

struct replay_block {
  struct block base;
  struct block *below;
  uint64_t log_off;             /* bytes */
  struct vhdx_piece_vector pieces;
};

static struct replay_block *
replay (struct block *b)
{
  return (struct replay_block *) b;
}

static void
replay_close (struct block *b)
{
  block_unref (replay (b)->below);
  vector_free (&replay (b)->pieces);
}

/* The first piece that ends behind the page, NULL: none. */
static const struct vhdx_piece *
find_piece (const struct vhdx_piece_vector *v, uint64_t page)
{
  size_t low = 0, high = v->len;

  while (low < high) {
    size_t mid = (low + high) / 2;

    if (v->ptr[mid].page + v->ptr[mid].nr_pages > page)
      high = mid;
    else
      low = mid + 1;
  }
  return low < v->len ? &v->ptr[low] : NULL;
}

/* The first 8 and the last 4 bytes of a page are in the descriptor, because
 * signature and sequence number have their places.
 */
static int
read_page (struct replay_block *rb, const struct vhdx_piece *piece,
           uint8_t page[VHDX_PAGE], struct err *err)
{
  uint8_t desc[VHDX_DESC_SIZE];
  int r;

  r = block_pread (rb->below, page, VHDX_PAGE,
                   rb->log_off + (uint64_t) piece->data * VHDX_PAGE, err);
  if (r == 0)
    r = block_pread (rb->below, desc, sizeof desc,
                     rb->log_off + (uint64_t) piece->desc * VHDX_DESC_SIZE,
                     err);
  if (r < 0)
    return r;
  memcpy (page, desc + VHDX_DESC_LEADING, VHDX_DATA_BYTES);
  memcpy (page + VHDX_DATA_LOW, desc + VHDX_DESC_TRAILING, 4);
  return 0;
}

/* A part of one piece. */
static int
read_piece (struct replay_block *rb, const struct vhdx_piece *piece,
            void *buf, size_t len, uint64_t off, struct err *err)
{
  uint8_t page[VHDX_PAGE];
  int r;

  if (piece->data == VHDX_PIECE_ZERO) {
    memset (buf, 0, len);
    return 0;
  }
  r = read_page (rb, piece, page, err);
  if (r == 0)
    memcpy (buf, page + off % VHDX_PAGE, len);
  return r;
}

/* Replaying may have made the file longer. */
static int
read_file (struct replay_block *rb, char *buf, size_t len, uint64_t off,
           struct err *err)
{
  uint64_t size = block_size (rb->below);
  size_t has = off < size ? (size_t) min_u64 (len, size - off) : 0;

  memset (buf + has, 0, len - has);
  return has > 0 ? block_pread (rb->below, buf, has, off, err) : 0;
}

static int
replay_pread (struct block *b, void *buf, size_t len, uint64_t off,
              struct err *err)
{
  struct replay_block *rb = replay (b);
  char *p = buf;
  int r = 0;

  while (r == 0 && len > 0) {
    const struct vhdx_piece *piece = find_piece (&rb->pieces, off / VHDX_PAGE);
    uint64_t start = piece ? piece->page * VHDX_PAGE : UINT64_MAX, n;

    if (start <= off) {
      n = min_u64 (len, (piece->page + piece->nr_pages) * VHDX_PAGE - off);
      r = read_piece (rb, piece, p, (size_t) n, off, err);
    }
    else {
      n = min_u64 (len, start - off);
      r = read_file (rb, p, (size_t) n, off, err);
    }
    p += n;
    off += n;
    len -= (size_t) n;
  }
  return r;
}

static int
replay_cache (struct block *b, uint64_t len, uint64_t off, struct err *err)
{
  struct replay_block *rb = replay (b);
  uint64_t size = block_size (rb->below);

  return off < size ? block_cache (rb->below, min_u64 (len, size - off), off,
                                   err) : 0;
}

static const struct block_ops replay_ops = {
  .close = replay_close,
  .pread = replay_pread,
  .cache = replay_cache,
};

int
vhdx_replay_new (struct block *below, const struct vhdx_header *header,
                 struct vhdx_log *log, struct block **out, struct err *err)
{
  struct replay_block *rb = calloc (1, sizeof *rb);
  int r;

  if (rb == NULL)
    return err_nomem (err);
  r = block_init (&rb->base, &replay_ops, block_name (below), log->file_size,
                  false, err);
  if (r < 0) {
    free (rb);
    return r;
  }
  block_get_sizes (below, &rb->base.sizes);
  rb->below = block_ref (below);
  rb->log_off = header->log_off;
  rb->pieces = log->pieces;
  log->pieces = (struct vhdx_piece_vector) VECTOR_INIT;
  *out = &rb->base;
  return 0;
}

/*--- Into the file ----------------------------------------------------------*/

static int
write_piece (struct replay_block *rb, const struct vhdx_piece *piece,
             struct err *err)
{
  uint64_t off = piece->page * VHDX_PAGE;
  uint8_t page[VHDX_PAGE];
  int r;

  if (piece->data == VHDX_PIECE_ZERO)
    return block_zero (rb->below, piece->nr_pages * VHDX_PAGE, off, 0, err);
  r = read_page (rb, piece, page, err);
  return r < 0 ? r : block_pwrite (rb->below, page, VHDX_PAGE, off, 0, err);
}

int
vhdx_replay_into (struct block *replayed, struct err *err)
{
  struct replay_block *rb = replay (replayed);
  int r = 0;

  if (block_size (replayed) > block_size (rb->below))
    r = block_resize (rb->below, block_size (replayed), err);
  for (size_t i = 0; r == 0 && i < rb->pieces.len; ++i)
    r = write_piece (rb, &rb->pieces.ptr[i], err);
  return r;
}
