/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Requests: nbdkit's callbacks, whose handle is a struct connection. */

#ifndef NBDIMAGE_PLUGIN_IO_H
#define NBDIMAGE_PLUGIN_IO_H

#include <stdint.h>

struct nbdkit_extents;

int64_t io_get_size (void *handle);
int io_block_size (void *handle, uint32_t *minimum, uint32_t *preferred,
                   uint32_t *maximum);
int io_can_write (void *handle);

int io_pread (void *handle, void *buf, uint32_t count, uint64_t offset,
              uint32_t flags);
int io_pwrite (void *handle, const void *buf, uint32_t count, uint64_t offset,
               uint32_t flags);
int io_zero (void *handle, uint32_t count, uint64_t offset, uint32_t flags);
int io_trim (void *handle, uint32_t count, uint64_t offset, uint32_t flags);
int io_flush (void *handle, uint32_t flags);
int io_cache (void *handle, uint32_t count, uint64_t offset, uint32_t flags);
int io_extents (void *handle, uint32_t count, uint64_t offset, uint32_t flags,
                struct nbdkit_extents *extents);

#endif /* NBDIMAGE_PLUGIN_IO_H */
