/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A server that is connected to again when a connection broke.
 *
 * A number says which connection something was done on: what was not on stable
 * storage when the next one began may be lost, for the server may have been
 * down meanwhile (docs/NBI.md §13).
 */

#ifndef NBDIMAGE_REPO_SFTP_LINK_H
#define NBDIMAGE_REPO_SFTP_LINK_H

#include "lib/repo/sftp.h"

struct sftp_link;

/* How a way to the server is made, as ssh_connect_sftp. */
struct sftp_dialer {
  int (*dial) (void *opaque, struct job *const *job, struct sftp_way **out,
               struct err *err);
  void (*free) (void *opaque);
  void *opaque;
  unsigned timeout;             /* seconds a server may owe an answer */
  unsigned retry;               /* seconds to go on trying once one broke */
};

/* Connected, or an error.  dialer->opaque is the link's from now on, also if
 * this fails; dialer->free frees it.  job: as for sftp_link_set_job.
 */
int sftp_link_new (const struct sftp_dialer *dialer, struct job *job,
                   struct sftp_link **out, struct err *err);
struct sftp_link *sftp_link_ref (struct sftp_link *l);
void sftp_link_unref (struct sftp_link *l);     /* NULL is fine */

/* When the job is cancelled, nothing is waited for long.  NULL: none.  It stays
 * the caller's, who takes it away in time.
 */
void sftp_link_set_job (struct sftp_link *l, struct job *job);

/* The connection there is, or a new one, which is waited for; a reference of
 * the caller's.  -ECANCELED, or why there is none.
 */
int sftp_link_take (struct sftp_link *l, struct sftp **out, struct err *err);

/* fn, on a connection; and again, with `again', on the next one, as long as it
 * returns SFTP_LOST.  Never returns that: -EIO.
 */
typedef int (*sftp_link_fn) (struct sftp *s, bool again, void *opaque,
                             struct err *err);
int sftp_link_run (struct sftp_link *l, sftp_link_fn fn, void *opaque,
                   struct err *err);

/* Of the connection that was made last; it begins with 1. */
unsigned sftp_link_number (struct sftp_link *l);

#endif /* NBDIMAGE_REPO_SFTP_LINK_H */
