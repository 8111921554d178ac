/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Reading ahead of who reads a file over SFTP front to back: what a way with a
 * delay needs so that it is never idle.  Only store-sftp-read.c includes this.
 */

#ifndef NBDIMAGE_REPO_STORE_SFTP_AHEAD_H
#define NBDIMAGE_REPO_STORE_SFTP_AHEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/repo/sftp-ask.h"

struct sftp_ahead;

/* For a file of this size.  NULL: no memory; then nothing is read ahead. */
struct sftp_ahead *sftp_ahead_new (uint64_t size);

/* Nobody is in it any more.  NULL is fine. */
void sftp_ahead_free (struct sftp_ahead *a);

/* Note a read of this range, and ask for what is likely to be read next, on
 * this connection, by this handle.  Nothing is waited for.
 */
void sftp_ahead_note (struct sftp_ahead *a, struct sftp *sftp,
                      const struct sftp_handle *handle, size_t len,
                      uint64_t off);

/* Was all of the range read ahead?  Then it is in buf, once it has come; false:
 * it is not, or what came was no good, and it has to be read.
 */
bool sftp_ahead_take (struct sftp_ahead *a, void *buf, size_t len,
                      uint64_t off);

#endif /* NBDIMAGE_REPO_STORE_SFTP_AHEAD_H */
