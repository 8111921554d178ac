/* SPDX-License-Identifier: GPL-2.0-or-later */

/* NTFS: $Bitmap has a bit for each cluster, and no checksum.  So all records of
 * the $MFT are read, and every cluster of every file must be in use.  And it is
 * only believed when nobody may know better:
 *
 *   $Volume        says that a check is due or under way
 *   $LogFile       has transactions that were not undone or redone; or a
 *                  Windows with fast startup has left it open
 *   hiberfil.sys   Windows hibernates: it has more in memory
 *
 * The backup of the boot sector lies behind the last cluster.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/fsmap/ntfs-volume.h"

#define CHUNK (256 * 1024)
#define VOLUME_DIRTY 0x0001
#define VOLUME_CHKDSK_UNDERWAY 0x4000
#define MAX_LOG (UINT64_C (4) * 1024 * 1024 * 1024)
#define LOG_PAGE 4096
#define MAX_LOG_PAGE 65536
#define NO_CLIENT 0xffff
#define LOG_CLEAN 0x0002
#define MAX_FOLDER (64 * 1024 * 1024)   /* bytes of its index */
#define MAX_INDEX_BLOCK 65536
#define ENTRY_LAST 2

/*--- $Volume ----------------------------------------------------------------*/

static int
check_volume (struct ntfs_volume *v, struct err *err)
{
  CLEANUP_NTFS_STREAM struct ntfs_stream s = { .found = false };
  uint8_t info[12];
  int r = ntfs_find (v, NTFS_VOLUME, NTFS_ATTR_VOLUME_INFO, "", &s, err);

  if (r == 0)
    r = ntfs_pread (v, &s, info, sizeof info, 0, err);
  if (r < 0)
    return r;
  if (get_le16 (info + 10) & (VOLUME_DIRTY | VOLUME_CHKDSK_UNDERWAY))
    return err_set (err, -ENOTSUP, "the NTFS is marked as not clean: a check "
                    "by Windows is due");
  return 0;
}

/*--- $LogFile ---------------------------------------------------------------*/

/* What one of the two restart pages says. */
struct restart {
  bool valid;
  uint64_t lsn;
  uint32_t major;               /* version of the log */
  bool clean;
};

/* A restart page at off of the log: valid only if it is whole. */
static int
read_restart (struct ntfs_volume *v, const struct ntfs_stream *log,
              uint64_t off, uint8_t *page, uint32_t *page_size,
              struct restart *out, struct err *err)
{
  uint32_t area, size;
  int r;

  memset (out, 0, sizeof *out);
  if (!range_fits (off, LOG_PAGE, log->len))
    return 0;
  r = ntfs_pread (v, log, page, LOG_PAGE, off, err);
  if (r < 0 || memcmp (page, "RSTR", 4) != 0)
    return r;
  size = get_le32 (page + 16);
  if (!is_power_of_2 (size) || size < LOG_PAGE || size > MAX_LOG_PAGE ||
      !range_fits (off, size, log->len))
    return 0;
  r = ntfs_pread (v, log, page, size, off, err);
  if (r < 0)
    return r;
  area = get_le16 (page + 24);
  if (!ntfs_fixup (page, size, "RSTR") || !range_fits (area, 48, size))
    return 0;
  *page_size = size;
  out->valid = true;
  out->lsn = get_le64 (page + area);
  out->major = get_le16 (page + 28);
  out->clean = get_le16 (page + area + 12) == NO_CLIENT ||
    get_le16 (page + area + 14) & LOG_CLEAN;
  return 0;
}

/* mkntfs and others leave a log of nothing but 1 bits. */
static int
check_empty_log (struct ntfs_volume *v, const struct ntfs_stream *log,
                 struct err *err)
{
  CLEANUP_FREE uint8_t *buf = malloc (CHUNK);
  int r = 0;

  if (buf == NULL)
    return err_nomem (err);
  for (uint64_t off = 0; off < log->len && r == 0; off += CHUNK) {
    size_t n = (size_t) min_u64 (log->len - off, CHUNK);

    r = ntfs_pread (v, log, buf, n, off, err);
    for (size_t i = 0; i < n && r == 0; ++i)
      if (buf[i] != 0xff)
        return err_set (err, -ENOTSUP, "the NTFS has a $LogFile that can't be "
                        "read");
    if (r == 0)
      r = job_check (v->rd->job, err);
  }
  return r;
}

static int
judge_log (const struct restart *first, const struct restart *second,
           struct err *err)
{
  const struct restart *last = second->valid && second->lsn > first->lsn ?
    second : first;

  if (last->major != 1)
    return err_set (err, -ENOTSUP, "the NTFS has a $LogFile of version %"
                    PRIu32 ": Windows was not shut down, but put to sleep by "
                    "fast startup", last->major);
  if (!last->clean)
    return err_set (err, -ENOTSUP, "the NTFS was not unmounted: its $LogFile "
                    "is not clean");
  return 0;
}

static int
check_log (struct ntfs_volume *v, struct err *err)
{
  CLEANUP_NTFS_STREAM struct ntfs_stream log = { .found = false };
  CLEANUP_FREE uint8_t *page = malloc (MAX_LOG_PAGE);
  struct restart first, second;
  uint32_t page_size = 0;
  int r = page ? ntfs_find (v, NTFS_LOG, NTFS_ATTR_DATA, "", &log, err)
               : err_nomem (err);

  if (r < 0)
    return r;
  if (log.len < 2 * LOG_PAGE || log.len > MAX_LOG || log.encoded)
    return err_set (err, -EBADMSG, "the $LogFile has %" PRIu64 " bytes",
                    log.len);
  r = read_restart (v, &log, 0, page, &page_size, &first, err);
  if (r < 0)
    return r;
  if (!first.valid)
    return check_empty_log (v, &log, err);
  r = read_restart (v, &log, page_size, page, &page_size, &second, err);
  if (r < 0)
    return r;
  /* One of them may have been the last that was written. */
  if (!second.valid)
    return err_set (err, -ENOTSUP, "the second restart page of the $LogFile "
                    "can't be read");
  return judge_log (&first, &second, err);
}

/*--- hiberfil.sys -----------------------------------------------------------*/

/* As NTFS compares names, for the letters of ours. */
static bool
is_named (const uint8_t *units, size_t nr, const char *name)
{
  if (nr != strlen (name))
    return false;
  for (size_t i = 0; i < nr; ++i) {
    unsigned c = get_le16 (units + 2 * i);

    if (c >= 'A' && c <= 'Z')
      c += 'a' - 'A';
    if (c != (uint8_t) name[i])
      return false;
  }
  return true;
}

/* The names in a node of an index: from its header on, len bytes.  *nr gets
 * the number and *sequence the generation of the record; they stay if it is
 * not there.
 */
static int
find_name (const uint8_t *header, size_t len, const char *name, uint64_t *nr,
           unsigned *sequence, struct err *err)
{
  size_t off = get_le32 (header), end = get_le32 (header + 4);

  if (end > len)
    return err_set (err, -EBADMSG, "an index makes no sense");
  while (range_fits (off, 16, end)) {
    const uint8_t *e = header + off, *key = e + 16;
    size_t n = get_le16 (e + 8), key_len = get_le16 (e + 10);

    if (get_le16 (e + 12) & ENTRY_LAST)
      return 0;
    if (n < 16 || n > end - off || key_len > n - 16 || key_len < 66 ||
        key[64] * 2u > key_len - 66)
      break;
    if (is_named (key + 66, key[64], name)) {
      *nr = get_le64 (e) & UINT64_C (0xffffffffffff);
      *sequence = get_le16 (e + 6);
    }
    off += n;
  }
  return err_set (err, -EBADMSG, "an index does not end");
}

/* The nodes of the root directory that are not in its record: all of them,
 * as they lie.
 */
static int
find_in_blocks (struct ntfs_volume *v, uint32_t size, const char *name,
                uint64_t *nr, unsigned *sequence, struct err *err)
{
  CLEANUP_NTFS_STREAM struct ntfs_stream s = { .found = false };
  CLEANUP_FREE uint8_t *buf = NULL;
  int r = ntfs_find (v, NTFS_ROOT, NTFS_ATTR_INDEX_ALLOCATION, "$I30", &s,
                     err);

  if (r < 0 || !s.found)
    return r;
  if (!is_power_of_2 (size) || size < 512 || size > MAX_INDEX_BLOCK ||
      s.len > MAX_FOLDER || s.len % size != 0 || s.encoded)
    return err_set (err, -ENOTSUP, "the root directory has %" PRIu64
                    " bytes in nodes of %" PRIu32, s.len, size);
  buf = malloc (size);
  if (buf == NULL)
    return err_nomem (err);
  for (uint64_t off = 0; off < s.len && r == 0; off += size) {
    r = ntfs_pread (v, &s, buf, size, off, err);
    /* A node that never was in use is zeros. */
    if (r < 0 || memcmp (buf, "\0\0\0\0", 4) == 0)
      continue;
    if (!ntfs_fixup (buf, size, "INDX"))
      return err_set (err, -EBADMSG, "a node of the root directory is "
                      "damaged");
    r = find_name (buf + 24, size - 24, name, nr, sequence, err);
  }
  return r;
}

static int
find_in_root (struct ntfs_volume *v, const char *name, uint64_t *nr,
              unsigned *sequence, struct err *err)
{
  CLEANUP_NTFS_STREAM struct ntfs_stream s = { .found = false };
  int r = ntfs_find (v, NTFS_ROOT, NTFS_ATTR_INDEX_ROOT, "$I30", &s, err);

  if (r < 0)
    return r;
  if (s.value == NULL || s.len < 32)
    return err_set (err, -EBADMSG, "the root directory has no index");
  r = find_name (s.value + 16, (size_t) s.len - 16, name, nr, sequence, err);
  if (r == 0)
    r = find_in_blocks (v, get_le32 (s.value + 8), name, nr, sequence, err);
  return r;
}

/* Its first bytes are "hibr" while Windows hibernates, and zeros or another
 * word when it has woken up.
 */
static int
check_hibernation (struct ntfs_volume *v, struct err *err)
{
  CLEANUP_NTFS_STREAM struct ntfs_stream s = { .found = false };
  CLEANUP_FREE uint8_t *rec = malloc (v->record);
  uint64_t nr = 0;
  unsigned sequence = 0;
  char magic[4];
  int r = rec ? find_in_root (v, "hiberfil.sys", &nr, &sequence, err)
              : err_nomem (err);

  if (r < 0 || nr == 0)
    return r;
  r = ntfs_read_record (v, nr, rec, err);
  if (r == -ENOENT || (r == 0 && get_le16 (rec + 16) != sequence))
    return 0;                   /* an old entry, of a node not in use */
  if (r == 0)
    r = ntfs_find (v, nr, NTFS_ATTR_DATA, "", &s, err);
  if (r < 0 || s.len < sizeof magic)
    return r;
  r = ntfs_pread (v, &s, magic, sizeof magic, 0, err);
  if (r == 0 && (s.encoded || memcmp (magic, "hibr", 4) == 0 ||
                 memcmp (magic, "HIBR", 4) == 0))
    return err_set (err, -ENOTSUP, "Windows hibernates on the NTFS");
  return r;
}

/*--- $Bitmap ----------------------------------------------------------------*/

static int
read_bitmap (struct ntfs_volume *v, const struct ntfs_stream *s,
             struct err *err)
{
  CLEANUP_FREE uint8_t *buf = malloc (CHUNK);
  int r = 0;

  if (buf == NULL)
    return err_nomem (err);
  for (uint64_t bit = 0; bit < v->nr_clusters && r == 0;
       bit += (uint64_t) CHUNK * 8) {
    uint64_t nr = min_u64 (v->nr_clusters - bit, (uint64_t) CHUNK * 8);
    uint64_t nr_set;

    r = ntfs_pread (v, s, buf, (size_t) div_round_up (nr, 8), bit / 8, err);
    if (r == 0)
      r = used_map_add_bits (&v->rd->map, buf, nr, v->cluster,
                             bit * v->cluster, &nr_set, err);
    if (r == 0)
      r = job_advance (v->rd->job, nr * v->cluster, err);
  }
  return r;
}

/* The clusters of a file must be in use. */
static int
check_runs (struct ntfs_volume *v, const struct ntfs_stream *s,
            const char *name, struct err *err)
{
  for (size_t i = 0; i < s->runs.len; ++i) {
    const struct ntfs_run *run = &s->runs.ptr[i];

    if (run->lcn != NTFS_HOLE &&
        !used_map_covers (&v->rd->map, run->lcn * v->cluster,
                          run->nr * v->cluster))
      return err_set (err, -EBADMSG, "the bitmap of the NTFS says that %s is "
                      "not in use at cluster %" PRIu64, name, run->lcn);
  }
  return 0;
}

/* Every record that is in use says that all its clusters are. */
static int
check_records (struct ntfs_volume *v, uint8_t *records, uint64_t first,
               size_t nr, struct err *err)
{
  int r = 0;

  for (size_t i = 0; i < nr && r == 0; ++i) {
    CLEANUP_NTFS_STREAM struct ntfs_stream s = { .found = false };
    uint8_t *rec = records + i * v->record;
    char name[40];

    /* One that never was in use. */
    if (memcmp (rec, "\0\0\0\0", 4) == 0)
      continue;
    r = ntfs_check_record (v, first + i, rec, err);
    if (r == -ENOENT) {
      r = 0;
      continue;
    }
    snprintf (name, sizeof name, "file %" PRIu64, first + i);
    if (r == 0)
      r = ntfs_record_runs (v, rec, &s, err);
    if (r == 0)
      r = check_runs (v, &s, name, err);
  }
  return r;
}

static int
check_files (struct ntfs_volume *v, struct err *err)
{
  uint64_t len = min_u64 (v->mft.len, v->mft.initialized);
  CLEANUP_FREE uint8_t *buf = malloc (CHUNK);
  int r = buf ? 0 : err_nomem (err);

  len = round_down (len, v->record);
  for (uint64_t off = 0; off < len && r == 0; off += CHUNK) {
    size_t n = (size_t) min_u64 (len - off, CHUNK);

    r = ntfs_pread (v, &v->mft, buf, n, off, err);
    if (r == 0)
      r = check_records (v, buf, off / v->record, n / v->record, err);
    if (r == 0)
      r = job_check (v->rd->job, err);
  }
  return r;
}

static int
check_bitmap (struct ntfs_volume *v, struct err *err)
{
  used_map_finish (&v->rd->map);
  if (!used_map_covers (&v->rd->map, 0, v->cluster))
    return err_set (err, -EBADMSG, "the bitmap of the NTFS says that the boot "
                    "sector is not in use");
  return check_files (v, err);
}

static int
add_used (struct ntfs_volume *v, struct err *err)
{
  CLEANUP_NTFS_STREAM struct ntfs_stream bitmap = { .found = false };
  int r = ntfs_find (v, NTFS_BITMAP, NTFS_ATTR_DATA, "", &bitmap, err);

  if (r < 0)
    return r;
  if (bitmap.encoded || bitmap.len < div_round_up (v->nr_clusters, 8) ||
      bitmap.initialized < div_round_up (v->nr_clusters, 8))
    return err_set (err, -EBADMSG, "the bitmap of %" PRIu64 " clusters has %"
                    PRIu64 " bytes", v->nr_clusters, bitmap.initialized);
  r = read_bitmap (v, &bitmap, err);
  if (r == 0)
    r = used_add_behind (v->rd, v->nr_clusters * v->cluster, err);
  return r < 0 ? r : check_bitmap (v, err);
}

int
used_read_ntfs (struct used_reading *rd, struct err *err)
{
  struct ntfs_volume v;
  int r = ntfs_open (&v, rd, err);

  rd->unit = v.cluster;
  if (r == 0)
    r = check_volume (&v, err);
  if (r == 0)
    r = check_log (&v, err);
  if (r == 0)
    r = check_hibernation (&v, err);
  if (r == 0)
    r = add_used (&v, err);
  ntfs_close (&v);
  return r;
}
