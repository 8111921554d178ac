/* SPDX-License-Identifier: GPL-2.0-or-later */

/* btrfs, on one device.  It takes space from the device in chunks (of 8 MiB to
 * 1 GiB and more), and knows which parts of these are used in trees that are
 * big and shared between everything.  What is counted here is all of the
 * chunks: the tree of chunks, small and with a checksum on each node, says
 * where on the device they are.  So a chunk with one file in it is used.
 *
 *   superblock at 64 KiB -> its own list of the chunks that have the tree
 *   of chunks -> that tree -> chunks
 *
 * The sum of what they take must be what the superblock says the device has
 * given away.  With a log tree, which would have to be played, or with
 * profiles that are meant for several devices, nothing is believed.
 *
 * https://btrfs.readthedocs.io, "On-disk Format".
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/crc32c.h"
#include "lib/fsmap/used-reading.h"

#define SUPER_OFF 65536
#define SUPER_SIZE 4096
#define SUPER_SYS_CHUNKS 811            /* offset in it */
#define SUPER_SYS_CHUNKS_LEN 2048
#define RESERVED (1024 * 1024)          /* at the beginning: boot loaders */
#define STRIPE 65536                    /* around each superblock */

#define MIN_NODE 4096
#define MAX_NODE 65536
#define MAX_LEVELS 8
#define NODE_HEADER 101
#define KEY 17
#define ITEM (KEY + 8)
#define POINTER (KEY + 16)

#define CHUNK_OBJECT 256
#define CHUNK_ITEM 228
#define CHUNK_HEADER 48
#define CHUNK_STRIPE 32
#define CHUNK_PROFILES 0x7f8            /* RAIDs and DUP */
#define CHUNK_DUP 0x20

#define FLAG_WRITTEN 1
#define FLAG_RELOC 2
/* Up to RAID1C34; and simple quotas.  Not: zones, the second extent tree, the
 * stripe tree.
 */
#define KNOWN_INCOMPAT (0xfff | 0x10000)
#define INCOMPAT_METADATA_UUID 0x400
/* Free space tree and whether it is valid, verity, block group tree. */
#define KNOWN_RO_COMPAT (1 | 2 | 4 | 8)

struct chunk {
  uint64_t logical, len;
  uint64_t nr;                          /* of stripes: 1 or 2 */
  uint64_t off[2];                      /* on the device */
};

DEFINE_VECTOR (chunks, struct chunk);

struct btrfs {
  struct used_reading *rd;
  uint32_t node;                        /* bytes */
  uint64_t device, device_len;          /* its number; bytes */
  uint64_t given;                       /* bytes of the device in chunks */
  uint64_t root;                        /* of the tree of chunks: logical */
  unsigned level;
  uint8_t uuid[16];                     /* in all nodes */
  struct chunks system;                 /* that have the tree of chunks */
  uint64_t sum;                         /* bytes of the device so far */
  uint8_t last[KEY];                    /* key of the last item */
  bool any;
};

/*--- superblock -------------------------------------------------------------*/

static bool
csum_is_right (const uint8_t *p, size_t len)
{
  return get_le32 (p) == crc32c_update (0, p + 32, len - 32);
}

static int
check_features (const uint8_t *sb, struct err *err)
{
  uint64_t ro = get_le64 (sb + 180), incompat = get_le64 (sb + 188);
  uint64_t flags = get_le64 (sb + 56);

  if ((ro & ~(uint64_t) KNOWN_RO_COMPAT) != 0 ||
      (incompat & ~(uint64_t) KNOWN_INCOMPAT) != 0 ||
      (flags & ~(uint64_t) (FLAG_WRITTEN | FLAG_RELOC)) != 0)
    return err_set (err, -ENOTSUP, "the btrfs has features or flags that are "
                    "not known: 0x%" PRIx64 " 0x%" PRIx64 " 0x%" PRIx64, ro,
                    incompat, flags);
  if (get_le64 (sb + 136) != 1)
    return err_set (err, -ENOTSUP, "the btrfs is on %" PRIu64 " devices",
                    get_le64 (sb + 136));
  if (get_le64 (sb + 96) != 0)
    return err_set (err, -ENOTSUP, "the btrfs was not unmounted: it has a log "
                    "to play");
  return 0;
}

static int
decode_super (struct btrfs *b, const uint8_t *sb, struct err *err)
{
  if (memcmp (sb + 64, "_BHRfS_M", 8) != 0 || get_le64 (sb + 48) != SUPER_OFF)
    return err_set (err, -EBADMSG, "there is no superblock of a btrfs");
  if (get_le16 (sb + 196) != 0)
    return err_set (err, -ENOTSUP, "the btrfs has checksums of kind %u",
                    get_le16 (sb + 196));
  if (!csum_is_right (sb, SUPER_SIZE))
    return err_set (err, -EBADMSG, "the checksum of the superblock is wrong");
  b->node = get_le32 (sb + 148);
  b->root = get_le64 (sb + 88);
  b->level = sb[199];
  b->device = get_le64 (sb + 201);
  b->device_len = get_le64 (sb + 209);
  b->given = get_le64 (sb + 217);
  memcpy (b->uuid, sb + (get_le64 (sb + 188) & INCOMPAT_METADATA_UUID ?
                         571 : 32), 16);
  if (!is_power_of_2 (b->node) || b->node < MIN_NODE || b->node > MAX_NODE ||
      b->level >= MAX_LEVELS)
    return err_set (err, -EBADMSG, "the btrfs has nodes of %" PRIu32 " bytes, "
                    "and a tree of %u levels", b->node, b->level);
  return check_features (sb, err);
}

/*--- chunks -----------------------------------------------------------------*/

/* A chunk as an item has it, at p; *size is how long that is, at most max. */
static int
decode_chunk (struct btrfs *b, const uint8_t *p, size_t max, uint64_t logical,
              struct chunk *c, size_t *size, struct err *err)
{
  uint64_t type, profile;

  memset (c, 0, sizeof *c);
  if (max < CHUNK_HEADER)
    return err_set (err, -EBADMSG, "a chunk of the btrfs makes no sense");
  c->logical = logical;
  c->len = get_le64 (p);
  c->nr = get_le16 (p + 44);
  type = get_le64 (p + 24);
  profile = type & CHUNK_PROFILES;
  if ((profile != 0 && profile != CHUNK_DUP) ||
      c->nr != (profile == CHUNK_DUP ? 2 : 1))
    return err_set (err, -ENOTSUP, "the btrfs has a chunk of type 0x%" PRIx64
                    " in %" PRIu64 " stripes", type, c->nr);
  *size = (size_t) (CHUNK_HEADER + c->nr * CHUNK_STRIPE);
  for (size_t i = 0; *size <= max && i < c->nr; ++i) {
    const uint8_t *stripe = p + CHUNK_HEADER + i * CHUNK_STRIPE;

    c->off[i] = get_le64 (stripe + 8);
    if (get_le64 (stripe) != b->device)
      return err_set (err, -ENOTSUP, "the btrfs has a chunk on device %"
                      PRIu64, get_le64 (stripe));
    if (!range_fits (c->off[i], c->len, b->device_len))
      *size = SIZE_MAX;
  }
  if (*size > max || c->len == 0 || logical > UINT64_MAX - c->len)
    return err_set (err, -EBADMSG, "a chunk of the btrfs makes no sense");
  return 0;
}

static int
read_system_chunks (struct btrfs *b, const uint8_t *sb, struct err *err)
{
  size_t len = get_le32 (sb + 160), size;

  if (len > SUPER_SYS_CHUNKS_LEN)
    return err_set (err, -EBADMSG, "the superblock has %zu bytes of chunks",
                    len);
  for (size_t off = 0; off < len; off += KEY + size) {
    const uint8_t *p = sb + SUPER_SYS_CHUNKS + off;
    struct chunk c;
    int r;

    if (len - off < KEY || p[8] != CHUNK_ITEM)
      return err_set (err, -EBADMSG, "the chunks in the superblock make no "
                      "sense");
    r = decode_chunk (b, p + KEY, len - off - KEY, get_le64 (p + 9), &c,
                      &size, err);
    if (r < 0)
      return r;
    if (vector_append (&b->system, &c) < 0)
      return err_nomem (err);
  }
  return 0;
}

static const struct chunk *
find_chunk (const struct btrfs *b, uint64_t logical)
{
  for (size_t i = 0; i < b->system.len; ++i) {
    const struct chunk *c = &b->system.ptr[i];

    if (logical >= c->logical &&
        range_fits (logical - c->logical, b->node, c->len))
      return c;
  }
  return NULL;
}

/*--- the tree of chunks -----------------------------------------------------*/

static bool
node_is_good (const struct btrfs *b, const uint8_t *n, uint64_t logical,
              unsigned level)
{
  uint64_t nr = get_le32 (n + 96);

  return csum_is_right (n, b->node) && memcmp (n + 32, b->uuid, 16) == 0 &&
    get_le64 (n + 48) == logical && n[100] == level &&
    nr <= (b->node - NODE_HEADER) / (level > 0 ? POINTER : ITEM) && nr > 0;
}

/* From the copy that is good. */
static int
read_node (struct btrfs *b, uint64_t logical, unsigned level, uint8_t *buf,
           struct err *err)
{
  const struct chunk *c = find_chunk (b, logical);
  int r = -EBADMSG;

  if (c == NULL)
    return err_set (err, -EBADMSG, "the tree of chunks has a node at %" PRIu64
                    ", which is nowhere", logical);
  for (size_t i = 0; i < c->nr; ++i) {
    r = used_pread (b->rd, "a node of the tree of chunks", buf, b->node,
                    c->off[i] + (logical - c->logical), err);
    if (r == 0 && node_is_good (b, buf, logical, level))
      return 0;
  }
  return r < 0 ? r : err_set (err, -EBADMSG, "the node of the tree of chunks "
                              "at %" PRIu64 " is damaged", logical);
}

static uint64_t
key_object (const uint8_t *key)
{
  return get_le64 (key);
}

/* By object, type, offset. */
static bool
key_is_less (const uint8_t *a, const uint8_t *b)
{
  if (key_object (a) != key_object (b))
    return key_object (a) < key_object (b);
  if (a[8] != b[8])
    return a[8] < b[8];
  return get_le64 (a + 9) < get_le64 (b + 9);
}

static int
add_item (struct btrfs *b, const uint8_t *leaf, const uint8_t *item,
          struct err *err)
{
  uint64_t off = get_le32 (item + KEY), len = get_le32 (item + KEY + 4);
  struct chunk c;
  size_t size;
  int r;

  /* Keys ascend through all leaves: so the tree ends. */
  if ((b->any && !key_is_less (b->last, item)) ||
      !range_fits (NODE_HEADER + off, len, b->node))
    return err_set (err, -EBADMSG, "the tree of chunks is not in order");
  memcpy (b->last, item, KEY);
  b->any = true;
  if (item[8] != CHUNK_ITEM || key_object (item) != CHUNK_OBJECT)
    return 0;
  r = decode_chunk (b, leaf + NODE_HEADER + off, (size_t) len,
                    get_le64 (item + 9), &c, &size, err);
  for (size_t i = 0; r == 0 && i < c.nr; ++i) {
    r = used_map_add (&b->rd->map, c.off[i], c.len, err);
    if (r == 0 && !checked_add (b->sum, c.len, &b->sum))
      r = err_set (err, -EBADMSG, "the chunks of the btrfs are too long");
  }
  return r < 0 ? r : job_check (b->rd->job, err);
}

static int
add_leaf (struct btrfs *b, const uint8_t *leaf, struct err *err)
{
  uint32_t nr = get_le32 (leaf + 96);
  int r = 0;

  for (uint32_t i = 0; i < nr && r == 0; ++i)
    r = add_item (b, leaf, leaf + NODE_HEADER + i * ITEM, err);
  return r;
}

/* Depth first, with one node of each level in nodes. */
static int
walk (struct btrfs *b, uint8_t *nodes, struct err *err)
{
  uint32_t at[MAX_LEVELS] = { 0 };      /* the next child */
  unsigned level = b->level;
  int r = read_node (b, b->root, level, nodes + level * b->node, err);

  while (r == 0) {
    uint8_t *n = nodes + level * b->node;

    if (level == 0)
      r = add_leaf (b, n, err);
    if (level > 0 && at[level] < get_le32 (n + 96)) {
      const uint8_t *child = n + NODE_HEADER + at[level]++ * POINTER + KEY;

      level--;
      at[level] = 0;
      r = read_node (b, get_le64 (child), level, nodes + level * b->node, err);
    }
    else if (level++ == b->level)
      break;
  }
  return r;
}

/*---------------------------------------------------------------------------*/

static int
add_superblocks (struct btrfs *b, struct err *err)
{
  static const uint64_t copies[] = { UINT64_C (64) << 20,
                                     UINT64_C (256) << 30 };
  int r = used_map_add (&b->rd->map, 0, RESERVED, err);

  for (size_t i = 0; i < 2 && r == 0; ++i)
    r = used_map_add (&b->rd->map, copies[i], STRIPE, err);
  return r;
}

static int
read_chunks (struct btrfs *b, struct err *err)
{
  CLEANUP_FREE uint8_t *nodes = malloc ((size_t) b->node * MAX_LEVELS);
  int r = nodes ? walk (b, nodes, err) : err_nomem (err);

  if (r < 0)
    return r;
  used_map_finish (&b->rd->map);
  if (b->sum != b->given || used_map_bytes (&b->rd->map) != b->sum)
    return err_set (err, -EBADMSG, "the chunks of the btrfs take %" PRIu64
                    " bytes, %" PRIu64 " without overlaps, and the superblock "
                    "says %" PRIu64, b->sum, used_map_bytes (&b->rd->map),
                    b->given);
  return 0;
}

int
used_read_btrfs (struct used_reading *rd, struct err *err)
{
  struct btrfs b = { .rd = rd };
  uint8_t sb[SUPER_SIZE];
  int r = used_pread (rd, "the superblock", sb, sizeof sb, SUPER_OFF, err);

  if (r == 0)
    r = decode_super (&b, sb, err);
  if (r == 0)
    r = read_system_chunks (&b, sb, err);
  if (r == 0)
    r = read_chunks (&b, err);
  if (r == 0)
    r = add_superblocks (&b, err);
  if (r == 0)
    r = used_add_behind (rd, b.device_len, err);
  rd->unit = STRIPE;
  rd->verdict = FS_USED_MORE;
  vector_free (&b.system);
  return r;
}
