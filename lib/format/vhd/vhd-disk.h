/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The layout of a VHD on disk: offsets into byte arrays, and the values
 * that fields take.  All integers are big-endian; sectors are 512 bytes.
 *
 *   fixed         data of the disk · footer
 *   dynamic       footer copy · header · BAT · blocks · footer
 *   differencing  the same, with parent locators between header and blocks
 *
 * A block is a bitmap of its sectors, padded to a sector, and then its data.
 */

#ifndef NBDIMAGE_FORMAT_VHD_DISK_H
#define NBDIMAGE_FORMAT_VHD_DISK_H

#define VHD_SECTOR_SIZE 512

/* Timestamps count from 2000-01-01 00:00:00 UTC. */
#define VHD_EPOCH 946684800

/*--- Footer, and its copy at offset 0 ---------------------------------------*/

#define VHD_FOOTER_SIZE 512
#define VHD_FOOTER_OLD_SIZE 511 /* Virtual PC before 2004: the last byte, a
                                   reserved zero, is not in the file */
#define VHD_FOOTER_COOKIE "conectix"
#define VHD_COOKIE_SIZE 8

#define VHD_FOOTER_FEATURES 8           /* u32; bit 1 is always set */
#define VHD_FOOTER_VERSION 12           /* u32 */
#define VHD_FOOTER_DATA_OFFSET 16       /* u64; of the dynamic header */
#define VHD_FOOTER_TIMESTAMP 24         /* u32 */
#define VHD_FOOTER_CREATOR 28           /* 4 characters */
#define VHD_FOOTER_CREATOR_VERSION 32   /* u16 major, u16 minor */
#define VHD_FOOTER_CREATOR_OS 36        /* 4 characters */
#define VHD_FOOTER_ORIGINAL_SIZE 40     /* u64, bytes */
#define VHD_FOOTER_CURRENT_SIZE 48      /* u64, bytes */
#define VHD_FOOTER_CYLINDERS 56         /* u16 */
#define VHD_FOOTER_HEADS 58             /* u8 */
#define VHD_FOOTER_SECTORS 59           /* u8, per track */
#define VHD_FOOTER_TYPE 60              /* u32 */
#define VHD_FOOTER_CHECKSUM 64          /* u32 */
#define VHD_FOOTER_ID 68                /* 16 bytes */
#define VHD_FOOTER_SAVED_STATE 84       /* u8 */
#define VHD_FOOTER_HIDDEN 85            /* u8; XenServer, elsewhere reserved */

#define VHD_OUR_CREATOR "nbdi"
#define VHD_OUR_CREATOR_OS "Wi2k"       /* or "Mac "; there are no others */

#define VHD_VERSION_MAJOR 1             /* of footer and header */

enum vhd_type {
  VHD_FIXED = 2,
  VHD_DYNAMIC = 3,
  VHD_DIFFERENCING = 4,
};

/* The largest geometry there is: says nothing about the disk's size. */
#define VHD_MAX_CYLINDERS 65535
#define VHD_MAX_HEADS 16
#define VHD_MAX_SECTORS 255

/*--- Dynamic header ---------------------------------------------------------*/

#define VHD_HEADER_SIZE 1024
#define VHD_HEADER_COOKIE "cxsparse"

#define VHD_HEADER_NEXT 8               /* u64; all bits set: nothing */
#define VHD_HEADER_TABLE_OFFSET 16      /* u64; of the BAT */
#define VHD_HEADER_VERSION 24           /* u32 */
#define VHD_HEADER_MAX_ENTRIES 28       /* u32; of the BAT */
#define VHD_HEADER_BLOCK_SIZE 32        /* u32, bytes without the bitmap */
#define VHD_HEADER_CHECKSUM 36          /* u32 */
#define VHD_HEADER_PARENT_ID 40         /* 16 bytes */
#define VHD_HEADER_PARENT_TIMESTAMP 56  /* u32 */
#define VHD_HEADER_PARENT_NAME 64       /* UTF-16BE, padded with NULs */
#define VHD_HEADER_LOCATORS 576

#define VHD_PARENT_NAME_SIZE 512        /* bytes */
#define VHD_NR_LOCATORS 8

/* What we read.  Writers use 512 KiB and 2 MiB, and so do we. */
#define VHD_MIN_BLOCK_SIZE (4 * 1024)
#define VHD_MAX_BLOCK_SIZE (256 * 1024 * 1024)
#define VHD_MIN_NEW_BLOCK_SIZE (512 * 1024)
#define VHD_MAX_NEW_BLOCK_SIZE (2 * 1024 * 1024)

/* The largest disk that Hyper-V and qemu take, with blocks: 2040 GiB. */
#define VHD_MAX_DYNAMIC_SIZE (UINT64_C (0xFF000000) * VHD_SECTOR_SIZE)

/*--- Parent locator entry ---------------------------------------------------*/

#define VHD_LOCATOR_SIZE 24

#define VHD_LOCATOR_CODE 0              /* u32 */
#define VHD_LOCATOR_DATA_SPACE 4        /* u32; sectors or bytes: useless */
#define VHD_LOCATOR_DATA_LENGTH 8       /* u32, bytes */
#define VHD_LOCATOR_DATA_OFFSET 16      /* u64 */

#define VHD_LOCATOR_NONE 0
#define VHD_LOCATOR_W2RU 0x57327275     /* relative path, UTF-16LE */
#define VHD_LOCATOR_W2KU 0x57326B75     /* absolute path, UTF-16LE */
#define VHD_LOCATOR_MACX 0x4D616358     /* file URL, UTF-8 */
#define VHD_LOCATOR_MAC  0x4D616320     /* alias: not for us */
#define VHD_LOCATOR_WI2R 0x57693272     /* relative path, 8 bit; deprecated */
#define VHD_LOCATOR_WI2K 0x5769326B     /* absolute path, 8 bit; deprecated */

/*--- BAT --------------------------------------------------------------------*/

#define VHD_BAT_ENTRY_SIZE 4            /* u32: sector number of the block */
#define VHD_BAT_ABSENT 0xFFFFFFFFU

/*--- XenServer's batmap header, in the sector after the BAT -----------------*/

#define VHD_BATMAP_SIZE 512
#define VHD_BATMAP_COOKIE "tdbatmap"

#define VHD_BATMAP_OFFSET 8             /* u64; of the map */
#define VHD_BATMAP_SECTORS 16           /* u32; of the map */
#define VHD_BATMAP_VERSION 20           /* u16 major, u16 minor */
#define VHD_BATMAP_KEY_HASH 29          /* u8; not 0: a hash of the key with
                                           which the blocks are encrypted */

#endif /* NBDIMAGE_FORMAT_VHD_DISK_H */
