/* SPDX-License-Identifier: GPL-2.0-or-later */

/* To be preloaded: allocation number NBDIMAGE_FAIL_ALLOCATION, from 1, of those
 * that nbdkit-image-plugin.so asks for itself fails.  When that has happened,
 * the file NBDIMAGE_FAILED is there.  For builds without sanitizers.
 */

#include <config.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* glibc's own names for what is replaced here. */
void *__libc_malloc (size_t size);
void *__libc_calloc (size_t nr, size_t size);
void *__libc_realloc (void *p, size_t size);

static unsigned nr_allocations;
static unsigned failing;

static void __attribute__ ((__constructor__))
read_number (void)
{
  const char *number = getenv ("NBDIMAGE_FAIL_ALLOCATION");

  failing = number ? (unsigned) strtoul (number, NULL, 10) : 0;
}

static void
leave_a_sign (void)
{
  const char *path = getenv ("NBDIMAGE_FAILED");
  int fd = path ? open (path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;

  if (fd >= 0)
    close (fd);
}

static bool
is_ours (const void *caller)
{
  Dl_info info;

  return dladdr (caller, &info) != 0 && info.dli_fname &&
    strstr (info.dli_fname, "nbdkit-image-plugin") != NULL;
}

static bool
fails (const void *caller)
{
  if (failing == 0 || !is_ours (caller) ||
      __atomic_add_fetch (&nr_allocations, 1, __ATOMIC_RELAXED) != failing)
    return false;
  leave_a_sign ();
  errno = ENOMEM;
  return true;
}

#define FAILS() fails (__builtin_return_address (0))

void *
malloc (size_t size)
{
  return FAILS () ? NULL : __libc_malloc (size);
}

void *
calloc (size_t nr, size_t size)
{
  return FAILS () ? NULL : __libc_calloc (nr, size);
}

void *
realloc (void *p, size_t size)
{
  return FAILS () ? NULL : __libc_realloc (p, size);
}

static char *
copy (const char *s, size_t len)
{
  char *p = __libc_malloc (len + 1);

  if (p == NULL)
    return NULL;
  memcpy (p, s, len);
  p[len] = '\0';
  return p;
}

char *
strdup (const char *s)
{
  return FAILS () ? NULL : copy (s, strlen (s));
}

char *
strndup (const char *s, size_t len)
{
  return FAILS () ? NULL : copy (s, strnlen (s, len));
}

static int __attribute__ ((__format__ (__printf__, 2, 0)))
print (char **out, const char *fmt, va_list ap)
{
  va_list again;
  int len;

  va_copy (again, ap);
  len = vsnprintf (NULL, 0, fmt, again);
  va_end (again);
  *out = len >= 0 ? __libc_malloc ((size_t) len + 1) : NULL;
  return *out ? vsnprintf (*out, (size_t) len + 1, fmt, ap) : -1;
}

int
vasprintf (char **out, const char *fmt, va_list ap)
{
  return FAILS () ? -1 : print (out, fmt, ap);
}

int
asprintf (char **out, const char *fmt, ...)
{
  va_list ap;
  int r;

  if (FAILS ())
    return -1;
  va_start (ap, fmt);
  r = print (out, fmt, ap);
  va_end (ap);
  return r;
}
