/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Part of restore_device_check_free (device.h). */

#ifndef NBDIMAGE_RESTORE_DEVICE_LOOPS_H
#define NBDIMAGE_RESTORE_DEVICE_LOOPS_H

#include "lib/restore/device.h"

/* -EBUSY if the device, a partition of it, or what is made of these is below a
 * loop device.
 */
int restore_loops_check_free (const struct restore_system *system, dev_t dev,
                              struct err *err);

#endif /* NBDIMAGE_RESTORE_DEVICE_LOOPS_H */
