/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Asking a QEMU that runs: QMP over its Unix socket. */

#ifndef NBDIMAGE_TOOLS_VERIFY_QMP_H
#define NBDIMAGE_TOOLS_VERIFY_QMP_H

#include <stdbool.h>

#include "lib/base/err.h"

struct qmp;

/* -ENOENT, -ECONNREFUSED: it is not there yet. */
int qmp_open (const char *path, struct qmp **out, struct err *err);
void qmp_close (struct qmp *qmp);       /* NULL is fine */

/* What is on its screen, into that file, which QEMU makes or overwrites; an
 * absolute path.  png: as that, otherwise as PPM.  Waits for seconds, if QEMU
 * does not answer: -ETIMEDOUT.
 */
int qmp_screen (struct qmp *qmp, const char *file, bool png, struct err *err);

#endif /* NBDIMAGE_TOOLS_VERIFY_QMP_H */
