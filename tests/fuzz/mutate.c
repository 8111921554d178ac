/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Changes to sparse images (tests/support/sparse.h) that keep them what they
 * are: most change one number in a structure, some move, copy, cut or drop a
 * record or change the size of the image.  A fifth is left to libFuzzer,
 * which knows what the program compared with.
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "tests/fuzz/fuzz.h"

/* libFuzzer's. */
size_t LLVMFuzzerMutate (uint8_t *data, size_t len, size_t max);
size_t LLVMFuzzerCustomMutator (uint8_t *data, size_t len, size_t max,
                                unsigned seed);

static uint64_t state;

/* splitmix64 */
static uint64_t
next_random (void)
{
  uint64_t z = state += UINT64_C (0x9E3779B97F4A7C15);

  z = (z ^ z >> 30) * UINT64_C (0xBF58476D1CE4E5B9);
  z = (z ^ z >> 27) * UINT64_C (0x94D049BB133111EB);
  return z ^ z >> 31;
}

static uint64_t
below (uint64_t limit)
{
  return limit > 0 ? next_random () % limit : 0;
}

static struct sparse_record *
any_record (struct sparse *s)
{
  return s->records.len > 0 ? &s->records.ptr[below (s->records.len)] : NULL;
}

/* Make a record's bytes ours to change, with room for `more`. */
static uint8_t *
own (struct sparse_record *r, size_t more)
{
  uint8_t *copy = malloc (r->len + more + 1);

  if (copy == NULL)
    abort ();
  memcpy (copy, r->bytes, r->len);
  free (r->owned);
  r->bytes = r->owned = copy;
  return copy;
}

/* A number that may mean something to a structure. */
static uint64_t
any_number (struct sparse *s, uint64_t old)
{
  const struct sparse_record *r = any_record (s);

  switch (below (12)) {
  case 0: return 0;
  case 1: return UINT64_MAX >> below (64);
  case 2: return UINT64_C (1) << below (64);
  case 3: return old + 1;
  case 4: return old - 1;
  case 5: return old ^ UINT64_C (1) << below (64);
  case 6: return s->size;
  case 7: return s->size / 512 - below (4);
  case 8: return r ? r->off : 0;
  case 9: return r ? r->off / (512 << below (4)) : 0;
  case 10: return old * 2;
  default: return below (256);
  }
}

static void
change_number (struct sparse *s)
{
  struct sparse_record *r = any_record (s);
  size_t width = (size_t) 1 << below (4), at;
  bool little = below (2);
  uint64_t value = 0;
  uint8_t *p;

  if (r == NULL || r->len < width)
    return;
  at = below (r->len - width + 1);
  if (below (4) != 0)
    at = round_down (r->off + at, width) >= r->off
      ? round_down (r->off + at, width) - r->off : at;
  p = own (r, 0) + at;
  for (size_t i = 0; i < width; ++i)
    value |= (uint64_t) p[i] << 8 * (little ? i : width - 1 - i);
  value = any_number (s, value);
  for (size_t i = 0; i < width; ++i)
    p[i] = (uint8_t) (value >> 8 * (little ? i : width - 1 - i));
}

static void
change_bytes (struct sparse *s)
{
  struct sparse_record *r = any_record (s);
  size_t at, len;

  if (r == NULL || r->len == 0)
    return;
  at = below (r->len);
  len = 1 + below (min_u64 (r->len - at, 32));
  LLVMFuzzerMutate (own (r, 0) + at, len, len);
}

static void
change_size (struct sparse *s)
{
  const struct sparse_record *r = any_record (s);

  switch (below (6)) {
  case 0: s->size += below (1024); break;
  case 1: s->size -= below (min_u64 (s->size, 1024) + 1); break;
  case 2: s->size = round_up (s->size, 512) + below (2) * 511; break;
  case 3: s->size = r ? r->off + below (r->len + 1) : 512; break;
  case 4: s->size = below (UINT64_C (1) << below (48)); break;
  default: s->size = any_number (s, s->size); break;
  }
  s->size &= INT64_MAX;
}

/* Bytes that are the last ones stay the last ones: a footer does not get lost
 * when the size changes.
 */
static void
move_end (struct sparse *s)
{
  uint64_t old = s->size, end = 0;

  change_size (s);
  for (size_t i = 0; i < s->records.len; ++i)
    if (s->records.ptr[i].off + 4096 >= old &&
        s->size > old - s->records.ptr[i].off)
      s->records.ptr[i].off = s->size - (old - s->records.ptr[i].off);
    else
      end = max_u64 (end, s->records.ptr[i].off);
  if (s->size < end && below (4) != 0)
    s->size = old;
}

static void
move_record (struct sparse *s)
{
  struct sparse_record *r = any_record (s);

  if (r == NULL)
    return;
  if (below (2))
    r->off += (below (64) - 32) << below (13);
  else
    r->off = any_number (s, r->off) & SPARSE_MAX_OFF;
}

static void
copy_record (struct sparse *s)
{
  const struct sparse_record *r = any_record (s);
  size_t at, len;

  if (r == NULL || r->len == 0)
    return;
  at = below (2) ? 0 : below (r->len);
  len = below (2) ? r->len - at : 1 + below (r->len - at);
  /* sparse_write copies, but the vector may move. */
  sparse_write (s, r->bytes + at, len,
                below (2) ? r->off + at + (below (64) << 9)
                          : below (s->size));
}

static void
new_record (struct sparse *s)
{
  uint8_t bytes[16];
  const struct sparse_record *r = any_record (s);
  uint64_t off = r ? r->off + below (r->len + 64) : below (s->size);

  for (size_t i = 0; i < sizeof bytes; ++i)
    bytes[i] = (uint8_t) below (256);
  if (below (2))
    put_be64 (bytes, any_number (s, 1));
  else
    put_le64 (bytes, any_number (s, 1));
  sparse_write (s, bytes, 1 + below (sizeof bytes), off);
}

static void
drop_record (struct sparse *s)
{
  struct sparse_record *r = any_record (s);

  if (r == NULL)
    return;
  free (r->owned);
  *r = s->records.ptr[--s->records.len];
}

static void
mutate (struct sparse *s)
{
  static void (*const changes[]) (struct sparse *) = {
    change_number, change_number, change_number, change_number,
    change_bytes, change_bytes, change_size, move_end, move_record,
    copy_record, new_record, drop_record,
  };

  for (uint64_t n = 1 + below (3); n > 0; --n)
    changes[below (sizeof changes / sizeof changes[0])] (s);
  if (below (16) == 0)
    s->options ^= (uint8_t) (1U << below (8));
  if (below (4) != 0)
    s->options |= SPARSE_FIX;
}

size_t
LLVMFuzzerCustomMutator (uint8_t *data, size_t len, size_t max, unsigned seed)
{
  struct sparse s;
  uint8_t *out;
  size_t n;

  state = seed;
  if (len < SPARSE_HEADER || below (5) == 0)
    return LLVMFuzzerMutate (data, len, max);
  sparse_decode (data, len, &s);
  mutate (&s);
  out = malloc (max);
  if (out == NULL)
    abort ();
  n = sparse_encode (&s, out, max);
  if (n > 0)
    memcpy (data, out, n);
  free (out);
  sparse_free (&s);
  return n > 0 ? n : LLVMFuzzerMutate (data, len, max);
}
