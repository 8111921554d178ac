/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The layout of a VHDX on disk: offsets into byte arrays, and the values
 * that fields take.  All integers are little-endian, GUIDs are Microsoft's
 * (lib/base/uuid.h), strings are UTF-16LE.  Paragraphs are those of MS-VHDX.
 *
 *   0         file identifier
 *   64 KiB    header 1           128 KiB   header 2
 *   192 KiB   region table 1     256 KiB   region table 2
 *   1 MiB …   log, BAT, metadata, payload blocks, bitmap blocks: in any
 *             order, each at a multiple of 1 MiB
 */

#ifndef NBDIMAGE_FORMAT_VHDX_DISK_H
#define NBDIMAGE_FORMAT_VHDX_DISK_H

#define VHDX_UNIT (UINT64_C (1024) * 1024)      /* everything is a multiple */
#define VHDX_PAGE 4096                          /* unit of the log */

/* The bytes of a GUID as they lie in the file. */
#define VHDX_GUID(a, b, c, ...)                                         \
  { (a) & 0xFF, (a) >> 8 & 0xFF, (a) >> 16 & 0xFF, (a) >> 24 & 0xFF,    \
    (b) & 0xFF, (b) >> 8 & 0xFF, (c) & 0xFF, (c) >> 8 & 0xFF, __VA_ARGS__ }

/*--- File identifier (§2.2.1) -----------------------------------------------*/

#define VHDX_IDENTIFIER "vhdxfile"
#define VHDX_IDENTIFIER_SIZE 8
#define VHDX_OUR_CREATOR "nbdimage "     /* and the version */
#define VHDX_CREATOR 8                  /* UTF-16 */
#define VHDX_CREATOR_SIZE 512

/*--- Headers (§2.2.2) -------------------------------------------------------*/

#define VHDX_HEADER_1 (64 * 1024)
#define VHDX_HEADER_2 (128 * 1024)
#define VHDX_HEADER_SIZE 4096           /* of which the checksum is */
#define VHDX_HEADER_SPACE (64 * 1024)

#define VHDX_HEADER_SIGNATURE "head"
#define VHDX_CHECKSUM 4                 /* u32; also of region tables and log
                                           entries */
#define VHDX_HEADER_SEQUENCE 8          /* u64 */
#define VHDX_HEADER_FILE_WRITE_GUID 16
#define VHDX_HEADER_DATA_WRITE_GUID 32
#define VHDX_HEADER_LOG_GUID 48         /* zero: nothing to replay */
#define VHDX_HEADER_LOG_VERSION 64      /* u16 */
#define VHDX_HEADER_VERSION 66          /* u16 */
#define VHDX_HEADER_LOG_LENGTH 68       /* u32 */
#define VHDX_HEADER_LOG_OFFSET 72       /* u64 */

#define VHDX_LOG_VERSION 0
#define VHDX_VERSION 1

/*--- Region tables (§2.2.3) -------------------------------------------------*/

#define VHDX_REGIONS_1 (192 * 1024)
#define VHDX_REGIONS_2 (256 * 1024)
#define VHDX_REGIONS_SIZE (64 * 1024)

#define VHDX_REGIONS_SIGNATURE "regi"
#define VHDX_REGIONS_COUNT 8            /* u32 */
#define VHDX_REGIONS_ENTRIES 16
#define VHDX_MAX_REGIONS 2047

#define VHDX_REGION_ENTRY_SIZE 32
#define VHDX_REGION_GUID 0
#define VHDX_REGION_OFFSET 16           /* u64 */
#define VHDX_REGION_LENGTH 24           /* u32 */
#define VHDX_REGION_FLAGS 28            /* u32 */
#define VHDX_REGION_REQUIRED 1U

#define VHDX_GUID_BAT                                           \
  VHDX_GUID (0x2DC27766, 0xF623, 0x4200,                        \
             0x9D, 0x64, 0x11, 0x5E, 0x9B, 0xFD, 0x4A, 0x08)
#define VHDX_GUID_METADATA                                      \
  VHDX_GUID (0x8B7CA206, 0x4790, 0x4B9A,                        \
             0xB8, 0xFE, 0x57, 0x5F, 0x05, 0x0F, 0x88, 0x6E)

/*--- Log (§2.3) -------------------------------------------------------------*/

#define VHDX_LOG_SIGNATURE "loge"
#define VHDX_LOG_LENGTH 8               /* u32, of the entry */
#define VHDX_LOG_TAIL 12                /* u32, offset in the log */
#define VHDX_LOG_SEQUENCE 16            /* u64 */
#define VHDX_LOG_COUNT 24               /* u32, descriptors */
#define VHDX_LOG_GUID 32
#define VHDX_LOG_FLUSHED 48             /* u64, file offset */
#define VHDX_LOG_LAST 56                /* u64, file offset */
#define VHDX_LOG_HEADER_SIZE 64

#define VHDX_DESC_SIZE 32               /* as two of them, the header takes */
#define VHDX_DESC_SIGNATURE "desc"
#define VHDX_DESC_TRAILING 4            /* 4 bytes */
#define VHDX_DESC_LEADING 8             /* 8 bytes */
#define VHDX_ZERO_SIGNATURE "zero"
#define VHDX_ZERO_LENGTH 8              /* u64 */
#define VHDX_DESC_OFFSET 16             /* u64, file offset */
#define VHDX_DESC_SEQUENCE 24           /* u64 */

#define VHDX_DATA_SIGNATURE "data"
#define VHDX_DATA_HIGH 4                /* u32 */
#define VHDX_DATA_BYTES 8               /* of the page: its bytes from 8 on */
#define VHDX_DATA_LOW 4092              /* u32 */

/*--- Metadata table (§2.6) --------------------------------------------------*/

#define VHDX_METADATA_SIGNATURE "metadata"
#define VHDX_METADATA_COUNT 10          /* u16 */
#define VHDX_METADATA_ENTRIES 32
#define VHDX_METADATA_TABLE_SIZE (64 * 1024)
#define VHDX_MAX_ITEMS 2047
#define VHDX_MAX_ITEM_SIZE (1024 * 1024)

#define VHDX_ITEM_ENTRY_SIZE 32
#define VHDX_ITEM_GUID 0
#define VHDX_ITEM_OFFSET 16             /* u32, in the region */
#define VHDX_ITEM_LENGTH 20             /* u32 */
#define VHDX_ITEM_FLAGS 24              /* u32 */
#define VHDX_ITEM_USER 1U
#define VHDX_ITEM_VIRTUAL_DISK 2U
#define VHDX_ITEM_REQUIRED 4U

#define VHDX_GUID_FILE_PARAMETERS                               \
  VHDX_GUID (0xCAA16737, 0xFA36, 0x4D43,                        \
             0xB3, 0xB6, 0x33, 0xF0, 0xAA, 0x44, 0xE7, 0x6B)
#define VHDX_GUID_SIZE                                          \
  VHDX_GUID (0x2FA54224, 0xCD1B, 0x4876,                        \
             0xB2, 0x11, 0x5D, 0xBE, 0xD8, 0x3B, 0xF4, 0xB8)
#define VHDX_GUID_PAGE_83                                       \
  VHDX_GUID (0xBECA12AB, 0xB2E6, 0x4523,                        \
             0x93, 0xEF, 0xC3, 0x09, 0xE0, 0x00, 0xC7, 0x46)
#define VHDX_GUID_LOGICAL                                       \
  VHDX_GUID (0x8141BF1D, 0xA96F, 0x4709,                        \
             0xBA, 0x47, 0xF2, 0x33, 0xA8, 0xFA, 0xAB, 0x5F)
#define VHDX_GUID_PHYSICAL                                      \
  VHDX_GUID (0xCDA348C7, 0x445D, 0x4471,                        \
             0x9C, 0xC9, 0xE9, 0x88, 0x52, 0x51, 0xC5, 0x56)
#define VHDX_GUID_LOCATOR                                       \
  VHDX_GUID (0xA8D35F2D, 0xB30B, 0x454D,                        \
             0xAB, 0xF7, 0xD3, 0xD8, 0x48, 0x34, 0xAB, 0x0C)

/* File parameters: u32 block size, u32 flags. */
#define VHDX_LEAVE_ALLOCATED 1U         /* a fixed disk */
#define VHDX_HAS_PARENT 2U

#define VHDX_MIN_BLOCK_SIZE (1024 * 1024)
#define VHDX_MAX_BLOCK_SIZE (256 * 1024 * 1024)
#define VHDX_MAX_SIZE (UINT64_C (64) << 40)     /* of the disk */

/*--- Parent locator (§2.6.2.6) ----------------------------------------------*/

#define VHDX_GUID_LOCATOR_TYPE                                  \
  VHDX_GUID (0xB04AEFB7, 0xD19E, 0x4A81,                        \
             0xB7, 0x89, 0x25, 0xB8, 0xE9, 0x44, 0x59, 0x13)
#define VHDX_LOCATOR_COUNT 18           /* u16 */
#define VHDX_LOCATOR_ENTRIES 20

#define VHDX_LOCATOR_ENTRY_SIZE 12
#define VHDX_LOCATOR_KEY_OFFSET 0       /* u32, in the item */
#define VHDX_LOCATOR_VALUE_OFFSET 4     /* u32 */
#define VHDX_LOCATOR_KEY_LENGTH 8       /* u16, bytes */
#define VHDX_LOCATOR_VALUE_LENGTH 10    /* u16 */

/*--- BAT (§2.5) -------------------------------------------------------------*/

#define VHDX_BAT_ENTRY_SIZE 8
#define VHDX_BAT_STATE(entry) ((unsigned) ((entry) & 7))
#define VHDX_BAT_OFFSET(entry) ((entry) & ~(VHDX_UNIT - 1))

enum vhdx_state {
  VHDX_NOT_PRESENT = 0,         /* also of bitmap blocks */
  VHDX_UNDEFINED = 1,
  VHDX_ZERO = 2,
  VHDX_UNMAPPED = 3,
  VHDX_PRESENT = 6,             /* also of bitmap blocks */
  VHDX_PARTIALLY_PRESENT = 7,
};

/* A bitmap block has a bit for each sector of a chunk; bit s is 1 << s % 8 of
 * byte s / 8.
 */
#define VHDX_BITMAP_SIZE (1024 * 1024)
#define VHDX_CHUNK_SECTORS (UINT64_C (8) * VHDX_BITMAP_SIZE)

#endif /* NBDIMAGE_FORMAT_VHDX_DISK_H */
