/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What opens backups that are encrypted: passphrase= and key-file=.  While
 * nbdkit configures, in one thread.
 */

#ifndef NBDIMAGE_PLUGIN_KEYS_H
#define NBDIMAGE_PLUGIN_KEYS_H

/* 0 or -1.  A passphrase is "-", "-FD" or "+FILE", as nbdkit_read_password has
 * it, and not the passphrase itself.
 */
int keys_set_passphrase (const char *value);
int keys_set_key_file (const char *value);

void keys_free (void);          /* no image is open any more */

#endif /* NBDIMAGE_PLUGIN_KEYS_H */
