/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "tools/backup/lvm.h"

extern char **environ;

#define TEXT_SIZE 1024
#define MAX_ARGS 24

/*--- Running one of them ----------------------------------------------------*/

static void
cut_end (char *text)
{
  size_t len = strcspn (text, "\n");

  while (len > 0 && text[len - 1] == ' ')
    --len;
  text[len] = '\0';
}

/* What it wrote: the first line that does not begin so (NULL: the first one),
 * or else the first one; without spaces at its ends.
 */
static void
take_line (int fd, const char *unlike, char text[TEXT_SIZE])
{
  char all[4 * TEXT_SIZE];
  ssize_t n = pread (fd, all, sizeof all - 1, 0);
  const char *line = all, *first;

  all[n > 0 ? n : 0] = '\0';
  line += strspn (line, " \t\n");
  first = line;
  while (unlike != NULL && strncmp (line, unlike, strlen (unlike)) == 0) {
    line += strcspn (line, "\n");
    line += strspn (line, " \t\n");
  }
  snprintf (text, TEXT_SIZE, "%s", *line != '\0' ? line : first);
  cut_end (text);
}

/* 0, or an errno. */
static int
spawn (const char *const *argv, int out, int error, pid_t *pid)
{
  posix_spawn_file_actions_t actions;
  int r = posix_spawn_file_actions_init (&actions);

  if (r != 0)
    return r;
  r = posix_spawn_file_actions_addopen (&actions, 0, "/dev/null", O_RDONLY, 0);
  if (r == 0)
    r = posix_spawn_file_actions_adddup2 (&actions, out, 1);
  if (r == 0)
    r = posix_spawn_file_actions_adddup2 (&actions, error, 2);
  if (r == 0)
    r = posix_spawnp (pid, argv[0], &actions, NULL, (char *const *) argv,
                      environ);
  posix_spawn_file_actions_destroy (&actions);
  return r;
}

/* The exit status; -1: it did not end by itself. */
static int
wait_for (pid_t pid)
{
  int status;

  while (waitpid (pid, &status, 0) < 0)
    if (errno != EINTR)
      return -1;
  return WIFEXITED (status) ? WEXITSTATUS (status) : -1;
}

/* The programs are not in everybody's PATH; their messages are to be told. */
static int
run (const char *const *args, char text[TEXT_SIZE], struct err *err)
{
  CLEANUP_CLOSE int out = memfd_create ("stdout", MFD_CLOEXEC);
  CLEANUP_CLOSE int error = memfd_create ("stderr", MFD_CLOEXEC);
  const char *argv[MAX_ARGS + 6] = { "env", "LC_ALL=C",
    "LVM_SUPPRESS_FD_WARNINGS=1", NULL };
  const char *old = getenv ("PATH");
  CLEANUP_FREE char *path = NULL;
  char why[TEXT_SIZE];
  size_t n = 3;
  int r, status;
  pid_t pid;

  if (asprintf (&path, "PATH=%s:/usr/sbin:/sbin", old ? old : "/bin") < 0) {
    path = NULL;
    return err_nomem (err);
  }
  argv[n++] = path;
  for (size_t i = 0; i < MAX_ARGS && args[i] != NULL; ++i)
    argv[n++] = args[i];
  argv[n] = NULL;
  r = out < 0 || error < 0 ? errno : spawn (argv, out, error, &pid);
  if (r != 0)
    return err_set (err, -r, "%s: %s", args[0], strerror (r));
  status = wait_for (pid);
  take_line (out, NULL, text);
  take_line (error, "WARNING:", why);
  if (status == 127)
    return err_set (err, -ENOENT, "the program %s is not there: install lvm2",
                    args[0]);
  return status == 0 ? 0
    : err_set (err, -EIO, "%s: %s", args[0],
               *why != '\0' ? why : "it failed without a word");
}

static int
full_name (const char *group, const char *name, char full[2 * LVM_NAME_SIZE])
{
  return snprintf (full, 2 * LVM_NAME_SIZE, "%s/%s", group, name);
}

static int
ask (const char *volume, const char *what, char text[TEXT_SIZE],
     struct err *err)
{
  const char *const args[] = {
    "lvs", "--noheadings", "--nosuffix", "--units", "b", "--separator", "|",
    "-o", what, volume, NULL,
  };

  return run (args, text, err);
}

/*----------------------------------------------------------------------------*/

/* What the device mapper says of it: "name", "uuid"; or "". */
static void
read_dm (const struct stat *st, const char *what, char text[256])
{
  char path[64];

  snprintf (path, sizeof path, "/sys/dev/block/%u:%u/dm/%s",
            major (st->st_rdev), minor (st->st_rdev), what);

  CLEANUP_FCLOSE FILE *fp = fopen (path, "re");

  if (fp == NULL || fgets (text, 256, fp) == NULL)
    text[0] = '\0';
  text[strcspn (text, "\n")] = '\0';
}

/* The name by which LVM knows it, whatever the device was called. */
static bool
is_volume (const char *device, char path[272])
{
  char name[256], uuid[256];
  struct stat st;

  if (stat (device, &st) < 0 || !S_ISBLK (st.st_mode))
    return false;
  read_dm (&st, "name", name);
  read_dm (&st, "uuid", uuid);
  snprintf (path, 272, "/dev/mapper/%s", name);
  return strncmp (uuid, "LVM-", 4) == 0;
}

int
lvm_find (const char *device, struct lvm_volume *volume, struct err *err)
{
  char text[TEXT_SIZE], path[272], pool[LVM_NAME_SIZE] = "";
  int r;

  if (!is_volume (device, path))
    return err_set (err, -EINVAL, "is no logical volume of LVM, of which there "
                    "could be a snapshot; have it held still with --freeze, or "
                    "unmount it");
  r = ask (path, "vg_name,lv_name,lv_size,vg_free,pool_lv", text, err);
  if (r < 0)
    return r;
  if (sscanf (text, "%127[^|]|%127[^|]|%" SCNu64 "|%" SCNu64 "|%127[^|]",
              volume->group, volume->name, &volume->size, &volume->group_free,
              pool) < 4)
    return err_set (err, -EIO, "lvs said ‘%s’, which is not what was expected",
                    text);
  volume->thin = pool[0] != '\0';
  return 0;
}

int
lvm_make_snapshot (const struct lvm_volume *volume, const char *name,
                   uint64_t size, struct err *err)
{
  char of[2 * LVM_NAME_SIZE], bytes[32], text[TEXT_SIZE];
  const char *const args[] = {
    "lvcreate", "--yes", "--quiet", "--snapshot", "--setactivationskip", "n",
    "--permission", "r", "--name", name, of,
    volume->thin ? NULL : "--size", bytes, NULL,
  };

  full_name (volume->group, volume->name, of);
  snprintf (bytes, sizeof bytes, "%" PRIu64 "b", size);
  return run (args, text, err);
}

int
lvm_path (const char *group, const char *name, char **path, struct err *err)
{
  char full[2 * LVM_NAME_SIZE], text[TEXT_SIZE];
  int r;

  full_name (group, name, full);
  r = ask (full, "lv_dm_path", text, err);
  if (r < 0)
    return r;
  *path = strdup (text);
  return *path != NULL ? 0 : err_nomem (err);
}

/* lvs(8): the fifth character of its attributes is its state. */
int
lvm_check_snapshot (const char *group, const char *name, struct err *err)
{
  char full[2 * LVM_NAME_SIZE], text[TEXT_SIZE];
  int r;

  full_name (group, name, full);
  r = ask (full, "lv_attr", text, err);
  if (r == 0 && strlen (text) < 5)
    return err_set (err, -EIO, "the snapshot %s: lvs says ‘%s’ of its state, "
                    "expected its attributes", full, text);
  if (r == 0 && text[4] != 'a')
    return err_set (err, text[4] == 'I' || text[4] == 'S' ? -ENOSPC : -EIO,
                    "the snapshot %s is lost, as more was written meanwhile "
                    "than it had room for; give it more with --snapshot-size "
                    "(lvs says ‘%s’)", full, text);
  return r;
}

int
lvm_remove (const char *group, const char *name, struct err *err)
{
  char full[2 * LVM_NAME_SIZE], text[TEXT_SIZE];
  const char *const args[] = {
    "lvremove", "--yes", "--force", "--quiet", full, NULL,
  };

  full_name (group, name, full);
  return run (args, text, err);
}
