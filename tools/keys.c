/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/kdf.h"
#include "lib/repo/image-nbi.h"
#include "tools/ask.h"
#include "tools/keys.h"
#include "tools/report.h"

/* Bytes of a passphrase; that of a key file is CRYPT_KEY_FILE_MAX. */
#define PASSPHRASE_MAX 4096

/* A passphrase that nobody named. */
struct question {
  const char *text, *again;     /* again: NULL, or it is something new */
};

static const struct question for_source = { "Passphrase: ", NULL };
static const struct question for_new = {
  "New passphrase: ", "New passphrase again: ",
};
static const struct question for_target = {
  "Passphrase of the target: ", NULL,
};

static struct keyring *keyring, *of_target;
static bool is_used, is_new, never_ask;

/*--- From a descriptor ------------------------------------------------------*/

/* All that comes, up to max bytes: -EFBIG for more. */
static int
read_all (int fd, char *buf, size_t max, size_t *len, struct err *err)
{
  *len = 0;
  for (;;) {
    ssize_t n = read (fd, buf + *len, max + 1 - *len);

    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return err_sys (err, "reading");
    if (n == 0)
      return 0;
    *len += (size_t) n;
    if (*len > max)
      return err_set (err, -EFBIG, "more than %zu bytes", max);
  }
}

/* A passphrase is the bytes up to the newline at the end, if there is one (§12
 * of docs/NBI.md).
 */
static int
use_descriptor (int fd, enum nbi_slot_kind kind, struct keyring **out,
                struct err *err)
{
  size_t max = kind == NBI_SLOT_PASSPHRASE ? PASSPHRASE_MAX
    : CRYPT_KEY_FILE_MAX;
  CLEANUP_FREE char *buf = malloc (max + 1);
  struct crypt_secret secret = { .kind = kind, .buf = buf };
  int r;

  if (buf == NULL)
    return err_nomem (err);
  r = read_all (fd, buf, max, &secret.len, err);
  if (r == 0 && kind == NBI_SLOT_PASSPHRASE && secret.len > 0 &&
      buf[secret.len - 1] == '\n')
    --secret.len;
  if (r == 0 && kind == NBI_SLOT_PASSPHRASE && secret.len == 0)
    r = err_set (err, -EINVAL, "there is no passphrase in it");
  /* A server would take the first line. */
  if (r == 0 && kind == NBI_SLOT_PASSPHRASE &&
      (memchr (buf, '\n', secret.len) || memchr (buf, '\0', secret.len)))
    r = err_set (err, -EINVAL, "a passphrase is one line of text");
  if (r == 0 && kind == NBI_SLOT_KEY_FILE && secret.len < CRYPT_KEY_FILE_MIN)
    r = err_set (err, -EINVAL, "a key file has %d to %d bytes, not %zu",
                 CRYPT_KEY_FILE_MIN, CRYPT_KEY_FILE_MAX, secret.len);
  if (r == 0)
    r = keyring_new (&secret, out, err);
  kdf_forget (buf, max + 1);
  return r;
}

/* What everybody may read opens what nobody else was to read.  It is told, not
 * refused: a stick with FAT has no other permissions.
 */
static void
look_at_permissions (int fd, const char *path)
{
  struct stat st;

  if (fstat (fd, &st) == 0 && S_ISREG (st.st_mode) &&
      (st.st_mode & (S_IROTH | S_IWOTH)) != 0)
    tool_warning ("%s: everybody on this machine can %s it", path,
                  (st.st_mode & S_IROTH) != 0 ? "read" : "change");
}

static int
use_file (const char *path, enum nbi_slot_kind kind, struct keyring **out,
          struct err *err)
{
  int fd = open (path, O_RDONLY | O_CLOEXEC | O_NOCTTY), r;

  if (fd < 0)
    return err_sys (err, "%s", path);
  look_at_permissions (fd, path);
  r = use_descriptor (fd, kind, out, err);
  close (fd);
  return r < 0 ? err_in (err, "%s", path) : 0;
}

static int
use_number (const char *number, struct keyring **out, struct err *err)
{
  char *end;
  long fd;
  int r;

  errno = 0;
  fd = strtol (number, &end, 10);
  if (*number < '0' || *number > '9' || *end != '\0' || errno != 0 ||
      fd > 1 << 20)
    return err_set (err, -EINVAL, "‘%s’ is no descriptor", number);
  r = use_descriptor ((int) fd, NBI_SLOT_PASSPHRASE, out, err);
  /* Programs that are started have no need of it. */
  if (fd > STDERR_FILENO)
    close ((int) fd);
  return r < 0 ? err_in (err, "%s", number) : 0;
}

/*--- From a terminal --------------------------------------------------------*/

/* buf has PASSPHRASE_MAX + 1 bytes. */
static int
ask_again (const char *question, const char *buf, size_t len, struct err *err)
{
  CLEANUP_FREE char *again = malloc (PASSPHRASE_MAX + 1);
  size_t n = 0;
  int r;

  if (again == NULL)
    return err_nomem (err);
  r = ask_secret (question, again, PASSPHRASE_MAX + 1, &n, err);
  if (r == 0 && (n != len || memcmp (again, buf, len) != 0))
    r = err_set (err, -EINVAL, "these were two different passphrases");
  kdf_forget (again, PASSPHRASE_MAX + 1);
  return r;
}

static int
ask (void *opaque, char **passphrase, size_t *len, struct err *err)
{
  const struct question *question = opaque;
  CLEANUP_FREE char *buf = malloc (PASSPHRASE_MAX + 1);
  int r;

  if (buf == NULL)
    return err_nomem (err);
  if (question == &for_source && is_new)
    question = &for_new;
  r = ask_secret (question->text, buf, PASSPHRASE_MAX + 1, len, err);
  if (r == 0 && *len == 0)
    r = err_set (err, -ECANCELED, "no passphrase");
  if (r == 0 && question->again != NULL)
    r = ask_again (question->again, buf, *len, err);
  if (r < 0)
    kdf_forget (buf, PASSPHRASE_MAX + 1);
  else
    *passphrase = steal_ptr (&buf);
  return r;
}

static bool
has_terminal (void)
{
  int tty = open ("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);

  if (tty >= 0)
    close (tty);
  return tty >= 0 && isatty (STDERR_FILENO);
}

/*----------------------------------------------------------------------------*/

bool
keys_are_named (const struct key_option_values *values)
{
  return values->passphrase_fd || values->passphrase_file || values->key_file;
}

/* prefix: in front of the options' names, behind the dashes.  *out: NULL if
 * nothing is named and there is nobody to ask.
 */
static int
take (const struct key_option_values *values, const char *prefix,
      const struct question *question, struct keyring **out, struct err *err)
{
  const char *name;
  int r;

  if (!!values->passphrase_fd + !!values->passphrase_file +
      !!values->key_file > 1)
    return err_set (err, -EINVAL, "expected one of --%spassphrase-fd, "
                    "--%spassphrase-file and --%skey-file", prefix, prefix,
                    prefix);
  if (!keys_are_named (values))
    return !never_ask && has_terminal ()
      ? keyring_new_asking (ask, (void *) question, out, err) : 0;
  if (values->passphrase_fd) {
    name = "passphrase-fd";
    r = use_number (values->passphrase_fd, out, err);
  }
  else if (values->passphrase_file) {
    name = "passphrase-file";
    r = use_file (values->passphrase_file, NBI_SLOT_PASSPHRASE, out, err);
  }
  else {
    name = "key-file";
    r = use_file (values->key_file, NBI_SLOT_KEY_FILE, out, err);
  }
  return r < 0 ? err_in (err, "--%s%s", prefix, name) : 0;
}

static void
forget (void)
{
  nbi_use_keys (NULL);
  keyring_free (keyring);
  keyring_free (of_target);
  keyring = of_target = NULL;
}

int
keys_use (const struct key_option_values *values, struct err *err)
{
  int r;

  if (is_used)
    return 0;
  r = take (values, "", &for_source, &keyring, err);
  if (r < 0)
    return r;
  is_used = true;
  nbi_use_keys (keyring);
  atexit (forget);
  return 0;
}

int
keys_use_for_target (const struct key_option_values *values, bool new_one,
                     struct err *err)
{
  return take (values, "to-", new_one ? &for_new : &for_target, &of_target,
               err);
}

struct keyring *
keys_get_target (void)
{
  return of_target;
}

struct keyring *
keys_get (void)
{
  return keyring;
}

void
keys_never_ask (void)
{
  never_ask = true;
}

void
keys_are_new (void)
{
  is_new = true;
}
