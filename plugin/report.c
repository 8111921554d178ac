/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <limits.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "lib/base/text.h"
#include "plugin/report.h"

/* NBD has few numbers, and nbdkit sends EINVAL ("the client asked for
 * nonsense") for all that it does not know.  Of what is left, a damaged
 * image and a lost connection are EIO: the data can't be had.
 */
static int
number_for_client (int code)
{
  switch (-code) {
  case EPERM:
  case EACCES:
  case EROFS:
    return EPERM;
  case ENOSPC:
  case EDQUOT:
  case EFBIG:
    return ENOSPC;
  case EINVAL:
  case ENOMEM:
  case EOVERFLOW:
  case ESHUTDOWN:
  case ENOTSUP:
    return -code;
  default:
    return EIO;
  }
}

/* Sentences may quote what a file says, and names have any bytes, a newline
 * too, which would make two messages of one: both are cleaned.
 */
int
plugin_fail (const char *name, const struct err *err)
{
  char msg[ERR_MSG_SIZE], shown[PATH_MAX];

  text_clean (err->msg, msg, sizeof msg);
  if (name)
    nbdkit_error ("%s: %s", text_clean (name, shown, sizeof shown), msg);
  else
    nbdkit_error ("%s", msg);
  nbdkit_set_error (number_for_client (err->code));
  return -1;
}

int
plugin_fail_quietly (const char *name, const struct err *err)
{
  char msg[ERR_MSG_SIZE];

  nbdkit_debug ("%s: %s", name, text_clean (err->msg, msg, sizeof msg));
  nbdkit_set_error (number_for_client (err->code));
  return -1;
}

void
plugin_warnings (struct report *said, struct report *fresh)
{
  char line[ERR_MSG_SIZE];
  size_t before = said->lines.len;

  report_move (said, fresh);
  for (size_t i = before; i < said->lines.len; ++i)
    nbdkit_error ("warning: %s",
                  text_clean (said->lines.ptr[i], line, sizeof line));
}
