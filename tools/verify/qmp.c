/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <jansson.h>

#include "lib/base/cleanup.h"
#include "tools/verify/qmp.h"

#define ANSWER_SECONDS 20

struct qmp {
  FILE *fp;                     /* for reading; writing goes to its socket */
};

/* What QEMU says on its own account is passed over. */
static int
read_answer (struct qmp *qmp, struct err *err)
{
  CLEANUP_FREE char *line = NULL;
  size_t cap = 0;

  for (;;) {
    json_t *answer, *error;
    int r = 1;

    errno = 0;
    if (getline (&line, &cap, qmp->fp) < 0)
      return errno == EAGAIN
        ? err_set (err, -ETIMEDOUT, "QEMU does not answer")
        : err_set (err, -EPIPE, "QEMU hung up");
    answer = json_loads (line, 0, NULL);
    error = json_object_get (answer, "error");
    if (error != NULL)
      r = err_set (err, -EIO, "QEMU: %s", json_string_value (
                     json_object_get (error, "desc")));
    else if (json_object_get (answer, "return") != NULL ||
             json_object_get (answer, "QMP") != NULL)
      r = 0;
    json_decref (answer);
    if (r <= 0)
      return r;
  }
}

/* Takes the reference to the command. */
static int
ask (struct qmp *qmp, json_t *command, struct err *err)
{
  CLEANUP_FREE char *text = command ? json_dumps (command, JSON_COMPACT)
    : NULL;
  ssize_t n;

  json_decref (command);
  if (text == NULL)
    return err_nomem (err);
  /* Less than a socket's buffer has room for: it is written at once. */
  n = send (fileno (qmp->fp), text, strlen (text), MSG_NOSIGNAL);
  if (n != (ssize_t) strlen (text))
    return err_set (err, -EPIPE, "QEMU hung up");
  return read_answer (qmp, err);
}

static int
connect_to (const char *path, int *out, struct err *err)
{
  const struct timeval time = { .tv_sec = ANSWER_SECONDS };
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  CLEANUP_CLOSE int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

  if (fd < 0)
    return err_sys (err, "socket");
  if (strlen (path) >= sizeof address.sun_path)
    return err_set (err, -ENAMETOOLONG, "%s is too long for a socket", path);
  strcpy (address.sun_path, path);
  if (setsockopt (fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time) < 0 ||
      connect (fd, (const struct sockaddr *) &address, sizeof address) < 0)
    return err_sys (err, "%s", path);
  *out = steal_fd (&fd);
  return 0;
}

int
qmp_open (const char *path, struct qmp **out, struct err *err)
{
  struct qmp *qmp = calloc (1, sizeof *qmp);
  int fd = -1, r = qmp ? connect_to (path, &fd, err) : err_nomem (err);

  if (r == 0) {
    qmp->fp = fdopen (fd, "r");
    if (qmp->fp == NULL) {
      close (fd);
      r = err_nomem (err);
    }
  }
  if (r == 0)                   /* its greeting */
    r = read_answer (qmp, err);
  if (r == 0)
    r = ask (qmp, json_pack ("{s:s}", "execute", "qmp_capabilities"), err);
  if (r < 0)
    qmp_close (qmp);
  else
    *out = qmp;
  return r;
}

void
qmp_close (struct qmp *qmp)
{
  if (qmp == NULL)
    return;
  if (qmp->fp != NULL)
    fclose (qmp->fp);
  free (qmp);
}

int
qmp_screen (struct qmp *qmp, const char *file, bool png, struct err *err)
{
  return ask (qmp, json_pack ("{s:s,s:{s:s,s:s}}", "execute", "screendump",
                              "arguments", "filename", file,
                              "format", png ? "png" : "ppm"), err);
}
