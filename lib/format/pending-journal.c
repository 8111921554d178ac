/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Where journals are, and whether one that is found is ours.
 *
 *   /run/nbdimage              root's, where attachments are noted too
 *   /dev/shm/nbdimage-UID
 *   $XDG_RUNTIME_DIR/nbdimage
 *
 * The first that is in a memory file system and that we may write to gets new
 * ones; all of them are looked into for one that was left.  The one that the
 * environment names is the last: a process that is killed in a session and the
 * next one, started by cron or by systemd, have to find the same.  Folder and
 * file belong to whoever runs us and nobody else can write to them; no
 * symbolic link is followed.  A name is made of device, inode and identity of
 * the image.
 *
 * The header repeats these, and names the boot of the machine: after a power
 * cut, or where the folder outlived one, there is no data for the bits.  It
 * has the time when the file was made, too: who replaces an image by an older
 * copy of it often gets the same inode.  A journal whose header is not right
 * is of another image, another boot, or was never finished: nothing counts on
 * it, and it is removed.
 *
 * A journal stays until its image is opened again, for the image may have been
 * moved, and may come back; when the image is gone for good, whoever makes a
 * new journal in the folder removes it (pending-sweep.h).
 *
 * What can't be known is that somebody has written other bytes into the same
 * file, and that its file system lost some after a kill, because its device
 * went away.
 *
 * Space for the whole file is allocated when it is made, because a memory
 * file system that is full would otherwise kill us at a store.  Whoever
 * writes holds a lock on it, in case that the image could not be locked.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/fdio.h"
#include "lib/format/pending-header.h"
#include "lib/format/pending-home.h"
#include "lib/format/pending-journal.h"
#include "lib/format/pending-sweep.h"

#define MAX_SLOTS (64U * 1024)
#define BOOT_ID "/proc/sys/kernel/random/boot_id"

/*--- The header -------------------------------------------------------------*/

/* Is this how a thing fails to open that is not there, or not for us?  With
 * any other reason there may be a journal, and nobody may go on without it.
 */
static bool
is_absent (int code)
{
  return code == ENOENT || code == ENOTDIR || code == ELOOP ||
    code == EACCES || code == EPERM;
}

/* The kernel's name for this boot, so that nothing is taken for another
 * one's.  Returns 1 where there is none.
 */
static int
read_boot_id (char boot[40], struct err *err)
{
  CLEANUP_CLOSE int fd = open (BOOT_ID, O_RDONLY | O_CLOEXEC);

  memset (boot, 0, 40);
  if (fd < 0 && is_absent (errno))
    return 1;
  if (fd < 0)
    return err_sys (err, "%s", BOOT_ID);
  return fd_pread (fd, boot, UUID_STRING_SIZE - 1, 0, err);
}

static int
time_of_birth (int fd, int64_t *born, struct err *err)
{
  struct statx st;

  if (statx (fd, "", AT_EMPTY_PATH, STATX_BTIME, &st) < 0)
    return errno == ENOSYS ? 0 : err_sys (err, "statx");
  if (st.stx_mask & STATX_BTIME)
    *born = st.stx_btime.tv_sec * INT64_C (1000000000) +
      st.stx_btime.tv_nsec;
  return 0;
}

/* What the header of a new journal is.  Returns 1 where an image, or the
 * boot, can't be told from others.
 */
static int
make_header (const struct pending_image *image,
             const struct pending_layout *layout, struct pending_header *h,
             struct err *err)
{
  struct stat st;
  int r;

  memset (h, 0, sizeof *h);
  if (fstat (image->fd, &st) < 0)
    return err_sys (err, "fstat");
  if (!S_ISREG (st.st_mode))
    return 1;
  r = read_boot_id (h->boot, err);
  if (r == 0)
    r = time_of_birth (image->fd, &h->born, err);
  if (r != 0)
    return r;
  memcpy (h->magic, PENDING_MAGIC, sizeof h->magic);
  h->version = PENDING_JOURNAL_VERSION;
  h->dev = st.st_dev;
  h->ino = st.st_ino;
  memcpy (h->id, image->id, sizeof h->id);
  h->sectors_per_block = image->sectors_per_block;
  h->low_bit_first = image->low_bit_first;
  h->page_bytes = layout->page_bytes;
  h->nr_slots = layout->nr_slots;
  h->checksum = pending_header_checksum (h);
  return 0;
}

static bool
is_of_image (const struct pending_header *found,
             const struct pending_header *ours)
{
  return memcmp (found->magic, PENDING_MAGIC, sizeof found->magic) == 0 &&
    found->checksum == pending_header_checksum (found) &&
    found->dev == ours->dev && found->ino == ours->ino &&
    found->born == ours->born &&
    memcmp (found->id, ours->id, sizeof ours->id) == 0 &&
    memcmp (found->boot, ours->boot, sizeof ours->boot) == 0;
}

/* Can we read what is behind it? */
static bool
is_understood (const struct pending_header *found,
               const struct pending_header *ours, uint64_t size)
{
  const struct pending_layout layout = { found->page_bytes, found->nr_slots };

  return found->version == PENDING_JOURNAL_VERSION &&
    found->sectors_per_block == ours->sectors_per_block &&
    found->low_bit_first == ours->low_bit_first &&
    found->page_bytes == ours->page_bytes && found->nr_slots > 0 &&
    found->nr_slots <= MAX_SLOTS && size == pending_file_size (&layout);
}

/*--- Folders ----------------------------------------------------------------*/

/* Is it in memory, and can nobody else write to it?  *fits: whether. */
static int
check_folder (int fd, bool *fits, struct err *err)
{
  struct statfs fs;
  struct stat st;

  if (fstatfs (fd, &fs) < 0 || fstat (fd, &st) < 0)
    return err_sys (err, "the folder of a journal");
  *fits = (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC) &&
    st.st_uid == geteuid () && (st.st_mode & 022) == 0;
  return 0;
}

/* The folder name in base, made if `make`.  *fd is -1 if it can't be used. */
static int
open_folder (const char *base, const char *name, bool make, int *fd,
             struct err *err)
{
  const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  CLEANUP_CLOSE int above = open (base, flags), in = -1;
  bool fits = false;
  int r;

  *fd = -1;
  if (above >= 0 && make)
    mkdirat (above, name, 0700);
  if (above >= 0)
    in = openat (above, name, flags | O_NOFOLLOW);
  if (in < 0)
    return is_absent (errno) ? 0 : err_sys (err, "%s/%s", base, name);
  r = check_folder (in, &fits, err);
  if (r == 0 && fits)
    *fd = steal_fd (&in);
  return r;
}

static unsigned
nr_candidates (const struct pending_image *image)
{
  return image->folder ? 1 : 3;
}

/* Number n of those that may have a journal. */
static int
open_candidate (const struct pending_image *image, unsigned n, bool make,
                int *fd, struct err *err)
{
  const char *runtime = secure_getenv ("XDG_RUNTIME_DIR");
  char name[40];

  *fd = -1;
  if (image->folder)
    return open_folder (image->folder, "nbdimage", make, fd, err);
  if (n == 0)
    return open_folder ("/run", "nbdimage", make, fd, err);
  if (n == 2)
    return runtime && runtime[0] == '/'
      ? open_folder (runtime, "nbdimage", make, fd, err) : 0;
  snprintf (name, sizeof name, "nbdimage-%lu", (unsigned long) geteuid ());
  return open_folder ("/dev/shm", name, make, fd, err);
}

/*--- Files ------------------------------------------------------------------*/

static void
make_name (const struct pending_header *h, char *name, size_t size)
{
  char id[UUID_STRING_SIZE];

  uuid_to_string (h->id, id);
  snprintf (name, size, PENDING_NAME "%" PRIx64 "-%" PRIx64 "-%s", h->dev,
            h->ino, id);
}

static int
map_file (struct pending_journal *j, size_t size, int protection,
          struct err *err)
{
  void *map = mmap (NULL, size, protection, MAP_SHARED, j->fd, 0);

  if (map == MAP_FAILED)
    return err_sys (err, "the journal %s can't be mapped", j->name);
  j->map = map;
  j->size = size;
  return 0;
}

static int
lock_file (int fd, const char *name, struct err *err)
{
  struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

  if (fcntl (fd, F_OFD_SETLK, &lock) == 0)
    return 0;
  return err_set (err, -EBUSY, "another process writes to it, and has the "
                  "journal %s", name);
}

/* Returns 1 if j->fd is of this image and all is well with it, 0 if it is
 * nothing to count on.
 */
static int
check_file (struct pending_journal *j, const struct pending_header *ours,
            struct pending_header *found, struct err *err)
{
  struct stat st;
  ssize_t n;

  if (fstat (j->fd, &st) < 0)
    return err_sys (err, "the journal %s can't be read", j->name);
  if (!S_ISREG (st.st_mode) || st.st_uid != geteuid () ||
      (st.st_mode & 077) != 0 || st.st_nlink != 1)
    return 0;
  n = pread (j->fd, found, sizeof *found, 0);
  if (n < 0)
    return err_sys (err, "the journal %s can't be read", j->name);
  if (n < (ssize_t) sizeof *found || !is_of_image (found, ours))
    return 0;
  if (!is_understood (found, ours, (uint64_t) st.st_size))
    return err_set (err, -ENOTSUP, "a process that was killed while writing "
                    "left the journal %s, which is of another version of "
                    "this program; open the image with that one, or remove "
                    "the journal and lose what it has", j->name);
  return 1;
}

/* Returns 1 when the file is there and counts, and j is open with it. */
static int
open_left (struct pending_journal *j, const struct pending_header *ours,
           bool write, struct pending_header *found, struct err *err)
{
  int r;

  j->fd = openat (j->folder, j->name, (write ? O_RDWR : O_RDONLY) |
                  O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (j->fd < 0 && !is_absent (errno))
    return err_sys (err, "the journal %s can't be opened", j->name);
  if (j->fd < 0) {
    if (write)
      unlinkat (j->folder, j->name, 0);
    return 0;
  }
  r = write ? lock_file (j->fd, j->name, err) : 0;
  if (r == 0)
    r = check_file (j, ours, found, err);
  if (r == 0) {
    close (steal_fd (&j->fd));
    if (write)
      unlinkat (j->folder, j->name, 0);
  }
  return r;
}

/* Returns 1 if there is one. */
static int
find_left (const struct pending_image *image, const struct pending_header *ours,
           bool write, struct pending_layout *layout,
           struct pending_journal *j, struct err *err)
{
  struct pending_header found;
  int r = 0;

  for (unsigned n = 0; r == 0 && n < nr_candidates (image); ++n) {
    r = open_candidate (image, n, false, &j->folder, err);
    if (r < 0 || j->folder < 0)
      continue;
    r = open_left (j, ours, write, &found, err);
    if (r == 0)
      close (steal_fd (&j->folder));
  }
  if (r <= 0)
    return r;
  layout->nr_slots = found.nr_slots;
  r = map_file (j, pending_file_size (layout),
                PROT_READ | (write ? PROT_WRITE : 0), err);
  return r < 0 ? r : 1;
}

/* In j->folder.  The header is written last. */
static int
make_file (struct pending_journal *j, int image_fd,
           const struct pending_header *h, const struct pending_layout *layout,
           struct err *err)
{
  size_t size = pending_file_size (layout);
  int r;

  j->fd = openat (j->folder, j->name,
                  O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (j->fd < 0)
    return err_sys (err, "making the journal %s", j->name);
  r = lock_file (j->fd, j->name, err);
  if (r == 0 && fallocate (j->fd, 0, 0, (off_t) size) < 0)
    r = err_sys (err, "making room for the journal %s", j->name);
  if (r == 0)
    r = map_file (j, size, PROT_READ | PROT_WRITE, err);
  if (r < 0)
    return r;
  pending_home_put (image_fd, j->map + PENDING_HOME_OFF);
  return fd_pwrite (j->fd, h, sizeof *h, 0, err);
}

/* Returns 1 when one was made. */
static int
make_new (const struct pending_image *image, const struct pending_header *h,
          const struct pending_layout *layout, struct pending_journal *j)
{
  char name[sizeof j->name];

  memcpy (name, j->name, sizeof name);
  for (unsigned n = 0; n < nr_candidates (image); ++n) {
    if (open_candidate (image, n, true, &j->folder, NULL) < 0 ||
        j->folder < 0)
      continue;
    if (make_file (j, image->fd, h, layout, NULL) == 0) {
      pending_sweep (j->folder, h);
      return 1;
    }
    pending_journal_close (j, true);
    memcpy (j->name, name, sizeof name);
  }
  return 0;
}

/*--- The whole --------------------------------------------------------------*/

int
pending_journal_open (const struct pending_image *image,
                      struct pending_layout *layout,
                      struct pending_journal *out, struct report *report,
                      struct err *err)
{
  struct pending_journal j = PENDING_JOURNAL_INIT;
  struct pending_header h;
  bool any = false;
  int r = make_header (image, layout, &h, err);

  if (r == 0) {
    make_name (&h, j.name, sizeof j.name);
    r = find_left (image, &h, true, layout, &j, err);
    if (r == 0)
      r = make_new (image, &h, layout, &j);
    any = r > 0;
  }
  if (r < 0) {
    pending_journal_close (&j, false);
    return r;
  }
  if (any)
    *out = j;
  else
    report_warn (report, "%s: there is no memory file system for a journal "
                 "(/run/nbdimage, /dev/shm, $XDG_RUNTIME_DIR): if this "
                 "process is killed, what was written since the last flush "
                 "may be lost", image->name);
  return 0;
}

int
pending_journal_peek (const struct pending_image *image,
                      struct pending_layout *layout,
                      struct pending_journal *out, struct err *err)
{
  struct pending_journal j = PENDING_JOURNAL_INIT;
  struct pending_header h;
  int r = make_header (image, layout, &h, err);

  if (r != 0)
    return r < 0 ? r : 0;
  make_name (&h, j.name, sizeof j.name);
  r = find_left (image, &h, false, layout, &j, err);
  if (r > 0) {
    *out = j;
    return 0;
  }
  pending_journal_close (&j, false);
  return r;
}

/* Without its magic it is nobody's.  A store can't fail, and others have it at
 * once.
 */
void
pending_journal_disown (struct pending_journal *j)
{
  __atomic_store_n (&j->disowned, true, __ATOMIC_RELAXED);
  if (j->map)
    __atomic_store_n (j->map, 0, __ATOMIC_SEQ_CST);
}

void
pending_journal_close (struct pending_journal *j, bool remove)
{
  if (j->fd >= 0 &&
      (remove || __atomic_load_n (&j->disowned, __ATOMIC_RELAXED)))
    unlinkat (j->folder, j->name, 0);
  if (j->map)
    munmap (j->map, j->size);
  if (j->fd >= 0)
    close (j->fd);
  if (j->folder >= 0)
    close (j->folder);
  *j = (struct pending_journal) PENDING_JOURNAL_INIT;
}
