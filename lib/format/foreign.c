/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Without these a qcow2 file would pass for a raw disk: the bytes served are
 * the file's, but nobody who asks for the disk in it wants those, and writing
 * to them destroys it.
 */

#include <config.h>

#include <stddef.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/format/foreign.h"

#define SIGNATURE(off, bytes, name, advice) \
  { off, sizeof (bytes) - 1, bytes, name, advice }

#define CONVERT "convert it (qemu-img convert -O raw)"

static const struct {
  size_t off, len;
  const char *bytes;
  const char *name;
  const char *advice;           /* NULL: none, or the name says it */
} signatures[] = {
  SIGNATURE (0, "CISO", "CSO (compressed ISO)", NULL),
  SIGNATURE (0, "ZISO", "ZSO (compressed ISO)", NULL),
  SIGNATURE (0, "DAX\0", "DAX (compressed ISO)", NULL),
  SIGNATURE (0, "IsZ!", "ISZ (compressed ISO)", NULL),
  SIGNATURE (0, "DAA\0\0", "DAA (PowerISO)", NULL),
  SIGNATURE (0, "MComprHD", "CHD (MAME)", NULL),
  /* These describe a disc whose bytes are in another file. */
  SIGNATURE (0, "MEDIA DESCRIPTOR", "MDS (the disc is in the .mdf beside it)",
             NULL),
  SIGNATURE (0, "[CloneCD]", "CCD (the disc is in the .img beside it)", NULL),
  SIGNATURE (0, "FILE \"", "cue sheet (the disc is in the file it names)",
             NULL),
  /* Mode 2 without sync and address: nothing to verify a sector by. */
  SIGNATURE (16 * 2336 + 8, "\1CD001\1", "raw CD (sectors of 2336 bytes)",
             NULL),
  SIGNATURE (0, "QFI\xFB\0\0\0\001", "qcow", CONVERT),
  SIGNATURE (0, "QFI\xFB", "qcow2", CONVERT),
  SIGNATURE (0, "QED\0", "QED", CONVERT),
  SIGNATURE (0, "KDMV", "VMDK", CONVERT),
  SIGNATURE (0, "COWD", "VMDK", CONVERT),
  SIGNATURE (0, "# Disk DescriptorFile", "VMDK", CONVERT),
  SIGNATURE (64, "\x7F\x10\xDA\xBE", "VDI", CONVERT),
  SIGNATURE (0, "WithoutFreeSpace", "Parallels", CONVERT),
  SIGNATURE (0, "WithouFreSpacExt", "Parallels", CONVERT),
  SIGNATURE (0, "EVF\t\r\n\xFF\0", "EWF (E01)",
             "convert it (ewfexport -f raw)"),
  SIGNATURE (0, "MSWIM\0\0\0", "WIM", "unpack it (wimapply)"),
  SIGNATURE (0, "\x02\x21\x4C\x18", "lz4-compressed (in the legacy format)",
             "unpack it (lz4 -d)"),
  SIGNATURE (0, "7z\xBC\xAF\x27\x1C", "7-Zip", "unpack it (7z x)"),
  SIGNATURE (0, "PK\x03\x04", "ZIP", "unpack it (unzip)"),
};

/* Some end with what others begin with: a signature and where, in the file or
 * before its end, the rest of their tables is.
 */
static const char *
foreign_tail (const struct probe *probe)
{
  const uint8_t *end = probe->tail + probe->tail_len;
  uint32_t version;

  if (probe->tail_len < 64)
    return NULL;
  if (memcmp (end - 12, "NER5", 4) == 0 && get_be64 (end - 8) < probe->size)
    return "NRG (Nero)";
  if (memcmp (end - 8, "NERO", 4) == 0 && get_be32 (end - 4) < probe->size)
    return "NRG (Nero)";
  if (memcmp (end - 64, "bbis", 4) == 0)
    return "UIF (MagicISO)";
  version = get_le32 (end - 8);
  if (version >= 0x80000004 && version <= 0x80000006 &&
      get_le32 (end - 4) != 0 && get_le32 (end - 4) < probe->size)
    return "CDI (DiscJuggler)";
  return NULL;
}

const char *
foreign_format (const struct probe *probe, const char **advice)
{
  if (advice)
    *advice = NULL;
  for (size_t i = 0; i < sizeof signatures / sizeof signatures[0]; ++i)
    if (signatures[i].off + signatures[i].len <= probe->head_len &&
        memcmp (probe->head + signatures[i].off, signatures[i].bytes,
                signatures[i].len) == 0) {
      if (advice)
        *advice = signatures[i].advice;
      return signatures[i].name;
    }
  return foreign_tail (probe);
}
