/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <string.h>

#include "lib/base/bytes.h"
#include "lib/format/compressed/zstd-track.h"

#define DICTIONARY_MAGIC 0xEC30A437

enum { LITERALS, OFFSETS, MATCHES };    /* the order in the modes */

#define MAX_SYMBOLS 53

static const struct {
  unsigned log, max_log;
  unsigned nr;                  /* symbols */
  int16_t usual[MAX_SYMBOLS];    /* the predefined ones (§3.1.1.3.2.2) */
} kinds[3] = {
  [LITERALS] = { 6, 9, 36,
    { 4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2,
      2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1 } },
  [OFFSETS] = { 5, 8, 29,
    { 1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
      -1, -1, -1, -1, -1 } },
  [MATCHES] = { 6, 9, 53,
    { 1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
      1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1,
      -1, -1, -1, -1, -1 } },
};

/* How many bits follow a code (§3.1.1.3.2.1.1). */
static const uint8_t literal_bits[36] = {
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 6,
  7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
};
static const uint8_t match_bits[53] = {
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
  0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13,
  14, 15, 16,
};

static unsigned
highest_bit (uint32_t v)
{
  return 31 - (unsigned) __builtin_clz (v);
}

/*--- Tables (§4.1) ----------------------------------------------------------*/

/* Bits from the front, the lowest first. */
struct bits {
  const uint8_t *p;
  size_t len;                   /* bytes */
  size_t pos;                   /* bits */
};

static uint32_t
get (const struct bits *b, size_t pos, unsigned n)
{
  uint32_t v = 0;

  for (unsigned i = 0; i < n; ++i, ++pos)
    if (pos / 8 < b->len)
      v |= (uint32_t) (b->p[pos / 8] >> (pos % 8) & 1) << i;
  return v;
}

/* The next number of a distribution of which `left' is not given away yet. */
static int
get_count (struct bits *b, int left)
{
  unsigned bits = highest_bit ((uint32_t) left + 1) + 1;
  uint32_t v = get (b, b->pos, bits), low = (1U << (bits - 1)) - 1;
  uint32_t threshold = (1U << bits) - 1 - ((uint32_t) left + 1);

  b->pos += bits;
  if ((v & low) < threshold) {
    b->pos--;
    v &= low;
  }
  else if (v > low)
    v -= threshold;
  return (int) v - 1;
}

/* Its length in bytes, 0 if it is wrong. */
static size_t
read_counts (const uint8_t *p, size_t len, int kind, unsigned *log,
             int16_t counts[MAX_SYMBOLS])
{
  struct bits b = { p, len, 4 };
  unsigned n = 0;
  int left;

  *log = (unsigned) get (&b, 0, 4) + 5;
  if (*log > kinds[kind].max_log)
    return 0;
  left = 1 << *log;
  memset (counts, 0, MAX_SYMBOLS * sizeof *counts);
  while (left > 0) {
    int count;

    if (n >= MAX_SYMBOLS)
      return 0;
    count = get_count (&b, left);
    left -= count < 0 ? 1 : count;
    counts[n++] = (int16_t) count;
    if (count == 0) {
      uint32_t more;

      do {
        more = get (&b, b.pos, 2);
        b.pos += 2;
        n += more;
      } while (more == 3 && n < MAX_SYMBOLS);
    }
  }
  return left == 0 && b.pos <= 8 * len ? (b.pos + 7) / 8 : 0;
}

/* The other way round, without zeros in between. */
static size_t
write_counts (const int16_t *counts, unsigned nr, unsigned log, uint8_t *out)
{
  size_t pos = 4;
  int left = 1 << log;

  memset (out, 0, ZSTD_TRACK_TABLE);
  out[0] = (uint8_t) (log - 5);
  for (unsigned i = 0; i < nr; ++i) {
    unsigned bits = highest_bit ((uint32_t) left + 1) + 1;
    uint32_t low = (1U << (bits - 1)) - 1, v = (uint32_t) (counts[i] + 1);
    uint32_t threshold = (1U << bits) - 1 - ((uint32_t) left + 1);

    if (v < threshold)
      bits--;
    else if (v > low)
      v += threshold;
    for (unsigned j = 0; j < bits; ++j, ++pos)
      out[pos / 8] |= (uint8_t) ((v >> j & 1) << (pos % 8));
    left -= counts[i] < 0 ? 1 : counts[i];
  }
  return (pos + 7) / 8;
}

static void
build (struct zstd_table *t, const int16_t *counts, unsigned log)
{
  unsigned size = 1U << log, high = size, pos = 0;
  unsigned step = (size >> 1) + (size >> 3) + 3;
  uint16_t next[MAX_SYMBOLS];

  t->log = log;
  for (unsigned s = 0; s < MAX_SYMBOLS; ++s)
    if (counts[s] == -1) {
      t->cells[--high].symbol = (uint8_t) s;
      next[s] = 1;
    }
  for (unsigned s = 0; s < MAX_SYMBOLS; ++s) {
    if (counts[s] <= 0)
      continue;
    next[s] = (uint16_t) counts[s];
    for (int i = 0; i < counts[s]; ++i) {
      t->cells[pos].symbol = (uint8_t) s;
      do
        pos = (pos + step) & (size - 1);
      while (pos >= high);
    }
  }
  for (unsigned i = 0; i < size; ++i) {
    struct zstd_cell *c = &t->cells[i];
    uint16_t v = next[c->symbol]++;

    c->bits = (uint8_t) (log - highest_bit (v));
    c->base = (uint16_t) ((v << c->bits) - size);
  }
}

static void
set_usual (struct zstd_table *t, int kind)
{
  t->len = write_counts (kinds[kind].usual, kinds[kind].nr, kinds[kind].log,
                         t->description);
  build (t, kinds[kind].usual, kinds[kind].log);
}

/* By its mode; the bytes it took, or -1. */
static int
read_table (struct zstd_table *t, int kind, unsigned mode, const uint8_t *p,
            size_t len)
{
  int16_t counts[MAX_SYMBOLS];
  unsigned log;
  size_t n;

  switch (mode) {
  case 0:
    set_usual (t, kind);
    return 0;
  case 1:
    if (len < 1 || p[0] >= MAX_SYMBOLS)
      return -1;
    t->len = 0;
    t->log = 0;
    t->cells[0] = (struct zstd_cell) { p[0], 0, 0 };
    return 1;
  case 2:
    n = read_counts (p, len < ZSTD_TRACK_TABLE ? len : ZSTD_TRACK_TABLE, kind,
                     &log, counts);
    if (n == 0)
      return -1;
    memcpy (t->description, p, n);
    t->len = n;
    build (t, counts, log);
    return (int) n;
  default:
    return 0;                   /* the one before */
  }
}

/*--- Blocks -----------------------------------------------------------------*/

/* The section of literals (§3.1.1.3.1): its length, 0 if it is wrong. */
static size_t
pass_literals (struct zstd_track *t, const uint8_t *p, size_t len)
{
  unsigned type = p[0] & 3, format = p[0] >> 2 & 3;
  size_t header, size, stored;
  uint64_t h = 0;

  if (type < 2) {
    header = format == 1 ? 2 : format == 3 ? 3 : 1;
    if (len < header)
      return 0;
    memcpy (&h, p, header);
    h = le64toh (h);
    size = (size_t) (h >> (header == 1 ? 3 : 4));
    return header + (type == 0 ? size : 1);
  }
  header = format < 2 ? 3 : format + 2;
  if (len < header)
    return 0;
  memcpy (&h, p, header);
  h = le64toh (h);
  stored = (size_t) (h >> (format < 2 ? 14 : format == 2 ? 18 : 22));
  if (type == 2) {              /* a tree, and what is coded with it */
    const uint8_t *tree = p + header;

    if (len <= header)
      return 0;
    size = tree[0] < 128 ? tree[0] + 1U : (tree[0] - 127U + 1) / 2 + 1;
    if (size > stored || size > len - header || size > sizeof t->tree)
      return 0;
    memcpy (t->tree, tree, size);
    t->tree_len = size;
  }
  return header + stored;
}

/* The stream is read from its end, the highest bits first; pos is the number of
 * bits that are left.
 */
static uint32_t
get_back (const struct bits *b, size_t *pos, unsigned n)
{
  uint64_t v = 0;
  size_t from, byte;

  if (n > *pos) {               /* libzstd has decoded it: never */
    *pos = 0;
    return 0;
  }
  *pos -= n;
  from = *pos;
  byte = from / 8;
  memcpy (&v, b->p + byte, b->len - byte < 8 ? b->len - byte : 8);
  return (uint32_t) (le64toh (v) >> (from % 8) & ((UINT64_C (1) << n) - 1));
}

static void
use_offset (uint32_t o[3], uint32_t value, bool no_literals)
{
  uint32_t offset;

  if (value > 3)
    offset = value - 3;
  else {
    uint32_t i = value - 1 + no_literals;

    if (i == 0)
      return;
    offset = i < 3 ? o[i] : o[0] - 1;
    if (i == 1) {
      o[1] = o[0];
      o[0] = offset;
      return;
    }
  }
  o[2] = o[1];
  o[1] = o[0];
  o[0] = offset;
}

static unsigned
first_state (const struct zstd_table *t, const struct bits *b, size_t *pos)
{
  return get_back (b, pos, t->log);
}

static unsigned
next_state (const struct zstd_cell *c, const struct bits *b, size_t *pos)
{
  return c->base + get_back (b, pos, c->bits);
}

/* §3.1.1.3.2.1.2 */
static bool
pass_sequences (struct zstd_track *t, const uint8_t *p, size_t len, size_t nr)
{
  const struct bits b = { p, len, 0 };
  const struct zstd_table *tables = t->tables;
  unsigned l, o, m;
  size_t pos;

  if (len == 0 || p[len - 1] == 0)
    return false;
  pos = 8 * (len - 1) + highest_bit (p[len - 1]);
  l = first_state (&tables[LITERALS], &b, &pos);
  o = first_state (&tables[OFFSETS], &b, &pos);
  m = first_state (&tables[MATCHES], &b, &pos);
  while (nr-- > 0) {
    const struct zstd_cell *lc = &tables[LITERALS].cells[l];
    const struct zstd_cell *oc = &tables[OFFSETS].cells[o];
    const struct zstd_cell *mc = &tables[MATCHES].cells[m];

    if (lc->symbol >= 36 || oc->symbol >= 32)
      return false;
    use_offset (t->offsets, (uint32_t) ((UINT64_C (1) << oc->symbol) +
                                        get_back (&b, &pos, oc->symbol)),
                lc->symbol == 0);
    get_back (&b, &pos, match_bits[mc->symbol]);
    get_back (&b, &pos, literal_bits[lc->symbol]);
    if (nr == 0)
      break;
    l = next_state (lc, &b, &pos);
    m = next_state (mc, &b, &pos);
    o = next_state (oc, &b, &pos);
  }
  return pos == 0;
}

bool
zstd_track_block (struct zstd_track *t, const uint8_t *block, size_t len)
{
  size_t off = len > 0 ? pass_literals (t, block, len) : 0, nr, header;
  uint8_t modes;

  if (off == 0 || off >= len)
    return false;
  nr = block[off];
  header = nr < 128 ? 1 : nr < 255 ? 2 : 3;
  if (nr == 0)
    return off + 1 == len;
  if (len - off < header + 1)
    return false;
  if (header == 2)
    nr = (nr - 128) << 8 | block[off + 1];
  else if (header == 3)
    nr = get_le16 (block + off + 1) + 0x7F00U;
  modes = block[off + header];
  off += header + 1;
  for (int kind = LITERALS; kind <= MATCHES; ++kind) {
    int n = read_table (&t->tables[kind], kind, modes >> (6 - 2 * kind) & 3,
                        block + off, len - off);

    if (n < 0)
      return false;
    off += (size_t) n;
  }
  return pass_sequences (t, block + off, len - off, nr);
}

void
zstd_track_start (struct zstd_track *t)
{
  t->tree_len = 0;
  for (int kind = LITERALS; kind <= MATCHES; ++kind)
    set_usual (&t->tables[kind], kind);
  t->offsets[0] = 1;
  t->offsets[1] = 4;
  t->offsets[2] = 8;
}

size_t
zstd_track_dictionary (const struct zstd_track *t, uint8_t *out)
{
  /* As good as any where no block has used one: two symbols of a bit. */
  static const uint8_t any_tree[2] = { 128, 0x10 };
  static const int order[3] = { OFFSETS, MATCHES, LITERALS };
  uint8_t *p = out;

  put_le32 (p, DICTIONARY_MAGIC);
  put_le32 (p + 4, 1);
  p += 8;
  if (t->tree_len > 0)
    memcpy (p, t->tree, t->tree_len);
  else
    memcpy (p, any_tree, sizeof any_tree);
  p += t->tree_len > 0 ? t->tree_len : sizeof any_tree;
  for (int i = 0; i < 3; ++i) {
    const struct zstd_table *table = &t->tables[order[i]];

    if (table->len == 0)
      return 0;
    memcpy (p, table->description, table->len);
    p += table->len;
  }
  for (int i = 0; i < 3; ++i, p += 4)
    put_le32 (p, t->offsets[i]);
  return (size_t) (p - out);
}
