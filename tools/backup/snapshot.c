/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/uuid.h"
#include "tools/backup/lvm.h"
#include "tools/backup/snapshot.h"

#define MIB (UINT64_C (1) << 20)

/* The device of it may be open for a moment after all: somebody looks what it
 * is.
 */
#define TRIES 100
#define PAUSE_MS 100

struct snapshot {
  char group[LVM_NAME_SIZE], name[LVM_NAME_SIZE];
  char *path;
  int sock;
  pid_t keeper;
};

/* A tenth of the volume, but not less than what a journal takes, if there is
 * that much; lvcreate rounds it.
 */
static uint64_t
usual_room (const struct lvm_volume *volume)
{
  uint64_t room = volume->size / 10;

  if (room < 256 * MIB)
    room = 256 * MIB;
  if (room > volume->size + 8 * MIB)
    room = volume->size + 8 * MIB;
  return room > volume->group_free && volume->group_free > 0
    ? volume->group_free : room;
}

static int
remove_patiently (const char *group, const char *name, struct err *err)
{
  const struct timespec pause = { 0, PAUSE_MS * 1000000L };
  int r = -EBUSY;

  for (int i = 0; r < 0 && i < TRIES; ++i) {
    if (i > 0)
      nanosleep (&pause, NULL);
    r = lvm_remove (group, name, err);
    if (r == -ENOENT)
      return r;
  }
  return r;
}

/*--- The process that keeps it ----------------------------------------------*/

static void
settle_down (int sock)
{
  int null = open ("/dev/null", O_RDWR | O_CLOEXEC);
  sigset_t set;

  sigfillset (&set);
  sigdelset (&set, SIGCHLD);
  sigprocmask (SIG_SETMASK, &set, NULL);
  setsid ();
  for (int fd = 0; fd <= 2; ++fd)
    dup2 (null, fd);
  if (sock > 3)
    close_range (3, (unsigned) sock - 1, 0);
  close_range ((unsigned) sock + 1, ~0U, 0);
}

static void
say (int sock, int r, const struct err *err)
{
  struct err answer = { .code = r };

  if (r < 0)
    memcpy (answer.msg, err->msg, sizeof answer.msg);
  (void) !send (sock, &answer, sizeof answer, MSG_NOSIGNAL);
}

static void __attribute__ ((__noreturn__))
keep (int sock, const struct lvm_volume *volume, const char *name,
      uint64_t room)
{
  struct err err = ERR_INIT;
  char byte;
  int r;

  settle_down (sock);
  r = lvm_make_snapshot (volume, name, room, &err);
  say (sock, r, &err);
  if (r == 0) {
    (void) !recv (sock, &byte, 1, 0);
    r = remove_patiently (volume->group, name, &err);
    say (sock, r, &err);
  }
  _exit (0);
}

/* 0 or what it says; -EPIPE: it was killed. */
static int
listen_to (int sock, struct err *err)
{
  struct err answer;
  ssize_t n;

  do
    n = recv (sock, &answer, sizeof answer, 0);
  while (n < 0 && errno == EINTR);
  if (n != sizeof answer)
    return err_set (err, -EPIPE, "the process that keeps the snapshot was "
                    "ended");
  if (answer.code < 0 && err != NULL)
    *err = answer;
  return answer.code;
}

/*--- Who starts it ----------------------------------------------------------*/

static int
start_keeper (struct snapshot *s, const struct lvm_volume *volume,
              uint64_t room, struct err *err)
{
  int socks[2];

  if (socketpair (AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) < 0)
    return err_sys (err, "socketpair");
  s->keeper = fork ();
  if (s->keeper == 0)
    keep (socks[1], volume, s->name, room);
  close (socks[1]);
  s->sock = socks[0];
  return s->keeper < 0 ? err_sys (err, "fork") : listen_to (s->sock, err);
}

static void
snapshot_free (struct snapshot *s)
{
  if (s->sock >= 0)
    close (s->sock);
  if (s->keeper > 0)
    waitpid (s->keeper, NULL, 0);
  free (s->path);
  free (s);
}

int
snapshot_take (const char *device, uint64_t room, struct snapshot **out,
               struct err *err)
{
  struct snapshot *s = calloc (1, sizeof *s);
  char uuid[UUID_STRING_SIZE];
  struct lvm_volume volume;
  uint8_t id[UUID_SIZE];
  int r;

  if (s == NULL)
    return err_nomem (err);
  s->sock = -1;
  r = lvm_find (device, &volume, err);
  if (r == 0)
    r = uuid_new (id, err);
  if (r == 0) {
    uuid_to_string (id, uuid);
    snprintf (s->name, sizeof s->name, "nbdimage-%s", uuid);
    strcpy (s->group, volume.group);
    r = start_keeper (s, &volume, room != 0 ? room : usual_room (&volume),
                      err);
  }
  if (r == -EPIPE)              /* it may be there */
    lvm_remove (s->group, s->name, NULL);
  if (r < 0) {
    snapshot_free (s);
    return r;
  }
  r = lvm_path (s->group, s->name, &s->path, err);
  if (r < 0)
    snapshot_remove (s, NULL);
  else
    *out = s;
  return r;
}

const char *
snapshot_path (const struct snapshot *s)
{
  return s->path;
}

int
snapshot_check (const struct snapshot *s, struct err *err)
{
  return lvm_check_snapshot (s->group, s->name, err);
}

int
snapshot_remove (struct snapshot *s, struct err *err)
{
  struct err why = ERR_INIT;
  int r;

  if (s == NULL)
    return 0;
  (void) !send (s->sock, "", 1, MSG_NOSIGNAL);
  r = listen_to (s->sock, &why);
  if (r == -EPIPE)
    r = remove_patiently (s->group, s->name, &why);
  if (r < 0)
    err_set (err, r, "the snapshot %s/%s is still there, and is for lvremove: "
             "%s", s->group, s->name, why.msg);
  snapshot_free (s);
  return r;
}
