/* SPDX-License-Identifier: GPL-2.0-or-later */

/* One connection to an SFTP server, for many threads: each sends what it likes,
 * as much as it likes, before it waits for an answer.  One thread of the
 * connection does all that is read and written; no lock is held meanwhile.
 *
 *   struct sftp_call call = SFTP_CALL_INIT;
 *
 *   sftp_packet_begin (&call.packet, SFTP_MKDIR);
 *   sftp_put_text (&call.packet, path); ...
 *   r = sftp_send (sftp, &call, err);
 *   if (r == 0)
 *     r = sftp_wait (sftp, &call, err);
 *   if (r == 0)
 *     r = sftp_status (&call, err);
 *   sftp_call_free (&call);
 *
 * A connection ends once, for all: when the server ends it, sends nonsense, or
 * owes an answer and says nothing for too long.  All that was not answered by
 * then, and all that comes later, fails with SFTP_LOST.
 */

#ifndef NBDIMAGE_REPO_SFTP_H
#define NBDIMAGE_REPO_SFTP_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/job.h"
#include "lib/repo/sftp-packet.h"

/* What bytes go through.  All of it by one thread at a time; nothing waits. */
struct sftp_way;
struct sftp_way_ops {
  /* Bytes; 0: none now; negative: it is at its end. */
  ssize_t (*read) (struct sftp_way *way, void *buf, size_t len,
                   struct err *err);
  ssize_t (*write) (struct sftp_way *way, const void *buf, size_t len,
                    struct err *err);
  /* What to wait for, when read, and, if there is more to say, write did
   * nothing.
   */
  void (*poll) (struct sftp_way *way, bool more, struct pollfd *out);
  /* After a fork the connection is somebody else's: nothing is said then. */
  void (*close) (struct sftp_way *way, bool forked);
};
struct sftp_way {
  const struct sftp_way_ops *ops;
};

/* The connection ended: whether what was asked for is done is not known. */
#define SFTP_LOST (-ENOTCONN)

struct sftp;

struct sftp_call {
  struct sftp_packet packet;    /* put together by the caller */
  void *into;                   /* for SFTP_READ: where the bytes go, */
  size_t into_size;             /* and how many; the caller's */
  size_t into_len;              /* that came */
  bool told;                    /* nobody waits; it is of malloc, and, once
                                   it was sent, freed with its answer */

  /* The answer, once sftp_wait returned 0. */
  uint8_t type;                 /* SFTP_DATA has no body if it went `into' */
  uint8_t *body;                /* owned */
  size_t body_len;

  /* Of sftp.c */
  struct sftp_call *next;
  uint32_t id;
  size_t sent;
  enum { SFTP_CALL_IDLE, SFTP_CALL_WAITS, SFTP_CALL_ANSWERED,
         SFTP_CALL_LOST } state;
};

#define SFTP_CALL_INIT { .state = SFTP_CALL_IDLE }

/* What is known of the server. */
struct sftp_server {
  bool has_fsync;               /* fsync@openssh.com, version 1 */
  bool has_statvfs;             /* statvfs@openssh.com, version 2 */
  bool has_limits;              /* limits@openssh.com, version 1 */
  uint32_t max_read, max_write; /* bytes of data in one request */
};

/* Say hello on a way that is open, which is the connection's from then on, and
 * closed if this fails.  silence: milliseconds without a byte of an answer
 * that is owed.  job, *job: when that is cancelled, a server that is silent
 * for a second is given up; may be NULL, may change.
 */
int sftp_new (struct sftp_way *way, unsigned silence, struct job *const *job,
              struct sftp **out, struct err *err);

struct sftp *sftp_ref (struct sftp *s);
void sftp_unref (struct sftp *s);       /* NULL is fine */

/* Has it ended, or was the process forked since it began? */
bool sftp_is_lost (struct sftp *s);

/* End it; why is for the messages of what fails by that. */
void sftp_break (struct sftp *s, const char *why);

const struct sftp_server *sftp_server (const struct sftp *s);

/* A number that whoever made the connection wants to remember. */
void sftp_set_number (struct sftp *s, unsigned number);
unsigned sftp_number (const struct sftp *s);

/* The call is on its way, and the connection's until sftp_wait.  SFTP_LOST,
 * -ENOMEM: it is not, and is not to be waited for.
 */
int sftp_send (struct sftp *s, struct sftp_call *call, struct err *err);

/* 0: it has its answer.  SFTP_LOST */
int sftp_wait (struct sftp *s, struct sftp_call *call, struct err *err);

/* Has it its answer, or will it never have one?  Without waiting. */
bool sftp_is_done (struct sftp *s, const struct sftp_call *call);

/* Both. */
int sftp_ask (struct sftp *s, struct sftp_call *call, struct err *err);

/* May be used again. */
void sftp_call_free (struct sftp_call *call);

#define CLEANUP_SFTP_CALL __attribute__ ((__cleanup__ (sftp_call_free)))

/* Of an answer that is SFTP_STATUS: 0, or -ENOENT, -EACCES, -ENOTSUP, -ENODATA
 * (SFTP_EOF), -EINVAL, or SFTP_FAILED, which servers say of all else; with
 * what the server says.  -EPROTO: it is another one.
 */
#define SFTP_FAILED (-EREMOTEIO)
int sftp_status (const struct sftp_call *call, struct err *err);

/* 0: the answer has this type, and *body is what is in it; else as
 * sftp_status.
 */
int sftp_answer (const struct sftp_call *call, enum sftp_type type,
                 struct sftp_reader *body, struct err *err);

/* -EPROTO: there was not in an answer what belongs there. */
int sftp_check (const struct sftp_reader *body, struct err *err);

#endif /* NBDIMAGE_REPO_SFTP_H */
