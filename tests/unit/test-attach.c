/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What `attach' reads and reckons; what it does is tested in a guest. */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/cleanup.h"
#include "lib/base/uri.h"
#include "tools/attach/clock.h"
#include "tools/attach/connect.h"
#include "tools/attach/device.h"
#include "tools/attach/holders.h"
#include "tools/attach/process.h"
#include "tools/attach/state.h"
#include "tools/attach/watch.h"

/*--- names -----------------------------------------------------------------*/

static void
a_device_has_a_name_and_a_number (void **state)
{
  struct err err = ERR_INIT;
  unsigned index = 99;

  (void) state;
  assert_int_equal (device_parse ("/dev/nbd0", &index, &err), 0);
  assert_int_equal (index, 0);
  assert_int_equal (device_parse ("nbd15", &index, &err), 0);
  assert_int_equal (index, 15);
  assert_int_equal (device_parse ("/dev/nbd65535", &index, &err), 0);
  assert_int_equal (index, 65535);
}

static void
other_names_are_not_devices (void **state)
{
  static const char *const names[] = {
    "", "/dev/", "/dev/nbd", "/dev/nbd-1", "/dev/nbd01", "/dev/nbd1x",
    "/dev/nbd65536", "/dev/nbd99999999999999999999", "/dev/sda", "/dev/nbd 1",
    "/tmp/nbd1", "/dev/../dev/nbd1", "nbd1/", "/dev/nbd0p1", "/dev/nbdp1",
    "/dev/nbd123456789p1",
  };
  size_t i;

  (void) state;
  for (i = 0; i < sizeof names / sizeof names[0]; ++i) {
    struct err err = ERR_INIT;
    unsigned index = 99;

    assert_int_equal (device_parse (names[i], &index, &err), -EINVAL);
    assert_int_equal (index, 99);
    assert_non_null (strstr (err.msg, names[i]));
  }
}

static void
a_partition_names_its_disk (void **state)
{
  struct err err = ERR_INIT;
  unsigned index;

  (void) state;
  assert_int_equal (device_parse ("/dev/nbd12p3", &index, &err), -EINVAL);
  assert_string_equal (err.msg, "‘/dev/nbd12p3’ is a partition; the disk is "
                       "/dev/nbd12");
}

static void
images_are_told_from_devices (void **state)
{
  (void) state;
  assert_true (device_is_name ("/dev/nbd0"));
  assert_true (device_is_name ("nbd0"));
  assert_true (device_is_name ("/dev/nbd0p1"));
  assert_false (device_is_name ("nbd://host/"));
  assert_false (device_is_name ("nbd.vhd"));
  assert_false (device_is_name ("/srv/nbd0"));
  assert_false (device_is_name ("nbd0/disk.vhd"));
}

static void
tls_is_in_the_scheme (void **state)
{
  (void) state;
  assert_true (connection_uri_is_tls ("nbds://host/"));
  assert_true (connection_uri_is_tls ("nbds+unix:///?socket=/s"));
  assert_false (connection_uri_is_tls ("nbd://nbds:10809/"));
  assert_false (connection_uri_is_tls ("nbds.vhd"));
}

static void
a_socket_in_a_uri_becomes_absolute (void **state)
{
  static const char *const same[] = {
    "nbd://host/", "nbd://host/socket=x", "nbd+unix:///?socket=/run/s",
    "nbd+unix:///?socket=%2Frun%2fs", "nbd+unix:///?other=socket=x",
  };
  CLEANUP_FREE char *folder = getcwd (NULL, 0);
  CLEANUP_FREE char *encoded = uri_encode (folder);
  CLEANUP_FREE char *uri =
    connection_uri_absolute ("nbd+unix:///disk?a=b&socket=my%20s");
  CLEANUP_FREE char *expected = NULL;

  (void) state;
  assert_true (asprintf (&expected, "nbd+unix:///disk?a=b&socket=%s/my%%20s",
                         encoded) > 0);
  assert_string_equal (uri, expected);
  for (size_t i = 0; i < sizeof same / sizeof same[0]; ++i) {
    CLEANUP_FREE char *out = connection_uri_absolute (same[i]);

    assert_string_equal (out, same[i]);
  }
}

/*--- /proc and /sys --------------------------------------------------------*/

static void
a_line_of_mountinfo_is_decoded (void **state)
{
  struct mount_line m;

  (void) state;
  assert_int_equal (mount_line_parse (
    "36 35 43:1 / /mnt/a\\040b\\011c\\134d rw,noatime shared:1 master:2 - "
    "ext4 /dev/nbd0p1 rw,errors=continue", &m), 0);
  assert_int_equal (m.major, 43);
  assert_int_equal (m.minor, 1);
  assert_string_equal (m.root, "/");
  assert_string_equal (m.target, "/mnt/a b\tc\\d");
  assert_string_equal (m.source, "/dev/nbd0p1");
  mount_line_free (&m);
}

static void
a_line_without_optional_fields_too (void **state)
{
  struct mount_line m;

  (void) state;
  assert_int_equal (mount_line_parse ("36 35 0:45 /vol /m rw - btrfs "
                                      "/dev/nbd1p2 rw", &m), 0);
  assert_string_equal (m.root, "/vol");
  assert_string_equal (m.source, "/dev/nbd1p2");
  mount_line_free (&m);
}

static void
other_lines_are_not_mounts (void **state)
{
  static const char *const lines[] = {
    "", "-", " - ", "36 35 43:1 / /mnt rw", "36 35 43 / /mnt rw - ext4 /dev/x",
    "36 35 43:1 / /mnt rw - ext4", "a b c:d / /mnt - ext4 /dev/x rw",
  };
  size_t i;

  (void) state;
  for (i = 0; i < sizeof lines / sizeof lines[0]; ++i) {
    struct mount_line m;

    assert_int_equal (mount_line_parse (lines[i], &m), -EINVAL);
  }
}

static void
only_whole_octal_escapes_are_decoded (void **state)
{
  char str[] = "\\040a\\04\\9\\0401\\400\\\\040\\";

  (void) state;
  unescape_octal (str);
  assert_string_equal (str, " a\\04\\9 1\\400\\ \\");
}

static void
swap_spaces_have_paths (void **state)
{
  char *path = swap_line_parse ("/dev/nbd0p2   partition 1048572 0 -2\n");

  (void) state;
  assert_string_equal (path, "/dev/nbd0p2");
  free (path);
  path = swap_line_parse ("/srv/swap\\040file file 1 0 -3\n");
  assert_string_equal (path, "/srv/swap file");
  free (path);
  assert_null (swap_line_parse ("Filename Type Size Used Priority\n"));
  assert_null (swap_line_parse (""));
}

static void
the_start_time_is_behind_any_name (void **state)
{
  (void) state;
  assert_int_equal (process_parse_start (
    "12 (a) S) b (c) S 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 9 "
    "10\n"), 777);
  assert_int_equal (process_parse_start ("12 (short) S 1 2 3"), 0);
  assert_int_equal (process_parse_start ("nothing"), 0);
  assert_int_equal (process_parse_start (""), 0);
}

static void
activity_is_read_from_stat (void **state)
{
  struct device_activity activity;

  (void) state;
  assert_int_equal (device_parse_stat (
    "     100        1     2000      3       20        5      600       7 "
    "       9      10      11        4        0       12      13   "
    "     2        14\n", &activity), 0);
  assert_int_equal (activity.completed, 100 + 20 + 4 + 2);
  assert_int_equal (activity.inflight, 9);
  assert_int_equal (device_parse_stat ("1 2 3", &activity), -EINVAL);
  assert_int_equal (device_parse_stat ("", &activity), -EINVAL);
  assert_int_equal (device_parse_stat ("a b", &activity), -EINVAL);
}

/*--- block sizes -----------------------------------------------------------*/

static void
the_block_size_is_one_that_the_kernel_knows (void **state)
{
  static const struct { uint64_t minimum; uint32_t expected; } sizes[] = {
    { 0, 512 }, { 1, 512 }, { 512, 512 }, { 1024, 1024 }, { 2048, 2048 },
    { 4096, 4096 },
  };
  static const uint64_t refused[] = { 513, 1000, 3072, 8192, 65536 };
  struct err err = ERR_INIT;
  uint32_t size = 0;
  size_t i;

  (void) state;
  for (i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
    assert_int_equal (connection_block_size (sizes[i].minimum, &size, &err),
                      0);
    assert_int_equal (size, sizes[i].expected);
  }
  for (i = 0; i < sizeof refused / sizeof refused[0]; ++i)
    assert_int_equal (connection_block_size (refused[i], &size, &err),
                      -ENOTSUP);
}

/*--- the watch -------------------------------------------------------------*/

static bool
look (struct watch *watch, uint64_t completed, uint64_t inflight,
      uint64_t now)
{
  struct device_activity activity = { completed, inflight };

  return watch_stalled (watch, &activity, now);
}

static void
silence_is_noticed_before_the_timeout (void **state)
{
  struct watch watch;
  uint64_t now = 1000;

  (void) state;
  watch_init (&watch, 10, now);
  for (; now < 60000; now += WATCH_TICK)
    assert_false (look (&watch, 5, 0, now));    /* idle for a minute */
  for (; !look (&watch, 5, 3, now); now += WATCH_TICK)
    assert_true (now < 60000 + 10000);
  /* Not much too early either. */
  assert_true (now >= 60000 + 10000 - 2000 - 2 * WATCH_TICK);
  assert_true (now <= 60000 + 10000 - 1000);
}

static void
every_completed_request_is_progress (void **state)
{
  struct watch watch;
  uint64_t now;

  (void) state;
  watch_init (&watch, 4, 0);
  /* Always 128 under way, one of them completed each second. */
  for (now = 0; now < 200000; now += WATCH_TICK)
    assert_false (look (&watch, now / 1000, 128, now));
}

/* Nobody looked for a minute: the machine had no time for us, or stood
 * still.  What was begun just now has had no time either.
 */
static void
time_in_which_nobody_looked_is_not_silence (void **state)
{
  struct watch watch;
  uint64_t now;

  (void) state;
  watch_init (&watch, 10, 0);
  assert_false (look (&watch, 5, 0, 500));
  assert_false (look (&watch, 5, 1, 60000));
  /* But what is seen from then on is. */
  for (now = 60000; !look (&watch, 5, 1, now); now += WATCH_TICK)
    assert_true (now < 60000 + 10000);
  assert_true (now >= 60000 + 5000);
  /* Also in the midst of a request, and for a lost connection. */
  watch_init (&watch, 10, 0);
  assert_false (look (&watch, 5, 1, 500));
  assert_false (look (&watch, 5, 1, 60000));
  watch_init (&watch, 10, 0);
  assert_false (look (&watch, 5, 1, 500));
  assert_true (watch_connection_lost (&watch, 60000));
  assert_false (look (&watch, 5, 1, 60000));
  watch_init (&watch, 4, 0);
  assert_false (look (&watch, 5, 1, 500));
  assert_true (watch_connection_lost (&watch, 60000));
  assert_false (look (&watch, 5, 1, 60000));
}

/* A machine so busy that we look every few seconds only. */
static void
seldom_looks_still_end (void **state)
{
  struct watch watch;
  uint64_t now;

  (void) state;
  watch_init (&watch, 4, 0);
  for (now = 0; !look (&watch, 5, 1, now); now += 3000)
    assert_true (now < 60000);
}

static void
a_moment_without_requests_is_not_idle (void **state)
{
  struct watch watch;
  uint64_t now;
  bool stalled = false;

  (void) state;
  watch_init (&watch, 8, 0);
  for (now = 0; now < 8000 && !stalled; now += WATCH_TICK)
    stalled = look (&watch, 1, now == 3000 ? 0 : 4, now);
  assert_true (stalled);
}

static void
a_lost_connection_after_silence_is_suspicious (void **state)
{
  struct watch watch;

  (void) state;
  watch_init (&watch, 10, 0);
  assert_false (look (&watch, 7, 0, 1000));
  assert_false (look (&watch, 7, 0, 19500));
  assert_true (watch_connection_lost (&watch, 20000));
  assert_false (look (&watch, 7, 0, 20000 + WATCH_TICK / 2));
  assert_true (look (&watch, 7, 0, 20000 + WATCH_TICK));
}

static void
and_forgotten_when_the_server_answers (void **state)
{
  struct watch watch;
  uint64_t now;

  (void) state;
  watch_init (&watch, 10, 0);
  assert_false (look (&watch, 7, 0, 1000));
  assert_true (watch_connection_lost (&watch, 20000));
  for (now = 20200; now < 60000; now += WATCH_TICK)
    assert_false (look (&watch, 8, 0, now));
}

static void
a_lost_connection_in_full_work_is_not (void **state)
{
  struct watch watch;

  (void) state;
  watch_init (&watch, 10, 0);
  assert_false (look (&watch, 7, 3, 19000));
  assert_false (watch_connection_lost (&watch, 20000));
}

static void
the_kernel_waits_a_little_less_than_we (void **state)
{
  unsigned t;

  (void) state;
  for (t = WATCH_MIN_TIMEOUT; t < 100; ++t) {
    assert_true (watch_kernel_timeout (t) >= 1);
    assert_true (watch_kernel_timeout (t) < t);
  }
}

/*--- processes -------------------------------------------------------------*/

static void
a_process_is_known_by_its_start (void **state)
{
  struct process self = process_of (getpid ());
  struct process other = self, none = { 0, 0 };

  (void) state;
  assert_int_equal (self.pid, getpid ());
  assert_true (process_alive (&self));
  other.start++;
  assert_false (process_alive (&other));
  assert_int_equal (process_open (&other), -1);
  assert_false (process_alive (&none));
  assert_int_equal (process_open (&none), -1);
}

static void
a_process_that_ended_is_not_alive (void **state)
{
  struct process process;
  pid_t pid = fork ();

  (void) state;
  if (pid == 0) {
    alarm (20);                 /* should the test fail */
    pause ();
    _exit (0);
  }
  process = process_of (pid);
  assert_true (process_alive (&process));
  process_end (&process);
  assert_false (process_alive (&process));      /* though a zombie */
  waitpid (pid, NULL, 0);
  assert_int_equal (process_of (pid).pid, 0);
}

static void
a_program_runs_and_its_failure_is_seen (void **state)
{
  static const char *const good[] = { "true", NULL };
  static const char *const bad[] = { "false", NULL };
  static const char *const missing[] = { "/nowhere/at-all", NULL };
  static const char *const slow[] = { "sleep", "100", NULL };
  struct err err = ERR_INIT;

  (void) state;
  assert_int_equal (process_run (good, 10000, &err), 0);
  assert_int_equal (process_run (bad, 10000, &err), -EIO);
  assert_int_equal (process_run (missing, 10000, &err), -ENOENT);
  assert_int_equal (process_run (slow, 50, &err), -ETIMEDOUT);
}

static void
what_a_program_said_is_the_reason (void **state)
{
  static const struct {
    const char *script, *sentence;
  } cases[] = {
    { "exit 7", "sh ended with status 7" },
    { "kill -KILL $$", "sh was ended by signal 9" },
    { "echo 'sh: first' >&2; echo 'sh: the reason' >&2; exit 1",
      "sh: the reason" },
    { "echo 'the reason' >&2; echo >&2; exit 1", "sh: the reason" },
    { "printf 'shell: no' >&2; exit 1", "sh: shell: no" },
    { "yes | head -c 200000 >&2; echo 'sh: the end' >&2; exit 1",
      "sh: the end" },
  };

  (void) state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    const char *const argv[] = { "/bin/sh", "-c", cases[i].script, NULL };
    struct err err = ERR_INIT;

    assert_int_equal (process_run (argv, 60000, &err), -EIO);
    assert_string_equal (err.msg, cases[i].sentence);
  }
}

static void
set_flag (void *opaque)
{
  *(volatile int *) opaque = 1;
}

static void
sleep_long (void *opaque)
{
  (void) opaque;
  clock_sleep (2000);
}

static void
a_call_that_hangs_is_left_alone (void **state)
{
  static int flag;

  (void) state;
  assert_true (process_bounded (set_flag, &flag, 10000, NULL));
  assert_int_equal (flag, 1);
  assert_false (process_bounded (sleep_long, NULL, 50, NULL));
}

/*--- state files -----------------------------------------------------------*/

static void
a_state_file_comes_back_as_it_was (void **state)
{
  struct attachment a = {
    .index = 3, .source = (char *) "/srv/Ä \"b\".vhd",
    .uri = (char *) "nbd+unix:///?socket=/s", .socket = (char *) "/s",
    .backend = (char *) "nbdimage 12 34", .connections = 4, .timeout = 30,
    .writable = true, .supervisor = { 12, 34 }, .server = { 13, 35 },
    .since = 1795370001,
  };
  CLEANUP_ATTACHMENT struct attachment b = ATTACHMENT_INIT;
  struct err err = ERR_INIT;
  char *text = attachment_to_json (&a);

  (void) state;
  assert_non_null (text);
  assert_int_equal (attachment_from_json (text, &b, &err), 0);
  free (text);
  assert_int_equal (b.index, 3);
  assert_string_equal (b.source, a.source);
  assert_string_equal (b.uri, a.uri);
  assert_string_equal (b.socket, a.socket);
  assert_string_equal (b.backend, a.backend);
  assert_int_equal (b.connections, 4);
  assert_int_equal (b.timeout, 30);
  assert_true (b.writable);
  assert_int_equal (b.supervisor.pid, 12);
  assert_int_equal (b.supervisor.start, 34);
  assert_int_equal (b.server.pid, 13);
  assert_int_equal (b.server.start, 35);
  assert_int_equal (b.since, 1795370001);
  assert_null (b.dead);
}

static void
a_name_that_is_no_utf8_comes_back_as_it_was (void **state)
{
  struct attachment a = {
    .index = 0, .source = (char *) "/srv/caf\xe9\xff\x01.vhd",
    .uri = (char *) "nbd://h/caf\xe9", .backend = (char *) "nbdimage 1 2",
  };
  CLEANUP_ATTACHMENT struct attachment b = ATTACHMENT_INIT;
  struct err err = ERR_INIT;
  char *text = attachment_to_json (&a);

  (void) state;
  assert_non_null (text);
  assert_int_equal (attachment_from_json (text, &b, &err), 0);
  free (text);
  assert_string_equal (b.source, a.source);
  assert_string_equal (b.uri, a.uri);
}

static void
what_is_not_there_stays_away (void **state)
{
  struct attachment a = {
    .index = -1, .source = (char *) "nbd://h/", .uri = (char *) "nbd://h/",
    .backend = (char *) "nbdimage 1 2", .dead = (char *) "gone",
  };
  CLEANUP_ATTACHMENT struct attachment b = ATTACHMENT_INIT;
  struct err err = ERR_INIT;
  char *text = attachment_to_json (&a);

  (void) state;
  assert_non_null (text);
  assert_int_equal (attachment_from_json (text, &b, &err), 0);
  free (text);
  assert_int_equal (b.index, -1);
  assert_null (b.socket);
  assert_int_equal (b.server.pid, 0);
  assert_string_equal (b.dead, "gone");
}

static void
other_files_are_not_state_files (void **state)
{
  static const char *const texts[] = {
    "", "{", "[]", "{}", "null", "{\"version\": 1}",
    "{\"version\":2,\"index\":0,\"source\":\"a\",\"uri\":\"b\",\"backend\":"
    "\"c\",\"connections\":1,\"timeout\":1,\"writable\":true,\"since\":1}",
    "{\"version\":1,\"index\":99999,\"source\":\"a\",\"uri\":\"b\","
    "\"backend\":\"c\",\"connections\":1,\"timeout\":1,\"writable\":true,"
    "\"since\":1}",
    "{\"version\":1,\"index\":0,\"source\":7,\"uri\":\"b\",\"backend\":"
    "\"c\",\"connections\":1,\"timeout\":1,\"writable\":true,\"since\":1}",
    "{\"version\":1,\"index\":0,\"source\":[],\"uri\":\"b\",\"backend\":"
    "\"c\",\"connections\":1,\"timeout\":1,\"writable\":true,\"since\":1}",
    "{\"version\":1,\"index\":0,\"source\":[97,0],\"uri\":\"b\","
    "\"backend\":\"c\",\"connections\":1,\"timeout\":1,\"writable\":true,"
    "\"since\":1}",
    "{\"version\":1,\"index\":0,\"source\":\"a\",\"uri\":[97,256],"
    "\"backend\":\"c\",\"connections\":1,\"timeout\":1,\"writable\":true,"
    "\"since\":1}",
  };
  size_t i;

  (void) state;
  for (i = 0; i < sizeof texts / sizeof texts[0]; ++i) {
    CLEANUP_ATTACHMENT struct attachment a = ATTACHMENT_INIT;
    struct err err = ERR_INIT;

    assert_int_equal (attachment_from_json (texts[i], &a, &err), -EINVAL);
    assert_true (err.msg[0] != '\0');
  }
}

static void
a_remnant_is_stale (void **state)
{
  struct attachment a = {
    .index = 65535, .source = (char *) "a", .uri = (char *) "b",
    .backend = (char *) "nbdimage 1 2", .supervisor = { 1, 1 },
  };

  (void) state;
  assert_int_equal (attachment_status (&a), ATTACHMENT_STALE);
  /* Its supervisor still sets it up. */
  a.supervisor = process_of (getpid ());
  assert_int_equal (attachment_status (&a), ATTACHMENT_LIVE);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (a_device_has_a_name_and_a_number),
    cmocka_unit_test (other_names_are_not_devices),
    cmocka_unit_test (a_partition_names_its_disk),
    cmocka_unit_test (images_are_told_from_devices),
    cmocka_unit_test (tls_is_in_the_scheme),
    cmocka_unit_test (a_socket_in_a_uri_becomes_absolute),
    cmocka_unit_test (a_line_of_mountinfo_is_decoded),
    cmocka_unit_test (a_line_without_optional_fields_too),
    cmocka_unit_test (other_lines_are_not_mounts),
    cmocka_unit_test (only_whole_octal_escapes_are_decoded),
    cmocka_unit_test (swap_spaces_have_paths),
    cmocka_unit_test (the_start_time_is_behind_any_name),
    cmocka_unit_test (activity_is_read_from_stat),
    cmocka_unit_test (the_block_size_is_one_that_the_kernel_knows),
    cmocka_unit_test (silence_is_noticed_before_the_timeout),
    cmocka_unit_test (every_completed_request_is_progress),
    cmocka_unit_test (time_in_which_nobody_looked_is_not_silence),
    cmocka_unit_test (seldom_looks_still_end),
    cmocka_unit_test (a_moment_without_requests_is_not_idle),
    cmocka_unit_test (a_lost_connection_after_silence_is_suspicious),
    cmocka_unit_test (and_forgotten_when_the_server_answers),
    cmocka_unit_test (a_lost_connection_in_full_work_is_not),
    cmocka_unit_test (the_kernel_waits_a_little_less_than_we),
    cmocka_unit_test (a_process_is_known_by_its_start),
    cmocka_unit_test (a_process_that_ended_is_not_alive),
    cmocka_unit_test (a_program_runs_and_its_failure_is_seen),
    cmocka_unit_test (what_a_program_said_is_the_reason),
    cmocka_unit_test (a_call_that_hangs_is_left_alone),
    cmocka_unit_test (a_state_file_comes_back_as_it_was),
    cmocka_unit_test (a_name_that_is_no_utf8_comes_back_as_it_was),
    cmocka_unit_test (what_is_not_there_stays_away),
    cmocka_unit_test (other_files_are_not_state_files),
    cmocka_unit_test (a_remnant_is_stale),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
