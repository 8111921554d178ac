/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The kernel looks for partitions when the device is opened for the first
 * time.  Somebody has to do that: udev, where it runs, or we.  With udev,
 * the nodes and their links are ready when its queue is empty; without,
 * when the nodes are in /dev.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/block/block.h"
#include "lib/block/file.h"
#include "lib/block/window.h"
#include "lib/part/part.h"
#include "tools/attach/clock.h"
#include "tools/attach/device.h"
#include "tools/attach/partitions.h"
#include "tools/attach/process.h"

/* Milliseconds. */
#define WAIT_NODES 5000
#define ASK_AGAIN 500           /* … then the kernel is asked to look again */
#define WAIT_UDEV 10000

static void
partition_free (struct disk_partition *p)
{
  free (p->type);
  free (p->name);
  free (p->uuid);
  fs_identity_free (&p->fs);
}

void
disk_partition_vector_free (struct disk_partition_vector *list)
{
  size_t i;

  for (i = 0; i < list->len; ++i)
    partition_free (&list->ptr[i]);
  vector_free (list);
}

/*--- Nodes -----------------------------------------------------------------*/

/* The node must be of the partition that is there now, not of one that was
 * there before.
 */
static bool
has_node (unsigned index, unsigned number)
{
  char path[DEVICE_PATH_SIZE], dev[32], name[64];
  CLEANUP_CLOSE int fd = -1;
  struct stat st;
  unsigned major, minor;
  ssize_t n;

  device_partition_path (index, number, path);
  snprintf (name, sizeof name, "/sys/block/nbd%u/nbd%up%u/dev", index, index,
            number);
  fd = open (name, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || (n = read (fd, dev, sizeof dev - 1)) <= 0)
    return false;
  dev[n] = '\0';
  return sscanf (dev, "%u:%u", &major, &minor) == 2 &&
    stat (path, &st) == 0 && S_ISBLK (st.st_mode) &&
    st.st_rdev == makedev (major, minor);
}

static bool
have_nodes (unsigned index, const struct part_table *table)
{
  size_t i;

  for (i = 0; i < table->parts.len; ++i)
    if (!has_node (index, table->parts.ptr[i].number))
      return false;
  return true;
}

/* Nothing is lost when it does not work: the wait goes on. */
static void
ask_kernel (unsigned index)
{
  CLEANUP_CLOSE int fd = -1;
  char path[DEVICE_PATH_SIZE];

  device_path (index, path);
  fd = open (path, O_RDONLY | O_CLOEXEC);
  if (fd >= 0 && ioctl (fd, BLKRRPART) < 0)
    errno = 0;
}

static int
wait_nodes (unsigned index, const struct part_table *table,
            const volatile bool *interrupted, struct err *err)
{
  uint64_t start = clock_now (), deadline = clock_deadline (WAIT_NODES);
  bool asked = false;

  while (!have_nodes (index, table) && clock_left (deadline) > 0) {
    if (*interrupted)
      return err_set (err, -EINTR, "interrupted");
    if (!asked && clock_now () - start > ASK_AGAIN) {
      ask_kernel (index);
      asked = true;
    }
    clock_sleep (20);
  }
  return 0;
}

static void
wait_udev (struct report *report)
{
  static const char *const argv[] = { "udevadm", "settle", "--timeout=8",
                                      NULL };
  struct err err = ERR_INIT;

  if (access ("/run/udev/control", F_OK) == 0 &&
      process_run (argv, WAIT_UDEV, &err) < 0)
    report_warn (report, "udev is not done with the device yet: %s", err.msg);
}

static void
report_missing (unsigned index, const struct part_table *table,
                struct report *report)
{
  size_t i;

  for (i = 0; i < table->parts.len; ++i) {
    unsigned number = table->parts.ptr[i].number;

    if (!has_node (index, number))
      report_warn (report, "the kernel has no device for partition %u "
                   "(%" PRIu64 " bytes at offset %" PRIu64 ")", number,
                   table->parts.ptr[i].len, table->parts.ptr[i].off);
  }
}

static uint64_t
max_partitions (void)
{
  CLEANUP_CLOSE int fd = open ("/sys/module/nbd/parameters/max_part",
                               O_RDONLY | O_CLOEXEC);
  char text[32];
  ssize_t n;

  if (fd < 0 || (n = read (fd, text, sizeof text - 1)) <= 0)
    return UINT64_MAX;
  text[n] = '\0';
  return strtoull (text, NULL, 10);
}

/*--- What is there ---------------------------------------------------------*/

static const struct partition *
find_partition (const struct part_table *table, unsigned number)
{
  size_t i;

  for (i = 0; i < table->parts.len; ++i)
    if (table->parts.ptr[i].number == number)
      return &table->parts.ptr[i];
  return NULL;
}

static bool
copy_string (char **to, const char *from)
{
  return from == NULL || (*to = strdup (from)) != NULL;
}

/* What the table says of it; NULL: nothing. */
static bool
copy_entry (struct disk_partition *p, const struct partition *entry)
{
  if (entry == NULL)
    return true;
  p->type_name = entry->type_name;
  return copy_string (&p->type, entry->type) &&
    copy_string (&p->name, entry->name) &&
    copy_string (&p->uuid, entry->uuid);
}

/* A file system that can't be recognised is not a reason to fail. */
static int
add_partition (struct block *disk, unsigned number, uint64_t off,
               uint64_t len, const struct partition *entry,
               struct disk_partition_vector *list, struct err *err)
{
  struct disk_partition p = { .number = number, .off = off, .len = len };
  CLEANUP_BLOCK struct block *window = NULL;

  if (block_window_new (disk, off, len, &window, NULL) == 0 &&
      fs_identify (window, &p.fs, NULL) < 0)
    memset (&p.fs, 0, sizeof p.fs);
  if (!copy_entry (&p, entry) || vector_append (list, &p) < 0) {
    partition_free (&p);
    return err_nomem (err);
  }
  return 0;
}

/* The kernel's partitions, which may be more than part_read knows (other
 * kinds of tables) or fewer.
 */
static int
list_partitions (unsigned index, struct block *disk,
                 const struct part_table *table,
                 struct disk_partition_vector *list, struct err *err)
{
  struct partition_numbers numbers = VECTOR_INIT;
  size_t i;
  int r;

  r = add_partition (disk, 0, 0, block_size (disk), NULL, list, err);
  if (r == 0)
    r = device_list_partitions (index, &numbers, err);
  for (i = 0; r == 0 && i < numbers.len; ++i) {
    unsigned number = numbers.ptr[i];
    char name[64];
    uint64_t start, size;

    snprintf (name, sizeof name, "nbd%up%u/start", index, number);
    start = device_number (index, name, 0) * 512;
    snprintf (name, sizeof name, "nbd%up%u/size", index, number);
    size = device_number (index, name, 0) * 512;
    r = add_partition (disk, number, start, size,
                       find_partition (table, number), list, err);
  }
  vector_free (&numbers);
  return r;
}

int
partitions_wait (unsigned index, const volatile bool *interrupted,
                 struct disk_partition_vector *list, struct report *report,
                 struct err *err)
{
  CLEANUP_PART_TABLE struct part_table table = { .scheme = PART_NONE };
  CLEANUP_BLOCK struct block *disk = NULL;
  char path[DEVICE_PATH_SIZE];
  int r;

  device_path (index, path);
  /* Opening it makes the kernel look for partitions. */
  r = block_file_open (path, 0, &disk, report, err);
  if (r == 0)
    r = part_read (disk, (uint32_t) device_number (index,
                     "queue/logical_block_size", 512), &table, report, err);
  if (r < 0)
    return err_in (err, "%s", path);
  if (table.parts.len > 0 && max_partitions () == 0)
    report_warn (report, "the kernel makes no devices for partitions: the "
                 "module nbd was loaded with max_part=0");
  else {
    r = wait_nodes (index, &table, interrupted, err);
    if (r < 0)
      return r;
    wait_udev (report);
    report_missing (index, &table, report);
  }
  if (*interrupted)
    return err_set (err, -EINTR, "interrupted");
  return list_partitions (index, disk, &table, list, err);
}
