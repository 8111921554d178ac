/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Reading the metadata of NTFS: boot sector, records of the $MFT, attributes,
 * and the bytes of those that are in clusters.
 *
 * Ours, and not libntfs-3g's: what is read is three files and a folder; that
 * library keeps its state and its messages in global variables, prints, and
 * would have to be kept from mending what it opens.
 *
 * Everything comes from the disk and is checked: -EBADMSG when it makes no
 * sense.  Times and memory are bounded by the limits in ntfs-volume.c.
 */

#ifndef NBDIMAGE_FSMAP_NTFS_VOLUME_H
#define NBDIMAGE_FSMAP_NTFS_VOLUME_H

#include "lib/base/vector.h"
#include "lib/fsmap/used-reading.h"

/* Records whose number is fixed. */
#define NTFS_MFT 0
#define NTFS_MFT_MIRROR 1
#define NTFS_LOG 2
#define NTFS_VOLUME 3
#define NTFS_ROOT 5
#define NTFS_BITMAP 6

#define NTFS_ATTR_LIST 0x20
#define NTFS_ATTR_VOLUME_INFO 0x70
#define NTFS_ATTR_DATA 0x80
#define NTFS_ATTR_INDEX_ROOT 0x90
#define NTFS_ATTR_INDEX_ALLOCATION 0xa0

/* Clusters that lie side by side. */
struct ntfs_run {
  uint64_t vcn, lcn, nr;        /* lcn NTFS_HOLE: a hole */
};

#define NTFS_HOLE UINT64_MAX

DEFINE_VECTOR (ntfs_runs, struct ntfs_run);

/* The value of an attribute, wherever it is. */
struct ntfs_stream {
  bool found;
  uint64_t len;                 /* bytes */
  uint64_t initialized;         /* bytes; zeros behind them */
  uint8_t *value;               /* of a resident one: owned; or NULL */
  struct ntfs_runs runs;        /* of others: ascending, without gaps */
  bool encoded;                 /* compressed or encrypted */
};

#define CLEANUP_NTFS_STREAM \
  __attribute__ ((__cleanup__ (ntfs_stream_free)))

struct ntfs_volume {
  struct used_reading *rd;
  uint64_t cluster;             /* bytes */
  uint64_t nr_clusters;
  uint32_t sector, record;      /* bytes */
  uint64_t mft_lcn, mirror_lcn;
  struct ntfs_stream mft;       /* as much of it as is known */
};

/* Boot sector and where the $MFT is.  ntfs_close also after a failure. */
int ntfs_open (struct ntfs_volume *v, struct used_reading *rd,
               struct err *err);
void ntfs_close (struct ntfs_volume *v);

/* Undo what protects sectors against torn writes: buf of len bytes begins
 * with the four letters of magic.  Returns false if it does not, or a sector
 * is torn.
 */
bool ntfs_fixup (uint8_t *buf, size_t len, const char *magic);

/* Is the record in buf one, whole and in use?  -EBADMSG: it is damaged.
 * -ENOENT: it is whole, but not in use.  Undoes the protection.
 */
int ntfs_check_record (struct ntfs_volume *v, uint64_t nr, uint8_t *buf,
                       struct err *err);

/* Read record number nr of the $MFT into buf, of v->record bytes; and
 * ntfs_check_record.
 */
int ntfs_read_record (struct ntfs_volume *v, uint64_t nr, uint8_t *buf,
                      struct err *err);

/* Find an attribute in a record and in those that it is continued in.  name
 * is ASCII, "" for none.  Not found is no error.  The caller frees *out with
 * ntfs_stream_free, when this failed too.
 */
int ntfs_find (struct ntfs_volume *v, uint64_t record, uint32_t type,
               const char *name, struct ntfs_stream *out, struct err *err);

/* Add the runs of all attributes of a record that was read, without those that
 * it is continued in, to out->runs; the rest of out means nothing.
 */
int ntfs_record_runs (struct ntfs_volume *v, const uint8_t *rec,
                      struct ntfs_stream *out, struct err *err);

void ntfs_stream_free (struct ntfs_stream *s);

/* [off, off+len) of it, which must be inside.  Holes, and what was never
 * initialized, are zeros.
 */
int ntfs_pread (struct ntfs_volume *v, const struct ntfs_stream *s, void *buf,
                size_t len, uint64_t off, struct err *err);

#endif /* NBDIMAGE_FSMAP_NTFS_VOLUME_H */
