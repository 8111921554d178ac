/* SPDX-License-Identifier: GPL-2.0-or-later */

/* In this order, so that nothing is lost and nobody is cut off:
 *
 *   1. whoever uses the disk or a partition is named, and that is the end;
 *   2. the disk is claimed: from now on the kernel can't mount it or use it
 *      in another way, and if it did since 1, the claim fails;
 *   3. what was written is flushed, unless the server is gone;
 *   4. whoever opened it meanwhile is named, and that is the end, too;
 *   5. the supervisor disconnects the device, or we do, where there is none;
 *   6. the claim ends, and with it the device is free.
 *
 * Each wait has an end.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "tools/attach/detach.h"
#include "tools/attach/device.h"
#include "tools/attach/holders.h"
#include "tools/attach/netlink.h"
#include "tools/attach/process.h"
#include "tools/attach/state.h"
#include "tools/attach/watch.h"

/* Milliseconds. */
#define WAIT_SUPERVISOR 30000   /* nbdkit may take 10 s to end */
#define WAIT_KERNEL 30000
#define WAIT_FREE 5000

#define BACKEND_SIZE 128

/* What a thread that hangs in the kernel works on; then it is never freed. */
struct task {
  int fd;
  unsigned index;
  int result;
  struct err err;
};

static void
flush (void *opaque)
{
  struct task *task = opaque;

  if (fsync (task->fd) < 0)
    task->result = err_sys (&task->err, "flushing");
  else if (ioctl (task->fd, BLKFLSBUF, 0) < 0)
    task->result = err_sys (&task->err, "dropping the cache");
}

static void
disconnect (void *opaque)
{
  struct task *task = opaque;

  task->result = netlink_disconnect (task->index, &task->err);
}

static int
run_task (void (*function) (void *), int fd, unsigned index,
          unsigned milliseconds, struct err *err)
{
  struct task *task = calloc (1, sizeof *task);
  int r;

  if (task == NULL)
    return err_nomem (err);
  task->fd = fd;
  task->index = index;
  if (!process_bounded (function, task, milliseconds, NULL))
    return err_set (err, -ETIMEDOUT, "the kernel did not finish in %u "
                    "seconds", milliseconds / 1000);
  r = task->result;
  if (r < 0 && err != NULL)
    *err = task->err;
  free (task);
  return r;
}

static int
check_free (unsigned index, pid_t supervisor, struct err *err)
{
  CLEANUP_HOLDERS struct holder_vector holders = VECTOR_INIT;
  int r;

  r = holders_find_settled (index, supervisor, &holders, err);
  if (r == 0 && holders.len > 0)
    r = holders_refuse (&holders, err);
  return r;
}

/* The supervisor is asked because it can end what the kernel would wait for;
 * it also ends nbdkit and removes the files.
 */
static int
disconnect_device (unsigned index, const struct attachment *a,
                   struct err *err)
{
  CLEANUP_CLOSE int pidfd = process_open (&a->supervisor);

  if (pidfd >= 0 && process_signal (pidfd, SIGUSR1) &&
      process_wait (pidfd, WAIT_SUPERVISOR))
    return 0;
  /* A private server that hangs must not keep the kernel waiting. */
  if (a->dead != NULL)
    process_end (&a->server);
  return run_task (disconnect, -1, index, WAIT_KERNEL, err);
}

static int
wait_free (unsigned index, struct err *err)
{
  CLEANUP_HOLDERS struct holder_vector holders = VECTOR_INIT;

  if (device_wait_disconnected (index, WAIT_FREE))
    return 0;
  if (holders_find (index, 0, &holders, NULL) == 0 && holders.len > 0) {
    holders_refuse (&holders, err);
    return err_in (err, "disconnected, but the device is not free yet");
  }
  return err_set (err, -EBUSY, "disconnected, but the kernel has not freed "
                  "the device yet");
}

/* The claim keeps the kernel away, not a process that opens the disk
 * meanwhile; and the device may have become another just before the claim.
 */
static int
check_again (unsigned index, const struct attachment *a, const char *before,
             struct err *err)
{
  CLEANUP_HOLDERS struct holder_vector holders = VECTOR_INIT;
  char backend[BACKEND_SIZE];
  int r;

  device_backend (index, backend, sizeof backend);
  if (strcmp (backend, before) != 0)
    return err_set (err, -EBUSY, "it was connected anew meanwhile");
  r = holders_find (index, a->supervisor.pid, &holders, err);
  if (r == 0 && holders.len > 0 && !holders_only_glance (&holders))
    r = holders_refuse (&holders, err);
  return r;
}

static int
detach_claimed (unsigned index, const struct attachment *a, int *claim,
                const char *backend, bool *detached, struct err *err)
{
  unsigned seconds = a->timeout > 0 ? a->timeout : WATCH_DEFAULT_TIMEOUT;
  struct err lost = ERR_INIT;
  int r;

  if (a->dead == NULL && !device_read_only (index))
    run_task (flush, *claim, index, (seconds + 1) * 1000, &lost);
  r = check_again (index, a, backend, err);
  if (r < 0)
    return r;
  r = disconnect_device (index, a, err);
  close (steal_fd (claim));
  if (r == 0)
    r = wait_free (index, err);
  *detached = r == 0;
  if (r == 0 && lost.code < 0)
    r = err_set (err, -EIO, "detached, but what was written last did not all "
                 "reach the server: %s", lost.msg);
  return r;
}

int
detach_device (unsigned index, bool *detached, struct err *err)
{
  CLEANUP_ATTACHMENT struct attachment a = ATTACHMENT_INIT;
  CLEANUP_CLOSE int claim = -1;
  char backend[BACKEND_SIZE];
  bool ours;
  int r;

  *detached = false;
  state_reap ();
  device_backend (index, backend, sizeof backend);
  ours = state_load (index, &a, NULL) == 0;
  if (device_pid (index) == 0)
    return err_set (err, -ENODEV, "it is not attached");
  /* Not ours any more: somebody else connected the device since. */
  if (ours && attachment_status (&a) == ATTACHMENT_STALE)
    attachment_free (&a);
  r = check_free (index, a.supervisor.pid, err);
  if (r == 0)
    r = holders_claim (index, &claim, err);
  if (r < 0)
    return r;
  r = detach_claimed (index, &a, &claim, backend, detached, err);
  if (ours && *detached) {
    process_end (&a.supervisor);        /* where it did not do its work */
    process_end (&a.server);
    if (a.source != NULL)
      state_remove (&a);
  }
  return r;
}
