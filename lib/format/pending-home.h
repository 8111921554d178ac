/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Where the image of a journal is, and whether it is gone: noted in the
 * journal's first page, behind its header.
 */

#ifndef NBDIMAGE_FORMAT_PENDING_HOME_H
#define NBDIMAGE_FORMAT_PENDING_HOME_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/err.h"

/* In the first page; versions of this program that know nothing of it leave
 * it alone.
 */
#define PENDING_HOME_OFF 1024
#define PENDING_HOME_SIZE 2048

/* Describe the file fd in bytes that are zeros.  As much as can be said: a
 * file without a name, or on a file system without handles, has no home, and
 * the bytes stay zeros.  No errors: the journal counts without it.
 */
void pending_home_put (int fd, uint8_t bytes[PENDING_HOME_SIZE]);

/* Is the file that was described gone for good?  False if it is there, under
 * any name, or open without one, or if nobody can tell: only root can, and
 * only on some file systems.  dev is the file's.
 */
bool pending_home_is_gone (const uint8_t bytes[PENDING_HOME_SIZE], dev_t dev);

#endif /* NBDIMAGE_FORMAT_PENDING_HOME_H */
