/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Errors of the library.
 *
 * A function that can fail returns 0 or a negative errno and describes the
 * failure in the caller's struct err, which lives on the caller's stack.
 * The library itself never prints, logs above debug or exits; output
 * parameters are left alone on failure.
 *
 *   -EBADMSG  the image is damaged
 *   -ENOTSUP  the image is valid, but needs something we do not have
 *   -EINVAL   the caller (or the person using it) asked for the impossible
 *   -EIO      the medium or the connection failed
 *   -ENOENT, -EACCES, -EROFS, -ENOSPC, -ENOMEM, -EBUSY, ...  as usual
 *
 * Every function accepts err == NULL: the caller wants only the number.
 * A struct err belongs to one thread at a time.
 */

#ifndef NBDIMAGE_BASE_ERR_H
#define NBDIMAGE_BASE_ERR_H

#define ERR_MSG_SIZE 512

struct err {
  int code;                     /* negative errno, or 0 */
  char msg[ERR_MSG_SIZE];       /* one sentence, no full stop, no newline */
};

#define ERR_INIT { 0, "" }

/* Describe a failure.  Returns code, so that it can end a function:
 *   return err_set (err, -EBADMSG, "...");
 */
int err_set (struct err *err, int code, const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 3, 4)));

/* The same for a failed system call: errno gives the code, and its text
 * is added behind the sentence.
 */
int err_sys (struct err *err, const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 2, 3)));

/* Put "TEXT: " in front of what is already there, on the way up.
 * Returns the code found in err (-EIO if err is NULL).
 */
int err_in (struct err *err, const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 2, 3)));

/* Give what is already there another number; returns code. */
int err_code (struct err *err, int code);

/* Out of memory. */
int err_nomem (struct err *err);

#endif /* NBDIMAGE_BASE_ERR_H */
