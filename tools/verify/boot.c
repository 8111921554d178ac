/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Does a generation boot?  `nbdimage boot' runs it, forgetting what it writes,
 * in a process of its own; its serial port is our pipe, and its screen is asked
 * for.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/newfile.h"
#include "lib/base/fdio.h"
#include "lib/base/words.h"
#include "lib/repo/image-nbi.h"
#include "lib/repo/store-at.h"
#include "lib/repo/vault-names.h"
#include "tools/boot/boot.h"
#include "tools/output.h"
#include "tools/signals.h"
#include "tools/verify/qmp.h"
#include "tools/verify/screen.h"
#include "tools/verify/verify-tool.h"

#define LOOK_MS 250
#define END_SECONDS 30          /* that the machine has for ending */

struct machine_run {
  const struct verify_command *v;
  char *folder;                 /* private: what QEMU writes is there */
  int lock, serial;             /* descriptors */
  pid_t pid;                    /* 0: it ended */
  struct timespec begin;
  struct qmp *qmp;              /* NULL: not there yet */
  struct screen screen;
  double changed;               /* when the screen did, seconds from begin */
  char *seen;                   /* the end of what the serial port said, as
                                   much as the marker has, and a zero */
  size_t nr_seen;
  bool closed;                  /* it says no more */
};

/*--- Starting ---------------------------------------------------------------*/

/* The generation that was verified, also if there is a newer one by now. */
static int
add_name (const struct verify_command *v, struct words *argv, struct err *err)
{
  const char *slash = strrchr (v->path, '/');
  char time[VAULT_TIME_SIZE];

  if (!v->in_vault || strchr (slash ? slash : v->path, '@') != NULL ||
      strchr (v->path, '?') != NULL)
    return words_add (argv, err, "%s", v->path);
  vault_time_to_string (
    generation_header (nbi_image_generation (v->image))->time, time);
  return words_add (argv, err, "%s@%s", v->path, time);
}

static int
make_command (const struct machine_run *m, struct words *argv,
              struct err *err)
{
  const struct verify_command *v = m->v;
  int r = words_add (argv, err, "nbdimage");

  if (r == 0)
    r = words_add (argv, err, "boot");
  if (r == 0)
    r = words_add (argv, err, "--serial");
  if (r == 0 && v->boot.uefi)
    r = words_add (argv, err, "--uefi");
  if (r == 0)
    r = words_add (argv, err, "--accel=%s", v->boot.accel);
  if (r == 0 && v->keys.passphrase_file != NULL)
    r = words_add (argv, err, "--passphrase-file=%s",
                   v->keys.passphrase_file);
  if (r == 0 && v->keys.key_file != NULL)
    r = words_add (argv, err, "--key-file=%s", v->keys.key_file);
  if (r == 0)
    r = add_name (v, argv, err);
  if (r == 0)
    r = words_add (argv, err, "--");
  if (r == 0)
    r = words_option (argv, err, "-qmp", "unix:%s/qmp,server=on,wait=off",
                      m->folder);
  return r == 0 ? words_end (argv, err) : r;
}

static void __attribute__ ((__noreturn__))
run_child (const struct machine_run *m, char *const *argv, int serial,
           pid_t parent)
{
  CLEANUP_FREE char *said = NULL;
  int nothing = open ("/dev/null", O_RDONLY | O_CLOEXEC), messages = -1;

  ending_signals_restore ();
  prctl (PR_SET_PDEATHSIG, SIGTERM);
  if (asprintf (&said, "%s/said", m->folder) < 0)
    said = NULL;
  else
    messages = open (said, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (getppid () == parent && nothing >= 0 && messages >= 0 &&
      dup2 (nothing, 0) == 0 && dup2 (serial, 1) == 1 &&
      dup2 (messages, 2) == 2)
    execv ("/proc/self/exe", argv);
  _exit (127);
}

static int
start (struct machine_run *m, struct err *err)
{
  struct words argv = VECTOR_INIT;
  const pid_t parent = getpid ();
  int fds[2], r = make_command (m, &argv, err);

  if (r == 0 && pipe2 (fds, O_CLOEXEC) < 0)
    r = err_sys (err, "pipe");
  if (r == 0) {
    m->serial = fds[0];
    fflush (NULL);
    clock_gettime (CLOCK_MONOTONIC, &m->begin);
    m->pid = fork ();
    if (m->pid == 0)
      run_child (m, argv.ptr, fds[1], parent);
    close (fds[1]);
    if (m->pid < 0) {
      m->pid = 0;
      r = err_sys (err, "fork");
    }
  }
  words_free (&argv);
  return r;
}

/*--- Watching ---------------------------------------------------------------*/

static double
seconds (const struct machine_run *m)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return (double) (now.tv_sec - m->begin.tv_sec) +
    (double) (now.tv_nsec - m->begin.tv_nsec) / 1e9;
}

/* Is the marker in what came, and in the end of what came before? */
static bool
has_marker (struct machine_run *m, const char *buf, size_t n)
{
  const char *marker = m->v->boot.marker;
  size_t len = strlen (marker);

  for (size_t i = 0; i < n; ++i) {
    if (m->nr_seen == len)
      memmove (m->seen, m->seen + 1, --m->nr_seen);
    m->seen[m->nr_seen++] = buf[i];
    if (m->nr_seen == len && memcmp (m->seen, marker, len) == 0)
      return true;
  }
  return false;
}

/* Waits a little for more.  1: the marker was there. */
static int
listen_to_serial (struct machine_run *m)
{
  struct pollfd p = { .fd = m->closed ? -1 : m->serial, .events = POLLIN };
  char buf[4096];
  ssize_t n;

  if (poll (&p, 1, LOOK_MS) <= 0)
    return 0;
  n = read (m->serial, buf, sizeof buf);
  if (n <= 0) {
    m->closed = true;
    return 0;
  }
  return m->v->boot.marker != NULL && has_marker (m, buf, (size_t) n);
}

static bool
has_ended (struct machine_run *m)
{
  if (m->pid != 0 && waitpid (m->pid, NULL, WNOHANG) == m->pid)
    m->pid = 0;
  return m->pid == 0;
}

/* Its file in the folder, for free(). */
static char *
file_of (const struct machine_run *m, const char *name)
{
  char *path;

  return asprintf (&path, "%s/%s", m->folder, name) < 0 ? NULL : path;
}

/* 1: there is none yet, or no more. */
static int
take_screen (struct machine_run *m, const char *file, bool png,
             struct err *err)
{
  CLEANUP_FREE char *path = file_of (m, "qmp");
  struct err why = ERR_INIT;
  int r = 0;

  if (path == NULL)
    return err_nomem (err);
  if (m->qmp == NULL)
    r = qmp_open (path, &m->qmp, &why);
  if (r == 0)
    r = qmp_screen (m->qmp, file, png, &why);
  if (r == -ENOENT || r == -ECONNREFUSED || r == -EPIPE)
    return 1;
  if (r < 0 && err != NULL)
    *err = why;
  return r;
}

/* Has it been the same for long? */
static int
look_at_screen (struct machine_run *m, bool *settled, struct err *err)
{
  CLEANUP_FREE char *file = file_of (m, "screen");
  bool changed = false;
  int r = file != NULL ? take_screen (m, file, false, err) : err_nomem (err);

  if (r != 0)
    return r < 0 ? r : 0;
  r = screen_next (&m->screen, file, &changed, err);
  if (changed)
    m->changed = seconds (m);
  *settled = r == 0 && !m->screen.blank &&
    seconds (m) - m->changed >= m->v->boot.settle;
  return r;
}

static int
watch (struct machine_run *m, struct verify_boot *b, struct err *err)
{
  bool settled = false;
  double looked = 0;
  int r = 0;

  b->verdict = VERIFY_BOOT_TIMEOUT;
  while (r == 0 && seconds (m) < b->timeout) {
    /* What it said before it ended counts. */
    bool ended = has_ended (m);

    if (listen_to_serial (m) > 0)
      b->verdict = VERIFY_BOOT_MARKER;
    else if (ended && m->closed)
      b->verdict = VERIFY_BOOT_ENDED;
    else if (b->marker == NULL && !ended && seconds (m) >= looked + 1) {
      looked = seconds (m);
      r = look_at_screen (m, &settled, err);
      if (settled)
        b->verdict = VERIFY_BOOT_SETTLED;
    }
    if (b->verdict != VERIFY_BOOT_TIMEOUT)
      break;
    if (r == 0)
      r = job_check (m->v->job, err);
  }
  b->seconds = seconds (m);
  b->blank = m->screen.pixels == NULL || m->screen.blank;
  return r;
}

/*--- Ending -----------------------------------------------------------------*/

static int
copy_screenshot (int from, const char *name, struct err *err)
{
  CLEANUP_NEW_FILE struct new_file to = NEW_FILE_INIT;
  uint8_t buf[65536];
  uint64_t off = 0;
  ssize_t n = 0;
  int r = new_file_open (name, &to, err);

  while (r == 0 && (n = read (from, buf, sizeof buf)) > 0) {
    r = fd_pwrite (to.fd, buf, (size_t) n, off, err);
    off += (uint64_t) n;
  }
  if (r == 0 && n < 0)
    r = err_sys (err, "the screenshot can't be read");
  return r < 0 ? r : new_file_commit (&to, err);
}

/* What is on it now; b->saved says whether there was any. */
static int
save_screenshot (struct machine_run *m, struct verify_boot *b, struct err *err)
{
  const char *name = b->screenshot, *dot = name ? strrchr (name, '.') : NULL;
  CLEANUP_FREE char *file = file_of (m, "shot");
  CLEANUP_CLOSE int fd = -1;
  int r;

  if (name == NULL || m->pid == 0)
    return 0;
  r = file == NULL ? err_nomem (err)
    : take_screen (m, file, dot != NULL && strcmp (dot, ".png") == 0, err);
  if (r != 0)
    return r < 0 ? r : 0;
  fd = open (file, O_RDONLY | O_CLOEXEC);
  r = fd < 0 ? err_sys (err, "the screenshot can't be opened")
    : copy_screenshot (fd, name, err);
  if (r < 0)
    return err_in (err, "--screenshot: %s", name);
  b->saved = true;
  return 0;
}

/* The last line of what the machine's program said, if it ended by itself. */
static void
keep_message (const struct machine_run *m, struct verify_boot *b)
{
  CLEANUP_FREE char *path = file_of (m, "said"), *line = NULL;
  CLEANUP_FCLOSE FILE *fp = path != NULL ? fopen (path, "re") : NULL;
  size_t cap = 0;

  while (fp != NULL && getline (&line, &cap, fp) >= 0) {
    line[strcspn (line, "\n")] = '\0';
    snprintf (b->said, sizeof b->said, "%s", line);
  }
}

static void
end (struct machine_run *m)
{
  const double limit = seconds (m) + END_SECONDS;

  if (m->pid != 0)
    kill (m->pid, SIGTERM);
  while (m->pid != 0 && seconds (m) < limit) {
    char buf[4096];
    struct pollfd p = { .fd = m->serial, .events = POLLIN };

    if (has_ended (m))
      break;
    /* It may wait for someone to read. */
    if (poll (&p, 1, 100) > 0 && read (m->serial, buf, sizeof buf) <= 0)
      poll (NULL, 0, 100);
  }
  if (m->pid != 0) {
    kill (m->pid, SIGKILL);
    waitpid (m->pid, NULL, 0);
  }
  qmp_close (m->qmp);
  screen_free (&m->screen);
  cleanup_close (&m->serial);
  if (m->folder != NULL)
    private_folder_remove (m->folder);
  cleanup_close (&m->lock);
  free (m->folder);
  free (m->seen);
}

int
verify_boot_run (struct verify_command *v, struct err *err)
{
  struct verify_boot *b = &v->boot;
  struct machine_run m = { .v = v, .lock = -1, .serial = -1 };
  int r = private_folder_new (&m.folder, &m.lock, err);

  if (r == 0) {
    m.seen = malloc (b->marker != NULL ? strlen (b->marker) : 1);
    r = m.seen != NULL ? 0 : err_nomem (err);
  }
  if (r == 0) {
    job_start (v->job, "booting", 0);
    r = start (&m, err);
  }
  if (r == 0)
    r = watch (&m, b, err);
  if (r == 0)
    r = save_screenshot (&m, b, err);
  if (r == 0 && b->verdict == VERIFY_BOOT_ENDED)
    keep_message (&m, b);
  end (&m);
  /* What was verified of the data before is to be said all the same. */
  if (r == -ECANCELED) {
    b->verdict = VERIFY_BOOT_INTERRUPTED;
    r = 0;
  }
  return r;
}

/*--- The verdict ------------------------------------------------------------*/

bool
verify_boot_is_well (const struct verify_command *v)
{
  return v->boot.verdict == VERIFY_BOOT_MARKER ||
    v->boot.verdict == VERIFY_BOOT_SETTLED;
}

void
verify_boot_show (const struct verify_command *v)
{
  const struct verify_boot *b = &v->boot;

  printf ("boot: ");
  switch (b->verdict) {
  case VERIFY_BOOT_NOT_RUN:
    printf ("not tried, as something is wrong with it\n");
    break;
  case VERIFY_BOOT_MARKER:
    printf ("the serial port said ‘");
    output_text (b->marker);
    printf ("’ after %.0f s\n", b->seconds);
    break;
  case VERIFY_BOOT_SETTLED:
    printf ("after %.0f s there is something on the screen that has not "
            "changed for %u s; whether it is what should be there, who looks "
            "at it knows\n", b->seconds, b->settle);
    break;
  case VERIFY_BOOT_TIMEOUT:
    if (b->marker != NULL)
      printf ("the serial port did not say what was waited for, in %u s\n",
              b->timeout);
    else
      printf (b->blank ? "nothing was on the screen, in %u s\n"
              : "the screen did not settle, in %u s\n", b->timeout);
    break;
  case VERIFY_BOOT_ENDED:
    printf ("the machine ended after %.0f s%s", b->seconds,
            b->said[0] != '\0' ? ": " : "");
    output_text (b->said);
    putchar ('\n');
    break;
  case VERIFY_BOOT_INTERRUPTED:
    printf ("interrupted: whether it boots is not known\n");
    break;
  }
  if (b->saved) {
    printf ("boot: the screen is in ");
    output_text (b->screenshot);
    putchar ('\n');
  }
}

json_t *
verify_boot_json (const struct verify_command *v)
{
  static const char *const words[] = {
    [VERIFY_BOOT_NOT_RUN] = "not-run",
    [VERIFY_BOOT_MARKER] = "marker", [VERIFY_BOOT_SETTLED] = "settled",
    [VERIFY_BOOT_TIMEOUT] = "timeout", [VERIFY_BOOT_ENDED] = "ended",
    [VERIFY_BOOT_INTERRUPTED] = "interrupted",
  };
  const struct verify_boot *b = &v->boot;

  if (!b->wanted)
    return json_null ();
  return json_pack ("{s:s,s:f,s:o,s:o}", "verdict", words[b->verdict],
                    "seconds", b->seconds,
                    "marker", output_json_text (b->marker),
                    "screenshot", b->saved ? output_json_text (b->screenshot)
                                           : json_null ());
}
