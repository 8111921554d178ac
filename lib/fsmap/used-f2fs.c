/* SPDX-License-Identifier: GPL-2.0-or-later */

/* F2FS: a log in segments of 512 blocks of 4 KiB.
 *
 *   superblocks | checkpoints (CP) | SIT | NAT | SSA | main area: segments
 *
 * What is before the main area is used.  Of the main area, the SIT has a map
 * and a count for each segment.  Each of its blocks is there twice; a bitmap
 * in the checkpoint says which one is valid, and a journal of a few entries in
 * the checkpoint wins over both.
 *
 * There are two checkpoints, and the newer is the file system.  Its kernel
 * takes the older when the newer is damaged; we believe nothing then.  Both
 * have a checksum; SIT and journal have none, but the counts of the checkpoint
 * must be theirs.
 *
 * After a checkpoint, fsync writes no other: it appends nodes to one log, with
 * the checkpoint's version in them, and the kernel plays them at the next
 * mount, be the checkpoint of an unmount or not.  It starts at the block where
 * that log goes on, and when this one has another version there is nothing
 * to be played.  So that block decides whether we answer.  It is used too: what
 * a restore would leave there may have the version that the backup must not
 * find.
 *
 * Documentation/filesystems/f2fs.rst of Linux; names in "…" are of its
 * include/linux/f2fs_fs.h.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/crc32.h"
#include "lib/fsmap/used-reading.h"

#define BLOCK 4096
#define SEGMENT 512                     /* blocks */
#define MAX_SEGMENTS (UINT32_C (8) * 1024 * 1024)

#define SUPER_OFF 1024                  /* in blocks 0 and 1 */
#define SUPER_SIZE (BLOCK - SUPER_OFF)
#define MAGIC UINT32_C (0xf2f52010)
#define DEVICES 2201                    /* offset, and length, in it */
#define DEVICES_LEN (8 * 68)
#define ERRORS 2762                     /* "s_stop_reason", "s_errors" */
#define ERRORS_LEN 48
#define SUPER_CRC 3068

/* Not: zoned devices, read-only images (which have fewer logs), files that are
 * devices, packed summaries.
 */
#define KNOWN_FEATURES 0x3ffd
#define FEATURE_SB_CHECKSUM 0x800

#define CP_UMOUNT 0x1
#define CP_COMPACT_SUM 0x4
#define CP_FASTBOOT 0x20
#define CP_LARGE_NAT 0x400
/* And orphans, how versions in nodes are compared, bits of the NAT, and that
 * all was trimmed.  Not: errors, fsck, quotas that need it, disabled or quick
 * checkpoints, a resize that was interrupted.
 */
#define KNOWN_FLAGS 0x7e7

#define CP_CRC 4092                     /* where it is at most */
#define CP_BITMAPS 192                  /* offset in it */
#define LOGS 3                          /* of nodes, and of data */
#define WARM_NODES 1
#define COLD_DATA 2
#define LOG_TYPES (2 * LOGS)

#define SIT_ENTRY 74
#define SIT_PER_BLOCK (BLOCK / SIT_ENTRY)
#define SIT_MAP 2                       /* offset in an entry */
#define SIT_MAP_LEN (SEGMENT / 8)

#define SUMMARY_JOURNAL 3584            /* offset in a block */
#define JOURNAL_SIZE 507
#define JOURNAL_ENTRY (4 + SIT_ENTRY)
#define MAX_JOURNAL ((JOURNAL_SIZE - 2) / JOURNAL_ENTRY)

#define NODE_VERSION 4084               /* offset in a node */

struct f2fs {
  struct used_reading *rd;
  uint32_t cp_at, sit_at, main_at;      /* blocks */
  uint32_t sit_blocks, nat_blocks;      /* in one of the two copies */
  uint32_t segments;                    /* in the main area */
  uint32_t payload;                     /* more blocks of a checkpoint */

  uint8_t *cp;                          /* the newer checkpoint, all of it */
  uint32_t pack_at;                     /* block */
  uint32_t flags;
  const uint8_t *sit_bitmap;            /* in cp */
  bool bitmap_has_crc;
  uint8_t journal[JOURNAL_SIZE];
  unsigned nr_journal;

  uint64_t nr_valid, nr_nodes, nr_free; /* so far */
};

/* "f2fs_crc32": no inversion at the end, and another start. */
static uint32_t
crc (uint32_t start, const uint8_t *p, size_t len)
{
  return ~crc32_update (~start, p, len);
}

static int
read_block (struct f2fs *f, const char *what, uint8_t *buf, uint32_t number,
            struct err *err)
{
  return used_pread (f->rd, what, buf, BLOCK, (uint64_t) number * BLOCK, err);
}

/*--- superblock -------------------------------------------------------------*/

static bool
is_zero (const uint8_t *p, size_t len)
{
  while (len > 0 && *p == 0)
    p++, len--;
  return len == 0;
}

static int
check_features (const uint8_t *sb, struct err *err)
{
  uint32_t features = get_le32 (sb + 2180);

  if ((features & ~(uint32_t) KNOWN_FEATURES) != 0)
    return err_set (err, -ENOTSUP, "the F2FS has features that are not known: "
                    "0x%" PRIx32, features);
  if (!is_zero (sb + DEVICES, DEVICES_LEN))
    return err_set (err, -ENOTSUP, "the F2FS is on several devices");
  if (!is_zero (sb + ERRORS, ERRORS_LEN))
    return err_set (err, -ENOTSUP, "the F2FS has notes of errors that its "
                    "fsck has not seen");
  if ((features & FEATURE_SB_CHECKSUM) != 0 &&
      (get_le32 (sb + 32) != SUPER_CRC ||
       get_le32 (sb + SUPER_CRC) != crc (MAGIC, sb, SUPER_CRC)))
    return err_set (err, -EBADMSG, "the checksum of the superblock is wrong");
  return 0;
}

static int
check_sizes (const uint8_t *sb, struct err *err)
{
  uint32_t sector = get_le32 (sb + 8), per_block = get_le32 (sb + 12);

  if (get_le32 (sb) != MAGIC || get_le16 (sb + 4) != 1)
    return err_set (err, -ENOTSUP, "the F2FS is of version %u, not 1",
                    get_le16 (sb + 4));
  if (get_le32 (sb + 16) != 12 || get_le32 (sb + 20) != 9 || sector < 9 ||
      sector > 12 || per_block != 12 - sector)
    return err_set (err, -ENOTSUP, "the F2FS has blocks of 2^%" PRIu32
                    " bytes, segments of 2^%" PRIu32 " blocks, sectors of 2^%"
                    PRIu32 " bytes, 2^%" PRIu32 " in a block",
                    get_le32 (sb + 16), get_le32 (sb + 20), sector, per_block);
  return 0;
}

/* Areas follow one another without gaps. */
static int
check_areas (const uint8_t *sb, struct err *err)
{
  static const char *const names[] = { "checkpoints", "SIT", "NAT", "SSA",
                                       "main area" };
  uint64_t at = get_le32 (sb + 72), all = get_le32 (sb + 48);
  uint64_t end = at + all * SEGMENT;

  for (unsigned i = 0; i < 5; ++i) {
    uint32_t nr = get_le32 (sb + 52 + 4 * i);

    if (get_le32 (sb + 76 + 4 * i) != at || nr == 0 || nr > MAX_SEGMENTS ||
        (i < 3 && nr % 2 != 0))
      return err_set (err, -EBADMSG, "the F2FS has its %s, of %" PRIu32
                      " segments, at block %" PRIu32 ", not at %" PRIu64,
                      names[i], nr, get_le32 (sb + 76 + 4 * i), at);
    at += (uint64_t) nr * SEGMENT;
  }
  if (get_le32 (sb + 72) < 2 || at > end || at > get_le64 (sb + 36) ||
      at > UINT32_MAX)
    return err_set (err, -EBADMSG, "the F2FS of %" PRIu64 " blocks and %"
                    PRIu64 " segments has areas up to block %" PRIu64,
                    get_le64 (sb + 36), all, at);
  return 0;
}

static int
decode_super (struct f2fs *f, const uint8_t *sb, struct err *err)
{
  int r = check_sizes (sb, err);

  if (r == 0)
    r = check_features (sb, err);
  if (r == 0)
    r = check_areas (sb, err);
  if (r < 0)
    return r;
  f->sit_blocks = get_le32 (sb + 56) / 2 * SEGMENT;
  f->nat_blocks = get_le32 (sb + 60) / 2 * SEGMENT;
  f->segments = get_le32 (sb + 68);
  f->cp_at = get_le32 (sb + 76);
  f->sit_at = get_le32 (sb + 80);
  f->main_at = get_le32 (sb + 92);
  f->payload = get_le32 (sb + 1664);
  if (f->payload > SEGMENT - LOG_TYPES - 2)
    return err_set (err, -EBADMSG, "the checkpoints of the F2FS are of %"
                    PRIu32 " more blocks", f->payload);
  if (f->segments > (uint64_t) f->sit_blocks * SIT_PER_BLOCK)
    return err_set (err, -EBADMSG, "the F2FS has %" PRIu32 " segments, and "
                    "room in its SIT for %" PRIu64, f->segments,
                    (uint64_t) f->sit_blocks * SIT_PER_BLOCK);
  return 0;
}

static int
read_super (struct f2fs *f, struct err *err)
{
  CLEANUP_FREE uint8_t *sb = malloc (2 * SUPER_SIZE);
  int r = sb ? 0 : err_nomem (err);

  for (unsigned i = 0; i < 2 && r == 0; ++i)
    r = used_pread (f->rd, "a superblock", sb + i * SUPER_SIZE, SUPER_SIZE,
                    i * BLOCK + SUPER_OFF, err);
  if (r < 0)
    return r;
  if (memcmp (sb, sb + SUPER_SIZE, SUPER_SIZE) != 0)
    return err_set (err, -EBADMSG, "the two superblocks of the F2FS differ");
  return decode_super (f, sb, err);
}

/*--- checkpoints ------------------------------------------------------------*/

static bool
cp_crc_is_right (const uint8_t *cp)
{
  uint32_t at = get_le32 (cp + 164), sum;

  if (at < CP_BITMAPS || at > CP_CRC || at % 4 != 0)
    return false;
  sum = crc (MAGIC, cp, at);
  if (at < CP_CRC)
    sum = crc (sum, cp + at + 4, BLOCK - (at + 4));
  return get_le32 (cp + at) == sum;
}

/* The last block of a pack is as the first: so it was written to its end. */
static int
read_pack (struct f2fs *f, uint32_t at, uint8_t *cp, struct err *err)
{
  uint8_t last[BLOCK];
  uint32_t nr;
  int r = read_block (f, "a checkpoint", cp, at, err);

  if (r < 0)
    return r;
  nr = get_le32 (cp + 136);
  if (!cp_crc_is_right (cp))
    return err_set (err, -EBADMSG, "the checksum of the checkpoint at block %"
                    PRIu32 " is wrong", at);
  if (nr < f->payload + LOGS || nr > SEGMENT)
    return err_set (err, -EBADMSG, "the checkpoint at block %" PRIu32 " is of "
                    "%" PRIu32 " blocks", at, nr);
  r = read_block (f, "the end of a checkpoint", last, at + nr - 1, err);
  if (r == 0 && memcmp (cp, last, BLOCK) != 0)
    r = err_set (err, -EBADMSG, "the checkpoint at block %" PRIu32 " was not "
                 "written to its end", at);
  return r;
}

/* The newer of the two.  Its tools may write one without another version: that
 * is the first.
 */
static int
read_packs (struct f2fs *f, struct err *err)
{
  uint8_t other[BLOCK];
  int r;

  f->cp = malloc ((1 + f->payload) * (size_t) BLOCK);
  if (f->cp == NULL)
    return err_nomem (err);
  f->pack_at = f->cp_at;
  r = read_pack (f, f->cp_at, f->cp, err);
  if (r == 0)
    r = read_pack (f, f->cp_at + SEGMENT, other, err);
  if (r < 0)
    return r;
  if ((int64_t) (get_le64 (other) - get_le64 (f->cp)) > 0) {
    memcpy (f->cp, other, BLOCK);
    f->pack_at += SEGMENT;
  }
  if (f->payload == 0)
    return 0;
  return used_pread (f->rd, "a checkpoint", f->cp + BLOCK,
                     f->payload * (size_t) BLOCK,
                     (f->pack_at + UINT64_C (1)) * BLOCK, err);
}

/* Which copies of the SIT are valid: behind the checkpoint itself, in the same
 * block or in more of them.  Those have no checksum.
 */
static int
find_bitmap (struct f2fs *f, struct err *err)
{
  uint64_t sit = get_le32 (f->cp + 156), nat = get_le32 (f->cp + 160);
  uint64_t at = CP_BITMAPS, end = CP_CRC;
  bool is_large = (f->flags & CP_LARGE_NAT) != 0;

  if (sit != f->sit_blocks / 8 || nat != f->nat_blocks / 8)
    return err_set (err, -EBADMSG, "the checkpoint has bitmaps of %" PRIu64
                    " and %" PRIu64 " bytes, not %" PRIu32 " and %" PRIu32,
                    sit, nat, f->sit_blocks / 8, f->nat_blocks / 8);
  if (get_le32 (f->cp + 164) != (is_large ? CP_BITMAPS : CP_CRC))
    return err_set (err, -ENOTSUP, "the checkpoint has its checksum at %"
                    PRIu32, get_le32 (f->cp + 164));
  if (is_large && f->payload > 0)
    return err_set (err, -ENOTSUP, "the checkpoint has a large bitmap of the "
                    "NAT, in %" PRIu32 " more blocks", f->payload);
  if (is_large) {
    at += 4 + nat;
    end = BLOCK;
  }
  else if (f->payload > 0) {
    at = BLOCK;
    end = (1 + f->payload) * (uint64_t) BLOCK;
  }
  else
    sit += nat;
  if (at + sit > end)
    return err_set (err, -EBADMSG, "the checkpoint has no room for its "
                    "bitmaps");
  f->sit_bitmap = f->cp + at;
  f->bitmap_has_crc = at + sit <= BLOCK;
  return 0;
}

static uint32_t
log_segment (const struct f2fs *f, unsigned log)
{
  unsigned at = log < LOGS ? 36 + 4 * log : 84 + 4 * (log - LOGS);

  return get_le32 (f->cp + at);
}

static uint32_t
log_next (const struct f2fs *f, unsigned log)
{
  unsigned at = log < LOGS ? 68 + 2 * log : 116 + 2 * (log - LOGS);

  return get_le16 (f->cp + at);
}

static bool
is_log (const struct f2fs *f, uint32_t segment)
{
  for (unsigned i = 0; i < LOG_TYPES; ++i)
    if (log_segment (f, i) == segment)
      return true;
  return false;
}

static int
decode_checkpoint (struct f2fs *f, struct err *err)
{
  f->flags = get_le32 (f->cp + 132);
  if ((f->flags & ~(uint32_t) KNOWN_FLAGS) != 0)
    return err_set (err, -ENOTSUP, "the F2FS has errors, needs its fsck, or "
                    "has flags that are not known: 0x%" PRIx32, f->flags);
  for (unsigned i = 0; i < LOG_TYPES; ++i)
    if (log_segment (f, i) >= f->segments || log_next (f, i) >= SEGMENT)
      return err_set (err, -EBADMSG, "a log of the F2FS goes on at block %"
                      PRIu32 " of segment %" PRIu32, log_next (f, i),
                      log_segment (f, i));
  return find_bitmap (f, err);
}

/*--- the journal ------------------------------------------------------------*/

/* It is where the summary of the log of cold data has room, or, with compact
 * summaries, behind the journal of the NAT.  The summaries of nodes are there
 * when the next mount shall be fast.
 */
static int
read_journal_block (struct f2fs *f, uint8_t *block, size_t *at,
                    struct err *err)
{
  uint32_t first = get_le32 (f->cp + 140), total = get_le32 (f->cp + 136);
  uint32_t nodes = (f->flags & (CP_UMOUNT | CP_FASTBOOT)) != 0 ? LOGS : 0;
  bool compact = (f->flags & CP_COMPACT_SUM) != 0;
  uint32_t nr;

  if (first <= f->payload || first > total || total - first <= nodes)
    nr = 0;
  else
    nr = total - first - nodes - 1;
  if (compact ? nr < 1 || nr > 2 : nr != LOGS)
    return err_set (err, -EBADMSG, "the checkpoint of %" PRIu32 " blocks has "
                    "its summaries at %" PRIu32, total, first);
  *at = compact ? JOURNAL_SIZE : SUMMARY_JOURNAL;
  return read_block (f, "the journal of the SIT", block,
                     f->pack_at + first + (compact ? 0 : COLD_DATA), err);
}

static const uint8_t *
journal_find (const struct f2fs *f, uint32_t segment, unsigned nr)
{
  const uint8_t *p = f->journal + 2;

  for (unsigned i = 0; i < nr; ++i, p += JOURNAL_ENTRY)
    if (get_le32 (p) == segment)
      return p + 4;
  return NULL;
}

static int
read_journal (struct f2fs *f, struct err *err)
{
  uint8_t block[BLOCK];
  size_t at = 0;
  int r = read_journal_block (f, block, &at, err);

  if (r < 0)
    return r;
  memcpy (f->journal, block + at, JOURNAL_SIZE);
  f->nr_journal = get_le16 (f->journal);
  if (f->nr_journal > MAX_JOURNAL)
    return err_set (err, -EBADMSG, "the journal of the SIT has %u entries",
                    f->nr_journal);
  for (unsigned i = 0; i < f->nr_journal; ++i) {
    uint32_t segment = get_le32 (f->journal + 2 + i * JOURNAL_ENTRY);

    if (segment >= f->segments || journal_find (f, segment, i) != NULL)
      return err_set (err, -EBADMSG, "the journal of the SIT has segment %"
                      PRIu32 " of %" PRIu32 ", or has it twice", segment,
                      f->segments);
  }
  return 0;
}

/*--- SIT --------------------------------------------------------------------*/

/* The first bit is the highest, in all bitmaps. */
static bool
test_bit (const uint8_t *bits, uint32_t nr)
{
  return (bits[nr / 8] & 0x80 >> nr % 8) != 0;
}

static uint8_t
reverse (uint8_t b)
{
  b = (uint8_t) (b << 4 | b >> 4);
  b = (uint8_t) ((b & 0x33) << 2 | (b >> 2 & 0x33));
  return (uint8_t) ((b & 0x55) << 1 | (b >> 1 & 0x55));
}

static int
add_segment (struct f2fs *f, uint32_t segment, const uint8_t *entry,
             bool is_valid, struct err *err)
{
  unsigned count = get_le16 (entry) & 0x3ff, type = get_le16 (entry) >> 10;
  uint8_t map[SIT_MAP_LEN];
  uint64_t nr;
  int r;

  for (size_t i = 0; i < sizeof map; ++i)
    map[i] = reverse (entry[SIT_MAP + i]);
  r = used_map_add_bits (&f->rd->map, map, SEGMENT, BLOCK,
                         (f->main_at + (uint64_t) segment * SEGMENT) * BLOCK,
                         &nr, err);
  if (r < 0)
    return r;
  if (nr != count || type >= LOG_TYPES)
    return err_set (err, -EBADMSG, "segment %" PRIu32 ", of type %u, says "
                    "that %u blocks are used, its map %" PRIu64, segment, type,
                    count, nr);
  if (!is_valid)
    return 0;
  f->nr_valid += count;
  if (type >= LOGS)
    f->nr_nodes += count;
  if (count == 0 && !is_log (f, segment))
    f->nr_free++;
  return 0;
}

static int
add_sit_block (struct f2fs *f, uint32_t number, bool second, bool is_valid,
               struct err *err)
{
  uint32_t at = f->sit_at + number + (second ? f->sit_blocks : 0);
  uint32_t segment = number * SIT_PER_BLOCK;
  uint8_t block[BLOCK];
  int r = read_block (f, "a block of the SIT", block, at, err);

  for (size_t i = 0; i < SIT_PER_BLOCK && segment < f->segments && r == 0;
       ++i, ++segment) {
    const uint8_t *entry = journal_find (f, segment, f->nr_journal);

    if (entry == NULL)
      entry = block + i * SIT_ENTRY;
    r = add_segment (f, segment, entry, is_valid, err);
  }
  return r;
}

static int
check_counts (const struct f2fs *f, struct err *err)
{
  uint64_t valid = get_le64 (f->cp + 16);
  uint32_t nodes = get_le32 (f->cp + 144), nr_free = get_le32 (f->cp + 32);

  /* Blocks that are reserved count too, and are nowhere yet. */
  if (f->nr_valid > valid || f->nr_nodes != nodes || f->nr_free != nr_free)
    return err_set (err, -EBADMSG, "the SIT of the F2FS has %" PRIu64
                    " blocks, %" PRIu64 " nodes, %" PRIu64 " free segments, "
                    "its checkpoint %" PRIu64 ", %" PRIu32 ", %" PRIu32,
                    f->nr_valid, f->nr_nodes, f->nr_free, valid, nodes,
                    nr_free);
  return 0;
}

/* Where the bitmap may be wrong, both copies are used. */
static int
add_sit (struct f2fs *f, struct err *err)
{
  uint32_t nr = (f->segments + SIT_PER_BLOCK - 1) / SIT_PER_BLOCK;
  int r = 0;

  for (uint32_t i = 0; i < nr && r == 0; ++i) {
    bool second = test_bit (f->sit_bitmap, i);

    r = add_sit_block (f, i, second, true, err);
    if (r == 0 && !f->bitmap_has_crc)
      r = add_sit_block (f, i, !second, false, err);
    if (r == 0)
      r = job_advance (f->rd->job, SIT_PER_BLOCK * SEGMENT * BLOCK, err);
  }
  if (!f->bitmap_has_crc)
    f->rd->verdict = FS_USED_MORE;
  return r < 0 ? r : check_counts (f, err);
}

/*---------------------------------------------------------------------------*/

/* Of the version the lower half: some kernels compare no more. */
static int
check_nothing_is_to_be_played (struct f2fs *f, struct err *err)
{
  uint32_t at = f->main_at + log_segment (f, WARM_NODES) * SEGMENT +
    log_next (f, WARM_NODES);
  uint8_t node[BLOCK];
  int r = read_block (f, "the end of a log", node, at, err);

  if (r == 0 && get_le32 (node + NODE_VERSION) == get_le32 (f->cp))
    r = err_set (err, -ENOTSUP, "the F2FS was written to after its last "
                 "checkpoint, and must be mounted first");
  if (r == 0)
    r = used_map_add (&f->rd->map, (uint64_t) at * BLOCK, BLOCK, err);
  return r;
}

static int
read_all (struct f2fs *f, struct err *err)
{
  int r = read_super (f, err);

  f->rd->unit = BLOCK;
  if (r == 0)
    r = used_add_behind (f->rd, (f->main_at + (uint64_t) f->segments * SEGMENT)
                         * BLOCK, err);
  if (r == 0)
    r = used_map_add (&f->rd->map, 0, (uint64_t) f->main_at * BLOCK, err);
  if (r == 0)
    r = read_packs (f, err);
  if (r == 0)
    r = decode_checkpoint (f, err);
  if (r == 0)
    r = check_nothing_is_to_be_played (f, err);
  if (r == 0)
    r = read_journal (f, err);
  return r < 0 ? r : add_sit (f, err);
}

int
used_read_f2fs (struct used_reading *rd, struct err *err)
{
  struct f2fs f = { .rd = rd };
  int r = read_all (&f, err);

  free (f.cp);
  return r;
}
