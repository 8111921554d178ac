/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Mending a VHD.
 *
 * There are two footers.  The one at the end counts if it is whole, as when
 * reading: then the copy is made like it.  Otherwise it is written anew from
 * the copy: where its remains are, or, if there are none, behind the last
 * block.  Where the footer says that the header is somewhere else than the
 * only header that fits (vhd-check.c), both are corrected.  Space behind the
 * last block that nothing names is cut off, in the midst it is punched.
 *
 * What is not mended: entries of the BAT that can't be, two damaged footers,
 * a header that is damaged itself.  There is no second one of any of them, and
 * what was in there is not to be guessed.
 *
 *   1. The footer is written at its place: over its own remains, over the one
 *      byte that it lacked, or in space that nothing names.  A crash leaves
 *      that footer, or what was there: the copy, which is not touched yet, or
 *      the old footer further behind.
 *   2. The file is cut off behind it.  A crash leaves the old end, whose
 *      footer is as good, or the new one.
 *   3. The copy is written.  A crash leaves the footer at the end, which is
 *      whole now.
 *   4. Leaks are punched.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/format/repair.h"
#include "lib/format/vhd/vhd-check.h"

/* What the file will have. */
struct target {
  uint8_t footer[VHD_FOOTER_SIZE];
  uint64_t end_off;             /* where the footer at the end begins */
  uint64_t tail_off;            /* the leak that is cut off; UINT64_MAX */
};

static void
make_footer (const struct vhd_examined *s, struct target *t)
{
  const struct vhd_place *good = s->end.valid ? &s->end : &s->copy;
  uint32_t sum;

  memcpy (t->footer, good->bytes, VHD_FOOTER_SIZE);
  if (s->header_off == 0)
    return;
  put_be64 (t->footer + VHD_FOOTER_DATA_OFFSET, s->header_off);
  sum = vhd_checksum (t->footer, VHD_FOOTER_SIZE, VHD_FOOTER_CHECKSUM);
  put_be32 (t->footer + VHD_FOOTER_CHECKSUM, sum);
}

/* Nothing but the footer lies behind the leak at the end. */
static void
find_place (const struct vhd_examined *s, bool keep_leaks, struct target *t)
{
  t->tail_off = UINT64_MAX;
  t->end_off = s->end.cookie ? s->end.off : s->named_end;
  for (size_t i = 0; i < s->leaks.len && !keep_leaks; ++i) {
    const struct file_range *leak = &s->leaks.ptr[i];

    if (s->end.valid && leak->off + leak->len == s->end.off)
      t->tail_off = t->end_off = leak->off;
  }
}

static int
plan_end (const struct vhd_examined *s, const struct target *t,
          struct repair_plan *plan, struct err *err)
{
  bool is_new = !s->end.valid ||
    memcmp (t->footer, s->end.bytes, VHD_FOOTER_SIZE) != 0;
  uint64_t end = t->end_off + VHD_FOOTER_SIZE;
  int r = 0;

  if (t->tail_off != UINT64_MAX)
    r = repair_add_write (plan, t->footer, VHD_FOOTER_SIZE, t->end_off, err,
                          "the VHD footer, in front of what nothing names");
  else if (!s->end.valid)
    r = repair_add_write (plan, t->footer, VHD_FOOTER_SIZE, t->end_off, err,
                          "the VHD footer, from its copy at offset 0");
  else if (is_new)
    r = repair_add_write (plan, t->footer, VHD_FOOTER_SIZE, t->end_off, err,
                          "the VHD footer, with the place of the dynamic "
                          "header");
  else if (s->end.len < VHD_FOOTER_SIZE)
    r = repair_add_write (plan, t->footer + s->end.len,
                          VHD_FOOTER_SIZE - s->end.len,
                          t->end_off + s->end.len, err,
                          "the last byte of the VHD footer");
  if (r < 0 || plan->old_size <= end)
    return r;
  return repair_add (plan, REPAIR_RESIZE, 0, end, err,
                     "nothing names the %" PRIu64 " bytes behind the footer",
                     plan->old_size - end);
}

static int
plan_copy (const struct vhd_examined *s, const struct target *t,
           struct repair_plan *plan, struct err *err)
{
  if (memcmp (t->footer, s->copy.bytes, VHD_FOOTER_SIZE) == 0)
    return 0;
  return repair_add_write (plan, t->footer, VHD_FOOTER_SIZE, 0, err,
                           s->end.valid && s->header_off == 0
                           ? "the copy of the VHD footer, from the one at the "
                             "end" : "the copy of the VHD footer");
}

/* A fixed disk that is longer than it should be: its footer is whole. */
static int
plan_buried (const struct vhd_examined *s, struct repair_plan *plan,
             struct err *err)
{
  uint64_t end = s->buried + VHD_FOOTER_SIZE;
  int r = repair_add_identity (plan, s->buried, VHD_FOOTER_SIZE, err);

  return r < 0 ? r
    : repair_add (plan, REPAIR_RESIZE, 0, end, err, "the %" PRIu64 " bytes "
                  "behind the footer do not belong to the disk",
                  plan->old_size - end);
}

/* Header and BAT tell whose file it is, and of a fixed disk its footer. */
static int
add_identity (const struct vhd_examined *s, struct repair_plan *plan,
              struct err *err)
{
  const struct vhd_header *h = &s->layer->header;
  int r = 0;

  if (!vhd_layer_is_fixed (s->layer)) {
    r = repair_add_identity (plan, 0, VHD_FOOTER_SIZE + VHD_HEADER_SIZE, err);
    if (r == 0 && s->has_header)
      r = repair_add_identity (plan, h->table_offset,
                               vhd_header_table_size (h), err);
  }
  return r < 0 || !s->end.cookie ? r
    : repair_add_identity (plan, s->end.off, s->end.len, err);
}

static int
plan_all (const struct vhd_examined *s, unsigned flags,
          struct repair_plan *plan, struct err *err)
{
  bool keep_leaks = flags & REPAIR_KEEP_LEAKS;
  bool is_fixed = vhd_layer_is_fixed (s->layer);
  struct target t;
  int r = 0;

  make_footer (s, &t);
  find_place (s, keep_leaks, &t);
  /* The place of a footer that is lost is known with the BAT only. */
  if (!s->end.cookie && !s->has_header)
    return repair_refuse (plan, err, "where the footer belongs is known once "
                          "the header is");
  r = plan_end (s, &t, plan, err);
  if (r == 0 && !is_fixed)
    r = plan_copy (s, &t, plan, err);
  if (r == 0 && !keep_leaks)
    r = repair_add_punches (plan, &s->leaks, t.tail_off, err);
  return r < 0 ? r : add_identity (s, plan, err);
}

int
vhd_plan_repair (struct block *block, const struct image_options *options,
                 unsigned flags, struct check *check,
                 struct repair_plan *plan, struct err *err)
{
  struct vhd_examined s = VHD_EXAMINED_INIT;
  int r = vhd_examine (block, options, check, &s, err);

  if (r == 0 && s.buried != UINT64_MAX)
    r = plan_buried (&s, plan, err);
  else if (r == 0 && check->nr[FINDING_DAMAGE] > 0)
    r = repair_refuse (plan, err, "something is damaged of which there is no "
                       "second one to mend it from");
  else if (r == 0 && s.layer == NULL)
    r = repair_refuse (plan, err, "there is something in it that is not "
                       "known");
  else if (r == 0)
    r = plan_all (&s, flags, plan, err);
  vhd_examined_free (&s);
  return r;
}
