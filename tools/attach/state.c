/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "lib/base/cleanup.h"
#include "tools/attach/device.h"
#include "tools/attach/process.h"
#include "tools/attach/state.h"

/* Bytes; a state file of ours has a few hundred. */
#define MAX_FILE_SIZE 65536

const char *
attachment_status_to_string (enum attachment_status status)
{
  switch (status) {
  case ATTACHMENT_LIVE: return "live";
  case ATTACHMENT_UNSUPERVISED: return "unsupervised";
  case ATTACHMENT_DEAD: return "dead";
  case ATTACHMENT_STALE: return "stale";
  }
  return "unknown";
}

void
attachment_free (struct attachment *a)
{
  free (a->source);
  free (a->uri);
  free (a->socket);
  free (a->backend);
  free (a->dead);
  *a = (struct attachment) ATTACHMENT_INIT;
}

void
attachment_vector_free (struct attachment_vector *list)
{
  size_t i;

  for (i = 0; i < list->len; ++i)
    attachment_free (&list->ptr[i]);
  vector_free (list);
}

/*--- As JSON ---------------------------------------------------------------*/

static json_t *
process_to_json (const struct process *process)
{
  if (process->pid == 0)
    return json_null ();
  return json_pack ("{s:I, s:I}", "pid", (json_int_t) process->pid,
                    "start", (json_int_t) process->start);
}

/* Names of files have any bytes, strings in JSON only UTF-8: other names
 * become lists of their bytes.
 */
static json_t *
text_to_json (const char *text)
{
  json_t *json = json_string (text);

  if (json != NULL || text == NULL)
    return json;
  json = json_array ();
  for (; *text != '\0'; ++text)
    json_array_append_new (json, json_integer ((unsigned char) *text));
  return json;
}

/* -EINVAL: it is neither a string nor such a list. */
static int
text_from_json (const json_t *json, char **text)
{
  size_t i, len = json_array_size (json);       /* of no array: 0 */

  if (json_is_string (json)) {
    *text = strdup (json_string_value (json));
    return *text == NULL ? -ENOMEM : 0;
  }
  if (len == 0)
    return -EINVAL;
  *text = calloc (len + 1, 1);
  if (*text == NULL)
    return -ENOMEM;
  for (i = 0; i < len; ++i) {
    json_int_t byte = json_integer_value (json_array_get (json, i));

    if (byte < 1 || byte > 255)
      return -EINVAL;
    (*text)[i] = (char) byte;
  }
  return 0;
}

char *
attachment_to_json (const struct attachment *a)
{
  char *text = NULL;
  json_t *object;

  object = json_pack ("{s:i, s:i, s:o, s:o, s:s*, s:s, s:i, s:i, s:b, s:I,"
                      " s:o, s:o, s:s*}",
                      "version", 1, "index", a->index,
                      "source", text_to_json (a->source),
                      "uri", text_to_json (a->uri), "socket", a->socket,
                      "backend", a->backend,
                      "connections", (int) a->connections,
                      "timeout", (int) a->timeout, "writable", a->writable,
                      "since", (json_int_t) a->since,
                      "supervisor", process_to_json (&a->supervisor),
                      "server", process_to_json (&a->server),
                      "dead", a->dead);
  if (object != NULL)
    text = json_dumps (object, JSON_INDENT (2));
  json_decref (object);
  return text;
}

static void
process_from_json (json_t *object, struct process *process)
{
  json_t *pid = json_object_get (object, "pid");
  json_t *start = json_object_get (object, "start");

  if (json_is_integer (pid) && json_integer_value (pid) > 0 &&
      json_integer_value (pid) <= INT32_MAX && json_is_integer (start) &&
      json_integer_value (start) > 0) {
    process->pid = (pid_t) json_integer_value (pid);
    process->start = (uint64_t) json_integer_value (start);
  }
}

static int
copy_string (char **to, const char *from)
{
  if (from == NULL)
    return 0;
  *to = strdup (from);
  return *to == NULL ? -ENOMEM : 0;
}

int
attachment_from_json (const char *text, struct attachment *out,
                      struct err *err)
{
  CLEANUP_ATTACHMENT struct attachment a = ATTACHMENT_INIT;
  const char *backend, *socket = NULL, *dead = NULL;
  json_t *supervisor = NULL, *server = NULL, *source, *uri, *object;
  json_int_t since;
  int version, connections, timeout, writable;
  json_error_t error;
  int r;

  object = json_loads (text, JSON_REJECT_DUPLICATES, &error);
  if (object == NULL)
    return err_set (err, -EINVAL, "not JSON: %s", error.text);
  if (json_unpack_ex (object, &error, 0,
                      "{s:i, s:i, s:o, s:o, s?s, s:s, s:i, s:i, s:b, s:I,"
                      " s?o, s?o, s?s}",
                      "version", &version, "index", &a.index,
                      "source", &source, "uri", &uri, "socket", &socket,
                      "backend", &backend, "connections", &connections,
                      "timeout", &timeout, "writable", &writable,
                      "since", &since, "supervisor", &supervisor,
                      "server", &server, "dead", &dead) < 0) {
    json_decref (object);
    return err_set (err, -EINVAL, "not a state file: %s", error.text);
  }
  a.connections = (unsigned) connections;
  a.timeout = (unsigned) timeout;
  a.writable = writable;
  a.since = since;
  process_from_json (supervisor, &a.supervisor);
  process_from_json (server, &a.server);
  r = text_from_json (source, &a.source);
  if (r == 0)
    r = text_from_json (uri, &a.uri);
  if (r == 0)
    r = copy_string (&a.socket, socket);
  if (r == 0)
    r = copy_string (&a.backend, backend);
  if (r == 0)
    r = copy_string (&a.dead, dead);
  json_decref (object);
  if (r == -EINVAL)
    return err_set (err, r, "not a state file: its source or URI is no text");
  if (r < 0)
    return err_nomem (err);
  if (version != 1 || a.index < -1 || a.index > (int) DEVICE_MAX_INDEX)
    return err_set (err, -EINVAL, "a state file of version %d for device %d, "
                    "not one of ours", version, a.index);
  *out = a;
  a = (struct attachment) ATTACHMENT_INIT;
  return 0;
}

/*--- Files -----------------------------------------------------------------*/

static void
setup_path (const struct attachment *a, char *path, size_t size)
{
  snprintf (path, size, STATE_FOLDER "/setup-%d.json",
            (int) a->supervisor.pid);
}

static void
state_path (const struct attachment *a, char *path, size_t size)
{
  if (a->index < 0)
    setup_path (a, path, size);
  else
    snprintf (path, size, STATE_FOLDER "/nbd%d.json", a->index);
}

void
state_log_path (const struct attachment *a, char *path, size_t size)
{
  snprintf (path, size, STATE_FOLDER "/server-%d.log",
            (int) a->supervisor.pid);
}

int
state_prepare (struct err *err)
{
  struct stat st;

  if (mkdir (STATE_FOLDER, 0700) < 0 && errno != EEXIST)
    return err_sys (err, "making " STATE_FOLDER);
  if (lstat (STATE_FOLDER, &st) < 0)
    return err_sys (err, STATE_FOLDER);
  if (!S_ISDIR (st.st_mode) || st.st_uid != geteuid () ||
      (st.st_mode & 022) != 0)
    return err_set (err, -EPERM, STATE_FOLDER " is not a folder that only "
                    "root can write to");
  return 0;
}

static int
write_whole (const char *path, const char *text, struct err *err)
{
  CLEANUP_CLOSE int fd = -1;
  size_t len = strlen (text);
  char temporary[128];

  snprintf (temporary, sizeof temporary, "%s.%d", path, (int) getpid ());
  fd = open (temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
             0600);
  if (fd < 0)
    return err_sys (err, "making %s", temporary);
  if (write (fd, text, len) != (ssize_t) len ||
      rename (temporary, path) < 0) {
    int r = err_sys (err, "writing %s", path);

    unlink (temporary);
    return r;
  }
  return 0;
}

int
state_save (const struct attachment *a, struct err *err)
{
  CLEANUP_FREE char *text = attachment_to_json (a);
  char path[64];
  int r;

  if (text == NULL)
    return err_nomem (err);
  state_path (a, path, sizeof path);
  r = write_whole (path, text, err);
  if (r == 0 && a->index >= 0) {
    setup_path (a, path, sizeof path);
    unlink (path);
  }
  return r;
}

static int
load_path (const char *path, struct attachment *a, struct err *err)
{
  CLEANUP_FREE char *text = malloc (MAX_FILE_SIZE + 1);
  CLEANUP_CLOSE int fd = -1;
  ssize_t n;
  int r;

  if (text == NULL)
    return err_nomem (err);
  fd = open (path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0)
    return err_sys (err, "%s", path);
  n = read (fd, text, MAX_FILE_SIZE);
  if (n < 0)
    return err_sys (err, "reading %s", path);
  text[n] = '\0';
  r = attachment_from_json (text, a, err);
  return r < 0 ? err_in (err, "%s", path) : 0;
}

/* The device may be connected to something else by now, which has put its
 * own file there.
 */
static bool
is_file_of (const char *path, const struct attachment *a)
{
  CLEANUP_ATTACHMENT struct attachment there = ATTACHMENT_INIT;

  return load_path (path, &there, NULL) == 0 &&
    strcmp (there.backend, a->backend) == 0;
}

void
state_remove (const struct attachment *a)
{
  char path[64];

  if (a->socket != NULL)
    unlink (a->socket);
  state_log_path (a, path, sizeof path);
  unlink (path);
  setup_path (a, path, sizeof path);
  unlink (path);
  state_path (a, path, sizeof path);
  if (a->index >= 0 && is_file_of (path, a))
    unlink (path);
}

int
state_load (unsigned index, struct attachment *a, struct err *err)
{
  char path[64];

  int r;

  snprintf (path, sizeof path, STATE_FOLDER "/nbd%u.json", index);
  r = load_path (path, a, err);
  if (r == 0 && a->index != (int) index) {
    r = err_set (err, -EINVAL, "%s speaks of /dev/nbd%d", path, a->index);
    attachment_free (a);
  }
  return r;
}

static int
by_index (const void *a, const void *b)
{
  const struct attachment *x = a, *y = b;

  return (x->index > y->index) - (x->index < y->index);
}

/* A file that can't be read or understood is passed over: it is not ours,
 * and must not keep the others from being detached.
 */
int
state_list (struct attachment_vector *list, struct err *err)
{
  DIR *dir = opendir (STATE_FOLDER);
  struct dirent *entry;
  int r = 0;

  if (dir == NULL && errno == ENOENT)
    return 0;
  if (dir == NULL)
    return err_sys (err, STATE_FOLDER);
  while (r == 0 && (entry = readdir (dir)) != NULL) {
    struct attachment a = ATTACHMENT_INIT;
    size_t len = strlen (entry->d_name);
    char path[512];

    if (len < 5 || strcmp (entry->d_name + len - 5, ".json") != 0)
      continue;
    snprintf (path, sizeof path, STATE_FOLDER "/%s", entry->d_name);
    if (load_path (path, &a, NULL) == 0 &&
        (r = vector_append (list, &a)) < 0)
      attachment_free (&a);
  }
  closedir (dir);
  if (r < 0)
    return err_nomem (err);
  if (list->len > 0)
    qsort (list->ptr, list->len, sizeof list->ptr[0], by_index);
  return 0;
}

/*--- Against the kernel ----------------------------------------------------*/

/* The kernel drops the identifier when the device is free, so that a device
 * which somebody else connected since is not taken for ours.
 */
static bool
holds_device (const struct attachment *a)
{
  char backend[128];

  if (a->index < 0)
    return false;
  device_backend ((unsigned) a->index, backend, sizeof backend);
  return strcmp (backend, a->backend) == 0;
}

enum attachment_status
attachment_status (const struct attachment *a)
{
  bool supervised = process_alive (&a->supervisor);

  if (!holds_device (a))
    return supervised ? ATTACHMENT_LIVE : ATTACHMENT_STALE;
  if (a->dead != NULL)
    return ATTACHMENT_DEAD;
  if (supervised)
    return ATTACHMENT_LIVE;
  /* A private server ends with its supervisor. */
  return a->server.pid != 0 ? ATTACHMENT_DEAD : ATTACHMENT_UNSUPERVISED;
}

void
state_reap (void)
{
  CLEANUP_ATTACHMENTS struct attachment_vector list = VECTOR_INIT;
  size_t i;

  if (state_list (&list, NULL) < 0)
    return;
  for (i = 0; i < list.len; ++i)
    if (attachment_status (&list.ptr[i]) == ATTACHMENT_STALE) {
      process_end (&list.ptr[i].server);
      state_remove (&list.ptr[i]);
    }
}
