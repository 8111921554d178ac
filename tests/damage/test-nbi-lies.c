/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Each lie of bad-nbi.c, in a file that is encrypted and in one that is not, is
 * refused in one sentence that names the file and the rule; `convert' makes no
 * disk out of it, `check' finds it, and `salvage' ends.  None of these commands
 * has more than 64 MiB in memory, whatever the file says.
 *
 *   test-nbi-lies            all of them
 *   test-nbi-lies NAME       only this one, and what the commands say of it
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/damage/bad-nbi.h"
#include "tests/support/counted.h"
#include "tests/support/share.h"

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#define MOST (64 * 1024)        /* KiB */
#define PATIENCE 120            /* seconds that a command may take */
#define PATH_SIZE 512

static char folder[PATH_SIZE], build[PATH_SIZE];
static const char *only;        /* the name of a lie; NULL: all */
static long most;               /* KiB that a command had */
static unsigned nr_bad;

struct said {
  int status;                   /* of the exit */
  char text[65536];             /* stdout and stderr */
};

static void bad (const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 1, 2)));

/* Something is not as it should be; the other lies are tried all the same. */
static void
bad (const char *fmt, ...)
{
  va_list ap;

  va_start (ap, fmt);
  vprintf (fmt, ap);
  va_end (ap);
  putchar ('\n');
  ++nr_bad;
}

/* Not where most of it is the sanitizers' or valgrind's; a child begins with
 * what this program has.
 */
static bool
is_measured (void)
{
  const char *preload = getenv ("LD_PRELOAD");

  return !SANITIZED && (preload == NULL || !strstr (preload, "vgpreload"));
}

/*--- Commands ---------------------------------------------------------------*/

static const char *
path_of (const char *name, char path[2 * PATH_SIZE])
{
  snprintf (path, 2 * (size_t) PATH_SIZE, "%s/%s", folder, name);
  return path;
}

static void
put_file (const char *name, const void *bytes, size_t len)
{
  char path[2 * PATH_SIZE];
  int fd = open (path_of (name, path), O_WRONLY | O_CREAT | O_TRUNC, 0600);

  assert_true (fd >= 0);
  assert_int_equal (write (fd, bytes, len), len);
  assert_int_equal (close (fd), 0);
}

static bool
is_there (const char *name)
{
  char path[2 * PATH_SIZE];

  return access (path_of (name, path), F_OK) == 0;
}

static void
read_said (struct said *said)
{
  char path[2 * PATH_SIZE];
  FILE *fp = fopen (path_of ("said", path), "r");
  size_t n;

  assert_non_null (fp);
  n = fread (said->text, 1, sizeof said->text - 1, fp);
  said->text[n] = '\0';
  fclose (fp);
}

/* In the folder, with the key. */
static void
run (const struct nbi_lie *lie, bool encrypted, const char *const *args,
     struct said *said)
{
  char command[2 * PATH_SIZE], key[] = "--key-file=key";
  char pass[] = "--passphrase-file=pass";
  char *argv[8] = { command };
  struct rusage usage;
  unsigned n = 1;
  int status;
  pid_t pid;

  snprintf (command, sizeof command, "%s/nbdimage", build);
  for (; *args != NULL; ++args) {
    argv[n++] = (char *) *args;
    if (n == 2 && encrypted)
      argv[n++] = lie->passphrase ? pass : key;
  }
  pid = fork ();
  assert_true (pid >= 0);
  if (pid == 0) {
    int null = open ("/dev/null", O_RDONLY);
    int out;

    /* Too much memory is refused, as it is without the sanitizer. */
    if (chdir (folder) < 0 ||
        (SANITIZED &&
         setenv ("ASAN_OPTIONS", "allocator_may_return_null=1", 1) < 0))
      _exit (99);
    out = open ("said", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2 (null, 0);
    dup2 (out, 1);
    dup2 (out, 2);
    alarm (PATIENCE);
    execv (command, argv);
    _exit (99);
  }
  assert_int_equal (wait4 (pid, &status, 0, &usage), pid);
  read_said (said);
  if (only != NULL)
    printf ("%s %s: %ld KiB: %s", argv[1], encrypted ? "encrypted" : "plain",
            usage.ru_maxrss, said->text);
  said->status = WIFEXITED (status) ? WEXITSTATUS (status) : 99;
  if (!WIFEXITED (status))
    bad ("%s: %s: ended by signal %d: %s", lie->name, argv[1],
              WTERMSIG (status), said->text);
  else if (said->status == 99 || strstr (said->text, "SUMMARY: ") != NULL ||
      strstr (said->text, "runtime error") != NULL)
    bad ("%s: %s: %s", lie->name, argv[1], said->text);
  if (is_measured () && usage.ru_maxrss >= MOST)
    bad ("%s: %s: %ld KiB of memory", lie->name, argv[1],
              usage.ru_maxrss);
  if (usage.ru_maxrss > most)
    most = usage.ru_maxrss;
}

/*--- A lie ------------------------------------------------------------------*/

/* One line, but for warnings, that names the file, and the rule. */
static void
check_sentence (const struct nbi_lie *lie, const char *what,
                const struct said *said)
{
  const char *line = said->text;
  unsigned nr = 0;

  while (*line != '\0') {
    nr += strncmp (line, "nbdimage: warning: ", 19) != 0;
    line = strchr (line, '\n');
    if (line == NULL)
      break;
    ++line;
  }
  if (nr != 1 || strstr (said->text, "disk.nbi: ") == NULL ||
      strstr (said->text, lie->says) == NULL)
    bad ("%s: %s does not say “%s” in one line: %s", lie->name, what,
              lie->says, said->text);
}

static void
must_be_disk (const struct nbi_lie *lie, const uint8_t *disk)
{
  static uint8_t buf[CRAFT_SIZE + 1];
  char path[2 * PATH_SIZE];
  FILE *fp = fopen (path_of ("disk.img", path), "r");

  if (fp == NULL)
    bad ("%s: no disk", lie->name);
  else {
    assert_int_equal (fread (buf, 1, sizeof buf, fp), CRAFT_SIZE);
    fclose (fp);
    if (memcmp (buf, disk, CRAFT_SIZE) != 0)
      bad ("%s: other bytes", lie->name);
  }
}

static void
try_convert (const struct nbi_lie *lie, bool encrypted, const uint8_t *disk)
{
  static const char *const args[] = { "convert", "disk.nbi", "disk.img",
                                      NULL };
  static struct said said;
  char path[2 * PATH_SIZE];

  unlink (path_of ("disk.img", path));
  run (lie, encrypted, args, &said);
  if (lie->found_later) {
    if (said.status != 0)
      bad ("%s: convert: %s", lie->name, said.text);
    must_be_disk (lie, disk);
    return;
  }
  if (said.status == 0 || is_there ("disk.img"))
    bad ("%s: it is converted", lie->name);
  check_sentence (lie, "convert", &said);
}

static void
try_check (const struct nbi_lie *lie, bool encrypted)
{
  static const char *const args[] = { "check", "--data", "disk.nbi", NULL };
  static struct said said;

  run (lie, encrypted, args, &said);
  if (said.status == 0)
    bad ("%s: check: %s", lie->name, said.text);
  if (lie->found_later && strstr (said.text, lie->says) == NULL)
    bad ("%s: check does not say “%s”: %s", lie->name, lie->says,
              said.text);
}

static void
try_salvage (const struct nbi_lie *lie, bool encrypted)
{
  static const char *const args[] = { "salvage", "--output=saved.img",
                                      "disk.nbi", NULL };
  static struct said said;
  char path[2 * PATH_SIZE];

  unlink (path_of ("saved.img", path));
  run (lie, encrypted, args, &said);
}

static void
try_lie (const struct nbi_lie *lie, bool encrypted)
{
  static const uint8_t key[CRYPT_KEY_SIZE] = "the master key of what lies";
  static struct craft c;

  nbi_lie_make (lie, encrypted ? key : NULL, &c);
  put_file ("disk.nbi", c.bytes, c.len);
  try_convert (lie, encrypted, c.disk);
  try_check (lie, encrypted);
  try_salvage (lie, encrypted);
  craft_free (&c);
}

static void
test_lies (void **state)
{
  unsigned nr = 0;

  (void) state;
  assert_true (nbi_nr_lies >= 100);
  for (unsigned i = 0; i < nbi_nr_lies; ++i) {
    const struct nbi_lie *lie = &nbi_lies[i];

    if (only != NULL ? strcmp (only, lie->name) != 0 : !is_in_share (i))
      continue;
    for (int encrypted = lie->encrypted; encrypted < 2 - lie->plain;
         ++encrypted, ++nr)
      try_lie (lie, encrypted);
  }
  printf ("at most %ld KiB\n", most);
  counted (nr, "lies in a backup image", nr_bad, 0);
  assert_int_equal (nr_bad, 0);
  assert_true (nr > 0);
}

/* Without a lie nothing is refused: it is the lie that is. */
static void
test_truth (void **state)
{
  static const char *const check[] = { "check", "--data", "disk.nbi", NULL };
  static const uint8_t key[CRYPT_KEY_SIZE] = "the master key of what lies";
  static struct craft c;
  static struct said said;

  (void) state;
  for (int way = 0; way < 4; ++way) {
    const struct nbi_lie truth = { "truth", .with_range = way & 1,
                                   .found_later = true };

    nbi_lie_make (&truth, way & 2 ? key : NULL, &c);
    put_file ("disk.nbi", c.bytes, c.len);
    run (&truth, way & 2, check, &said);
    if (said.status != 0)
      bad ("check: %s", said.text);
    if (!truth.with_range)
      try_convert (&truth, way & 2, c.disk);
    craft_free (&c);
  }
  assert_int_equal (nr_bad, 0);
}

int
main (int argc, char **argv)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_truth),
    cmocka_unit_test (test_lies),
  };
  static const char *const names[] = { "key", "pass", "said", "disk.nbi",
                                       "disk.img", "saved.img" };
  const char *tmp = getenv ("TMPDIR"), *top = getenv ("abs_top_builddir");
  char path[2 * PATH_SIZE];
  int failed;

  only = argc == 2 ? argv[1] : NULL;
  snprintf (folder, sizeof folder, "%s/nbdimage-test.XXXXXX",
            tmp != NULL ? tmp : "/tmp");
  if (top != NULL)
    snprintf (build, sizeof build, "%s", top);
  else if (getcwd (build, sizeof build) == NULL)
    return 99;
  if (mkdtemp (folder) == NULL)
    return 99;
  put_file ("key", CRAFT_KEY_FILE, sizeof CRAFT_KEY_FILE - 1);
  put_file ("pass", "a passphrase\n", 13);
  failed = cmocka_run_group_tests (tests, NULL, NULL);
  for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i)
    unlink (path_of (names[i], path));
  rmdir (folder);
  return failed;
}
