/* SPDX-License-Identifier: GPL-2.0-or-later */

/* CRC-32C (Castagnoli: polynomial 0x1EDC6F41, reflected, as in RFC 3720,
 * §12.1, and MS-VHDX).
 */

#ifndef NBDIMAGE_BASE_CRC32C_H
#define NBDIMAGE_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continue the CRC of what came before (0 at the start) over len bytes.  By
 * the processor's instruction where there is one.
 */
uint32_t crc32c_update (uint32_t crc, const void *buf, size_t len);

/* The same by tables, on any processor. */
uint32_t crc32c_update_by_table (uint32_t crc, const void *buf, size_t len);

#endif /* NBDIMAGE_BASE_CRC32C_H */
