/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The layout of an undo file, version 1: docs/UNDO.md.  Little-endian. */

#ifndef NBDIMAGE_FORMAT_UNDO_DISK_H
#define NBDIMAGE_FORMAT_UNDO_DISK_H

#define UNDO_HEADER_SIZE 512
#define UNDO_MAGIC "NBDIMAGE-UNDO\r\n\x1a"
#define UNDO_MAGIC_SIZE 16
#define UNDO_VERSION 1

#define UNDO_AT_VERSION 16              /* u32 */
#define UNDO_AT_SUM 20                  /* u32 */
#define UNDO_AT_FILE_SIZE 24            /* u64 */
#define UNDO_AT_OLD_SIZE 32             /* u64 */
#define UNDO_AT_NEW_SIZE 40             /* u64 */
#define UNDO_AT_TIME 48                 /* u64 */
#define UNDO_AT_NR_REGIONS 56           /* u64 */
#define UNDO_AT_REGIONS 64              /* u64 */
#define UNDO_AT_REGIONS_SUM 72          /* u32 */
#define UNDO_AT_RECORDS_SUM 76          /* u32 */
#define UNDO_AT_NR_RECORDS 80           /* u64 */
#define UNDO_AT_RECORDS 88              /* u64 */
#define UNDO_AT_FORMAT 96
#define UNDO_FORMAT_SIZE 16
#define UNDO_AT_NAME 112
#define UNDO_NAME_SIZE 256

#define UNDO_REGION_SIZE 24
#define UNDO_REGION_OFF 0               /* u64 */
#define UNDO_REGION_LEN 8               /* u64 */
#define UNDO_REGION_SUM 16              /* u32 */

#define UNDO_RECORD_SIZE 64
#define UNDO_RECORD_OFF 0               /* u64 */
#define UNDO_RECORD_LEN 8               /* u64 */
#define UNDO_RECORD_STEP 16             /* u32 */
#define UNDO_RECORD_FLAGS 20            /* u32 */
#define UNDO_RECORD_OLD 24              /* u64 */
#define UNDO_RECORD_NEW 32              /* u64 */
#define UNDO_RECORD_OLD_SUM 40          /* u32 */
#define UNDO_RECORD_NEW_SUM 44          /* u32 */

#define UNDO_OLD_ZERO 1U
#define UNDO_NEW_ZERO 2U
#define UNDO_OLD_ABSENT 4U
#define UNDO_NEW_ABSENT 8U
#define UNDO_FLAGS 15U

/* Bytes of a record that has some in the file. */
#define UNDO_PIECE ((size_t) 1024 * 1024)

#endif /* NBDIMAGE_FORMAT_UNDO_DISK_H */
