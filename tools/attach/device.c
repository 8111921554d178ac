/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "tools/attach/clock.h"
#include "tools/attach/device.h"

/* Digits only, without a sign or leading zeros, not above max. */
static bool
parse_index (const char *digits, unsigned max, unsigned *value)
{
  uint64_t v = 0;
  const char *p;

  if (*digits == '\0' || (digits[0] == '0' && digits[1] != '\0'))
    return false;
  for (p = digits; *p != '\0'; ++p) {
    if (*p < '0' || *p > '9')
      return false;
    v = v * 10 + (unsigned) (*p - '0');
    if (v > max)
      return false;
  }
  *value = (unsigned) v;
  return true;
}

static const char *
without_dev (const char *name)
{
  return strncmp (name, "/dev/", 5) == 0 ? name + 5 : name;
}

bool
device_is_name (const char *name)
{
  const char *p = without_dev (name);

  /* "nbd0" without /dev/ names a device only if it is not a file. */
  return strncmp (p, "nbd", 3) == 0 && p[3] >= '0' && p[3] <= '9' &&
    strchr (p, '/') == NULL && (p != name || access (name, F_OK) == -1);
}

int
device_parse (const char *name, unsigned *index, struct err *err)
{
  const char *p = without_dev (name);
  char digits[8] = "";

  if (strncmp (p, "nbd", 3) == 0) {
    size_t len = strspn (p + 3, "0123456789");

    if (parse_index (p + 3, DEVICE_MAX_INDEX, index))
      return 0;
    if (p[3 + len] == 'p' && len > 0 && len < sizeof digits) {
      memcpy (digits, p + 3, len);
      return err_set (err, -EINVAL, "‘%s’ is a partition; the disk is "
                      "/dev/nbd%s", name, digits);
    }
  }
  return err_set (err, -EINVAL,
                  "‘%s’ is not the name of an NBD device, such as /dev/nbd0",
                  name);
}

void
device_path (unsigned index, char path[DEVICE_PATH_SIZE])
{
  snprintf (path, DEVICE_PATH_SIZE, "/dev/nbd%u", index);
}

void
device_partition_path (unsigned index, unsigned number,
                       char path[DEVICE_PATH_SIZE])
{
  snprintf (path, DEVICE_PATH_SIZE, "/dev/nbd%up%u", index, number);
}

/* Read a small file under /sys/block/nbdX/.  False, and "", if it is not
 * there.
 */
static bool
read_attribute (unsigned index, const char *name, char *text, size_t size)
{
  CLEANUP_CLOSE int fd = -1;
  char path[128];
  ssize_t n;

  text[0] = '\0';
  snprintf (path, sizeof path, "/sys/block/nbd%u/%s", index, name);
  fd = open (path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return false;
  n = read (fd, text, size - 1);
  if (n < 0)
    return false;
  text[n] = '\0';
  text[strcspn (text, "\n")] = '\0';
  return true;
}

uint64_t
device_number (unsigned index, const char *name, uint64_t def)
{
  char text[32], *end;
  uint64_t v;

  if (!read_attribute (index, name, text, sizeof text))
    return def;
  errno = 0;
  v = strtoull (text, &end, 10);
  return errno != 0 || end == text ? def : v;
}

int
device_set_number (unsigned index, const char *name, uint64_t value,
                   struct err *err)
{
  CLEANUP_CLOSE int fd = -1;
  char path[128], text[32];
  int len;

  snprintf (path, sizeof path, "/sys/block/nbd%u/%s", index, name);
  len = snprintf (text, sizeof text, "%" PRIu64 "\n", value);
  fd = open (path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write (fd, text, (size_t) len) != len)
    return err_sys (err, "writing %" PRIu64 " to %s", value, path);
  return 0;
}

pid_t
device_pid (unsigned index)
{
  return (pid_t) device_number (index, "pid", 0);
}

void
device_backend (unsigned index, char *backend, size_t size)
{
  read_attribute (index, "backend", backend, size);
}

uint64_t
device_size (unsigned index)
{
  return device_number (index, "size", 0) * 512;
}

bool
device_read_only (unsigned index)
{
  return device_number (index, "ro", 0) != 0;
}

/* The columns: Documentation/block/stat.rst in the kernel's source. */
int
device_parse_stat (const char *text, struct device_activity *activity)
{
  enum { READS = 0, WRITES = 4, INFLIGHT = 8, DISCARDS = 11, FLUSHES = 15,
         COLUMNS };
  uint64_t column[COLUMNS];
  const char *p = text;
  size_t i;

  for (i = 0; i < COLUMNS; ++i) {
    char *end;

    errno = 0;
    column[i] = strtoull (p, &end, 10);
    if (end == p || errno != 0)
      return -EINVAL;
    p = end;
  }
  activity->completed = column[READS] + column[WRITES] + column[DISCARDS] +
    column[FLUSHES];
  activity->inflight = column[INFLIGHT];
  return 0;
}

int
device_activity (unsigned index, struct device_activity *activity)
{
  char text[512];

  if (!read_attribute (index, "stat", text, sizeof text))
    return -ENODEV;
  return device_parse_stat (text, activity);
}

static int
compare_numbers (const void *a, const void *b)
{
  unsigned x = *(const unsigned *) a, y = *(const unsigned *) b;

  return (x > y) - (x < y);
}

int
device_list_connected (struct device_indexes *list, struct err *err)
{
  DIR *dir = opendir ("/sys/block");
  struct dirent *entry;
  int r = 0;

  if (dir == NULL)
    return err_sys (err, "/sys/block");
  while (r == 0 && (entry = readdir (dir)) != NULL) {
    unsigned index;

    if (strncmp (entry->d_name, "nbd", 3) == 0 &&
        parse_index (entry->d_name + 3, DEVICE_MAX_INDEX, &index) &&
        device_pid (index) != 0)
      r = vector_append (list, &index);
  }
  closedir (dir);
  if (r < 0)
    return err_nomem (err);
  if (list->len > 0)
    qsort (list->ptr, list->len, sizeof list->ptr[0], compare_numbers);
  return 0;
}

int
device_list_partitions (unsigned index, struct partition_numbers *list,
                        struct err *err)
{
  char path[64], prefix[32];
  struct dirent *entry;
  DIR *dir;
  int r = 0;

  snprintf (path, sizeof path, "/sys/block/nbd%u", index);
  snprintf (prefix, sizeof prefix, "nbd%up", index);
  dir = opendir (path);
  if (dir == NULL)
    return err_sys (err, "%s", path);
  while (r == 0 && (entry = readdir (dir)) != NULL) {
    unsigned number;

    if (strncmp (entry->d_name, prefix, strlen (prefix)) == 0 &&
        parse_index (entry->d_name + strlen (prefix), 65535, &number))
      r = vector_append (list, &number);
  }
  closedir (dir);
  if (r < 0)
    return err_nomem (err);
  if (list->len > 0)
    qsort (list->ptr, list->len, sizeof list->ptr[0], compare_numbers);
  return 0;
}

bool
device_wait_disconnected (unsigned index, unsigned milliseconds)
{
  uint64_t deadline = clock_deadline (milliseconds);

  while (device_pid (index) != 0) {
    if (clock_left (deadline) == 0)
      return false;
    clock_sleep (20);
  }
  return true;
}
