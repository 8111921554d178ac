/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A folder of another machine as a store, over SFTP. */

#ifndef NBDIMAGE_REPO_STORE_SFTP_H
#define NBDIMAGE_REPO_STORE_SFTP_H

#include "lib/repo/sftp-link.h"
#include "lib/repo/store.h"

/* uri is ssh://[USER@]HOST[:PORT]/PATH (ssh-uri.h).  The folder is followed as
 * usual; no link is below it.  make: it is made where it is not there, in a
 * folder that is.  job: as for store_set_job, from the beginning; NULL: none.
 * Errors: those of ssh_uri_parse and ssh_connect_sftp;
 * -ENOENT: there is no such folder.
 */
int store_ssh_open (const char *uri, bool make, struct job *job,
                    struct store **out, struct err *err);

/* The same over any way.  The dialer's opaque is the store's from now on, also
 * if this fails.
 */
int store_sftp_open (const struct sftp_dialer *dialer, const char *name,
                     const char *path, bool make, unsigned lag,
                     struct job *job, struct store **out, struct err *err);

#endif /* NBDIMAGE_REPO_STORE_SFTP_H */
