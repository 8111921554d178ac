/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nbdkit-plugin.h>

#include "lib/base/kdf.h"
#include "lib/repo/image-nbi.h"
#include "lib/repo/keyring.h"
#include "plugin/keys.h"
#include "plugin/report.h"

static struct keyring *keys;

static int
use (const char *key, const struct crypt_secret *secret)
{
  struct err err = ERR_INIT;

  if (keys != NULL)
    return plugin_error ("%s=: there is a passphrase or key file already", key);
  if (keyring_new (secret, &keys, &err) < 0)
    return plugin_fail (key, &err);
  nbi_use_keys (keys);
  return 0;
}

int
keys_set_passphrase (const char *value)
{
  struct crypt_secret secret = { .kind = NBI_SLOT_PASSPHRASE };
  char *text;
  int r;

  if (value[0] != '-' && value[0] != '+')
    return plugin_error ("passphrase=: expected -, -FD or +FILE; what is on "
                         "the command line is seen by everybody");
  if (nbdkit_read_password (value, &text) < 0)
    return -1;
  secret.buf = text;
  secret.len = strlen (text);
  r = secret.len > 0 ? use ("passphrase", &secret)
    : plugin_error ("passphrase=: there is none in it");
  kdf_forget (text, strlen (text));
  free (text);
  return r;
}

/* How many bytes, or -1 and errno. */
static ssize_t
read_file (const char *path, uint8_t *buf, size_t max)
{
  int fd = open (path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
  ssize_t len = 0, n = 1;

  if (fd < 0)
    return -1;
  while (n > 0 && (size_t) len < max) {
    n = read (fd, buf + len, max - (size_t) len);
    if (n < 0 && errno == EINTR)
      n = 1;
    else if (n > 0)
      len += n;
  }
  close (fd);
  return n < 0 ? -1 : len;
}

int
keys_set_key_file (const char *value)
{
  uint8_t buf[CRYPT_KEY_FILE_MAX + 1];
  ssize_t len = read_file (value, buf, sizeof buf);
  const struct crypt_secret secret = {
    NBI_SLOT_KEY_FILE, buf, len > 0 ? (size_t) len : 0,
  };
  int r;

  if (len < 0)
    return plugin_error ("key-file=%s: %s", value, strerror (errno));
  if (len < CRYPT_KEY_FILE_MIN || len > CRYPT_KEY_FILE_MAX)
    r = plugin_error ("key-file=%s: a key file has %d to %d bytes", value,
                      CRYPT_KEY_FILE_MIN, CRYPT_KEY_FILE_MAX);
  else
    r = use ("key-file", &secret);
  kdf_forget (buf, sizeof buf);
  return r;
}

void
keys_free (void)
{
  nbi_use_keys (NULL);
  keyring_free (keys);
  keys = NULL;
}
