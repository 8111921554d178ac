/* SPDX-License-Identifier: GPL-2.0-or-later */

/* NBD devices of this kernel, as /sys shows them.  X is the index in
 * /dev/nbdX everywhere.
 */

#ifndef NBDIMAGE_ATTACH_DEVICE_H
#define NBDIMAGE_ATTACH_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/err.h"
#include "lib/base/vector.h"

#define DEVICE_PATH_SIZE 32     /* "/dev/nbd65535p4294967295" fits */
#define DEVICE_MAX_INDEX 65535u

/* "/dev/nbd3" or "nbd3" → 3.  -EINVAL with a sentence for anything else,
 * partitions included.
 */
int device_parse (const char *name, unsigned *index, struct err *err);

/* Does the string name a device rather than an image? */
bool device_is_name (const char *name);

void device_path (unsigned index, char path[DEVICE_PATH_SIZE]);
void device_partition_path (unsigned index, unsigned number,
                            char path[DEVICE_PATH_SIZE]);

/* The pid that connected the device (it may have ended since), 0 if the
 * device is not connected.
 */
pid_t device_pid (unsigned index);

/* What the one who connected it wrote there, without the newline; "" if
 * nothing.  Never longer than size - 1.
 */
void device_backend (unsigned index, char *backend, size_t size);

uint64_t device_size (unsigned index);          /* bytes; 0: no device */
bool device_read_only (unsigned index);

/* A number under /sys/block/nbdX/ ("queue/logical_block_size"); def if it is
 * not there.
 */
uint64_t device_number (unsigned index, const char *name, uint64_t def);
int device_set_number (unsigned index, const char *name, uint64_t value,
                       struct err *err);

/* How much was done on a disk, and how much is under way. */
struct device_activity {
  uint64_t completed;           /* requests, failed ones too */
  uint64_t inflight;
};

/* From the contents of /sys/block/nbdX/stat; -EINVAL for other text. */
int device_parse_stat (const char *text, struct device_activity *activity);
int device_activity (unsigned index, struct device_activity *activity);

DEFINE_VECTOR (device_indexes, unsigned);
DEFINE_VECTOR (partition_numbers, unsigned);

/* All devices that are connected, in order. */
int device_list_connected (struct device_indexes *list, struct err *err);

/* The partitions that the kernel has of a disk, in order. */
int device_list_partitions (unsigned index, struct partition_numbers *list,
                            struct err *err);

/* Wait until the device is not connected any more; false: it still is. */
bool device_wait_disconnected (unsigned index, unsigned milliseconds);

#endif /* NBDIMAGE_ATTACH_DEVICE_H */
