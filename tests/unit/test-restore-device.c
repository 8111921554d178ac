/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which devices are not written to, by a /sys and a /proc of our own: a disk
 * zzb (8:16) with partitions zzb1 and zzb2, and another one, zzc (8:32).
 */

#include <config.h>

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/err.h"
#include "lib/restore/device.h"

static char root[] = "/tmp/restore-device.XXXXXX";
static char sys_root[64], proc_root[64];
static const struct restore_system fake = { sys_root, proc_root };

#define DISK makedev (8, 16)
#define PART1 makedev (8, 17)
#define OTHER makedev (8, 32)

/*--- A tree of files --------------------------------------------------------*/

/* All folders of the path, below root. */
static void
make_folders (const char *path)
{
  char full[512];
  char *p;

  snprintf (full, sizeof full, "%s/%s", root, path);
  for (p = full + strlen (root) + 1; (p = strchr (p, '/')) != NULL; ++p) {
    *p = '\0';
    mkdir (full, 0777);
    *p = '/';
  }
}

static void
put (const char *path, const char *text)
{
  char full[512];
  FILE *fp;

  make_folders (path);
  snprintf (full, sizeof full, "%s/%s", root, path);
  fp = fopen (full, "w");
  assert_non_null (fp);
  fputs (text, fp);
  assert_int_equal (fclose (fp), 0);
}

static void
link_to (const char *path, const char *target)
{
  char full[512], to[512];

  make_folders (path);
  snprintf (full, sizeof full, "%s/%s", root, path);
  snprintf (to, sizeof to, "%s/%s", root, target);
  assert_int_equal (symlink (to, full), 0);
}

static void
put_device (const char *folder, const char *name, const char *numbers)
{
  char path[256];

  snprintf (path, sizeof path, "%s/dev", folder);
  put (path, numbers);
  snprintf (path, sizeof path, "%s/ro", folder);
  put (path, "0\n");
  snprintf (path, sizeof path, "sys/dev/block/%.*s",
            (int) strcspn (numbers, "\n"), numbers);
  link_to (path, folder);
  snprintf (path, sizeof path, "sys/class/block/%s", name);
  link_to (path, folder);
}

static int
setup (void **state)
{
  (void) state;
  strcpy (root + strlen (root) - 6, "XXXXXX");
  if (mkdtemp (root) == NULL)
    return -1;
  snprintf (sys_root, sizeof sys_root, "%s/sys", root);
  snprintf (proc_root, sizeof proc_root, "%s/proc", root);
  put_device ("sys/devices/zzb", "zzb", "8:16\n");
  put ("sys/devices/zzb/device/model", "Quick Disk   \n");
  put ("sys/devices/zzb/device/serial", "  S-123 \n");
  put ("sys/devices/zzb/queue/discard_max_bytes", "1048576\n");
  put_device ("sys/devices/zzb/zzb1", "zzb1", "8:17\n");
  put ("sys/devices/zzb/zzb1/partition", "1\n");
  put_device ("sys/devices/zzb/zzb2", "zzb2", "8:18\n");
  put ("sys/devices/zzb/zzb2/partition", "2\n");
  put_device ("sys/devices/zzc", "zzc", "8:32\n");
  put ("proc/self/mountinfo", "");
  put ("proc/swaps", "Filename Type Size Used Priority\n");
  return 0;
}

static int
remove_one (const char *path, const struct stat *st, int type, struct FTW *ftw)
{
  (void) st;
  (void) type;
  (void) ftw;
  return remove (path);
}

static int
teardown (void **state)
{
  (void) state;
  return nftw (root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* A device made of a partition, as LVM and its like make them. */
static void
put_upper (const char *name, const char *numbers, const char *of,
           const char *mapped, const char *uuid)
{
  char path[256], folder[128];

  snprintf (folder, sizeof folder, "sys/devices/%s", name);
  put_device (folder, name, numbers);
  snprintf (path, sizeof path, "%s/slaves/%s", folder, strrchr (of, '/') + 1);
  link_to (path, of);
  snprintf (path, sizeof path, "%s/holders/%s", of, name);
  link_to (path, folder);
  if (mapped == NULL)
    return;
  snprintf (path, sizeof path, "%s/dm/name", folder);
  put (path, mapped);
  snprintf (path, sizeof path, "%s/dm/uuid", folder);
  put (path, uuid);
}

/*--- What it is -------------------------------------------------------------*/

static void
a_disk_is_described (void **state)
{
  struct restore_device d;

  (void) state;
  assert_int_equal (restore_device_describe (&fake, DISK, &d, NULL), 0);
  assert_string_equal (d.name, "zzb");
  assert_string_equal (d.model, "Quick Disk");
  assert_string_equal (d.serial, "S-123");
  assert_int_equal (d.partition, 0);
  assert_true (d.can_discard);
  assert_false (d.read_only);
  restore_device_free (&d);

  /* A partition has the serial number of its disk. */
  assert_int_equal (restore_device_describe (&fake, PART1, &d, NULL), 0);
  assert_string_equal (d.name, "zzb1");
  assert_string_equal (d.serial, "S-123");
  assert_int_equal (d.partition, 1);
  assert_true (d.can_discard);
  restore_device_free (&d);

  assert_int_equal (restore_device_describe (&fake, OTHER, &d, NULL), 0);
  assert_null (d.model);
  assert_null (d.serial);
  assert_false (d.can_discard);
  restore_device_free (&d);
}

static void
a_scsi_disk_says_its_serial_number_in_a_page (void **state)
{
  struct restore_device d;
  char path[256];
  FILE *fp;

  (void) state;
  put ("sys/devices/zzc/device/vpd_pg80", "");
  snprintf (path, sizeof path, "%s/sys/devices/zzc/device/vpd_pg80", root);
  fp = fopen (path, "w");
  assert_int_equal (fwrite ("\0\x80\0\x0c    WD-9876\0", 1, 16, fp), 16);
  fclose (fp);
  assert_int_equal (restore_device_describe (&fake, OTHER, &d, NULL), 0);
  assert_string_equal (d.serial, "WD-9876");
  restore_device_free (&d);
}

static void
a_disk_has_its_partitions_and_what_is_made_of_them (void **state)
{
  (void) state;
  put_upper ("dm-0", "254:0\n", "sys/devices/zzb/zzb2", "vg-root\n",
             "LVM-abc\n");
  put_upper ("md0", "9:0\n", "sys/devices/dm-0", NULL, NULL);
  assert_true (restore_device_has (&fake, DISK, DISK));
  assert_true (restore_device_has (&fake, DISK, PART1));
  assert_true (restore_device_has (&fake, DISK, makedev (254, 0)));
  assert_true (restore_device_has (&fake, DISK, makedev (9, 0)));
  assert_false (restore_device_has (&fake, PART1, makedev (9, 0)));
  assert_true (restore_device_has (&fake, makedev (8, 18), makedev (9, 0)));
  assert_false (restore_device_has (&fake, PART1, DISK));
  assert_false (restore_device_has (&fake, OTHER, DISK));
}

/*--- Who uses it ------------------------------------------------------------*/

static void
assert_refused (dev_t dev, int code, const char *says)
{
  struct err err = ERR_INIT;
  int r = restore_device_check_free (&fake, dev, &err);

  if (r != code || (r < 0 && strstr (err.msg, says) == NULL))
    fail_msg ("%d, ‘%s’; expected %d, ‘%s’", r, err.msg, code, says);
}

static void
who_is_not_used_is_free (void **state)
{
  (void) state;
  put ("proc/self/mountinfo",
       "22 1 8:32 / / rw - ext4 /dev/zzc rw\n"
       "23 1 0:21 / /proc rw - proc proc rw\n"
       "24 1 0:22 / /tmp rw - tmpfs tmpfs rw\n"
       "not a line of that file\n");
  put ("proc/swaps", "Filename Type\n/dev/zzc partition 1 0 -2\n");
  assert_refused (DISK, 0, "");
  assert_refused (PART1, 0, "");
}

static void
what_is_mounted_is_refused (void **state)
{
  static const struct { const char *line, *says; } rows[] = {
    { "22 1 8:17 / /mnt rw - ext4 /dev/zzb1 rw\n", "zzb1 is mounted at /mnt" },
    { "22 1 8:16 / /mnt rw - ext4 /dev/zzb rw\n", "zzb is mounted at /mnt" },
    { "22 1 8:18 / /media/a\\040b ro - iso9660 /dev/zzb2 ro\n",
      "zzb2 is mounted at /media/a b" },
    { "22 1 0:99 / /data rw - btrfs /dev/zzb2 rw\n",
      "zzb2 is mounted at /data" },
    { "22 1 8:18 / / rw - ext4 /dev/zzb2 rw\n",
      "is the disk that this system runs from: zzb2 is mounted at /" },
    { "22 1 8:17 / /boot/efi rw - vfat /dev/zzb1 rw\n",
      "is the disk that this system runs from: zzb1 is mounted at /boot/efi" },
  };

  (void) state;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
    put ("proc/self/mountinfo", rows[i].line);
    assert_refused (DISK, -EBUSY, rows[i].says);
    assert_refused (OTHER, 0, "");
  }
  put ("proc/self/mountinfo", rows[2].line);
  assert_refused (PART1, 0, "");        /* the other partition is */
  put ("proc/self/mountinfo", "");
  put ("proc/4242/mountinfo", rows[0].line);    /* by somebody else's eyes */
  assert_refused (DISK, -EBUSY, rows[0].says);
}

static void
what_is_mounted_through_lvm_is_refused (void **state)
{
  (void) state;
  put_upper ("dm-0", "254:0\n", "sys/devices/zzb/zzb2", "vg-root\n",
             "LVM-abc\n");
  put ("proc/self/mountinfo",
       "22 1 254:0 / /srv rw - ext4 /dev/mapper/vg-root rw\n");
  assert_refused (DISK, -EBUSY, "dm-0 is mounted at /srv");
}

static void
swap_is_refused (void **state)
{
  (void) state;
  put ("proc/swaps", "Filename Type\n/dev/zzb2 partition 1 0 -2\n");
  assert_refused (DISK, -EBUSY, "/dev/zzb2 is swapped to");
  assert_refused (PART1, 0, "");
}

static void
what_is_held_is_refused (void **state)
{
  static const struct { const char *name, *mapped, *uuid, *says; } rows[] = {
    { "dm-0", "vg-root\n", "LVM-abc\n",
      "zzb2 is held by LVM (/dev/mapper/vg-root)" },
    { "dm-0", "secret\n", "CRYPT-LUKS2-abc\n",
      "zzb2 is held by an encrypted device (/dev/mapper/secret)" },
    { "dm-0", "mpatha\n", "mpath-3600\n",
      "zzb2 is held by a multipath device" },
    { "dm-0", "isw\n", "DMRAID-isw\n", "zzb2 is held by a RAID" },
    { "dm-0", "thing\n", "other\n", "zzb2 is held by the device mapper" },
    { "md127", NULL, NULL, "zzb2 is held by a RAID (/dev/md127)" },
    { "bcache0", NULL, NULL, "zzb2 is held by another device (/dev/bcache0)" },
  };

  (void) state;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
    teardown (NULL);
    assert_int_equal (setup (NULL), 0);
    put_upper (rows[i].name, "254:0\n", "sys/devices/zzb/zzb2",
               rows[i].mapped, rows[i].uuid);
    assert_refused (DISK, -EBUSY, rows[i].says);
    assert_refused (makedev (8, 18), -EBUSY, rows[i].says);
    assert_refused (PART1, 0, "");
  }
}

static void
what_a_loop_device_lies_on_is_refused (void **state)
{
  (void) state;
  put ("sys/block/loop3/loop/backing_file", "/dev/zzb1\n");
  put ("sys/block/loop4/loop/backing_file", "/srv/file.img\n");
  assert_refused (DISK, -EBUSY, "/dev/zzb1 is below /dev/loop3");
  assert_refused (OTHER, 0, "");
}

/* A file: nothing but the loop device shows that it is in use. */
static void
a_file_below_a_loop_device_is_refused (void **state)
{
  char file[128], other[128], text[140];
  struct err err = ERR_INIT;
  struct stat st;

  (void) state;
  put ("one.img", "1");
  put ("two.img", "2");
  snprintf (file, sizeof file, "%s/one.img", root);
  snprintf (other, sizeof other, "%s/two.img", root);
  snprintf (text, sizeof text, "%s\n", file);
  put ("sys/block/loop5/loop/backing_file", text);
  put ("sys/block/loop5/dev", "7:5\n");
  assert_int_equal (stat (file, &st), 0);
  assert_int_equal (restore_file_check_free (&fake, &st, &err), -EBUSY);
  assert_non_null (strstr (err.msg, "is below /dev/loop5"));
  assert_true (restore_device_lies_in (&fake, makedev (7, 5), &st));
  assert_false (restore_device_lies_in (&fake, makedev (7, 6), &st));
  assert_int_equal (stat (other, &st), 0);
  assert_int_equal (restore_file_check_free (&fake, &st, NULL), 0);
  assert_false (restore_device_lies_in (&fake, makedev (7, 5), &st));
}

static void
what_is_read_only_is_refused (void **state)
{
  (void) state;
  put ("sys/devices/zzb/ro", "1\n");
  assert_refused (DISK, -EROFS, "is read-only");
  assert_refused (OTHER, 0, "");
}

#define TEST(name) cmocka_unit_test_setup_teardown (name, setup, teardown)

int
main (void)
{
  const struct CMUnitTest tests[] = {
    TEST (a_disk_is_described),
    TEST (a_scsi_disk_says_its_serial_number_in_a_page),
    TEST (a_disk_has_its_partitions_and_what_is_made_of_them),
    TEST (who_is_not_used_is_free),
    TEST (what_is_mounted_is_refused),
    TEST (what_is_mounted_through_lvm_is_refused),
    TEST (swap_is_refused),
    TEST (what_is_held_is_refused),
    TEST (what_a_loop_device_lies_on_is_refused),
    TEST (a_file_below_a_loop_device_is_refused),
    TEST (what_is_read_only_is_refused),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
