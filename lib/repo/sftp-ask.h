/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Single requests of SFTP, each with its answer waited for.  Errors as
 * sftp_status has them, SFTP_LOST, -EPROTO, -ENOMEM.  From many threads.
 */

#ifndef NBDIMAGE_REPO_SFTP_ASK_H
#define NBDIMAGE_REPO_SFTP_ASK_H

#include "lib/repo/sftp.h"

/* What the server calls an open file; §3 has at most 256 bytes. */
struct sftp_handle {
  uint8_t bytes[256];
  size_t len;                   /* 0: none */
};

/* Requests that name a path, or two, or a handle, and are only told whether it
 * was done.
 */
int sftp_ask_path (struct sftp *s, enum sftp_type type, const char *path,
                   struct err *err);
int sftp_ask_rename (struct sftp *s, const char *from, const char *to,
                     struct err *err);
int sftp_ask_mkdir (struct sftp *s, const char *path, uint32_t mode,
                    struct err *err);
int sftp_ask_close (struct sftp *s, const struct sftp_handle *handle,
                    struct err *err);

/* The same, without waiting: for what has nothing more to say. */
void sftp_tell_close (struct sftp *s, const struct sftp_handle *handle);

int sftp_ask_truncate (struct sftp *s, const struct sftp_handle *handle,
                       uint64_t size, struct err *err);

/* OpenSSH's PROTOCOL, 4.6; -ENOTSUP without it. */
void sftp_put_fsync (struct sftp_packet *packet,
                     const struct sftp_handle *handle);
int sftp_ask_fsync (struct sftp *s, const struct sftp_handle *handle,
                    struct err *err);

/* flags: SFTP_FOR_READING, ...; mode for SFTP_CREATE. */
int sftp_ask_open (struct sftp *s, const char *path, uint32_t flags,
                   uint32_t mode, struct sftp_handle *out, struct err *err);

/* Of a call that was answered: the handle that it asked for. */
int sftp_handle_of (const struct sftp_call *call, struct sftp_handle *out,
                    struct err *err);

/* Not more than max_write bytes. */
int sftp_ask_write (struct sftp *s, const struct sftp_handle *handle,
                    const void *buf, size_t len, uint64_t off,
                    struct err *err);

/* SFTP_STAT follows a link, SFTP_LSTAT does not. */
int sftp_ask_stat (struct sftp *s, enum sftp_type type, const char *path,
                   struct sftp_attrs *out, struct err *err);
int sftp_ask_fstat (struct sftp *s, const struct sftp_handle *handle,
                    struct sftp_attrs *out, struct err *err);

/* Bytes that may still be written by who is not root (PROTOCOL, 4.4);
 * -ENOTSUP without the extension.
 */
int sftp_ask_space (struct sftp *s, const char *path, uint64_t *bytes,
                    struct err *err);

#endif /* NBDIMAGE_REPO_SFTP_ASK_H */
