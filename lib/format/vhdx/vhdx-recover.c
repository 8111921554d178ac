/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The headers are replaced, and the log is replayed into its file.
 *
 * A header is replaced by writing the older one of the two, with a higher
 * number, and flushing; then the same with the other one.  A crash within
 * leaves one of them torn at most, the other whole: the state before, or the
 * one after.
 *
 * Replaying, in this order:
 *
 *   1. The headers get a new identity of the file, as something changes.
 *   2. The file becomes as long as the log says.
 *   3. Pages are written where they belong.
 *   4. Flush.
 *   5. The headers say that there is no log.
 *
 * A crash before 5 leaves the log as it was, and all of it is done again,
 * with the same result.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/format/vhdx/vhdx-write.h"

static void
put_guid (uint8_t *p, const uint8_t *guid)
{
  if (guid)
    memcpy (p, guid, UUID_SIZE);
}

/* The header of a layer, as it is known here, while it is copied: clients may
 * ask what an image is while another one writes into it for the first time.
 * One lock for all layers, as that is short and rare.
 */
static pthread_mutex_t header_lock = PTHREAD_MUTEX_INITIALIZER;

void
vhdx_header_now (const struct vhdx_layer *layer, struct vhdx_header *out)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&header_lock);
  *out = layer->header;
}

static void
header_is_replaced (struct vhdx_header *h,
                    const struct vhdx_header_change *change)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&header_lock);
  h->number = 3 - h->number;
  h->sequence++;
  h->alone = false;
  put_guid (h->data_write_guid, change->data_write_guid);
  put_guid (h->log_guid, change->log_guid);
}

/* The header that counts is copied, with changes, over the other one. */
static int
replace_older (struct vhdx_layer *layer,
               const struct vhdx_header_change *change, struct err *err)
{
  static const uint64_t offsets[2] = { VHDX_HEADER_1, VHDX_HEADER_2 };
  struct vhdx_header *h = &layer->header;
  uint8_t p[VHDX_HEADER_SIZE];
  int r;

  r = block_pread (layer->block, p, sizeof p, offsets[h->number - 1], err);
  if (r < 0)
    return r;
  put_le64 (p + VHDX_HEADER_SEQUENCE, h->sequence + 1);
  put_guid (p + VHDX_HEADER_FILE_WRITE_GUID, change->file_write_guid);
  put_guid (p + VHDX_HEADER_DATA_WRITE_GUID, change->data_write_guid);
  put_guid (p + VHDX_HEADER_LOG_GUID, change->log_guid);
  put_le16 (p + VHDX_HEADER_LOG_VERSION, VHDX_LOG_VERSION);
  put_le32 (p + VHDX_CHECKSUM, vhdx_checksum (p, sizeof p));
  r = block_pwrite (layer->block, p, sizeof p, offsets[2 - h->number], 0,
                    err);
  if (r == 0)
    r = block_flush (layer->block, err);
  if (r < 0)
    return err_in (err, "writing VHDX header %u", 3 - h->number);
  header_is_replaced (h, change);
  return 0;
}

int
vhdx_header_update (struct vhdx_layer *layer,
                    const struct vhdx_header_change *change, struct err *err)
{
  int r = replace_older (layer, change, err);

  return r < 0 ? r : replace_older (layer, change, err);
}

int
vhdx_recover (struct vhdx_layer *layer, struct err *err)
{
  static const uint8_t no_log[UUID_SIZE];
  uint8_t guid[UUID_SIZE];
  int r;

  if (layer->file == layer->block)
    return 0;
  r = vhdx_guid_new (guid, err);
  if (r == 0)
    r = vhdx_header_update (layer, &(struct vhdx_header_change) {
        .file_write_guid = guid }, err);
  if (r == 0)
    r = vhdx_replay_into (layer->file, err);
  if (r == 0)
    r = block_flush (layer->block, err);
  if (r == 0)
    r = vhdx_header_update (layer, &(struct vhdx_header_change) {
        .log_guid = no_log }, err);
  if (r < 0)
    return err_in (err, "replaying the log");
  block_unref (layer->file);
  layer->file = block_ref (layer->block);
  return 0;
}
