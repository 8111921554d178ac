/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Integers in on-disk byte order, read from and written to byte arrays of
 * any alignment.  On-disk structures are never overlaid with C structs.
 */

#ifndef NBDIMAGE_BASE_BYTES_H
#define NBDIMAGE_BASE_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define DEFINE_BYTES(bits, order)                                       \
  static inline uint##bits##_t                                          \
  get_##order##bits (const void *p)                                     \
  {                                                                     \
    uint##bits##_t v;                                                   \
                                                                        \
    memcpy (&v, p, sizeof v);                                           \
    return order##bits##toh (v);                                        \
  }                                                                     \
                                                                        \
  static inline void                                                    \
  put_##order##bits (void *p, uint##bits##_t v)                         \
  {                                                                     \
    v = hto##order##bits (v);                                           \
    memcpy (p, &v, sizeof v);                                           \
  }

/* get_be16 (p), put_be16 (p, v) and so on. */
DEFINE_BYTES (16, be)
DEFINE_BYTES (32, be)
DEFINE_BYTES (64, be)
DEFINE_BYTES (16, le)
DEFINE_BYTES (32, le)
DEFINE_BYTES (64, le)

#undef DEFINE_BYTES

#endif /* NBDIMAGE_BASE_BYTES_H */
