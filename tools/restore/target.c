/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A device is opened for writing, and for this process alone, before the plan
 * is shown: what was shown is what is written to.  An image is looked at
 * first, for opening one for writing may write; when the plan was agreed to,
 * it has to have the size it had.
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
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/block/file.h"
#include "lib/block/nbd.h"
#include "lib/format/children.h"
#include "tools/report.h"
#include "tools/restore/restore-tool.h"

/*--- Of what kind -----------------------------------------------------------*/

static int
find_kind (struct restore_command *c, struct err *err)
{
  struct restore_target *to = &c->to;
  struct stat st;

  to->kind = RESTORE_NEW;
  if (block_nbd_is_uri (c->name)) {
    to->kind = RESTORE_EXPORT;
    return 0;
  }
  if (stat (c->name, &st) < 0)
    return errno == ENOENT ? 0 : err_sys (err, "can't be looked at");
  if (S_ISBLK (st.st_mode)) {
    to->kind = RESTORE_DEVICE;
    to->dev = st.st_rdev;
    return 0;
  }
  to->kind = RESTORE_IMAGE;
  if (S_ISREG (st.st_mode))
    return 0;
  return err_set (err, S_ISDIR (st.st_mode) ? -EISDIR : -EINVAL,
                  S_ISDIR (st.st_mode) ? "is a folder" : "is neither a disk "
                  "nor a file");
}

/*--- Opening ----------------------------------------------------------------*/

/* A name can come to mean another device: a link of /dev/disk, when a disk is
 * plugged in.
 */
static int
open_device (struct restore_command *c, struct report *report, struct err *err)
{
  struct restore_target *to = &c->to;
  unsigned flags = c->dry_run ? 0 : BLOCK_FILE_WRITE | BLOCK_FILE_LOCK;
  struct stat st;
  int r = block_file_open (c->name, flags, &to->disk, report, err);

  if (r < 0)
    return r;
  if (fstat (block_file_fd (to->disk), &st) < 0)
    return err_sys (err, "can't be looked at");
  if (S_ISBLK (st.st_mode) && st.st_rdev == to->dev)
    return 0;
  return err_set (err, -ESTALE, "became another device while it was looked at");
}

static int
look_at_device (struct restore_command *c, struct report *report,
                struct err *err)
{
  struct restore_target *to = &c->to;
  int r = restore_device_describe (&restore_this_system, to->dev, &to->device,
                                   err);

  if (r == 0)
    r = restore_refuse_source (c, err);
  if (r == 0)
    r = restore_device_check_free (&restore_this_system, to->dev, err);
  return r < 0 ? r : open_device (c, report, err);
}

static int
learn_unit (struct restore_target *to, struct err *err)
{
  CLEANUP_IMAGE_INFO struct image_info info = { .type = NULL };
  int r = image_get_info (to->img, &info, err);

  if (r == 0)
    to->unit = info.allocation_size;
  return r;
}

static void
close_image (struct restore_target *to)
{
  block_unref (to->disk);
  image_unref (to->img);
  to->disk = NULL;
  to->img = NULL;
}

static int
open_image (struct restore_command *c, bool writable, struct report *report,
            struct err *err)
{
  const struct image_options options = {
    .format = c->target_format, .writable = writable, .lock = true,
  };
  struct restore_target *to = &c->to;
  int r = image_open (c->name, &options, &to->img, report, err);

  if (r == 0)
    r = image_check_recognised (to->img, err);
  if (r == 0)
    r = learn_unit (to, err);
  if (r == 0)
    r = image_to_block (to->img, &to->disk, err);
  if (r == 0)
    to->format = image_format (to->img);
  return r;
}

/* They lie beside it, and read other bytes when it changes. */
static int
look_for_children (struct restore_target *to, struct report *report,
                   struct err *err)
{
  struct name_list children = VECTOR_INIT;
  int r = image_find_children (to->img, &children, err);

  for (size_t i = 0; r == 0 && i < children.len; ++i)
    report_warn (report, "%s is differencing over this disk, and is damaged "
                 "when it changes", children.ptr[i]);
  to->has_children = children.len > 0;
  name_list_free (&children);
  return r;
}

static int
look_at_image (struct restore_command *c, struct report *report,
               struct err *err)
{
  const char *reason;
  struct stat st;
  int r = restore_refuse_source (c, err);

  if (r == 0 && stat (c->name, &st) == 0)
    r = restore_file_check_free (&restore_this_system, &st, err);
  if (r == 0)
    r = open_image (c, false, report, err);
  if (r == 0)
    r = look_for_children (&c->to, report, err);
  if (r < 0)
    return r;
  reason = image_readonly_reason (c->to.img);
  if (reason)
    return err_set (err, -EROFS, "is an image (%s) that can't be written: %s",
                    c->to.format, reason);
  return access (c->name, W_OK) == 0 ? 0
    : err_sys (err, "can't be opened for writing");
}

/* The size is what making the image comes to: as that of the disk. */
static int
look_at_new (struct restore_command *c, struct err *err)
{
  struct restore_target *to = &c->to;

  to->format = c->target_format ? c->target_format
                                : image_format_by_name (c->name);
  if (to->format == NULL || image_create_check_format (to->format, err) < 0) {
    c->cannot_be = true;
    return err_set (err, -EINVAL, "is not there, and a new file's name ends in "
                    ".vhd, .vhdx, .img or .raw, or --target-format says what "
                    "it becomes");
  }
  if (c->choices.len > 0) {
    c->cannot_be = true;
    return err_set (err, -EINVAL, "is not there: partitions go to a disk that "
                    "has them already");
  }
  to->size = block_size (c->disk);
  return new_file_check (c->name, err);
}

static int
open_target (struct restore_command *c, struct report *report,
             struct err *err)
{
  switch (c->to.kind) {
  case RESTORE_DEVICE:
    return look_at_device (c, report, err);
  case RESTORE_IMAGE:
    return look_at_image (c, report, err);
  case RESTORE_EXPORT:
    return block_nbd_open (c->name, BLOCK_NBD_WRITE, &c->to.disk, err);
  case RESTORE_NEW:
    break;
  }
  return look_at_new (c, err);
}

int
restore_target_look (struct restore_command *c, struct report *report,
                     struct err *err)
{
  struct restore_target *to = &c->to;
  struct err why = ERR_INIT;
  struct block_sizes sizes;
  int r = find_kind (c, err);

  if (r == 0 && to->kind == RESTORE_EXPORT)
    r = restore_refuse_source (c, err);
  if (r == 0)
    r = open_target (c, report, err);
  if (r < 0 || to->kind == RESTORE_NEW)
    return r;
  to->size = block_size (to->disk);
  block_get_sizes (to->disk, &sizes);
  r = restore_contents_look (to->disk, sizes.logical, &to->contents, NULL,
                             &why);
  /* What can't be read may still be written, and then be read. */
  if (r == -EIO) {
    report_warn (report, "what it holds is not known: %s", why.msg);
    r = restore_contents_unknown (&to->contents, err);
  }
  else if (r < 0)
    err_set (err, r, "%s", why.msg);
  to->looked = r == 0;
  return r;
}

/*--- Writing ----------------------------------------------------------------*/

static int
open_new (struct restore_command *c, bool writable, struct block **disk,
          struct report *report, struct err *err)
{
  const struct image_options options = { .format = c->to.format,
                                         .writable = writable };
  CLEANUP_CLOSE int fd = fcntl (c->to.file.fd, F_DUPFD_CLOEXEC, 0);
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_IMAGE struct image *img = NULL;
  unsigned flags = writable ? BLOCK_FILE_WRITE | BLOCK_FILE_LOCK : 0;
  int r;

  if (fd < 0)
    return err_sys (err, "dup");
  r = block_file_from_fd (fd, c->name, flags, &block, report, err);
  if (r < 0)
    return r;
  steal_fd (&fd);
  r = image_open_block (block, &options, &img, report, err);
  return r < 0 ? r : image_to_block (img, disk, err);
}

static uint32_t
sectors_of (const struct restore_command *c)
{
  struct block_sizes sizes;

  image_get_sizes (c->img, &sizes);
  return strcmp (c->to.format, "vhdx") == 0 && sizes.logical == 4096 ? 4096
    : 0;
}

static int
make_new (struct restore_command *c, struct report *report, struct err *err)
{
  const struct image_create_options options = {
    .format = c->to.format, .size = c->to.size,
    .sector_size = sectors_of (c),
  };
  uint64_t size;
  int r = new_file_open (c->name, &c->to.file, err);

  if (r == 0)
    r = image_create_in (&c->to.file, c->name, &options, &size, report, err);
  if (r < 0)
    return r;
  return open_new (c, true, &c->to.disk, report, err);
}

int
restore_target_begin (struct restore_command *c, struct report *report,
                      struct err *err)
{
  uint64_t size = c->to.size;
  int r;

  if (c->to.kind == RESTORE_NEW)
    return make_new (c, report, err);
  if (c->to.kind != RESTORE_IMAGE)
    return 0;
  close_image (&c->to);
  r = open_image (c, true, report, err);
  if (r == 0 && block_size (c->to.disk) != size)
    r = err_set (err, -ESTALE, "was changed since the plan was shown: it has "
                 "%" PRIu64 " bytes now", block_size (c->to.disk));
  return r;
}

/*--- Reading it again -------------------------------------------------------*/

/* What is clean goes; all was flushed. */
static void
drop_cache (int fd)
{
  if (fd >= 0)
    posix_fadvise (fd, 0, 0, POSIX_FADV_DONTNEED);
}

/* As whoever opens the file finds it, by what is in the file alone. */
static int
reread_image (const struct restore_command *c, struct block **disk,
              struct err *err)
{
  const struct image_options options = { .format = c->to.format };
  int below = block_file_fd (image_block (c->to.img));
  CLEANUP_CLOSE int fd = -1;
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_IMAGE struct image *img = NULL;
  int r;

  drop_cache (below);
  fd = fcntl (below, F_DUPFD_CLOEXEC, 0);
  if (fd < 0)
    return err_sys (err, "dup");
  r = block_file_from_fd (fd, c->name, 0, &block, NULL, err);
  if (r < 0)
    return r;
  steal_fd (&fd);
  r = image_open_block (block, &options, &img, NULL, err);
  return r < 0 ? r : image_to_block (img, disk, err);
}

int
restore_target_reread (const struct restore_command *c,
                       struct block **disk, struct err *err)
{
  switch (c->to.kind) {
  case RESTORE_IMAGE:
    return reread_image (c, disk, err);
  case RESTORE_NEW:
    drop_cache (c->to.file.fd);
    return open_new ((struct restore_command *) c, false, disk, NULL, err);
  case RESTORE_DEVICE:
    drop_cache (block_file_fd (c->to.disk));
    break;
  case RESTORE_EXPORT:          /* its server's cache is not ours */
    break;
  }
  *disk = block_ref (c->to.disk);
  return 0;
}

/*--- The end ----------------------------------------------------------------*/

static const char *
reread_partitions (const struct restore_command *c)
{
  if (c->choices.len > 0 || c->to.device.partition != 0 ||
      ioctl (block_file_fd (c->to.disk), BLKRRPART) == 0 || errno == EINVAL ||
      errno == ENOTTY)
    return NULL;                /* or it can have none */
  return "the kernel goes on with the partitions it had: partprobe, or a new "
         "start, lets it know";
}

int
restore_target_end (struct restore_command *c, const char **note,
                    struct err *err)
{
  if (c->to.kind == RESTORE_DEVICE)
    *note = reread_partitions (c);
  if (c->to.kind != RESTORE_NEW)
    return 0;
  block_unref (c->to.disk);
  c->to.disk = NULL;
  return new_file_commit (&c->to.file, err);
}

void
restore_target_close (struct restore_target *to)
{
  if (to->looked)
    restore_contents_free (&to->contents);
  close_image (to);
  new_file_close (&to->file);
  restore_device_free (&to->device);
}
