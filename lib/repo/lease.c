/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/repo/json.h"
#include "lib/repo/lease.h"
#include "lib/repo/nbi.h"

static const struct repo_json_limits limits = {
  .len = LEASE_SIZE_MAX,
  .structures = 65536,
  .rule = 135,
};

static const struct {
  const char *name;
  enum vault_name_kind kind;
} kinds[] = {
  { "backup", VAULT_NAME_BACKUP },
  { "prune", VAULT_NAME_PRUNE },
  { "read", VAULT_NAME_READ },
};

#define NR_KINDS (sizeof kinds / sizeof kinds[0])

static const char *
kind_to_string (enum vault_name_kind kind)
{
  for (size_t i = 0; i < NR_KINDS; ++i)
    if (kinds[i].kind == kind)
      return kinds[i].name;
  return "other";
}

/*--- Processes --------------------------------------------------------------*/

/* The id of this boot of the kernel; NULL if it can't be had. */
static char *
boot_id (void)
{
  CLEANUP_FCLOSE FILE *fp = fopen ("/proc/sys/kernel/random/boot_id", "re");
  CLEANUP_FREE char *line = NULL;
  size_t size = 0;

  if (fp == NULL || getline (&line, &size, fp) < 0)
    return NULL;
  line[strcspn (line, "\n")] = '\0';
  return steal_ptr (&line);
}

/* 0 if it can't be had. */
static uint64_t
pid_namespace (void)
{
  struct stat st;

  return stat ("/proc/self/ns/pid", &st) == 0 ? (uint64_t) st.st_ino : 0;
}

/* When a process began, in ticks since the boot: field 22 of /proc/PID/stat.
 * The second one, the program's name, may have spaces and parentheses.  0 if
 * it can't be had.  *ended: it is there only because nobody has waited for it
 * (states Z and X), and all its threads but that one are gone (field 20).
 */
static uint64_t
start_of (uint64_t pid, bool *ended)
{
  CLEANUP_FCLOSE FILE *fp = NULL;
  char path[64], text[1024], state;
  unsigned long long start;
  long threads;
  const char *p;
  size_t n;

  snprintf (path, sizeof path, "/proc/%llu/stat", (unsigned long long) pid);
  fp = fopen (path, "re");
  n = fp ? fread (text, 1, sizeof text - 1, fp) : 0;
  text[n] = '\0';
  p = strrchr (text, ')');
  *ended = false;
  if (p == NULL ||
      sscanf (p + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u"
              " %*d %*d %*d %*d %ld %*d %llu", &state, &threads, &start) != 3)
    return 0;
  *ended = (state == 'Z' || state == 'X') && threads <= 1;
  return start;
}

bool
lease_owner_has_ended (const struct lease_owner *owner)
{
  CLEANUP_FREE char *boot = boot_id ();
  uint64_t start;
  bool ended;

  if (boot == NULL || owner->boot == NULL || owner->boot[0] == '\0')
    return false;
  if (strcmp (boot, owner->boot) != 0)
    return true;
  /* In another namespace the number is another process's. */
  if (owner->pidns == 0 || owner->pidns != pid_namespace () ||
      owner->pid == 0 || owner->pid > INT32_MAX)
    return false;
  /* /proc may hide the processes of others, which kill() does not. */
  if (kill ((pid_t) owner->pid, 0) < 0)
    return errno == ESRCH;
  start = start_of (owner->pid, &ended);
  return ended ||
    (start != 0 && owner->pid_start != 0 && start != owner->pid_start);
}

static int
init_owner (bool local, struct lease_owner *owner, struct err *err)
{
  char host[256] = "";
  bool ended;

  gethostname (host, sizeof host - 1);
  /* Others must be able to read what we write. */
  if (!text_is_clean (host))
    host[0] = '\0';
  owner->host = strdup (host);
  owner->boot = local ? boot_id () : NULL;
  if (owner->boot == NULL)
    owner->boot = strdup ("");
  if (owner->host == NULL || owner->boot == NULL)
    return err_nomem (err);
  if (local) {
    owner->pid = (uint64_t) getpid ();
    owner->pidns = pid_namespace ();
    owner->pid_start = start_of (owner->pid, &ended);
  }
  return 0;
}

/*--- A lease ----------------------------------------------------------------*/

int
lease_init (struct store *store, enum vault_name_kind kind,
            const uint8_t uuid[UUID_SIZE], const char *name,
            struct lease *lease, struct err *err)
{
  int r;

  *lease = (struct lease) { .kind = kind, .ttl = LEASE_TTL };
  memcpy (lease->uuid, uuid, UUID_SIZE);
  lease->name = strdup (name ? name : "");
  r = lease->name ? init_owner (store_is_local (store), &lease->owner, err)
                  : err_nomem (err);
  if (r < 0)
    lease_destroy (lease);
  return r;
}

int
lease_add (struct lease *lease, const uint8_t generation[UUID_SIZE],
           struct err *err)
{
  struct lease_generation g;

  memcpy (g.uuid, generation, UUID_SIZE);
  if (vector_append (&lease->generations, &g) < 0)
    return err_nomem (err);
  return 0;
}

bool
lease_names (const struct lease *lease, const uint8_t generation[UUID_SIZE])
{
  for (size_t i = 0; i < lease->generations.len; ++i)
    if (memcmp (lease->generations.ptr[i].uuid, generation, UUID_SIZE) == 0)
      return true;
  return false;
}

void
lease_destroy (struct lease *lease)
{
  free (lease->name);
  free (lease->owner.host);
  free (lease->owner.boot);
  vector_free (&lease->generations);
  *lease = (struct lease) LEASE_INIT;
}

/*--- Writing ----------------------------------------------------------------*/

/* jansson remembers nothing of failures: whatever is NULL fails the next. */
static json_t *
uuid_to_json (const uint8_t uuid[UUID_SIZE])
{
  char text[UUID_STRING_SIZE];

  uuid_to_string (uuid, text);
  return json_string (text);
}

static json_t *
generations_to_json (const struct lease *lease)
{
  json_t *array = json_array ();

  for (size_t i = 0; array && i < lease->generations.len; ++i)
    if (json_array_append_new (array, uuid_to_json (
                                        lease->generations.ptr[i].uuid)) < 0) {
      json_decref (array);
      array = NULL;
    }
  return array;
}

int
lease_encode (const struct lease *lease, char **json, size_t *len,
              struct err *err)
{
  json_t *object =
    json_pack ("{s:i, s:s, s:o, s:s, s:o, s:s, s:s, s:I, s:I, s:I, s:i}",
               "nbi-lease", 1, "kind", kind_to_string (lease->kind),
               "uuid", uuid_to_json (lease->uuid), "name", lease->name,
               "generations", generations_to_json (lease),
               "host", lease->owner.host, "boot", lease->owner.boot,
               "pid", (json_int_t) lease->owner.pid,
               "pidns", (json_int_t) lease->owner.pidns,
               "pid_start", (json_int_t) lease->owner.pid_start,
               "ttl", (int) lease->ttl);
  CLEANUP_FREE char *text =
    object ? json_dumps (object, JSON_INDENT (2) | JSON_PRESERVE_ORDER) : NULL;
  struct lease again;
  int r;

  json_decref (object);
  if (text == NULL)
    return err_nomem (err);
  /* What others could not read would stop every prune for a day. */
  r = lease_decode (text, strlen (text), lease->kind, lease->uuid, &again,
                    err);
  if (r < 0)
    return r == -EBADMSG ? err_code (err, -EINVAL) : r;
  lease_destroy (&again);
  *len = strlen (text);
  *json = steal_ptr (&text);
  return 0;
}

/*--- Reading ----------------------------------------------------------------*/

static int
refuse (struct err *err, const char *member)
{
  return nbi_refuse (err, 134, "a lease whose ‘%s’ is missing or not what it "
                     "should be", member);
}

static int
read_text (const json_t *object, const char *key, bool needed, char **out,
           struct err *err)
{
  const json_t *value = json_object_get (object, key);
  const char *text = json_string_value (value);

  if (text == NULL && (value != NULL || needed))
    return refuse (err, key);
  *out = strdup (text ? text : "");
  return *out ? 0 : err_nomem (err);
}

static int
read_number (const json_t *object, const char *key, uint64_t *n,
             struct err *err)
{
  const json_t *value = json_object_get (object, key);

  *n = 0;
  return value == NULL || repo_json_number (value, n) ? 0 : refuse (err, key);
}

static int
read_generations (const json_t *object, struct lease *lease, struct err *err)
{
  const json_t *array = json_object_get (object, "generations");
  size_t n = json_array_size (array);

  if (!json_is_array (array))
    return refuse (err, "generations");
  for (size_t i = 0; i < n; ++i) {
    uint8_t uuid[UUID_SIZE];
    int r;

    if (!repo_json_uuid (json_array_get (array, i), uuid))
      return refuse (err, "generations");
    r = lease_add (lease, uuid, err);
    if (r < 0)
      return r;
  }
  return 0;
}

/* Which lease it is.  A prune relies on what others' leases name, so what is
 * not in the folder that it says is not believed.
 */
static int
read_head (const json_t *object, enum vault_name_kind kind,
           const uint8_t uuid[UUID_SIZE], struct lease *lease, struct err *err)
{
  const char *text = json_string_value (json_object_get (object, "kind"));
  uint64_t n;

  if (!repo_json_number (json_object_get (object, "nbi-lease"), &n) || n != 1)
    return refuse (err, "nbi-lease");
  if (text == NULL || strcmp (text, kind_to_string (kind)) != 0)
    return refuse (err, "kind");
  if (!repo_json_uuid (json_object_get (object, "uuid"), lease->uuid) ||
      memcmp (lease->uuid, uuid, UUID_SIZE) != 0)
    return refuse (err, "uuid");
  if (!repo_json_number (json_object_get (object, "ttl"), &n) ||
      n < LEASE_TTL_MIN || n > LEASE_TTL_MAX)
    return refuse (err, "ttl");
  lease->kind = kind;
  lease->ttl = (unsigned) n;
  return 0;
}

/* What tells about the process may be left out. */
static int
read_owner (const json_t *object, struct lease_owner *owner, struct err *err)
{
  int r = read_text (object, "host", false, &owner->host, err);

  if (r == 0)
    r = read_text (object, "boot", false, &owner->boot, err);
  if (r == 0)
    r = read_number (object, "pid", &owner->pid, err);
  if (r == 0)
    r = read_number (object, "pidns", &owner->pidns, err);
  if (r == 0)
    r = read_number (object, "pid_start", &owner->pid_start, err);
  return r;
}

int
lease_decode (const char *json, size_t len, enum vault_name_kind kind,
              const uint8_t uuid[UUID_SIZE], struct lease *out,
              struct err *err)
{
  struct lease lease = LEASE_INIT;
  json_t *object;
  int r = repo_json_parse (json, len, &limits, &object, err);

  if (r < 0)
    return r;
  r = read_head (object, kind, uuid, &lease, err);
  if (r == 0)
    r = read_text (object, "name", kind == VAULT_NAME_BACKUP, &lease.name,
                   err);
  if (r == 0)
    r = read_generations (object, &lease, err);
  if (r == 0)
    r = read_owner (object, &lease.owner, err);
  json_decref (object);
  if (r < 0)
    lease_destroy (&lease);
  else
    *out = lease;
  return r;
}
