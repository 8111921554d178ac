/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/fdio.h"
#include "lib/block/block-ops.h"
#include "lib/block/file-lock.h"
#include "lib/block/file.h"

/* A call to which the kernel may tell that data was lost, while it is under
 * way; on the stack of its thread.
 */
struct telling {
  uint64_t number;
  struct telling *next;
};

struct file_block {
  struct block base;
  int fd;

  /* Each becomes false for ever when the file system says that it can't;
   * read and written by any thread, relaxed: at worst it is tried again.
   */
  bool can_punch, can_zero_range, can_seek_hole;

  pthread_mutex_t lock;         /* guards what follows */
  pthread_cond_t told;
  uint64_t nr_tellings;         /* that began, ever */
  struct telling *tellings;     /* that are under way */
  uint64_t rounds_begun, rounds_ended;  /* of flushes; at most one is between */
  pthread_cond_t round_ended[2];        /* odd and even ones */
  uint64_t before_round_ended;  /* tellings that had begun by then */
  int flush_errno;              /* of the first that failed; 0: none */
  void (*on_loss) (void *opaque);       /* NULL: nobody has to know */
  void *on_loss_opaque;
};

static const struct block_ops file_ops;

static struct file_block *
file (struct block *b)
{
  return (struct file_block *) b;
}

static bool
load_flag (const bool *flag)
{
  return __atomic_load_n (flag, __ATOMIC_RELAXED);
}

static void
clear_flag (bool *flag)
{
  __atomic_store_n (flag, false, __ATOMIC_RELAXED);
}

static void
file_close (struct block *b)
{
  close (file (b)->fd);
  pthread_mutex_destroy (&file (b)->lock);
  pthread_cond_destroy (&file (b)->told);
  for (unsigned i = 0; i < 2; ++i)
    pthread_cond_destroy (&file (b)->round_ended[i]);
}

static int
file_pread (struct block *b, void *buf, size_t len, uint64_t off,
            struct err *err)
{
  return fd_pread (file (b)->fd, buf, len, off, err);
}

/*--- Flushes ----------------------------------------------------------------*/

/* Of data that did not get to the medium the kernel tells once, to whoever
 * asks first, and keeps no copy.  The next fdatasync would vouch for what is
 * lost, so that one failure is for good: the file has to be opened anew.
 *
 * Who is told may be another thread, which asked a moment before and has not
 * said so yet.  So a flush that succeeded waits for those that were under way
 * when it did; who asks later can't be told of what was written before.
 */
static void
begin_telling (struct file_block *f, struct telling *t)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&f->lock);

  t->number = ++f->nr_tellings;
  t->next = f->tellings;
  f->tellings = t;
}

/* code: an errno, or 0. */
static void
end_telling (struct file_block *f, struct telling *t, int code)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&f->lock);
  struct telling **p = &f->tellings;

  if (code != 0 && f->on_loss)
    f->on_loss (f->on_loss_opaque);
  if (f->flush_errno == 0)
    f->flush_errno = code;
  while (*p != t)
    p = &(*p)->next;
  *p = t->next;
  pthread_cond_broadcast (&f->told);
}

/* Under the lock. */
static bool
any_is_under_way (const struct file_block *f, uint64_t up_to)
{
  for (const struct telling *t = f->tellings; t; t = t->next)
    if (t->number <= up_to)
      return true;
  return false;
}

/* Was anything lost, as far as is known when the first up_to tellings have
 * ended?
 */
static int
see_loss (struct file_block *f, uint64_t up_to, struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&f->lock);

  while (f->flush_errno == 0 && any_is_under_way (f, up_to))
    pthread_cond_wait (&f->told, &f->lock);
  errno = f->flush_errno;
  return errno ? err_sys (err, "writes were lost when they were flushed") : 0;
}

/* A flush has to ask the kernel after it came.  So those that come while one
 * is asking need not ask each by itself: they wait for that to end, and one of
 * them asks for all.
 */
static void
ask_for_all (struct file_block *f, uint64_t round)
{
  struct telling t;
  int r;

  pthread_mutex_unlock (&f->lock);
  begin_telling (f, &t);
  do
    r = fdatasync (f->fd);
  while (r < 0 && errno == EINTR);
  end_telling (f, &t, r < 0 ? errno : 0);
  pthread_mutex_lock (&f->lock);
  f->rounds_ended = round;
  f->before_round_ended = f->nr_tellings;
  pthread_cond_broadcast (&f->round_ended[round % 2]);
  pthread_cond_signal (&f->round_ended[(round + 1) % 2]);
}

/* Returns which tellings may know more than it: none that began later, as the
 * next round, which nobody has to wait for.
 */
static uint64_t
wait_for_round (struct file_block *f)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&f->lock);
  uint64_t mine = f->rounds_begun + 1;

  while (f->rounds_ended < mine)
    if (f->rounds_begun == f->rounds_ended)
      ask_for_all (f, ++f->rounds_begun);
    else
      pthread_cond_wait (&f->round_ended[mine % 2], &f->lock);
  return f->before_round_ended;
}

static int
file_flush (struct block *b, struct err *err)
{
  uint64_t up_to = wait_for_round (file (b));

  return see_loss (file (b), up_to, err);
}

static int
flush_if_fua (struct block *b, unsigned flags, struct err *err)
{
  return flags & BLOCK_FUA ? file_flush (b, err) : 0;
}

static int
file_pwrite (struct block *b, const void *buf, size_t len, uint64_t off,
             unsigned flags, struct err *err)
{
  int r = fd_pwrite (file (b)->fd, buf, len, off, err);

  return r < 0 ? r : flush_if_fua (b, flags, err);
}

/* Returns 0 or an errno. */
static int
write_dsync (int fd, const char *p, size_t len, uint64_t off)
{
  while (len > 0) {
    struct iovec iov = { (void *) p, len };
    ssize_t r = pwritev2 (fd, &iov, 1, (off_t) off, RWF_DSYNC);

    if (r < 0 && errno == EINTR)
      continue;
    if (r <= 0)
      return r < 0 ? errno : EIO;
    p += r;
    off += (uint64_t) r;
    len -= (size_t) r;
  }
  return 0;
}

/* Written twice: what the first write has no space for is no lost data, and
 * the second one needs none.  Where another thread is told that it was lost,
 * and has not said so yet, this one does not hear of it; the next flush does.
 */
static int
file_pwrite_through (struct block *b, const void *buf, size_t len,
                     uint64_t off, struct err *err)
{
  struct telling t;
  bool can;
  int r = fd_pwrite (file (b)->fd, buf, len, off, err), code;

  if (r < 0)
    return r;
  begin_telling (file (b), &t);
  code = write_dsync (file (b)->fd, buf, len, off);
  can = code != EOPNOTSUPP && code != EINVAL && code != ENOSYS;
  end_telling (file (b), &t, can ? code : 0);
  return can ? see_loss (file (b), 0, err) : file_flush (b, err);
}

/* Returns 1 when done, 0 when this file can't (*flag is then false for
 * ever) or a device can't for this range, which is not of whole sectors, or a
 * negative errno.
 */
static int
try_fallocate (struct block *b, int mode, uint64_t len, uint64_t off,
               bool *flag, struct err *err)
{
  int r;

  if (!load_flag (flag))
    return 0;
  do
    r = fallocate (file (b)->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t) off,
                   (off_t) len);
  while (r < 0 && errno == EINTR);
  if (r == 0)
    return 1;
  if (errno == EINVAL)
    return 0;
  if (errno != EOPNOTSUPP && errno != ENODEV && errno != ENOSYS)
    return err_sys (err, "zeroing %" PRIu64 " bytes at offset %" PRIu64,
                    len, off);
  clear_flag (flag);
  return 0;
}

static int
file_zero (struct block *b, uint64_t len, uint64_t off, unsigned flags,
           struct err *err)
{
  int r = 0;

  if (!(flags & BLOCK_NO_HOLE))
    r = try_fallocate (b, FALLOC_FL_PUNCH_HOLE, len, off,
                       &file (b)->can_punch, err);
  if (r == 0)
    r = try_fallocate (b, FALLOC_FL_ZERO_RANGE, len, off,
                       &file (b)->can_zero_range, err);
  if (r == 0)
    return block_write_zeros (b, len, off, flags, err);
  return r < 0 ? r : flush_if_fua (b, flags, err);
}

/* Only devices know the call, and of these not all.  A hint. */
static void
discard (int fd, uint64_t len, uint64_t off)
{
  uint64_t range[2] = { off, len };

  while (ioctl (fd, BLKDISCARD, range) < 0 && errno == EINTR)
    ;
}

/* On a device too a hole is punched rather than discarded: the kernel's
 * promise that it reads as zeros costs nothing where the device can do it.
 * One that can't may still be able to discard.
 */
static int
file_trim (struct block *b, uint64_t len, uint64_t off, unsigned flags,
           struct err *err)
{
  int r = try_fallocate (b, FALLOC_FL_PUNCH_HOLE, len, off,
                         &file (b)->can_punch, err);

  if (r == 0 && flags & BLOCK_DISCARD)
    discard (file (b)->fd, len, off);
  return r < 0 ? r : flush_if_fua (b, flags, err);
}

/*--- Size -------------------------------------------------------------------*/

static int
file_resize (struct block *b, uint64_t size, struct err *err)
{
  int r;

  do
    r = ftruncate (file (b)->fd, (off_t) size);
  while (r < 0 && errno == EINTR);
  if (r < 0)
    return err_sys (err, "giving the file a size of %" PRIu64 " bytes", size);
  return 0;
}

/* A part of it may have been written. */
static int
file_append (struct block *b, const void *buf, size_t len, uint64_t off,
             struct err *err)
{
  int r = fd_pwrite (file (b)->fd, buf, len, off, err);

  if (r < 0)
    file_resize (b, block_size (b), NULL);
  return r;
}

/*--- Extents and hints ------------------------------------------------------*/

/* What a file has lost at its end is no hole: reading it fails. */
static int
check_not_shorter (struct block *b, struct err *err)
{
  uint64_t size, expected = block_size (b);
  int r = fd_size (file (b)->fd, &size, err);

  if (r == 0 && size < expected)
    return err_set (err, -EIO, "the file ends at offset %" PRIu64 ", expected "
                    "%" PRIu64 " as when it was opened", size, expected);
  return r;
}

/* lseek moves the descriptor's position, which nothing here relies on. */
static int
file_extents (struct block *b, uint64_t len, uint64_t off,
              struct extent_list *list, struct err *err)
{
  uint64_t end = off + len;
  int r = 0;

  while (r == 0 && off < end && !extent_list_full (list)) {
    off_t data = -1, hole;

    if (load_flag (&file (b)->can_seek_hole)) {
      data = lseek (file (b)->fd, (off_t) off, SEEK_DATA);
      if (data < 0 && errno == ENXIO) { /* a hole up to the end */
        r = check_not_shorter (b, err);
        if (r < 0)
          return r;
        data = (off_t) end;
      }
      else if (data < 0 && errno == EINVAL)
        clear_flag (&file (b)->can_seek_hole);
      else if (data < 0)
        return err_sys (err, "looking for data from offset %" PRIu64, off);
    }
    if (data < 0)               /* can't tell */
      return extent_list_add (list, off, end - off, EXTENT_DATA, 0, err);

    if ((uint64_t) data > off) {
      uint64_t n = min_u64 ((uint64_t) data, end) - off;

      r = extent_list_add (list, off, n, EXTENT_HOLE, 0, err);
      off += n;
      continue;
    }
    hole = lseek (file (b)->fd, (off_t) off, SEEK_HOLE);
    if (hole < 0 && errno != ENXIO)
      return err_sys (err, "looking for a hole from offset %" PRIu64, off);
    /* A file that changes meanwhile may answer behind where we are. */
    if (hole < 0 || (uint64_t) hole <= off || (uint64_t) hole > end)
      hole = (off_t) end;
    r = extent_list_add (list, off, (uint64_t) hole - off, EXTENT_DATA, 0,
                         err);
    off = (uint64_t) hole;
  }
  return r;
}

static int
file_cache (struct block *b, uint64_t len, uint64_t off, struct err *err)
{
  int r = posix_fadvise (file (b)->fd, (off_t) off, (off_t) len,
                         POSIX_FADV_WILLNEED);

  if (r != 0) {
    errno = r;
    return err_sys (err, "posix_fadvise");
  }
  return 0;
}

static const struct block_ops file_ops = {
  .close = file_close,
  .pread = file_pread,
  .pwrite = file_pwrite,
  .pwrite_through = file_pwrite_through,
  .zero = file_zero,
  .trim = file_trim,
  .flush = file_flush,
  .extents = file_extents,
  .cache = file_cache,
  .append = file_append,
  .resize = file_resize,
};

static void
device_sizes (int fd, struct block_sizes *sizes)
{
  int logical;

  if (ioctl (fd, BLKSSZGET, &logical) == 0 && logical > 0)
    sizes->logical = (uint32_t) logical;
}

int
block_file_from_fd (int fd, const char *name, unsigned flags,
                    struct block **out, struct report *report,
                    struct err *err)
{
  bool writable = flags & BLOCK_FILE_WRITE;
  struct file_block *f;
  struct stat st;
  uint64_t size;
  int r;

  if (fstat (fd, &st) < 0)
    return err_sys (err, "fstat");
  if (S_ISDIR (st.st_mode))
    return err_set (err, -EISDIR, "is a folder, not an image");
  r = fd_size (fd, &size, err);
  if (r == 0 && (flags & BLOCK_FILE_LOCK))
    r = file_lock (fd, name, writable, report, err);
  if (r < 0)
    return r;
  f = calloc (1, sizeof *f);
  if (f == NULL)
    return err_nomem (err);
  r = block_init (&f->base, &file_ops, name, size, writable, err);
  if (r < 0) {
    free (f);
    return r;
  }
  pthread_mutex_init (&f->lock, NULL);
  pthread_cond_init (&f->told, NULL);
  for (unsigned i = 0; i < 2; ++i)
    pthread_cond_init (&f->round_ended[i], NULL);
  f->fd = fd;
  f->base.can_resize = S_ISREG (st.st_mode);
  f->can_punch = f->can_zero_range = f->can_seek_hole = true;
  if (S_ISBLK (st.st_mode))
    device_sizes (fd, &f->base.sizes);
  *out = &f->base;
  return 0;
}

int
block_file_open (const char *path, unsigned flags, struct block **out,
                 struct report *report, struct err *err)
{
  const unsigned exclusive = BLOCK_FILE_WRITE | BLOCK_FILE_LOCK;
  /* O_NONBLOCK: a FIFO is refused rather than waited for.  O_EXCL: only
   * devices heed it.
   */
  int oflags = O_CLOEXEC | O_NONBLOCK |
    (flags & BLOCK_FILE_WRITE ? O_RDWR : O_RDONLY) |
    (flags & BLOCK_FILE_NOFOLLOW ? O_NOFOLLOW : 0) |
    ((flags & exclusive) == exclusive ? O_EXCL : 0);
  CLEANUP_CLOSE int fd = open (path, oflags);
  int r;

  if (fd < 0 && errno == EBUSY)
    return err_set (err, -EBUSY, "is in use, it or a part of it being mounted "
                    "or held otherwise, so that it can't be opened for "
                    "writing");
  if (fd < 0)
    return err_sys (err, "can't be opened%s",
                    flags & BLOCK_FILE_WRITE ? " for writing" : "");
  r = block_file_from_fd (fd, path, flags, out, report, err);
  if (r == 0)
    steal_fd (&fd);
  return r;
}

void
block_file_on_loss (struct block *b, void (*fn) (void *opaque), void *opaque)
{
  if (b->ops != &file_ops)
    return;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&file (b)->lock);
  file (b)->on_loss = fn;
  file (b)->on_loss_opaque = opaque;
}

int
block_file_fd (const struct block *b)
{
  return b->ops == &file_ops ? ((const struct file_block *) b)->fd : -1;
}
