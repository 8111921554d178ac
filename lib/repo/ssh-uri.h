/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Where a vault on another machine is:
 *
 *   ssh://[USER@]HOST[:PORT]/PATH[?lag=S&timeout=S&retry=S]
 *
 * as RFC 3986 has it, with %XX.  /PATH is absolute, but /~/PATH in the user's
 * home folder.
 */

#ifndef NBDIMAGE_REPO_SSH_URI_H
#define NBDIMAGE_REPO_SSH_URI_H

#include <stdbool.h>

#include "lib/base/err.h"
#include "lib/repo/store.h"

#define SSH_TIMEOUT 60          /* seconds a server may owe an answer */
#define SSH_RETRY 600           /* seconds to try to connect again */

struct ssh_uri {
  char *user;                   /* owned, like those below; NULL: as ssh has
                                   it */
  char *host;
  char *path;                   /* of the folder, with no slash at its end but
                                   for "/"; "." is the home folder */
  unsigned port;                /* 0: as ssh has it */
  unsigned lag, timeout, retry; /* seconds */
};

#define SSH_URI_INIT { NULL, NULL, NULL, 0, STORE_LAG_UNKNOWN, SSH_TIMEOUT, \
    SSH_RETRY }

/* Does it begin with "ssh://"? */
bool ssh_uri_is_one (const char *text);

/* -EINVAL: what is wrong with it; a password is, for everybody on the machine
 * could read it.
 */
int ssh_uri_parse (const char *text, struct ssh_uri *out, struct err *err);

void ssh_uri_free (struct ssh_uri *uri);

#endif /* NBDIMAGE_REPO_SSH_URI_H */
