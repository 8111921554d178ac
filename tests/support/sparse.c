/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/block/block-ops.h"
#include "tests/support/sparse.h"

/*--- Records ----------------------------------------------------------------*/

static void
add_record (struct sparse *s, const struct sparse_record *r)
{
  if (vector_append (&s->records, r) < 0)
    abort ();
}

static uint64_t
get_u48 (const uint8_t *p)
{
  return get_le32 (p) | (uint64_t) get_le16 (p + 4) << 32;
}

void
sparse_decode (const uint8_t *data, size_t len, struct sparse *out)
{
  uint8_t header[SPARSE_HEADER] = { 0 };

  memset (out, 0, sizeof *out);
  memcpy (header, data, min_u64 (len, sizeof header));
  out->options = header[0];
  out->size = get_le64 (header + 1) & INT64_MAX;
  data += min_u64 (len, sizeof header);
  len -= min_u64 (len, sizeof header);
  while (len > SPARSE_RECORD_HEADER &&
         out->records.len < SPARSE_MAX_RECORDS) {
    struct sparse_record r = {
      .off = get_u48 (data),
      .len = min_u64 (get_le16 (data + 6), len - SPARSE_RECORD_HEADER),
      .bytes = data + SPARSE_RECORD_HEADER,
    };
    size_t whole = SPARSE_RECORD_HEADER + r.len;

    if (r.off < out->size) {
      r.len = min_u64 (r.len, out->size - r.off);
      add_record (out, &r);
    }
    data += whole;
    len -= whole;
  }
}

void
sparse_free (struct sparse *s)
{
  for (size_t i = 0; i < s->records.len; ++i)
    free (s->records.ptr[i].owned);
  vector_free (&s->records);
}

void
sparse_read (const struct sparse *s, void *buf, size_t len, uint64_t off)
{
  memset (buf, 0, len);
  for (size_t i = 0; i < s->records.len; ++i) {
    const struct sparse_record *r = &s->records.ptr[i];
    uint64_t start = max_u64 (r->off, off);
    uint64_t end = min_u64 (r->off + r->len, off + len);

    if (start < end)
      memcpy ((char *) buf + (start - off), r->bytes + (start - r->off),
              end - start);
  }
}

void
sparse_write (struct sparse *s, const void *buf, size_t len, uint64_t off)
{
  struct sparse_record r = { .off = off };

  if (off >= s->size || len == 0)
    return;
  r.len = min_u64 (len, s->size - off);
  r.owned = malloc (r.len);
  if (r.owned == NULL)
    abort ();
  memcpy (r.owned, buf, r.len);
  r.bytes = r.owned;
  add_record (s, &r);
}

/* Returns the bytes it took, 0 if they do not fit. */
static size_t
encode_record (const struct sparse_record *r, uint8_t *out, size_t size)
{
  size_t len = min_u64 (r->len, UINT16_MAX);

  if (size < SPARSE_RECORD_HEADER + len || r->off > SPARSE_MAX_OFF)
    return 0;
  put_le32 (out, (uint32_t) r->off);
  put_le16 (out + 4, (uint16_t) (r->off >> 32));
  put_le16 (out + 6, (uint16_t) len);
  memcpy (out + SPARSE_RECORD_HEADER, r->bytes, len);
  return SPARSE_RECORD_HEADER + len;
}

size_t
sparse_encode (const struct sparse *s, uint8_t *out, size_t size)
{
  size_t used = SPARSE_HEADER;

  if (size < SPARSE_HEADER)
    return 0;
  out[0] = s->options;
  put_le64 (out + 1, s->size);
  for (size_t i = 0; i < s->records.len; ++i) {
    struct sparse_record r = s->records.ptr[i];

    while (r.len > 0) {
      size_t n = encode_record (&r, out + used, size - used);

      if (n == 0)
        return 0;
      used += n;
      n -= SPARSE_RECORD_HEADER;
      r.off += n;
      r.bytes += n;
      r.len -= n;
    }
  }
  return used;
}

/*--- The block --------------------------------------------------------------*/

struct sparse_block {
  struct block base;
  const struct sparse *s;
};

static int
pread_records (struct block *b, void *buf, size_t len, uint64_t off,
               struct err *err)
{
  (void) err;
  sparse_read (((struct sparse_block *) b)->s, buf, len, off);
  return 0;
}

/* Where the next record begins or ends behind off; *here: is off in one? */
static uint64_t
next_edge (const struct sparse *s, uint64_t off, bool *here)
{
  uint64_t edge = UINT64_MAX;

  *here = false;
  for (size_t i = 0; i < s->records.len; ++i) {
    const struct sparse_record *r = &s->records.ptr[i];

    if (r->off > off)
      edge = min_u64 (edge, r->off);
    else if (r->off + r->len > off) {
      edge = min_u64 (edge, r->off + r->len);
      *here = true;
    }
  }
  return edge;
}

static int
record_extents (struct block *b, uint64_t len, uint64_t off,
                struct extent_list *list, struct err *err)
{
  const struct sparse *s = ((struct sparse_block *) b)->s;
  uint64_t end = off + len;
  int r = 0;

  while (r == 0 && off < end && !extent_list_full (list)) {
    bool here;
    uint64_t edge = min_u64 (next_edge (s, off, &here), end);

    r = extent_list_add (list, off, edge - off,
                         here ? EXTENT_DATA : EXTENT_HOLE, 0, err);
    off = edge;
  }
  return r;
}

static const struct block_ops sparse_ops = {
  .pread = pread_records,
  .extents = record_extents,
};

struct block *
sparse_block (const char *name, const struct sparse *s)
{
  struct sparse_block *b = calloc (1, sizeof *b);

  if (b == NULL ||
      block_init (&b->base, &sparse_ops, name, s->size, false, NULL) < 0)
    abort ();
  b->s = s;
  return &b->base;
}
