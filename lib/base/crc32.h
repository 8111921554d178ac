/* SPDX-License-Identifier: GPL-2.0-or-later */

/* CRC-32 (polynomial 0x04C11DB7, reflected, as in ISO 3309 and the GPT:
 * UEFI specification 2.10, §5.3.2).
 */

#ifndef NBDIMAGE_BASE_CRC32_H
#define NBDIMAGE_BASE_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* Continue the CRC of what came before (0 at the start) over len bytes. */
uint32_t crc32_update (uint32_t crc, const void *buf, size_t len);

#endif /* NBDIMAGE_BASE_CRC32_H */
