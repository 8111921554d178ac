/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Was an XFS unmounted?  Then the last record of its log is one operation: the
 * unmount record.
 *
 * The log is a ring of blocks of 512 bytes.  The first word of each is the
 * number of the round in which it was written, but in the header of a record
 * that is the second word.  So the log is written to where this number
 * changes (or to its end), and the header of the last record is before that.
 * The place is found by bisection, as the kernel does it.  After a crash there
 * may be holes among the last blocks, and bisection may end in one; but then
 * either the unmount record is before it, and the kernel too would take that
 * for the end, or it is not, and the log is not clean for us.
 *
 * "XFS Algorithms & Data Structures", 3rd edition, chapter 14.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/fsmap/xfs.h"

#define BB 512
#define HEADER_MAGIC 0xfeedbabe
#define MAX_RECORD 512          /* blocks: 256 KiB */
#define UNMOUNT_FLAG 0x20       /* of the operation */
#define HEADER_COVERS 32768     /* bytes of a record for each header block */

static int
find_log (struct xfs *x, struct err *err)
{
  uint64_t group, block;

  if (x->log_start == 0)
    return err_set (err, -ENOTSUP, "the XFS has its log on another device");
  group = x->log_start >> x->ag_shift;
  block = x->log_start & ((UINT64_C (1) << x->ag_shift) - 1);
  if (group >= x->nr_ags || x->log_blocks == 0 ||
      !range_fits (block, x->log_blocks, x->ag_blocks) ||
      !range_fits (group * x->ag_blocks + block, x->log_blocks, x->blocks))
    return err_set (err, -EBADMSG, "the XFS has its log of %" PRIu32 " blocks "
                    "at block %" PRIu64 " of group %" PRIu64, x->log_blocks,
                    block, group);
  x->log_off = (group * x->ag_blocks + block) * x->block;
  x->log_len = (uint64_t) x->log_blocks * x->block;
  return 0;
}

static int
read_bb (struct xfs *x, uint64_t number, uint8_t *buf, struct err *err)
{
  return used_pread (x->rd, "the log", buf, BB,
                     x->log_off + number % (x->log_len / BB) * BB, err);
}

static int
read_cycle (struct xfs *x, uint64_t number, uint32_t *cycle, struct err *err)
{
  uint8_t bb[BB];
  int r = read_bb (x, number, bb, err);

  if (r == 0)
    *cycle = get_be32 (bb) == HEADER_MAGIC ? get_be32 (bb + 4) : get_be32 (bb);
  return r;
}

/* *head is the first block that is not of the round of the first; the number
 * of blocks if all are.
 */
static int
find_head (struct xfs *x, uint64_t *head, struct err *err)
{
  uint64_t low = 0, high = x->log_len / BB - 1;
  uint32_t first, cycle;
  int r = read_cycle (x, low, &first, err);

  if (r == 0)
    r = read_cycle (x, high, &cycle, err);
  if (r < 0)
    return r;
  if (cycle == first)
    low = high;
  /* low is of the round, high is not. */
  while (cycle != first && high - low > 1) {
    uint64_t middle = low + (high - low) / 2;
    uint32_t c;

    r = read_cycle (x, middle, &c, err);
    if (r < 0)
      return r;
    if (c == first)
      low = middle;
    else
      high = middle;
  }
  *head = low + 1;
  return 0;
}

/* Is the record whose header is the block `at` just an unmount, and does it
 * end at head?  Numbers are of one more round, so that at is not negative.
 */
static int
is_unmount (struct xfs *x, const uint8_t *header, uint64_t at, uint64_t head,
            bool *yes, struct err *err)
{
  uint32_t version = get_be32 (header + 8), len = get_be32 (header + 12);
  uint32_t size = get_be32 (header + 320);
  uint64_t headers = version & 2 ?
    max_u64 (div_round_up (size, HEADER_COVERS), 1) : 1;
  uint8_t op[BB];
  int r;

  *yes = false;
  if (headers > MAX_RECORD || len > MAX_RECORD * BB ||
      at + headers + div_round_up (len, BB) != head ||
      get_be32 (header + 40) != 1)
    return 0;
  r = read_bb (x, at + headers, op, err);
  *yes = r == 0 && (op[9] & UNMOUNT_FLAG) != 0;
  return r;
}

int
xfs_check_log (struct xfs *x, struct err *err)
{
  uint8_t bb[BB] = { 0 };
  bool clean = false;
  uint64_t head = 0, at;
  int r = find_log (x, err);

  if (r == 0)
    r = find_head (x, &head, err);
  if (r < 0)
    return r;
  head += x->log_len / BB;
  for (at = head - 1; head - at <= MAX_RECORD + 8; --at) {
    r = read_bb (x, at, bb, err);
    if (r < 0)
      return r;
    if (get_be32 (bb) == HEADER_MAGIC || at == 0)
      break;
  }
  if (get_be32 (bb) == HEADER_MAGIC)
    r = is_unmount (x, bb, at, head, &clean, err);
  if (r == 0 && !clean)
    return err_set (err, -ENOTSUP, "the XFS is mounted, or its log was not "
                    "played since");
  return r;
}
