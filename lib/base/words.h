/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The words of a command line, as execve gets them.
 *
 *   struct words argv = VECTOR_INIT;
 *   r = words_add (&argv, err, "nbdkit");
 *   if (r == 0)
 *     r = words_add (&argv, err, "file=%s", name);
 *   if (r == 0)
 *     r = words_end (&argv, err);
 *   ... execv (argv.ptr[0], argv.ptr) ...
 *   words_free (&argv);
 */

#ifndef NBDIMAGE_BASE_WORDS_H
#define NBDIMAGE_BASE_WORDS_H

#include "lib/base/err.h"
#include "lib/base/vector.h"

/* ptr[i] are strings of their own, owned by the vector; len counts the NULL
 * that words_end appends.
 */
DEFINE_VECTOR (words, char *);

/* Append one word, formatted; what is in it is never split.  0, or -ENOMEM
 * with the words unchanged.
 */
int words_add (struct words *words, struct err *err, const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 3, 4)));

/* The same for an option and its argument, two words.  After -ENOMEM the
 * first may be there.
 */
int words_option (struct words *words, struct err *err, const char *option,
                  const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 4, 5)));

/* Append the NULL that ends them, once.  0 or -ENOMEM. */
int words_end (struct words *words, struct err *err);

/* Free the words and make it an empty vector. */
void words_free (struct words *words);

#endif /* NBDIMAGE_BASE_WORDS_H */
