/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The $MFT is a file of records, and record 0 says where it is; a record has
 * attributes; an attribute's value is in the record or in runs of clusters,
 * which are coded as differences.  A file with too many runs has the attribute
 * $ATTRIBUTE_LIST, which says what other records have the rest.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/fsmap/ntfs-volume.h"

#define MAX_CLUSTER (2 * 1024 * 1024)
#define MAX_RECORD 4096
#define MAX_RUNS (1024 * 1024)          /* of one attribute */
#define MAX_LIST (256 * 1024)           /* bytes; Windows has the same limit */
#define RECORD_IN_USE 1
#define ATTR_END 0xffffffff
#define ATTR_ENCODED 0x40ff             /* encrypted; compressed */
#define REFERENCE_MASK UINT64_C (0xffffffffffff)
#define STRIDE 512                      /* that fixups protect */

/*--- boot sector ------------------------------------------------------------*/

/* A number of clusters, or, negative, the logarithm of bytes. */
static uint64_t
decode_size (int8_t v, uint64_t unit)
{
  if (v > 0)
    return (uint64_t) v * unit;
  return v > -32 ? UINT64_C (1) << -v : 0;
}

static int
decode_boot (struct ntfs_volume *v, const uint8_t *b, struct err *err)
{
  uint64_t record, sectors = get_le64 (b + 40), per_cluster;

  v->sector = get_le16 (b + 11);
  if (memcmp (b + 3, "NTFS    ", 8) != 0 || !is_power_of_2 (v->sector) ||
      v->sector < 256 || v->sector > 4096)
    return err_set (err, -EBADMSG, "the boot sector is not that of an NTFS");
  /* Above 128 sectors, it is a negative logarithm. */
  per_cluster = b[13] <= 128 ? b[13] : decode_size ((int8_t) b[13], 1);
  v->cluster = per_cluster * v->sector;
  record = decode_size ((int8_t) b[64], v->cluster);
  if (!is_power_of_2 (per_cluster) || v->cluster > MAX_CLUSTER ||
      v->cluster < STRIDE || !is_power_of_2 (record) || record < STRIDE ||
      record > MAX_RECORD)
    return err_set (err, -EBADMSG, "the NTFS has clusters of %" PRIu64
                    " sectors and records of %" PRIu64 " bytes", per_cluster,
                    record);
  v->record = (uint32_t) record;
  v->nr_clusters = sectors / per_cluster;
  v->mft_lcn = get_le64 (b + 48);
  v->mirror_lcn = get_le64 (b + 56);
  if (sectors > UINT64_MAX / v->sector || v->mft_lcn >= v->nr_clusters ||
      v->mirror_lcn >= v->nr_clusters)
    return err_set (err, -EBADMSG, "the NTFS of %" PRIu64 " clusters has its "
                    "$MFT at cluster %" PRIu64 " and a copy at %" PRIu64,
                    v->nr_clusters, v->mft_lcn, v->mirror_lcn);
  return 0;
}

/*--- records ----------------------------------------------------------------*/

bool
ntfs_fixup (uint8_t *buf, size_t len, const char *magic)
{
  size_t off = get_le16 (buf + 4), nr = get_le16 (buf + 6);
  const uint8_t *usa = buf + off;

  if (memcmp (buf, magic, 4) != 0 || nr != len / STRIDE + 1 ||
      off % 2 != 0 || !range_fits (off, nr * 2, STRIDE - 2))
    return false;
  for (size_t i = 1; i < nr; ++i) {
    uint8_t *end = buf + i * STRIDE - 2;

    if (memcmp (end, usa, 2) != 0)
      return false;
    memcpy (end, usa + i * 2, 2);
  }
  return true;
}

int
ntfs_check_record (struct ntfs_volume *v, uint64_t nr, uint8_t *buf,
                   struct err *err)
{
  if (!ntfs_fixup (buf, v->record, "FILE"))
    return err_set (err, -EBADMSG, "record %" PRIu64 " of the $MFT is damaged",
                    nr);
  if (!(get_le16 (buf + 22) & RECORD_IN_USE))
    return err_set (err, -ENOENT, "record %" PRIu64 " of the $MFT is not in "
                    "use", nr);
  return 0;
}

int
ntfs_read_record (struct ntfs_volume *v, uint64_t nr, uint8_t *buf,
                  struct err *err)
{
  uint64_t off;
  int r;

  if (!checked_mul (nr, (uint64_t) v->record, &off) ||
      !range_fits (off, v->record, v->mft.len))
    return err_set (err, -EBADMSG, "the $MFT has no record %" PRIu64, nr);
  r = ntfs_pread (v, &v->mft, buf, v->record, off, err);
  return r < 0 ? r : ntfs_check_record (v, nr, buf, err);
}

/* The attribute of a record at *off: its length goes to *len; 0 at the end. */
static int
attribute_at (const uint8_t *rec, uint32_t size, size_t off, uint32_t *len,
              struct err *err)
{
  *len = 0;
  if (range_fits (off, 4, size) && get_le32 (rec + off) == ATTR_END)
    return 0;
  if (range_fits (off, 24, size))
    *len = get_le32 (rec + off + 4);
  if (*len < 24 || *len % 8 != 0 || !range_fits (off, *len, size) ||
      (rec[off + 8] != 0 && *len < 64) ||
      !range_fits (get_le16 (rec + off + 10), rec[off + 9] * 2, *len))
    return err_set (err, -EBADMSG, "an attribute in a record of the $MFT "
                    "makes no sense");
  return 0;
}

/* Is a name of nr UTF-16 units this one? */
static bool
has_name (const uint8_t *units, size_t nr, const char *name)
{
  if (nr != strlen (name))
    return false;
  for (size_t i = 0; i < nr; ++i)
    if (get_le16 (units + i * 2) != (uint8_t) name[i])
      return false;
  return true;
}

/*--- values -----------------------------------------------------------------*/

void
ntfs_stream_free (struct ntfs_stream *s)
{
  free (s->value);
  vector_free (&s->runs);
  memset (s, 0, sizeof *s);
}

static int
bad_runs (struct err *err)
{
  return err_set (err, -EBADMSG, "a list of runs of clusters makes no sense");
}

/* A little-endian number of n bytes, 0 to 8, with its sign. */
static int64_t
decode_signed (const uint8_t *p, unsigned n)
{
  uint64_t v = 0;

  for (unsigned i = 0; i < n; ++i)
    v |= (uint64_t) p[i] << (8 * i);
  if (n > 0 && n < 8 && p[n - 1] & 0x80)
    v |= UINT64_MAX << (8 * n);
  return (int64_t) v;
}

static int
add_run (struct ntfs_volume *v, struct ntfs_stream *s, uint64_t vcn,
         uint64_t lcn, uint64_t nr, struct err *err)
{
  struct ntfs_run run = { vcn, lcn, nr };

  if (s->runs.len >= MAX_RUNS)
    return err_set (err, -ENOTSUP, "a file has more than %d runs", MAX_RUNS);
  /* Holes may be longer than the volume. */
  if (nr == 0 || nr > UINT64_MAX / 4 || vcn > UINT64_MAX / 4 ||
      (lcn != NTFS_HOLE && !range_fits (lcn, nr, v->nr_clusters)))
    return bad_runs (err);
  return vector_append (&s->runs, &run) < 0 ? err_nomem (err) : 0;
}

/* The runs of the attribute that begins at a and is len long. */
static int
decode_runs (struct ntfs_volume *v, const uint8_t *a, uint32_t len,
             struct ntfs_stream *s, struct err *err)
{
  uint64_t vcn = get_le64 (a + 16), end = get_le64 (a + 24) + 1, lcn = 0;
  size_t off = get_le16 (a + 32);
  int r = 0;

  while (r == 0 && off < len && a[off] != 0) {
    unsigned nr_len = a[off] & 15, nr_off = a[off] >> 4;
    int64_t nr;

    if (nr_len == 0 || nr_len > 8 || nr_off > 8 ||
        !range_fits (off, 1 + nr_len + nr_off, len))
      return bad_runs (err);
    nr = decode_signed (a + off + 1, nr_len);
    lcn += (uint64_t) decode_signed (a + off + 1 + nr_len, nr_off);
    r = add_run (v, s, vcn, nr_off > 0 ? lcn : NTFS_HOLE, (uint64_t) nr, err);
    vcn += (uint64_t) nr;
    off += 1 + nr_len + nr_off;
  }
  if (r == 0 && (off >= len || vcn != end))
    return bad_runs (err);
  return r;
}

/* Add what the attribute at a says to the stream. */
static int
take_attribute (struct ntfs_volume *v, const uint8_t *a, uint32_t len,
                struct ntfs_stream *s, struct err *err)
{
  uint64_t vcn, expected = 0;

  if (a[8] == 0) {
    uint32_t n = get_le32 (a + 16), off = get_le16 (a + 20);

    if (s->found || !range_fits (off, n, len))
      return err_set (err, -EBADMSG, "a resident attribute makes no sense");
    s->found = true;
    s->len = s->initialized = n;
    s->value = malloc (n > 0 ? n : 1);
    if (s->value == NULL)
      return err_nomem (err);
    memcpy (s->value, a + off, n);
    return 0;
  }
  vcn = get_le64 (a + 16);
  if (s->runs.len > 0) {
    const struct ntfs_run *last = &s->runs.ptr[s->runs.len - 1];

    expected = last->vcn + last->nr;
  }
  if (s->value != NULL || vcn != expected || (vcn != 0) != s->found)
    return err_set (err, -EBADMSG, "the pieces of an attribute make no sense");
  if (vcn == 0) {
    s->len = get_le64 (a + 48);
    s->initialized = get_le64 (a + 56);
    s->encoded = get_le16 (a + 12) & ATTR_ENCODED;
  }
  s->found = true;
  return get_le64 (a + 24) + 1 == vcn ? 0 : decode_runs (v, a, len, s, err);
}

static int
pread_run (struct ntfs_volume *v, const struct ntfs_run *run, uint8_t *buf,
           size_t len, uint64_t skip, struct err *err)
{
  if (run->lcn != NTFS_HOLE)
    return used_pread (v->rd, "a file's data", buf, len,
                       run->lcn * v->cluster + skip, err);
  memset (buf, 0, len);
  return 0;
}

/* The run that has this vcn; NULL if none has. */
static const struct ntfs_run *
find_run (const struct ntfs_stream *s, uint64_t vcn)
{
  size_t low = 0, high = s->runs.len;

  while (low < high) {
    size_t middle = low + (high - low) / 2;

    if (s->runs.ptr[middle].vcn + s->runs.ptr[middle].nr > vcn)
      high = middle;
    else
      low = middle + 1;
  }
  return low < s->runs.len && s->runs.ptr[low].vcn <= vcn ?
    &s->runs.ptr[low] : NULL;
}

int
ntfs_pread (struct ntfs_volume *v, const struct ntfs_stream *s, void *buf,
            size_t len, uint64_t off, struct err *err)
{
  uint8_t *p = buf;

  if (!range_fits (off, len, s->len))
    return err_set (err, -EBADMSG, "a file of %" PRIu64 " bytes has none at %"
                    PRIu64, s->len, off);
  if (s->value != NULL) {
    memcpy (buf, s->value + off, len);
    return 0;
  }
  while (len > 0) {
    const struct ntfs_run *run = find_run (s, off / v->cluster);
    uint64_t skip;
    size_t n;
    int r;

    if (run == NULL)
      return err_set (err, -EBADMSG, "a file of %" PRIu64 " bytes has no "
                      "cluster for byte %" PRIu64, s->len, off);
    skip = off - run->vcn * v->cluster;
    n = (size_t) min_u64 (len, run->nr * v->cluster - skip);
    if (off >= s->initialized)
      memset (p, 0, n);
    else {
      n = (size_t) min_u64 (n, s->initialized - off);
      r = pread_run (v, run, p, n, skip, err);
      if (r < 0)
        return r;
    }
    p += n;
    off += n;
    len -= n;
  }
  return 0;
}

/*--- finding ----------------------------------------------------------------*/

/* Take all attributes of this type and name from the record; those of an
 * instance only unless it is negative.
 */
static int
take_from_record (struct ntfs_volume *v, const uint8_t *rec, uint32_t type,
                  const char *name, int instance, struct ntfs_stream *s,
                  struct err *err)
{
  uint32_t size = (uint32_t) min_u64 (get_le32 (rec + 24), v->record), len;
  size_t off = get_le16 (rec + 20);
  int r = attribute_at (rec, size, off, &len, err);

  while (r == 0 && len > 0) {
    const uint8_t *a = rec + off;

    if (get_le32 (a) == type && has_name (a + get_le16 (a + 10), a[9], name) &&
        (instance < 0 || get_le16 (a + 14) == instance))
      r = take_attribute (v, a, len, s, err);
    off += len;
    if (r == 0)
      r = attribute_at (rec, size, off, &len, err);
  }
  return r;
}

int
ntfs_record_runs (struct ntfs_volume *v, const uint8_t *rec,
                  struct ntfs_stream *out, struct err *err)
{
  uint32_t size = (uint32_t) min_u64 (get_le32 (rec + 24), v->record), len;
  size_t off = get_le16 (rec + 20);
  int r = attribute_at (rec, size, off, &len, err);

  while (r == 0 && len > 0) {
    const uint8_t *a = rec + off;

    if (a[8] != 0 && get_le64 (a + 24) + 1 != get_le64 (a + 16))
      r = decode_runs (v, a, len, out, err);
    off += len;
    if (r == 0)
      r = attribute_at (rec, size, off, &len, err);
  }
  return r;
}

/* One entry of the list names one piece of an attribute. */
static int
take_from_entry (struct ntfs_volume *v, const uint8_t *e, const char *name,
                 uint8_t *rec, struct ntfs_stream *s, struct err *err)
{
  uint64_t nr = get_le64 (e + 16) & REFERENCE_MASK;
  size_t before = s->runs.len;
  bool found = s->found;
  int r;

  /* The records that say where the $MFT goes on lie before that place. */
  r = ntfs_read_record (v, nr, rec, err);
  if (r == 0)
    r = take_from_record (v, rec, get_le32 (e), name, get_le16 (e + 24), s,
                          err);
  if (r == 0 && found == s->found && before == s->runs.len)
    return err_set (err, -EBADMSG, "record %" PRIu64 " of the $MFT lacks an "
                    "attribute", nr);
  return r;
}

static int
take_from_list (struct ntfs_volume *v, const struct ntfs_stream *list,
                uint32_t type, const char *name, struct ntfs_stream *s,
                struct err *err)
{
  CLEANUP_FREE uint8_t *entries = NULL, *rec = malloc (v->record);
  size_t len = (size_t) list->len;
  int r;

  if (list->len > MAX_LIST)
    return err_set (err, -EBADMSG, "a list of attributes has %" PRIu64
                    " bytes", list->len);
  entries = malloc (len > 0 ? len : 1);
  if (entries == NULL || rec == NULL)
    return err_nomem (err);
  r = ntfs_pread (v, list, entries, len, 0, err);
  for (size_t off = 0; r == 0 && off < len;) {
    const uint8_t *e = entries + off;
    size_t n = len - off >= 26 ? get_le16 (e + 4) : 0;

    if (n < 26 || n % 8 != 0 || n > len - off || !range_fits (e[7], e[6] * 2u,
                                                             n))
      return err_set (err, -EBADMSG, "a list of attributes makes no sense");
    if (get_le32 (e) == type && has_name (e + e[7], e[6], name))
      r = take_from_entry (v, e, name, rec, s, err);
    off += n;
  }
  return r;
}

/* In a record that was read, and the others that it is continued in. */
static int
find_in (struct ntfs_volume *v, const uint8_t *rec, uint32_t type,
         const char *name, struct ntfs_stream *out, struct err *err)
{
  CLEANUP_NTFS_STREAM struct ntfs_stream list = { .found = false };
  int r = take_from_record (v, rec, NTFS_ATTR_LIST, "", -1, &list, err);

  if (r < 0)
    return r;
  if (!list.found)
    return take_from_record (v, rec, type, name, -1, out, err);
  return take_from_list (v, &list, type, name, out, err);
}

int
ntfs_find (struct ntfs_volume *v, uint64_t record, uint32_t type,
           const char *name, struct ntfs_stream *out, struct err *err)
{
  CLEANUP_FREE uint8_t *rec = malloc (v->record);
  int r = rec ? ntfs_read_record (v, record, rec, err) : err_nomem (err);

  return r < 0 ? r : find_in (v, rec, type, name, out, err);
}

/*--- the beginning ----------------------------------------------------------*/

/* First only as much of the $MFT as its own first record says: enough to read
 * the records that have the rest.
 */
static int
find_mft (struct ntfs_volume *v, struct err *err)
{
  CLEANUP_NTFS_STREAM struct ntfs_stream whole = { .found = false };
  CLEANUP_FREE uint8_t *rec = malloc (v->record);
  int r;

  if (rec == NULL)
    return err_nomem (err);
  r = used_pread (v->rd, "the first record of the $MFT", rec, v->record,
                  v->mft_lcn * v->cluster, err);
  if (r == 0)
    r = ntfs_check_record (v, NTFS_MFT, rec, err);
  if (r == 0)
    r = take_from_record (v, rec, NTFS_ATTR_DATA, "", -1, &v->mft, err);
  if (r == 0 && (v->mft.runs.len == 0 ||
                 v->mft.runs.ptr[0].lcn != v->mft_lcn))
    return err_set (err, -EBADMSG, "the $MFT says that it is not where it is");
  if (r == 0)
    r = find_in (v, rec, NTFS_ATTR_DATA, "", &whole, err);
  if (r < 0)
    return r;
  ntfs_stream_free (&v->mft);
  v->mft = whole;
  memset (&whole, 0, sizeof whole);
  return 0;
}

int
ntfs_open (struct ntfs_volume *v, struct used_reading *rd, struct err *err)
{
  uint8_t boot[512];
  int r = used_pread (rd, "the boot sector", boot, sizeof boot, 0, err);

  memset (v, 0, sizeof *v);
  v->rd = rd;
  if (r == 0)
    r = decode_boot (v, boot, err);
  if (r == 0 && v->nr_clusters > rd->size / v->cluster)
    r = used_add_behind (rd, v->nr_clusters * v->cluster, err);
  return r < 0 ? r : find_mft (v, err);
}

void
ntfs_close (struct ntfs_volume *v)
{
  ntfs_stream_free (&v->mft);
}
