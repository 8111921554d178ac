/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdimage boot: run an image in QEMU.
 *
 * The image is served on a Unix socket in a private folder and QEMU is its
 * client; an NBD URI whose bytes are a plain disk or CD needs no server of
 * ours.  QEMU stays in the foreground with our terminal; we wait, start the
 * server again should it crash, and clean up behind both.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/block/nbd.h"
#include "server/server.h"
#include "tools/boot/boot.h"
#include "tools/commands.h"
#include "tools/exports.h"
#include "tools/image-options.h"
#include "tools/keys.h"
#include "tools/open.h"
#include "tools/output.h"
#include "tools/report.h"
#include "tools/signals.h"

#define QEMU_END_TIMEOUT_MS 10000
#define CPUS_DEFAULT UINT_MAX

struct boot {
  struct image_option_values image;
  bool cdrom;
  bool disk;
  bool uefi;
  bool write;
  bool headless;
  bool serial;
  bool json;
  uint64_t memory;
  unsigned cpus;
  const char *accel;

  const char *name;             /* of the image */
  struct machine machine;
  struct display display;
  char *folder;                 /* private; NULL: not made yet */
  int folder_lock;
  char *socket;
  char *firmware, *firmware_vars;
  struct server *server;        /* NULL: QEMU has the URI */
  int signal_fd;
};

static const struct option_spec boot_options[] = {
  { "cdrom", 0, OPTION_FLAG, NULL,
    "as a CD, whatever it looks like", offsetof (struct boot, cdrom) },
  { "disk", 0, OPTION_FLAG, NULL,
    "as a disk, whatever it looks like", offsetof (struct boot, disk) },
  { "uefi", 'u', OPTION_FLAG, NULL,
    "start by UEFI instead of BIOS", offsetof (struct boot, uefi) },
  { "write", 'w', OPTION_FLAG, NULL,
    "keep what is written, instead of forgetting it",
    offsetof (struct boot, write) },
  OVERLAY_OPTION (struct boot, image),
  { "headless", 0, OPTION_FLAG, NULL,
    "without a window", offsetof (struct boot, headless) },
  { "serial", 's', OPTION_FLAG, NULL,
    "the first serial port on this terminal, without a window",
    offsetof (struct boot, serial) },
  { "memory", 'm', OPTION_SIZE, "SIZE",
    "memory of the machine [2G]", offsetof (struct boot, memory) },
  { "cpus", 'c', OPTION_UNSIGNED, "N",
    "CPUs of the machine [2, without KVM 1]", offsetof (struct boot, cpus) },
  { "accel", 0, OPTION_STRING, "auto|kvm|tcg",
    "use KVM or not [auto: where it works]", offsetof (struct boot, accel) },
  IMAGE_OPTIONS (struct boot, image),
  { "json", 0, OPTION_FLAG, NULL,
    "print as JSON what is started", offsetof (struct boot, json) },
  OPTION_END
};

/*--- parse and check -------------------------------------------------------*/

/* What follows `--` is QEMU's. */
static void
parse (struct boot *b, int argc, char *argv[])
{
  struct err err = ERR_INIT;
  int end = 1, first;

  while (end < argc && strcmp (argv[end], "--") != 0)
    end++;
  if (end < argc)
    b->machine.more = argv + end + 1;
  keys_never_ask ();
  command_parse (&command_boot, end, argv, b, &first);
  if (end - first != 1)
    command_usage_error (&command_boot, "expected one image; what is for "
                         "QEMU comes behind ‘--’");
  b->name = argv[first];
  if (b->image.overlay)
    b->write = true;
  if (b->cdrom && b->disk)
    command_usage_error (&command_boot, "either --cdrom or --disk");
  if (b->cdrom && b->write)
    command_usage_error (&command_boot, "a CD can't be written to");
  if (b->memory < (UINT64_C (1) << 20))
    command_usage_error (&command_boot, "--memory: less than 1 MiB; did you "
                         "mean %" PRIu64 "M?", b->memory);
  if (b->cpus == 0)
    command_usage_error (&command_boot, "--cpus: expected at least 1");
  if (accel_choose (b->accel, &b->machine.use_kvm, &err) < 0)
    command_usage_error (&command_boot, "--accel: %s", err.msg);
}

/* Is it a CD?  Can it be written, if it is to be?  Does it need us? */
static int
look_at_image (struct boot *b)
{
  CLEANUP_IMAGE struct image *img = NULL;
  CLEANUP_IMAGE_INFO struct image_info info = { 0 };
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct image_options options;
  struct block_sizes sizes;
  struct err err = ERR_INIT;

  if (image_options_from_values (&b->image, &options, &err) < 0)
    command_usage_error (&command_boot, "%s", err.msg);
  if (image_options_check_folders (&b->image, &err) < 0)
    return tool_fail (NULL, &err);
  options.writable = b->write;
  options.lock = true;          /* as the server will: it says why not */
  if (tool_image_open (b->name, &options, PROGRESS_AUTO, &img, &report,
                       &err) < 0) {
    exports_explain (b->name, &err);
    return tool_fail (b->name, &err);
  }
  if (image_get_info (img, &info, &err) < 0)
    return tool_fail (b->name, &err);
  tool_warnings (b->name, &report);
  image_get_sizes (img, &sizes);
  b->machine.is_cd = b->cdrom || (info.is_optical && !b->disk);
  if (b->machine.is_cd && b->write)
    command_usage_error (&command_boot, "a CD can't be written to");
  b->machine.sector_size = sizes.logical == 4096 ? sizes.logical : 0;
  if (block_nbd_is_uri (b->name) && image_is_plain (img) &&
      machine_takes_uri (b->name))
    b->machine.uri = b->name;
  return STATUS_DONE;
}

/*--- run -------------------------------------------------------------------*/

static int
start_server (struct boot *b, struct err *err)
{
  CLEANUP_IMAGE_PARAMETERS struct image_parameters parameters = { { NULL } };
  struct server_config config = SERVER_CONFIG_INIT;
  int r;

  if (b->machine.uri)
    return 0;
  if (asprintf (&b->socket, "%s/disk", b->folder) < 0) {
    b->socket = NULL;
    return err_nomem (err);
  }
  r = image_parameters_new (&b->image, &parameters, err);
  if (r < 0)
    return r;
  b->machine.socket = b->socket;
  config.images = &b->name;
  config.nr_images = 1;
  config.parameters = (const char *const *) parameters.strings;
  config.writable = b->write;
  config.unix_socket = b->socket;
  config.quiet_start = true;
  config.die_with_us = true;
  config.cancel_fd = b->signal_fd;
  return server_start (&config, &b->server, err);
}

/* For programs, before the machine says anything. */
static json_t *
boot_to_json (const struct boot *b, char *const *argv, pid_t pid)
{
  const struct machine *m = &b->machine;
  json_t *command = json_array ();
  json_t *json;

  for (; *argv; ++argv)
    json_array_append_new (command, output_json_text (*argv));
  json = json_pack ("{s:o,s:s,s:s,s:s,s:s,s:I,s:i}",
    "name", output_json_text (b->name),
    "medium", m->is_cd ? "cd" : "disk",
    "writes", m->is_cd ? "none" : m->writable ? "kept" : "thrown-away",
    "firmware", m->firmware ? "uefi" : "bios",
    "accelerator", m->use_kvm ? "kvm" : "tcg",
    "memory", (json_int_t) m->memory,
    "cpus", (int) m->cpus);
  json_object_set_new (json, "display", b->display.qemu[0] == '\0'
                       ? json_null () : b->display.vnc_uri[0]
                       ? json_string ("vnc")
                       : json_string (b->display.qemu));
  json_object_set_new (json, "vnc", b->display.vnc_uri[0]
                       ? json_string (b->display.vnc_uri) : json_null ());
  json_object_set_new (json, "pid", json_integer (getpid ()));
  json_object_set_new (json, "qemu-pid", json_integer (pid));
  json_object_set_new (json, "command", command);
  return json;
}

/* Say what the user should know before QEMU has the terminal. */
static int
announce (const struct boot *b, char *const *argv, pid_t pid,
          struct err *err)
{
  if (b->json)
    return output_json (boot_to_json (b, argv, pid)) == STATUS_DONE
      ? 0 : err_set (err, -EIO, "QEMU was not started");
  if (b->display.vnc_uri[0])
    tool_note ("there is no window, as %s; the screen is at %s (or use "
               "--serial or --headless); Ctrl-C ends the machine",
               b->display.why_no_window, b->display.vnc_uri);
  else if (b->headless || b->serial)
    tool_note ("running without a screen (%s); Ctrl-C ends the machine",
               b->machine.use_kvm ? "kvm" : "tcg");
  return 0;
}

/* QEMU runs when a byte comes out of `go`, and not at all when nothing
 * does.
 */
static void __attribute__ ((__noreturn__))
run_child (const struct boot *b, char *const *argv, int go, pid_t parent)
{
  char byte;

  ending_signals_restore ();
  prctl (PR_SET_PDEATHSIG, SIGTERM);
  if (getppid () != parent || read (go, &byte, 1) != 1)
    _exit (1);
  /* Its temporary files go where they are removed in any case. */
  setenv ("TMPDIR", b->folder, 1);
  execvp (argv[0], argv);
  tool_error ("%s: %s%s", argv[0], strerror (errno), errno == ENOENT
              ? ": is the package qemu-system-x86 installed?" : "");
  _exit (127);
}

static int
fork_qemu (const struct boot *b, char *const *argv, pid_t *pid,
           struct err *err)
{
  CLEANUP_CLOSE int go_read = -1;
  CLEANUP_CLOSE int go_write = -1;
  const pid_t parent = getpid ();
  int fds[2], r;

  if (pipe2 (fds, O_CLOEXEC) < 0)
    return err_sys (err, "pipe");
  go_read = fds[0];
  go_write = fds[1];
  fflush (NULL);
  *pid = fork ();
  if (*pid < 0)
    return err_sys (err, "fork");
  if (*pid == 0) {
    close (go_write);
    run_child (b, argv, go_read, parent);
  }
  r = announce (b, argv, *pid, err);
  if (r == 0 && write (go_write, "", 1) != 1)
    r = err_sys (err, "starting QEMU");
  if (r < 0) {
    close (steal_fd (&go_write));
    waitpid (*pid, NULL, 0);
  }
  return r;
}

static int
start_qemu (const struct boot *b, pid_t *pid, struct err *err)
{
  struct words argv = VECTOR_INIT;
  int r = machine_command (&b->machine, &argv, err);

  if (r == 0)
    r = fork_qemu (b, argv.ptr, pid, err);
  words_free (&argv);
  return r;
}

/* The server may crash; QEMU connects again. */
static void
revive_server (struct boot *b)
{
  struct err err = ERR_INIT;

  tool_warning ("nbdkit %s; starting it again", server_ended (b->server));
  if (server_restart (b->server, &err) == 0)
    return;
  tool_fail (NULL, &err);
  server_stop (b->server);
  b->server = NULL;
}

/* Until QEMU ended; its exit status.  A signal to us is one to QEMU, and
 * should that not do, the second is another.
 */
static int
wait_for_qemu (struct boot *b, pid_t pid, int pidfd)
{
  int status = 0, timeout = -1;
  bool ended = false;

  while (!ended) {
    struct pollfd p[3] = {
      { .fd = pidfd, .events = POLLIN },
      { .fd = b->signal_fd, .events = POLLIN },
      { .fd = b->server && timeout < 0 ? server_fd (b->server) : -1,
        .events = POLLIN },
    };
    int r = poll (p, 3, timeout);

    if (r < 0 && errno != EINTR)
      break;
    if (r == 0)
      kill (pid, SIGKILL);
    ended = p[0].revents != 0;
    if (p[1].revents) {
      char info[512];

      if (read (b->signal_fd, info, sizeof info) > 0)
        kill (pid, SIGTERM);
      timeout = QEMU_END_TIMEOUT_MS;
    }
    if (p[2].revents && !ended && timeout < 0)
      revive_server (b);
  }
  if (waitpid (pid, &status, 0) < 0)
    return STATUS_FAILED;
  return WIFSIGNALED (status) ? 128 + WTERMSIG (status)
    : WEXITSTATUS (status);
}

static int
run_qemu (struct boot *b, int *status, struct err *err)
{
  CLEANUP_CLOSE int pidfd = -1;
  pid_t pid = -1;
  int r;

  r = b->signal_fd = ending_signals (err);
  if (r >= 0)
    r = private_folder_new (&b->folder, &b->folder_lock, err);
  if (r == 0 && b->uefi)
    r = firmware_prepare (b->folder, &b->firmware, &b->firmware_vars, err);
  if (r == 0)
    r = start_server (b, err);
  if (r == 0)
    r = display_choose (b->headless || b->serial, b->machine.more,
                        &b->display, err);
  if (r < 0)
    return r;
  b->machine.firmware = b->firmware;
  b->machine.firmware_vars = b->firmware_vars;
  b->machine.display = &b->display;
  r = start_qemu (b, &pid, err);
  if (r < 0)
    return r;
  pidfd = (int) syscall (SYS_pidfd_open, pid, 0);
  if (pidfd < 0) {
    r = err_sys (err, "pidfd_open");
    kill (pid, SIGKILL);
    waitpid (pid, NULL, 0);
    return r;
  }
  *status = wait_for_qemu (b, pid, pidfd);
  return 0;
}

static void
boot_free (struct boot *b)
{
  server_stop (b->server);
  if (b->folder)
    private_folder_remove (b->folder);
  cleanup_close (&b->folder_lock);
  cleanup_close (&b->signal_fd);
  cleanup_close (&b->display.port_fd);
  free (b->folder);
  free (b->socket);
  free (b->firmware);
  free (b->firmware_vars);
}

static int
run (int argc, char *argv[])
{
  struct boot b = {
    .memory = UINT64_C (2) << 30,
    .cpus = CPUS_DEFAULT,
    .accel = "auto",
    .display = DISPLAY_INIT,
    .folder_lock = -1,
    .signal_fd = -1,
  };
  struct err err = ERR_INIT;
  int status;

  parse (&b, argc, argv);
  status = look_at_image (&b);
  if (status != STATUS_DONE)
    return status;
  b.machine.writable = b.write;
  b.machine.serial = b.serial;
  b.machine.memory = b.memory;
  b.machine.cpus = b.cpus != CPUS_DEFAULT ? b.cpus
    : b.machine.use_kvm ? 2 : 1;
  if (run_qemu (&b, &status, &err) < 0)
    status = tool_fail (NULL, &err);
  boot_free (&b);
  return status;
}

const struct command command_boot = {
  .name = "boot",
  .operands = "IMAGE [-- QEMU-ARGUMENT…]",
  .summary = "Run an image in a virtual machine",
  .options = boot_options,
  .run = run,
};
