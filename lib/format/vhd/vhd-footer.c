/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The footer: 512 bytes at the end of every VHD, and a copy at offset 0 of
 * dynamic and differencing ones.
 *
 * The one at the end is authoritative when it is whole.  Otherwise the copy
 * is used, with a warning: writers that were interrupted lose the end, not
 * the beginning.  A fixed VHD has no copy; what looks like one at its offset
 * 0 is the contents of its disk, such as another VHD.
 *
 * Three more signs make a file a VHD, if only to refuse it, because it would
 * be a raw disk otherwise, with other bytes than its disk has: the cookie at
 * the beginning of an incomplete last sector, where a file ends within its
 * footer; the footer of a fixed VHD in front of a few bytes that were
 * appended; a dynamic header in the second sector without any footer.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/format/image-ops.h"
#include "lib/format/vhd/vhd.h"

static bool
has_cookie (const uint8_t *p)
{
  return memcmp (p, VHD_FOOTER_COOKIE, VHD_COOKIE_SIZE) == 0;
}

/* How many bytes a footer has that is the incomplete last sector of the file:
 * 511 are an old one, fewer are what is left of one.
 */
static size_t
incomplete (uint64_t size)
{
  return size % VHD_SECTOR_SIZE;
}

uint32_t
vhd_checksum (const uint8_t *p, size_t len, size_t checksum_at)
{
  uint32_t sum = 0;

  for (size_t i = 0; i < len; ++i)
    if (i < checksum_at || i >= checksum_at + 4)
      sum += p[i];
  return ~sum;
}

/* The footer of a fixed VHD, whole and in its place, that is not at the end
 * of the file but less than tail_len bytes in front of it; its offset, or
 * UINT64_MAX.
 */
static uint64_t
find_buried (const uint8_t *tail, size_t tail_len, uint64_t size)
{
  uint64_t start = size - tail_len;

  for (uint64_t off = round_up (start, VHD_SECTOR_SIZE);
       range_fits (off, VHD_FOOTER_SIZE + 1, size); off += VHD_SECTOR_SIZE) {
    const uint8_t *p = tail + (off - start);

    if (has_cookie (p) && get_be32 (p + VHD_FOOTER_TYPE) == VHD_FIXED &&
        get_be64 (p + VHD_FOOTER_CURRENT_SIZE) == off &&
        get_be32 (p + VHD_FOOTER_CHECKSUM) ==
        vhd_checksum (p, VHD_FOOTER_SIZE, VHD_FOOTER_CHECKSUM))
      return off;
  }
  return UINT64_MAX;
}

static bool
has_header (const uint8_t *head, size_t head_len)
{
  return head_len >= VHD_FOOTER_SIZE + VHD_COOKIE_SIZE &&
    memcmp (head + VHD_FOOTER_SIZE, VHD_HEADER_COOKIE, VHD_COOKIE_SIZE) == 0;
}

bool
vhd_footer_probe (const uint8_t *head, size_t head_len,
                  const uint8_t *tail, size_t tail_len, uint64_t size)
{
  size_t rest = incomplete (size);

  if (head_len >= VHD_COOKIE_SIZE && has_cookie (head))
    return true;
  if (tail_len >= VHD_FOOTER_SIZE &&
      has_cookie (tail + tail_len - VHD_FOOTER_SIZE))
    return true;
  if (rest >= VHD_COOKIE_SIZE && tail_len >= rest &&
      has_cookie (tail + tail_len - rest))
    return true;
  return has_header (head, head_len) ||
    find_buried (tail, tail_len, size) != UINT64_MAX;
}

void
vhd_footer_decode (const uint8_t p[VHD_FOOTER_SIZE], struct vhd_footer *f)
{
  f->version = get_be32 (p + VHD_FOOTER_VERSION);
  f->data_offset = get_be64 (p + VHD_FOOTER_DATA_OFFSET);
  f->timestamp = get_be32 (p + VHD_FOOTER_TIMESTAMP);
  memcpy (f->creator, p + VHD_FOOTER_CREATOR, sizeof f->creator);
  f->creator_version = get_be32 (p + VHD_FOOTER_CREATOR_VERSION);
  memcpy (f->creator_os, p + VHD_FOOTER_CREATOR_OS, sizeof f->creator_os);
  f->original_size = get_be64 (p + VHD_FOOTER_ORIGINAL_SIZE);
  f->current_size = get_be64 (p + VHD_FOOTER_CURRENT_SIZE);
  f->cylinders = get_be16 (p + VHD_FOOTER_CYLINDERS);
  f->heads = p[VHD_FOOTER_HEADS];
  f->sectors = p[VHD_FOOTER_SECTORS];
  f->type = get_be32 (p + VHD_FOOTER_TYPE);
  f->checksum = get_be32 (p + VHD_FOOTER_CHECKSUM);
  memcpy (f->id, p + VHD_FOOTER_ID, sizeof f->id);
  f->saved_state = p[VHD_FOOTER_SAVED_STATE] != 0;
  f->hidden = p[VHD_FOOTER_HIDDEN] != 0;
}

int
vhd_footer_validate (const struct vhd_footer *f, uint64_t off,
                     struct err *err)
{
  if (f->version >> 16 != VHD_VERSION_MAJOR)
    return err_set (err, -ENOTSUP, "the VHD footer at offset %" PRIu64
                    " has format version %" PRIu32 ".%" PRIu32
                    ", expected %d.x", off, f->version >> 16,
                    f->version & 0xFFFF, VHD_VERSION_MAJOR);
  if (f->type != VHD_FIXED && f->type != VHD_DYNAMIC &&
      f->type != VHD_DIFFERENCING)
    return err_set (err, -ENOTSUP, "the VHD footer at offset %" PRIu64
                    " has disk type %" PRIu32 ", expected 2 (fixed), "
                    "3 (dynamic) or 4 (differencing)", off, f->type);
  if (f->current_size > INT64_MAX)
    return err_set (err, -EBADMSG, "the VHD footer at offset %" PRIu64
                    " states a size of %" PRIu64 " bytes, expected at most "
                    "%" PRId64, off, f->current_size, INT64_MAX);
  return 0;
}

/* tapdisk 0.1 and 1.1 set the byte that marks a hidden image and left the
 * checksum as it was.
 */
static bool
checksum_is_right (const uint8_t p[VHD_FOOTER_SIZE])
{
  uint32_t stored = get_be32 (p + VHD_FOOTER_CHECKSUM);
  uint32_t sum = vhd_checksum (p, VHD_FOOTER_SIZE, VHD_FOOTER_CHECKSUM);

  if (stored == sum)
    return true;
  return memcmp (p + VHD_FOOTER_CREATOR, "tap\0", 4) == 0 &&
    stored == sum + p[VHD_FOOTER_HIDDEN];
}

static int
read_place (struct block *block, uint64_t off, size_t len,
            struct vhd_place *out, struct err *err)
{
  int r;

  memset (out, 0, sizeof *out);
  out->off = off;
  out->len = len;
  r = block_pread (block, out->bytes, len, off, err);
  if (r < 0)
    return r;
  out->cookie = has_cookie (out->bytes);
  out->whole = len >= VHD_FOOTER_OLD_SIZE;
  out->valid = out->cookie && out->whole && checksum_is_right (out->bytes);
  return 0;
}

/* Reads the footer at the end; end->off is where it begins, if it has its
 * cookie.
 */
static int
read_end (struct block *block, struct vhd_place *end, struct err *err)
{
  uint64_t size = block_size (block);
  size_t rest = incomplete (size);
  int r = 0;

  memset (end, 0, sizeof *end);
  if (size >= VHD_FOOTER_SIZE)
    r = read_place (block, size - VHD_FOOTER_SIZE, VHD_FOOTER_SIZE, end, err);
  if (r < 0 || end->cookie || rest < VHD_COOKIE_SIZE)
    return r;
  return read_place (block, size - rest, rest, end, err);
}

/* Is nothing, not even a part of a footer, where it belongs? */
static bool
is_all_zeros (const struct vhd_place *place)
{
  static const uint8_t zeros[VHD_FOOTER_SIZE];

  return place->len == VHD_FOOTER_SIZE && place->off % VHD_SECTOR_SIZE == 0 &&
    memcmp (place->bytes, zeros, sizeof zeros) == 0;
}

static int
read_copy (struct block *block, struct vhd_place *copy, struct err *err)
{
  memset (copy, 0, sizeof *copy);
  if (block_size (block) < VHD_FOOTER_SIZE)
    return 0;
  return read_place (block, 0, VHD_FOOTER_SIZE, copy, err);
}

static uint32_t
type_at (const struct vhd_place *place)
{
  return get_be32 (place->bytes + VHD_FOOTER_TYPE);
}

int
vhd_footer_damage (const struct vhd_place *place, struct err *err)
{
  if (!place->whole)
    return err_set (err, -EBADMSG, "the VHD footer at offset %" PRIu64
                    " is cut off: the file has %zu bytes of it, expected %d",
                    place->off, place->len, VHD_FOOTER_SIZE);
  return err_set (err, -EBADMSG, "the VHD footer at offset %" PRIu64
                  " has checksum %08" PRIx32 ", computed %08" PRIx32,
                  place->off, get_be32 (place->bytes + VHD_FOOTER_CHECKSUM),
                  vhd_checksum (place->bytes, VHD_FOOTER_SIZE,
                                VHD_FOOTER_CHECKSUM));
}

static int
fixed_at_start (const struct vhd_place *end, struct err *err)
{
  return err_set (err, -EBADMSG, "the file begins with the footer of a fixed "
                  "VHD, which belongs to its end, and there is %s",
                  end->cookie ? "a damaged one" : "none");
}

static bool
is_known_type (uint32_t type)
{
  return type == VHD_FIXED || type == VHD_DYNAMIC || type == VHD_DIFFERENCING;
}

/* What is left of the damaged footer at the end is that of the copy: where the
 * header is, which a fixed VHD has not, and the identity; or that was still to
 * be written, and all from the type on is zeros.
 */
static bool
is_left_of_copy (const struct vhd_place *end, const struct vhd_place *copy)
{
  static const uint8_t zeros[VHD_FOOTER_SIZE];

  if (end->len < VHD_FOOTER_SIZE ||
      memcmp (end->bytes + VHD_FOOTER_DATA_OFFSET,
              copy->bytes + VHD_FOOTER_DATA_OFFSET, 8) != 0)
    return false;
  return memcmp (end->bytes + VHD_FOOTER_ID, copy->bytes + VHD_FOOTER_ID,
                 UUID_SIZE) == 0 ||
    memcmp (end->bytes + VHD_FOOTER_TYPE, zeros,
            VHD_FOOTER_SIZE - VHD_FOOTER_TYPE) == 0;
}

/* Does the damaged footer at the end say that it is of another type than the
 * copy?  Then this may be a fixed VHD whose disk holds another VHD.  A type
 * that there is not says nothing.
 */
static bool
is_of_another_type (const struct vhd_place *end, const struct vhd_place *copy)
{
  return end->cookie && end->len >= VHD_FOOTER_TYPE + 4 &&
    type_at (end) != type_at (copy) &&
    (is_known_type (type_at (end)) || !is_left_of_copy (end, copy));
}

static void
warn_about_end (struct block *block, const struct vhd_place *end,
                struct report *report)
{
  const char *name = block_name (block);

  if (!end->cookie)
    report_warn (report, "%s: there is no VHD footer at the end, the file "
                 "may have been cut off; using the copy at offset 0", name);
  else if (!end->whole)
    report_warn (report, "%s: the VHD footer at offset %" PRIu64 " is cut "
                 "off after %zu bytes; using the copy at offset 0", name,
                 end->off, end->len);
  else
    report_warn (report, "%s: the VHD footer at offset %" PRIu64 " has a "
                 "wrong checksum; using the copy at offset 0", name,
                 end->off);
}

/* The end is not valid, the copy is.  May we go by it? */
static int
accept_copy (struct block *block, const struct vhd_place *end,
             const struct vhd_place *copy, bool ignore_checksums,
             struct report *report, struct err *err)
{
  if (type_at (copy) == VHD_FIXED)
    return fixed_at_start (end, err);
  if (is_of_another_type (end, copy) && !ignore_checksums)
    return err_set (err, -EBADMSG, "the VHD footer at offset %" PRIu64
                    " is damaged and of type %" PRIu32 ", the copy at offset "
                    "0 is whole and of type %" PRIu32 ": which is right "
                    "can't be known", end->off, type_at (end),
                    type_at (copy));
  warn_about_end (block, end, report);
  return 0;
}

/* The end is valid and not of a fixed VHD.  Say if the copy differs.  Of two
 * valid ones the end was written last; but what one calls dynamic and the
 * other differencing would be read without its parent, or with a wrong one.
 */
static int
compare_copy (struct block *block, const struct vhd_place *end,
              const struct vhd_place *copy, struct report *report,
              struct err *err)
{
  if (copy->valid && type_at (copy) != type_at (end))
    return err_set (err, -EBADMSG, "the VHD footer at offset %" PRIu64
                    " is of type %" PRIu32 " and its copy at offset 0 of "
                    "type %" PRIu32 ", both whole: which is right can't be "
                    "known", end->off, type_at (end), type_at (copy));
  if (!copy->valid)
    report_warn (report, "%s: the copy of the VHD footer at offset 0 is %s; "
                 "using the footer at offset %" PRIu64, block_name (block),
                 copy->cookie ? "damaged" : "missing", end->off);
  else if (memcmp (end->bytes, copy->bytes, VHD_FOOTER_SIZE) != 0)
    report_warn (report, "%s: the VHD footer at offset %" PRIu64 " and its "
                 "copy at offset 0 differ; using the former",
                 block_name (block), end->off);
  return 0;
}

int
vhd_footer_buried (struct block *block, uint64_t *off, struct err *err)
{
  uint64_t size = block_size (block);
  size_t len = (size_t) min_u64 (size, PROBE_TAIL_SIZE);
  uint8_t tail[PROBE_TAIL_SIZE];
  int r = block_pread (block, tail, len, size - len, err);

  if (r == 0)
    *off = find_buried (tail, len, size);
  return r;
}

static int
no_footer (struct block *block, struct err *err)
{
  uint64_t size = block_size (block), buried;
  int r = vhd_footer_buried (block, &buried, err);

  if (r < 0)
    return r;
  if (buried != UINT64_MAX)
    return err_set (err, -EBADMSG, "the footer of a fixed VHD is at offset %"
                    PRIu64 " and not at the end: %" PRIu64 " bytes follow "
                    "that do not belong to it", buried,
                    size - buried - VHD_FOOTER_SIZE);
  return err_set (err, -EBADMSG, "there is no VHD footer (‘%s’), neither "
                  "at the end nor at offset 0", VHD_FOOTER_COOKIE);
}

/* Neither is valid. */
static int
choose_damaged (struct block *block, const struct vhd_place *end,
                const struct vhd_place *copy, bool ignore_checksums,
                const struct vhd_place **chosen, struct report *report,
                struct err *err)
{
  const struct vhd_place *place = end->cookie && end->whole ? end : copy;

  if (!place->cookie && end->cookie)
    return vhd_footer_damage (end, err);
  if (!place->cookie)
    return no_footer (block, err);
  if (!ignore_checksums)
    return vhd_footer_damage (place, err);
  if (place == copy && type_at (copy) == VHD_FIXED)
    return fixed_at_start (end, err);
  report_warn (report, "%s: the VHD footer at offset %" PRIu64 " has a wrong "
               "checksum, which is ignored as you asked", block_name (block),
               place->off);
  *chosen = place;
  return 0;
}

/* Is the copy, which is whole, the footer at the end as it was before its
 * size changed, or its header moved?
 */
static bool
copy_is_behind (const struct vhd_place *end, const struct vhd_place *copy)
{
  uint8_t bytes[VHD_FOOTER_SIZE];
  static const struct { size_t off, len; } changes[] = {
    { VHD_FOOTER_DATA_OFFSET, 8 },
    { VHD_FOOTER_ORIGINAL_SIZE, 8 },
    { VHD_FOOTER_CURRENT_SIZE, 8 },
    { VHD_FOOTER_CYLINDERS, 4 },        /* and heads, and sectors */
    { VHD_FOOTER_CHECKSUM, 4 },
  };

  memcpy (bytes, copy->bytes, sizeof bytes);
  for (size_t i = 0; i < sizeof changes / sizeof changes[0]; ++i)
    memcpy (bytes + changes[i].off, end->bytes + changes[i].off,
            changes[i].len);
  return copy->valid && memcmp (bytes, end->bytes, sizeof bytes) == 0;
}

int
vhd_footer_places (struct block *block, struct vhd_place *end,
                   struct vhd_place *copy, struct err *err)
{
  int r = read_end (block, end, err);

  return r < 0 ? r : read_copy (block, copy, err);
}

int
vhd_footer_read (struct block *block, bool ignore_checksums,
                 struct vhd_footers *out, struct report *report,
                 struct err *err)
{
  struct vhd_footers found = { .end = block_size (block) };
  struct vhd_place end, copy;
  const struct vhd_place *chosen = &end;
  int r;

  r = vhd_footer_places (block, &end, &copy, err);
  if (r < 0)
    return r;
  if (end.valid && type_at (&end) != VHD_FIXED)
    r = compare_copy (block, &end, &copy, report, err);
  else if (end.valid)
    r = 0;                      /* it has no copy */
  else if (copy.valid) {
    chosen = &copy;
    r = accept_copy (block, &end, &copy, ignore_checksums, report, err);
  }
  else
    r = choose_damaged (block, &end, &copy, ignore_checksums, &chosen,
                        report, err);
  if (r < 0)
    return r;
  vhd_footer_decode (chosen->bytes, &found.footer);
  r = vhd_footer_validate (&found.footer, chosen->off, err);
  if (r < 0)
    return r;
  found.from_copy = chosen == &copy;
  found.end_is_zeros = found.from_copy && is_all_zeros (&end);
  found.bad_checksum = !chosen->valid;
  found.copy_differs = end.valid && type_at (&end) != VHD_FIXED &&
    memcmp (end.bytes, copy.bytes, VHD_FOOTER_SIZE) != 0;
  found.copy_behind = found.copy_differs && copy_is_behind (&end, &copy);
  found.copy_gone = found.copy_differs && is_all_zeros (&copy);
  /* A damaged footer is still none of a block's data. */
  if (end.cookie)
    found.end = end.off;
  *out = found;
  return 0;
}
