/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The file identifier and the two headers.
 *
 * A header is replaced by writing the older one of the two with a higher
 * sequence number, so that one of them is whole at any time; the whole one
 * with the higher number counts.
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
#include "lib/base/utf16.h"
#include "lib/format/vhdx/vhdx.h"

static const uint64_t offsets[2] = { VHDX_HEADER_1, VHDX_HEADER_2 };

/* One of the two. */
struct candidate {
  uint8_t bytes[VHDX_HEADER_SIZE];
  bool is_signed, is_valid;
  uint32_t stored, computed;    /* checksums */
};

uint32_t
vhdx_checksum (const uint8_t *p, size_t len)
{
  static const uint8_t zeros[4];
  uint32_t crc = crc32c_update (0, p, VHDX_CHECKSUM);

  crc = crc32c_update (crc, zeros, sizeof zeros);
  return crc32c_update (crc, p + VHDX_CHECKSUM + 4, len - VHDX_CHECKSUM - 4);
}

static void
judge (struct candidate *c)
{
  c->is_signed = memcmp (c->bytes, VHDX_HEADER_SIGNATURE, 4) == 0;
  c->stored = get_le32 (c->bytes + VHDX_CHECKSUM);
  c->computed = vhdx_checksum (c->bytes, VHDX_HEADER_SIZE);
  c->is_valid = c->is_signed && c->stored == c->computed;
}

/* A VHDX whose beginning was overwritten is ours to refuse, rather than to be
 * served as raw.
 */
bool
vhdx_header_probe (const uint8_t *head, size_t head_len)
{
  struct candidate c;

  if (head_len >= VHDX_IDENTIFIER_SIZE &&
      memcmp (head, VHDX_IDENTIFIER, VHDX_IDENTIFIER_SIZE) == 0)
    return true;
  for (int i = 0; i < 2; ++i) {
    if (head_len < offsets[i] + VHDX_HEADER_SIZE)
      return false;
    memcpy (c.bytes, head + offsets[i], VHDX_HEADER_SIZE);
    judge (&c);
    if (c.is_valid)
      return true;
  }
  return false;
}

int
vhdx_identifier_read (struct block *block, char **creator, struct err *err)
{
  uint8_t bytes[VHDX_CREATOR + VHDX_CREATOR_SIZE];
  int r;

  if (block_size (block) < VHDX_UNIT)
    return err_set (err, -EBADMSG, "the file has %" PRIu64 " bytes, but the "
                    "headers of a VHDX alone take %" PRIu64,
                    block_size (block), VHDX_UNIT);
  r = block_pread (block, bytes, sizeof bytes, 0, err);
  if (r < 0)
    return r;
  if (memcmp (bytes, VHDX_IDENTIFIER, VHDX_IDENTIFIER_SIZE) != 0)
    return err_set (err, -EBADMSG, "there is no VHDX file identifier (“%s”) "
                    "at offset 0", VHDX_IDENTIFIER);
  *creator = utf16_to_utf8 (bytes + VHDX_CREATOR, VHDX_CREATOR_SIZE,
                            UTF16_LE);
  return *creator ? 0 : err_nomem (err);
}

/*--- Choosing ---------------------------------------------------------------*/

static int
none_is_valid (const struct candidate c[2], struct err *err)
{
  int i = c[0].is_signed ? 0 : 1;

  if (!c[0].is_signed && !c[1].is_signed)
    return err_set (err, -EBADMSG, "there is no VHDX header (“%s”), neither at "
                    "offset %" PRIu64 " nor at %" PRIu64,
                    VHDX_HEADER_SIGNATURE, offsets[0], offsets[1]);
  return err_set (err, -EBADMSG, "the VHDX header at offset %" PRIu64 " has "
                  "checksum %08" PRIx32 ", computed %08" PRIx32 ", and the "
                  "one at offset %" PRIu64 " is not valid either", offsets[i],
                  c[i].stored, c[i].computed, offsets[1 - i]);
}

static int
newer (const struct candidate c[2], int *out, struct err *err)
{
  uint64_t a = get_le64 (c[0].bytes + VHDX_HEADER_SEQUENCE);
  uint64_t b = get_le64 (c[1].bytes + VHDX_HEADER_SEQUENCE);

  if (a == b && memcmp (c[0].bytes, c[1].bytes, VHDX_HEADER_SIZE) != 0)
    return err_set (err, -EBADMSG, "both VHDX headers have the sequence "
                    "number %" PRIu64 " but differ", a);
  *out = b > a;
  return 0;
}

/* *alone: there was only one to choose. */
static int
choose (const struct candidate c[2], bool ignore_checksums, int *out,
        bool *alone, struct err *err)
{
  bool usable[2] = { c[0].is_valid, c[1].is_valid };

  if (!usable[0] && !usable[1] && ignore_checksums) {
    usable[0] = c[0].is_signed;
    usable[1] = c[1].is_signed;
  }
  *alone = usable[0] != usable[1];
  if (usable[0] && usable[1])
    return newer (c, out, err);
  if (!usable[0] && !usable[1])
    return none_is_valid (c, err);
  *out = usable[1];
  return 0;
}

/*--- The one we go by -------------------------------------------------------*/

static void
decode (const uint8_t *p, struct vhdx_header *h)
{
  h->sequence = get_le64 (p + VHDX_HEADER_SEQUENCE);
  memcpy (h->data_write_guid, p + VHDX_HEADER_DATA_WRITE_GUID, UUID_SIZE);
  memcpy (h->log_guid, p + VHDX_HEADER_LOG_GUID, UUID_SIZE);
  h->log_off = get_le64 (p + VHDX_HEADER_LOG_OFFSET);
  h->log_len = get_le32 (p + VHDX_HEADER_LOG_LENGTH);
}

/* The place of a log is reserved even when there is nothing in it. */
static int
validate (const uint8_t *p, uint64_t off, const struct vhdx_header *h,
          uint64_t file_size, struct err *err)
{
  unsigned version = get_le16 (p + VHDX_HEADER_VERSION);
  unsigned log_version = get_le16 (p + VHDX_HEADER_LOG_VERSION);

  if (version != VHDX_VERSION)
    return err_set (err, -ENOTSUP, "the VHDX header at offset %" PRIu64 " has "
                    "format version %u, expected %u", off, version,
                    VHDX_VERSION);
  if (h->log_len % VHDX_UNIT != 0 || h->log_off % VHDX_UNIT != 0)
    return err_set (err, -EBADMSG, "the VHDX header at offset %" PRIu64
                    " says that the log has %" PRIu32 " bytes at offset %"
                    PRIu64 ", expected multiples of 1 MiB", off, h->log_len,
                    h->log_off);
  if (h->log_len > 0 && (h->log_off < VHDX_UNIT ||
                         !range_fits (h->log_off, h->log_len, file_size)))
    return err_set (err, -EBADMSG, "the VHDX header at offset %" PRIu64
                    " says that the log has %" PRIu32 " bytes at offset %"
                    PRIu64 ", which is not behind the headers and inside the "
                    "%" PRIu64 " bytes of the file", off, h->log_len,
                    h->log_off, file_size);
  if (uuid_is_zero (h->log_guid))
    return 0;
  if (log_version != VHDX_LOG_VERSION)
    return err_set (err, -ENOTSUP, "the log has to be replayed, but its "
                    "version is %u, expected %u", log_version,
                    VHDX_LOG_VERSION);
  if (h->log_len == 0)
    return err_set (err, -EBADMSG, "the VHDX header at offset %" PRIu64
                    " says that there is a log to be replayed, and that it "
                    "has 0 bytes", off);
  return 0;
}

static void
warn (const struct block *block, const struct candidate c[2], int i,
      const struct vhdx_header *h, struct report *report)
{
  if (h->alone)
    report_warn (report, "%s: the VHDX header at offset %" PRIu64 " is "
                 "damaged; using the one at offset %" PRIu64,
                 block_name (block), offsets[1 - i], offsets[i]);
  if (h->bad_checksum)
    report_warn (report, "%s: the VHDX header at offset %" PRIu64 " has "
                 "checksum %08" PRIx32 ", computed %08" PRIx32 "; ignored",
                 block_name (block), offsets[i], c[i].stored, c[i].computed);
}

static int
read_headers (struct block *block, bool ignore_checksums,
              struct candidate c[2], struct vhdx_header *h,
              struct report *report, struct err *err)
{
  int r = 0, i;

  for (i = 0; r == 0 && i < 2; ++i) {
    r = block_pread (block, c[i].bytes, VHDX_HEADER_SIZE, offsets[i], err);
    if (r == 0)
      judge (&c[i]);
  }
  if (r == 0)
    r = choose (c, ignore_checksums, &i, &h->alone, err);
  if (r < 0)
    return r;
  h->number = (unsigned) i + 1;
  h->bad_checksum = !c[i].is_valid;
  decode (c[i].bytes, h);
  r = validate (c[i].bytes, offsets[i], h, block_size (block), err);
  if (r == 0)
    warn (block, c, i, h, report);
  return r;
}

int
vhdx_header_choose (struct block *block, bool ignore_checksums,
                    struct vhdx_header *out, struct report *report,
                    struct err *err)
{
  CLEANUP_FREE struct candidate *c = calloc (2, sizeof *c);
  struct vhdx_header h = { 0 };
  int r;

  if (c == NULL)
    return err_nomem (err);
  r = read_headers (block, ignore_checksums, c, &h, report, err);
  if (r == 0)
    *out = h;
  return r;
}

int
vhdx_header_read (struct block *block, bool ignore_checksums,
                  struct vhdx_header *out, struct report *report,
                  struct err *err)
{
  CLEANUP_FREE char *creator = NULL;
  struct vhdx_header h;
  int r = vhdx_identifier_read (block, &creator, err);

  if (r == 0)
    r = vhdx_header_choose (block, ignore_checksums, &h, report, err);
  if (r < 0)
    return r;
  h.creator = steal_ptr (&creator);
  *out = h;
  return 0;
}

void
vhdx_header_free (struct vhdx_header *header)
{
  free (header->creator);
  header->creator = NULL;
}
