/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <sys/stat.h>

#include "lib/repo/ssh-uri.h"
#include "lib/repo/store-at.h"
#include "lib/repo/store-local.h"
#include "lib/repo/store-sftp.h"

bool
store_at_is_remote (const char *where)
{
  return ssh_uri_is_one (where);
}

int
store_at (const char *where, bool make, struct job *job, struct store **out,
          struct err *err)
{
  if (store_at_is_remote (where))
    return store_ssh_open (where, make, job, out, err);
  if (make && mkdir (where, 0777) < 0 && errno != EEXIST)
    return err_sys (err, "%s: making the folder", where);
  return store_local_open (where, out, err);
}
