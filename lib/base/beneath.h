/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Opening a path that someone untrusted wrote, under a folder that it must
 * not leave: not by "..", not by an absolute path, not by a symbolic link,
 * not through /proc.
 */

#ifndef NBDIMAGE_BASE_BENEATH_H
#define NBDIMAGE_BASE_BENEATH_H

#include "lib/base/err.h"

/* Open a regular file for reading.  -EXDEV where the path leads out of the
 * folder; -ENOTSUP for what is not a regular file, which is not opened
 * (nothing happens to a FIFO or a device).
 */
int beneath_open_file (int folder_fd, const char *path, int *fd,
                       struct err *err);

/* Open a folder; "" and "." are the folder itself. */
int beneath_open_folder (int folder_fd, const char *path, int *fd,
                         struct err *err);

/* For tests: behave as on a kernel without openat2, where no symbolic link
 * and no ".." is followed at all.
 */
void beneath_without_openat2 (int without);

#endif /* NBDIMAGE_BASE_BENEATH_H */
