/* SPDX-License-Identifier: GPL-2.0-or-later */

/* SFTP's way over SSH: connected, the host known, the user let in. */

#ifndef NBDIMAGE_REPO_SSH_CONNECT_H
#define NBDIMAGE_REPO_SSH_CONNECT_H

#include "lib/repo/sftp.h"
#include "lib/repo/ssh-uri.h"

/* The user's configuration for ssh is used, or the file that the environment
 * variable NBDIMAGE_SSH_CONFIG names instead; keys are those of the agent and
 * of files without a passphrase.  Ends within uri->timeout seconds, and soon
 * after *job is cancelled (both may be NULL).
 *
 * -ECANCELED; -EACCES: the host's key is not the one that is known, or no key
 * lets us in, and trying again is of no use; -ENOTSUP: built without libssh;
 * -EIO, -ETIMEDOUT: the server can't be reached, and may be later.
 */
int ssh_connect_sftp (const struct ssh_uri *uri, struct job *const *job,
                      struct sftp_way **out, struct err *err);

#endif /* NBDIMAGE_REPO_SSH_CONNECT_H */
