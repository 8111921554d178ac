/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What nbdkit says when it does not start, and the pieces around it. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/uri.h"
#include "server/internal.h"

static void
assert_reason (const char *text, const char *expected)
{
  struct messages m = { (char *) text, strlen (text) };
  struct err err = ERR_INIT;

  assert_int_equal (messages_to_err (&m, "ended with status 1", &err),
                    -EINVAL);
  assert_string_equal (err.msg, expected);
}

static void
the_reason_is_the_last_line_that_is_an_error (void **state)
{
  (void) state;
  assert_reason ("nbdkit: error: first\nnbdkit: image: error: second\n"
                 "Use 'nbdkit --help' for help.\n", "second");
  assert_reason ("nbdkit: image[1]: error: a.vhd: error: twice\n",
                 "a.vhd: error: twice");
  assert_reason ("nbdkit: error: no newline", "no newline");
  assert_reason ("nbdkit: error: \n", "");
}

static void
without_an_error_the_last_line_is_shown (void **state)
{
  (void) state;
  assert_reason ("", "nbdkit ended with status 1 before it was ready");
  assert_reason ("\n\n", "nbdkit ended with status 1 before it was ready");
  assert_reason ("ld.so: no such thing: error: x\n", "nbdkit ended with "
                 "status 1 before it was ready: ld.so: no such thing: "
                 "error: x");
}

static void
of_too_many_messages_the_last_are_kept (void **state)
{
  struct messages m = { NULL, 0 };
  struct err err = ERR_INIT;
  char line[1001];
  int fds[2];

  (void) state;
  memset (line, 'x', sizeof line - 1);
  line[sizeof line - 1] = '\n';
  assert_int_equal (pipe (fds), 0);
  for (int i = 0; i < 200; ++i) {
    assert_int_equal (write (fds[1], line, sizeof line), sizeof line);
    assert_int_equal (messages_read (&m, fds[0]), 1);
  }
  assert_int_equal (m.len, MESSAGES_MAX);
  assert_int_equal (write (fds[1], "nbdkit: error: z\n", 17), 17);
  close (fds[1]);
  assert_int_equal (messages_read (&m, fds[0]), 1);
  assert_int_equal (messages_read (&m, fds[0]), 0);
  messages_to_err (&m, "", &err);
  assert_string_equal (err.msg, "z");
  close (fds[0]);
  free (m.text);
}

static void
names_are_encoded_for_uris (void **state)
{
  char *str;

  (void) state;
  str = uri_encode ("a b/c?d=%\xc3\xa4#&-._~");
  assert_string_equal (str, "a%20b/c%3Fd%3D%25%C3%A4%23%26-._~");
  free (str);
  str = uri_encode ("");
  assert_string_equal (str, "");
  free (str);
}

static void
loopback_is_told_from_the_rest (void **state)
{
  static const struct {
    const char *address;
    bool is_loopback;
  } cases[] = {
    { "127.0.0.1", true }, { "127.1.2.3", true }, { "::1", true },
    { "0.0.0.0", false }, { "::", false }, { "192.0.2.1", false },
    { "2001:db8::1", false }, { "::ffff:127.0.0.1", false },
    { "128.0.0.1", false },
  };
  bool is_loopback;

  (void) state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    assert_int_equal (server_address_is_loopback (cases[i].address,
                                                  &is_loopback, NULL), 0);
    assert_int_equal (is_loopback, cases[i].is_loopback);
  }
}

static void
a_socket_that_can_not_be_made_is_refused_and_nothing_is_left (void **state)
{
  const char *image = "/dev/null";
  struct server_config config = SERVER_CONFIG_INIT;
  struct server *server = NULL;
  struct err err = ERR_INIT;
  char path[300];

  (void) state;
  memset (path, 'x', sizeof path - 1);
  path[sizeof path - 1] = '\0';
  setenv ("NBDIMAGE_PLUGIN", "/dev/null", 1);
  config.images = &image;
  config.nr_images = 1;
  config.unix_socket = path;
  assert_int_equal (server_start (&config, &server, &err), -EINVAL);
  assert_non_null (strstr (err.msg, "the path of a socket has from 1 to"));
  config.unix_socket = "/dev/null";
  assert_int_equal (server_start (&config, &server, &err), -EADDRINUSE);
  assert_int_equal (access ("/dev/null", F_OK), 0);
  setenv ("NBDIMAGE_PLUGIN", "/nonexistent/plugin.so", 1);
  assert_int_equal (server_start (&config, &server, &err), -ENOENT);
  assert_null (server);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (the_reason_is_the_last_line_that_is_an_error),
    cmocka_unit_test (without_an_error_the_last_line_is_shown),
    cmocka_unit_test (of_too_many_messages_the_last_are_kept),
    cmocka_unit_test (names_are_encoded_for_uris),
    cmocka_unit_test (loopback_is_told_from_the_rest),
    cmocka_unit_test
      (a_socket_that_can_not_be_made_is_refused_and_nothing_is_left),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
