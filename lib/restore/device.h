/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Block devices as targets: what they are, and who uses them, as /sys and
 * /proc say.  What is found can change the next moment; what lasts is a
 * descriptor that was opened with O_EXCL (lib/block/file.h).
 */

#ifndef NBDIMAGE_RESTORE_DEVICE_H
#define NBDIMAGE_RESTORE_DEVICE_H

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "lib/base/err.h"

/* Where they are: others for tests. */
struct restore_system {
  const char *sys, *proc;
};

extern const struct restore_system restore_this_system;

struct restore_device {
  char *name;                   /* "sdb1" */
  char *model, *serial;         /* of its disk; NULL: not known */
  unsigned partition;           /* its number; 0: it is none */
  bool read_only;
  bool can_discard;
};

/* The caller frees *out with restore_device_free. */
int restore_device_describe (const struct restore_system *system, dev_t dev,
                             struct restore_device *out, struct err *err);
void restore_device_free (struct restore_device *device);
#define CLEANUP_RESTORE_DEVICE \
  __attribute__ ((__cleanup__ (restore_device_free)))

/* Is `other' the device, a partition of it, or made of these (LVM,
 * encryption, RAID)?
 */
bool restore_device_has (const struct restore_system *system, dev_t dev,
                         dev_t other);

/* May it be written to?  -EROFS if it is read-only; -EBUSY, with who uses it,
 * if any of what restore_device_has says is mounted, also for reading only and
 * in another mount namespace, or swapped to; if it or a partition of it is
 * held by LVM, encryption, RAID and the like, is below a loop device, or
 * open in another process, as far as we may look.  The sentence says so when
 * it is the disk this system runs from.
 */
int restore_device_check_free (const struct restore_system *system, dev_t dev,
                               struct err *err);

/* May this file be written to?  -EBUSY if it is below a loop device, which may
 * be mounted, or what the image is or lies on: nothing else shows that.
 */
int restore_file_check_free (const struct restore_system *system,
                             const struct stat *file, struct err *err);

/* Call fn for each loop device above the file, with its name ("loop3") and
 * number, until it returns less than 0, which is returned then.
 */
typedef int (*restore_loop_fn) (void *opaque, const char *name, dev_t loop,
                                struct err *err);
int restore_file_loops (const struct restore_system *system,
                        const struct stat *file, restore_loop_fn fn,
                        void *opaque, struct err *err);

/* Do writes to the device end up in this file, below a loop device? */
bool restore_device_lies_in (const struct restore_system *system, dev_t dev,
                             const struct stat *file);

#endif /* NBDIMAGE_RESTORE_DEVICE_H */
