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

static struct keyring *keyring;
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
use_descriptor (int fd, enum nbi_slot_kind kind, struct err *err)
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
    r = keyring_new (&secret, &keyring, err);
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
use_file (const char *path, enum nbi_slot_kind kind, struct err *err)
{
  int fd = open (path, O_RDONLY | O_CLOEXEC | O_NOCTTY), r;

  if (fd < 0)
    return err_sys (err, "%s", path);
  look_at_permissions (fd, path);
  r = use_descriptor (fd, kind, err);
  close (fd);
  return r < 0 ? err_in (err, "%s", path) : 0;
}

static int
use_number (const char *number, struct err *err)
{
  char *end;
  long fd;
  int r;

  errno = 0;
  fd = strtol (number, &end, 10);
  if (*number < '0' || *number > '9' || *end != '\0' || errno != 0 ||
      fd > 1 << 20)
    return err_set (err, -EINVAL, "--passphrase-fd: ‘%s’ is no descriptor",
                    number);
  r = use_descriptor ((int) fd, NBI_SLOT_PASSPHRASE, err);
  /* Programs that are started have no need of it. */
  if (fd > STDERR_FILENO)
    close ((int) fd);
  return r < 0 ? err_in (err, "--passphrase-fd=%s", number) : 0;
}

/*--- From a terminal --------------------------------------------------------*/

/* buf has PASSPHRASE_MAX + 1 bytes. */
static int
ask_for_new (const char *buf, size_t len, struct err *err)
{
  CLEANUP_FREE char *again = malloc (PASSPHRASE_MAX + 1);
  size_t n = 0;
  int r;

  if (again == NULL)
    return err_nomem (err);
  r = ask_secret ("Passphrase again: ", again, PASSPHRASE_MAX + 1, &n, err);
  if (r == 0 && (n != len || memcmp (again, buf, len) != 0))
    r = err_set (err, -EINVAL, "these were two different passphrases");
  kdf_forget (again, PASSPHRASE_MAX + 1);
  return r;
}

static int
ask (void *opaque, char **passphrase, size_t *len, struct err *err)
{
  CLEANUP_FREE char *buf = malloc (PASSPHRASE_MAX + 1);
  int r;

  (void) opaque;
  if (buf == NULL)
    return err_nomem (err);
  r = ask_secret ("Passphrase: ", buf, PASSPHRASE_MAX + 1, len, err);
  if (r == 0 && *len == 0)
    r = err_set (err, -ECANCELED, "no passphrase");
  if (r == 0 && is_new)
    r = ask_for_new (buf, *len, err);
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

static int
take (const struct key_option_values *values, struct err *err)
{
  if (!!values->passphrase_fd + !!values->passphrase_file +
      !!values->key_file > 1)
    return err_set (err, -EINVAL, "expected one of --passphrase-fd, "
                    "--passphrase-file and --key-file");
  if (values->passphrase_fd)
    return use_number (values->passphrase_fd, err);
  if (values->passphrase_file)
    return use_file (values->passphrase_file, NBI_SLOT_PASSPHRASE, err) < 0
      ? err_in (err, "--passphrase-file") : 0;
  if (values->key_file)
    return use_file (values->key_file, NBI_SLOT_KEY_FILE, err) < 0
      ? err_in (err, "--key-file") : 0;
  return !never_ask && has_terminal ()
    ? keyring_new_asking (ask, NULL, &keyring, err) : 0;
}

static void
forget (void)
{
  nbi_use_keys (NULL);
  keyring_free (keyring);
  keyring = NULL;
}

int
keys_use (const struct key_option_values *values, struct err *err)
{
  int r;

  if (is_used)
    return 0;
  r = take (values, err);
  if (r < 0)
    return r;
  is_used = true;
  nbi_use_keys (keyring);
  atexit (forget);
  return 0;
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
