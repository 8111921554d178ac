/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Packets of SFTP, version 3 (draft-ietf-secsh-filexfer-02), and of OpenSSH's
 * extensions (its file PROTOCOL, section 4): put together, and taken apart.
 * Nothing here knows of connections.
 *
 * A packet is its length (u32, of what follows), its type (u8), a number that
 * answers to it have too (u32), and what the type says.
 */

#ifndef NBDIMAGE_REPO_SFTP_PACKET_H
#define NBDIMAGE_REPO_SFTP_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

/* draft-ietf-secsh-filexfer-02, §3 */
enum sftp_type {
  SFTP_INIT = 1,
  SFTP_VERSION = 2,
  SFTP_OPEN = 3,
  SFTP_CLOSE = 4,
  SFTP_READ = 5,
  SFTP_WRITE = 6,
  SFTP_LSTAT = 7,
  SFTP_FSTAT = 8,
  SFTP_FSETSTAT = 10,
  SFTP_OPENDIR = 11,
  SFTP_READDIR = 12,
  SFTP_REMOVE = 13,
  SFTP_MKDIR = 14,
  SFTP_RMDIR = 15,
  SFTP_REALPATH = 16,
  SFTP_STAT = 17,
  SFTP_RENAME = 18,
  SFTP_STATUS = 101,
  SFTP_HANDLE = 102,
  SFTP_DATA = 103,
  SFTP_NAME = 104,
  SFTP_ATTRS = 105,
  SFTP_EXTENDED = 200,
  SFTP_EXTENDED_REPLY = 201,
};

/* §6.3 */
#define SFTP_FOR_READING 1U
#define SFTP_FOR_WRITING 2U
#define SFTP_CREATE 8U
#define SFTP_EXCLUSIVE 0x20U

/* §7 */
enum sftp_code {
  SFTP_OK = 0,
  SFTP_EOF = 1,
  SFTP_NO_SUCH_FILE = 2,
  SFTP_PERMISSION_DENIED = 3,
  SFTP_FAILURE = 4,
  SFTP_BAD_MESSAGE = 5,
  SFTP_OP_UNSUPPORTED = 8,
};

/* No packet that we ask for is longer: sftp-server has the same limit. */
#define SFTP_PACKET_MAX (256U * 1024)
#define SFTP_HEAD 9             /* bytes in front of what the type says */

/*--- putting together -------------------------------------------------------*/

/* Zeros are an empty one.  What there is no memory for makes it `failed'. */
struct sftp_packet {
  uint8_t *bytes;               /* owned */
  size_t len, size;
  bool failed;
};

void sftp_packet_begin (struct sftp_packet *p, enum sftp_type type);
void sftp_put_u32 (struct sftp_packet *p, uint32_t value);
void sftp_put_u64 (struct sftp_packet *p, uint64_t value);
void sftp_put_bytes (struct sftp_packet *p, const void *bytes, size_t len);
void sftp_put_raw (struct sftp_packet *p, const void *bytes, size_t len);
/* Room for a packet of that size, so that it need not grow. */
void sftp_packet_reserve (struct sftp_packet *p, size_t size);
void sftp_put_text (struct sftp_packet *p, const char *text);
/* Attributes: nothing but these permissions. */
void sftp_put_mode (struct sftp_packet *p, uint32_t mode);
/* It is whole: its length and number are written at its front.  -ENOMEM */
int sftp_packet_end (struct sftp_packet *p, uint32_t id, struct err *err);
void sftp_packet_free (struct sftp_packet *p);

/*--- taking apart -----------------------------------------------------------*/

/* What is left of an answer; `bad' once something was not there. */
struct sftp_reader {
  const uint8_t *p;
  size_t left;
  bool bad;
};

uint32_t sftp_get_u32 (struct sftp_reader *r);
uint64_t sftp_get_u64 (struct sftp_reader *r);
/* Points into the answer. */
const uint8_t *sftp_get_bytes (struct sftp_reader *r, size_t *len);
/* As a string with a final zero, which the caller frees; NULL: there is none,
 * or a zero is in it, or there is no memory.
 */
char *sftp_get_text (struct sftp_reader *r);

/* §5; what the server does not tell is 0. */
struct sftp_attrs {
  uint64_t size;
  uint32_t mode;                /* as st_mode */
  uint32_t mtime;               /* seconds since 1970 */
  bool has_size, has_mode, has_time;
};

void sftp_get_attrs (struct sftp_reader *r, struct sftp_attrs *out);

#endif /* NBDIMAGE_REPO_SFTP_PACKET_H */
