/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Images of CDs, DVDs and Blu-rays: ISO 9660, UDF, or both ("bridge").  The
 * bytes of the file are the bytes of the disc, whatever is wrong with what
 * they say; what is wrong is reported.  A hybrid image, which is a disk with
 * partitions too, is the same bytes.  A raw dump of a CD has the disc's bytes
 * in its sectors: cd-sectors.c.
 *
 * The disc is never written to: these file systems are made in one go.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/block/watch.h"
#include "lib/format/check.h"
#include "lib/format/foreign.h"
#include "lib/format/iso/cd-sectors.h"
#include "lib/format/iso/el-torito.h"
#include "lib/format/iso/iso.h"

#define READONLY "ISO images are read-only"

uint64_t
iso_volume_size (const struct iso *s)
{
  uint64_t size = max_u64 (s->iso.size, s->udf.size);

  for (size_t i = 0; i < s->sessions.len; ++i)
    size = max_u64 (size, s->sessions.ptr[i].end);
  return size;
}

/*--- Open ------------------------------------------------------------------*/

static int
iso_probe (const struct probe *probe)
{
  size_t off = ISO_FIRST_SECTOR * ISO_SECTOR;

  /* Some containers begin with their sectors, and end with their tables. */
  if (cd_sectors_stride (probe->head, probe->head_len) != 0)
    return foreign_format (probe, NULL) ? PROBE_NO : PROBE_YES;
  /* The primary volume descriptor is the first of them, most often. */
  for (; off + ISO_SECTOR <= probe->head_len &&
         memcmp (probe->head + off + 1, "CD001\1", 6) == 0;
       off += ISO_SECTOR)
    if (probe->head[off] == 1)
      return PROBE_YES;
  return udf_probe (probe->block, probe->head, probe->head_len)
         ? PROBE_YES : PROBE_NO;
}

/* -EBADMSG if the end of the volume is not in the file. */
static int
check_end (const struct iso *s, uint64_t size, struct err *err)
{
  uint64_t need = iso_volume_size (s);

  if (need <= size)
    return 0;
  return err_set (err, -EBADMSG, "the volume has %" PRIu64 " bytes, the file "
                  "only %" PRIu64 ": %" PRIu64 " bytes are missing at the "
                  "end, as when a download broke off", need, size,
                  need - size);
}

static void
check_size (const struct iso *s, uint64_t size, struct report *report)
{
  struct err why = ERR_INIT;

  if (check_end (s, size, &why) < 0)
    report_warn (report, "%s", why.msg);
  if (size % ISO_SECTOR != 0)
    report_warn (report, "the size of the file, %" PRIu64 " bytes, is not a "
                 "multiple of %d: the last sector is not whole", size,
                 ISO_SECTOR);
}

/* A drive would take the last session, but nobody else does. */
static void
check_sessions (const struct iso *s, struct report *report)
{
  const struct iso_session_vector *v = &s->sessions;

  if (v->len > 0 && iso_sessions_seen (v, &s->iso) != v->len - 1)
    report_warn (report, "the disc has %zu sessions, and what its sector %d "
                 "describes is not the last: a drive would show that, others "
                 "show the first; mount with -o sbsector=%" PRIu32 " for the "
                 "last", v->len, ISO_FIRST_SECTOR, v->ptr[v->len - 1].start);
}

static int
say_what_it_is_not (struct block *disc, struct err *err)
{
  uint32_t unit = udf_disk_block_size (disc);

  if (unit != 0)
    return err_set (err, -ENOTSUP, "UDF in blocks of %" PRIu32 " bytes is a "
                    "hard disk's, expected %d on a disc; the format ‘raw’ "
                    "reads it", unit, ISO_SECTOR);
  return err_set (err, -EBADMSG, "neither ISO 9660 nor UDF: no primary volume "
                  "descriptor from sector %d on, and no usable UDF volume "
                  "descriptors", ISO_FIRST_SECTOR);
}

/* All that is said about the disc; what is wrong with it is reported. */
static int
read_disc (struct block *disc, struct iso *s, struct report *report,
           struct err *err)
{
  int r = iso9660_read (disc, &s->iso, report, err);

  if (r == 0)
    r = udf_read (disc, &s->udf, report, err);
  if (r == 0 && !s->iso.has_primary && !s->udf.found)
    return say_what_it_is_not (disc, err);
  if (r == 0 && s->iso.has_primary)
    r = iso_sessions_find (disc, &s->iso, &s->sessions, report, err);
  if (r == 0 && s->iso.has_boot_catalog)
    r = el_torito_read (disc, s->iso.boot_catalog, iso_volume_size (s),
                        &s->boot, report, err);
  if (r == 0)
    r = iso_hybrid_read (disc, &s->hybrid, report, err);
  return r;
}

/* The disc in the file: its bytes, or what is in the sectors of a raw dump. */
static int
open_disc (struct image *img, struct iso *s, struct block **disc,
           struct report *report, struct err *err)
{
  uint64_t size = block_size (img->block);
  uint8_t head[2 * CD_SECTOR_MAX];
  size_t len = (size_t) min_u64 (size, sizeof head);
  int r = block_pread (img->block, head, len, 0, err);

  if (r < 0)
    return r;
  s->stride = cd_sectors_stride (head, len);
  if (s->stride == 0) {
    *disc = block_ref (img->block);
    return 0;
  }
  r = cd_sectors_new (img->block, s->stride, disc, err);
  if (r < 0)
    return r;
  s->mode = cd_sectors_mode (*disc);
  if (size % s->stride != 0 && size % s->stride < CD_SECTOR)
    report_warn (report, "the size of the file, %" PRIu64 " bytes, is not a "
                 "multiple of %zu: the last sector is not whole, and left "
                 "out", size, s->stride);
  if (cd_sectors_unsummed (*disc, ISO_FIRST_SECTOR))
    report_warn (report, "the CD sectors have no checksums: what is read of "
                 "them can't be verified");
  return 0;
}

/* Behind the data of a CD may be music; the disk ends before it. */
static uint64_t
disk_size (const struct iso *s, struct block *disc, struct report *report)
{
  uint64_t size = block_size (disc), end = iso_volume_size (s);
  uint8_t byte;

  if (s->stride == 0 || end >= size ||
      block_pread (disc, &byte, 1, size - 1, NULL) == 0)
    return size;
  report_warn (report, "the last sector of the file can't be read as data: "
               "the %" PRIu64 " sectors behind the volume, music perhaps, are "
               "left out", (size - end) / ISO_SECTOR);
  return end;
}

/* The bytes of a disc are served whatever is known about it, but what could
 * not be read is not the same as what is not there.
 */
static int
read_watched (struct block *block, struct iso *s, struct report *report,
              struct err *err)
{
  CLEANUP_BLOCK struct block *disc = NULL;
  struct err why = ERR_INIT;
  int r, failure;

  r = block_watch_new (block, &disc, err);
  if (r < 0)
    return r;
  r = read_disc (disc, s, report, err);
  failure = block_watch_failure (disc, &why);
  if (r == -EBADMSG && failure < 0)
    return err_set (err, failure, "%s", why.msg);
  /* In a raw dump, a sector that has no data is one: where sessions and
   * anchors are looked for may be music.
   */
  if (r == 0 && failure < 0 && !(s->stride != 0 && failure == -EBADMSG))
    report_warn (report, "%s; there may be more to say about the disc",
                 why.msg);
  return r;
}

static int
iso_open (struct image *img, const struct image_options *options,
          struct report *report, struct err *err)
{
  struct iso *s = img->state;
  int r;

  (void) options;
  if (img->writable)
    return err_set (err, -EROFS, READONLY);
  r = open_disc (img, s, &img->disk, report, err);
  if (r == 0)
    r = read_watched (img->disk, s, report, err);
  if (r < 0)
    return r;
  check_size (s, block_size (img->disk), report);
  check_sessions (s, report);

  img->readonly_reason = strdup (READONLY);
  if (img->readonly_reason == NULL)
    return err_nomem (err);
  img->size = disk_size (s, img->disk, report);
  /* The kernel's isofs can't be mounted where blocks are larger. */
  img->sizes = (struct block_sizes) {
    .minimum = 1, .preferred = ISO_SECTOR, .logical = ISO_SECTOR,
  };
  return 0;
}

/* What the disc says that it has, and the file has not, is lost. */
static int
iso_check_open (struct image *img, struct check *check, struct err *err)
{
  const struct iso *s = img->state;
  uint64_t size = block_size (img->disk);
  const struct finding_subject subject = {
    .severity = FINDING_DAMAGE,
    .kind = "iso-cut",
    .structure = "the volume",
    .off = FINDING_NOWHERE,
    .disk_off = size,
    .disk_len = iso_volume_size (s) - min_u64 (iso_volume_size (s), size),
  };
  struct err why = ERR_INIT;

  return check_end (s, size, &why) < 0
    ? check_add_err (check, &subject, &why, err) : 0;
}

static void
iso_close (struct image *img)
{
  struct iso *s = img->state;

  iso9660_free (&s->iso);
  udf_free (&s->udf);
  vector_free (&s->sessions);
  el_torito_free (&s->boot);
  iso_hybrid_free (&s->hybrid);
}

static const char *const endings[] = { "iso", NULL };

const struct image_ops iso_image_ops = {
  .name = "iso",
  .endings = endings,
  .lack = "there is neither an ISO 9660 nor a UDF file system in it",
  .state_size = sizeof (struct iso),
  .probe = iso_probe,
  .open = iso_open,
  .close = iso_close,
  .info = iso_info,
  .check_open = iso_check_open,
};
