/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Take a device off. */

#ifndef NBDIMAGE_ATTACH_DETACH_H
#define NBDIMAGE_ATTACH_DETACH_H

#include <stdbool.h>

#include "lib/base/err.h"

/* Disconnect nbdX, whoever connected it, and end what belongs to it.
 *
 * -EBUSY with a sentence that names who uses it: nothing was changed.
 * -ENODEV: it is not attached.  *detached says whether the device is free
 * now, because of us: always with 0, and with -EIO when what was written last
 * did not all reach the server.
 */
int detach_device (unsigned index, bool *detached, struct err *err);

#endif /* NBDIMAGE_ATTACH_DETACH_H */
