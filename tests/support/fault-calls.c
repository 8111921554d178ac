/* SPDX-License-Identifier: GPL-2.0-or-later */

/* --wrap=NAME makes the linker take __wrap_NAME wherever NAME is called, and
 * NAME where __real_NAME is.
 */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "tests/support/fault.h"

static enum fault_kind armed;
static bool is_armed;
static unsigned failing, nr_calls;

void
fault_arm (enum fault_kind kind, unsigned n)
{
  armed = kind;
  failing = n;
  nr_calls = 0;
  is_armed = true;
}

unsigned
fault_disarm (void)
{
  is_armed = false;
  return nr_calls;
}

void
fault_pause (void)
{
  is_armed = false;
}

void
fault_resume (void)
{
  is_armed = true;
}

unsigned
fault_count (void)
{
  return nr_calls;
}

#define THOSE_FROM \
  (FAULT_BIT (FAULT_EIO_FROM) | FAULT_BIT (FAULT_MEMORY_FROM) | \
   FAULT_BIT (FAULT_ENOSPC_FROM))

bool
fault_here (unsigned kinds)
{
  if (!is_armed || !(kinds & FAULT_BIT (armed)))
    return false;
  nr_calls++;
  return FAULT_BIT (armed) & THOSE_FROM ? nr_calls >= failing
    : nr_calls == failing;
}

/* Count an allocation; true: it is to fail. */
static bool
no_memory (void)
{
  if (!fault_here (FAULT_BIT (FAULT_MEMORY) | FAULT_BIT (FAULT_MEMORY_FROM)))
    return false;
  errno = ENOMEM;
  return true;
}

/* The same for a system call. */
static bool
no_call (void)
{
  if (!fault_here (FAULT_BIT (FAULT_NONE) | FAULT_BIT (FAULT_EIO) |
                   FAULT_BIT (FAULT_EIO_FROM)))
    return false;
  errno = EIO;
  return true;
}

/*--- System calls -----------------------------------------------------------*/

ssize_t __real_pread (int fd, void *buf, size_t len, off_t off);
ssize_t __wrap_pread (int fd, void *buf, size_t len, off_t off);
off_t __real_lseek (int fd, off_t off, int whence);
off_t __wrap_lseek (int fd, off_t off, int whence);
int __real_fstat (int fd, struct stat *st);
int __wrap_fstat (int fd, struct stat *st);
int __real_open (const char *path, int flags, ...);
int __wrap_open (const char *path, int flags, ...);
int __real_openat (int at, const char *path, int flags, ...);
int __wrap_openat (int at, const char *path, int flags, ...);
struct dirent *__real_readdir (DIR *dir);
struct dirent *__wrap_readdir (DIR *dir);
long __real_syscall (long nr, ...);
long __wrap_syscall (long nr, ...);

ssize_t
__wrap_pread (int fd, void *buf, size_t len, off_t off)
{
  if (fault_here (FAULT_BIT (FAULT_EOF)))
    return 0;
  if (fault_here (FAULT_BIT (FAULT_PARTIAL)))
    return __real_pread (fd, buf, (len + 1) / 2, off);
  if (fault_here (FAULT_BIT (FAULT_EINTR))) {
    errno = EINTR;
    return -1;
  }
  /* What a failed read leaves in the buffer is anything. */
  memset (buf, 0xEE, len);
  return no_call () ? -1 : __real_pread (fd, buf, len, off);
}

off_t
__wrap_lseek (int fd, off_t off, int whence)
{
  return no_call () ? -1 : __real_lseek (fd, off, whence);
}

int
__wrap_fstat (int fd, struct stat *st)
{
  return no_call () ? -1 : __real_fstat (fd, st);
}

int
__wrap_open (const char *path, int flags, ...)
{
  int mode = 0;
  va_list ap;

  va_start (ap, flags);
  if (flags & O_CREAT)
    mode = va_arg (ap, int);
  va_end (ap);
  return no_call () ? -1 : __real_open (path, flags, mode);
}

int
__wrap_openat (int at, const char *path, int flags, ...)
{
  mode_t mode = 0;

  if (flags & O_CREAT) {
    va_list ap;

    va_start (ap, flags);
    mode = va_arg (ap, mode_t);
    va_end (ap);
  }
  return no_call () ? -1 : __real_openat (at, path, flags, mode);
}

struct dirent *
__wrap_readdir (DIR *dir)
{
  return no_call () ? NULL : __real_readdir (dir);
}

/* openat2. */
long
__wrap_syscall (long nr, ...)
{
  va_list ap;
  long a[4];

  va_start (ap, nr);
  for (int i = 0; i < 4; ++i)
    a[i] = va_arg (ap, long);
  va_end (ap);
  return no_call () ? -1 : __real_syscall (nr, a[0], a[1], a[2], a[3]);
}

/*--- Allocations ------------------------------------------------------------*/

void *__real_malloc (size_t size);
void *__wrap_malloc (size_t size);
void *__real_calloc (size_t nr, size_t size);
void *__wrap_calloc (size_t nr, size_t size);
void *__real_realloc (void *p, size_t size);
void *__wrap_realloc (void *p, size_t size);
char *__real_strdup (const char *s);
char *__wrap_strdup (const char *s);
char *__real_strndup (const char *s, size_t len);
char *__wrap_strndup (const char *s, size_t len);
char *__real_realpath (const char *path, char *resolved);
char *__wrap_realpath (const char *path, char *resolved);
DIR *__real_fdopendir (int fd);
DIR *__wrap_fdopendir (int fd);
int __real_vasprintf (char **out, const char *fmt, va_list ap)
  __attribute__ ((__format__ (__printf__, 2, 0)));
int __wrap_vasprintf (char **out, const char *fmt, va_list ap)
  __attribute__ ((__format__ (__printf__, 2, 0)));
int __wrap_asprintf (char **out, const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 2, 3)));

void *
__wrap_malloc (size_t size)
{
  return no_memory () ? NULL : __real_malloc (size);
}

void *
__wrap_calloc (size_t nr, size_t size)
{
  return no_memory () ? NULL : __real_calloc (nr, size);
}

void *
__wrap_realloc (void *p, size_t size)
{
  return no_memory () ? NULL : __real_realloc (p, size);
}

char *
__wrap_strdup (const char *s)
{
  return no_memory () ? NULL : __real_strdup (s);
}

char *
__wrap_strndup (const char *s, size_t len)
{
  return no_memory () ? NULL : __real_strndup (s, len);
}

char *
__wrap_realpath (const char *path, char *resolved)
{
  return no_memory () ? NULL : __real_realpath (path, resolved);
}

DIR *
__wrap_fdopendir (int fd)
{
  return no_memory () ? NULL : __real_fdopendir (fd);
}

/* As with glibc, what the pointer is after a failure is not known. */
int
__wrap_vasprintf (char **out, const char *fmt, va_list ap)
{
  if (no_memory ()) {
    *out = (char *) 16;
    return -1;
  }
  return __real_vasprintf (out, fmt, ap);
}

int
__wrap_asprintf (char **out, const char *fmt, ...)
{
  va_list ap;
  int r;

  va_start (ap, fmt);
  r = __wrap_vasprintf (out, fmt, ap);
  va_end (ap);
  return r;
}

/*--- Descriptors ------------------------------------------------------------*/

unsigned
fault_nr_fds (void)
{
  DIR *dir = opendir ("/proc/self/fd");
  unsigned nr = 0;

  if (dir == NULL)
    abort ();
  while (readdir (dir))
    nr++;
  closedir (dir);
  return nr;
}
