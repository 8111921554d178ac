/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Who uses an NBD device?
 *
 * The kernel disconnects a device under a mounted file system without a
 * word, so whoever wants to detach asks here first.  Looked at are the whole
 * disk and its partitions:
 *
 *   mounts of all mount namespaces; swap; device-mapper and MD (sysfs
 *   holders); loop devices on top; processes that have one of them open.
 *
 * What was found can change the next moment.  What lasts is holders_claim.
 */

#ifndef NBDIMAGE_ATTACH_HOLDERS_H
#define NBDIMAGE_ATTACH_HOLDERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lib/base/err.h"
#include "lib/base/vector.h"

struct holder {
  char *device;                 /* "/dev/nbd0p1" */
  char *what;                   /* "is mounted at /mnt", "is open in process
                                   123 (cat)" */
  bool is_process;              /* … which may let go by itself */
};

DEFINE_VECTOR (holder_vector, struct holder);

void holder_vector_free (struct holder_vector *list);
#define CLEANUP_HOLDERS __attribute__ ((__cleanup__ (holder_vector_free)))

/* Find all holders of nbdX, apart from this process and the one with the
 * pid `except` (0: no other).
 */
int holders_find (unsigned index, pid_t except, struct holder_vector *list,
                  struct err *err);

/* The same, but give processes which only glance at new disks (udev's
 * workers) the time to finish.
 */
int holders_find_settled (unsigned index, pid_t except,
                          struct holder_vector *list, struct err *err);

/* Are all of them processes that only glance? */
bool holders_only_glance (const struct holder_vector *list);

/* Open the whole disk for this process alone: fails (-EBUSY) when the kernel
 * uses the disk or a partition (mount, swap, dm, …) and keeps it from doing
 * so while the descriptor is open.
 */
int holders_claim (unsigned index, int *fd, struct err *err);

/* -EBUSY with a sentence that names the first holder and counts the rest. */
int holders_refuse (const struct holder_vector *list, struct err *err);

/*--- for the tests ---------------------------------------------------------*/

struct mount_line {
  unsigned major, minor;
  char *root, *target, *source; /* decoded */
};

/* One line of /proc/PID/mountinfo (without newline).  -EINVAL: it is not. */
int mount_line_parse (const char *line, struct mount_line *mount);
void mount_line_free (struct mount_line *mount);

/* Decode \040 and its like, in place. */
void unescape_octal (char *str);

/* One line of /proc/swaps: the path, decoded, which the caller frees; NULL
 * for the heading and other lines.
 */
char *swap_line_parse (const char *line);

#endif /* NBDIMAGE_ATTACH_HOLDERS_H */
