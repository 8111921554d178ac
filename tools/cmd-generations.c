/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdimage generations: what is in a vault. */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "lib/repo/absent.h"
#include "lib/repo/keep.h"
#include "lib/repo/manifest.h"
#include "lib/repo/store-at.h"
#include "lib/repo/vault-keys.h"
#include "lib/repo/vault-read.h"
#include "tools/commands.h"
#include "tools/keys.h"
#include "tools/output.h"
#include "tools/report.h"
#include "tools/vault-operand.h"

#define CHUNKS_LIMIT ((size_t) 64 * 1024)       /* none is read */

struct generations {
  bool json;
  struct key_option_values keys;
  const char *release;          /* beginning of a keep's id */

  const char *max_age;
  uint64_t max_seconds;         /* 0: as old as it likes */
  const char *path, *disk;      /* disk: NULL, all of them */
  struct generation_caches caches;
  struct store *store;
  struct vault *vault;
  struct vault_view *view;
  json_t *list;                 /* what --json prints */
  json_t *newest;               /* of each disk: its time */
  bool damaged;                 /* one of them is */
  bool any;                     /* one was listed */
};

static const struct option_spec generations_options[] = {
  { "max-age", 0, OPTION_STRING, "AGE",
    "fail if the newest generation of a disk is older: 36h, 2d, 1w",
    offsetof (struct generations, max_age) },
  { "json", 0, OPTION_FLAG, NULL,
    "print a list as JSON", offsetof (struct generations, json) },
  KEY_OPTIONS (struct generations, keys),
  { "release", 0, OPTION_STRING, "KEEP",
    "take a keep away: prune may drop its generation",
    offsetof (struct generations, release) },
  OPTION_END
};

/* All that is in the vault of one run. */
struct entry {
  const struct vault_run *run;
  const struct nbi_header *h;
  struct manifest m;
  struct absent_vector absent;  /* of m */
  struct vault_folder names;    /* for its keeps, and whether it is dropped */
};

static uint64_t
data_of (const struct entry *e, uint64_t chunks)
{
  uint64_t bytes = chunks * e->h->chunk_size;

  return bytes < e->h->disk_size ? bytes : e->h->disk_size;
}

/* The numbers of the partitions that were left out. */
static json_t *
json_of_absent (const struct entry *e)
{
  json_t *list = json_array ();

  for (size_t i = 0; i < e->absent.len; ++i)
    json_array_append_new (list, json_integer (
      (json_int_t) e->absent.ptr[i].number));
  return list;
}

/* One keep of a generation; NULL: it can't be read, or is gone. */
static json_t *
keep_to_json (struct vault *vault, const struct vault_run *run,
              const struct vault_keep *of)
{
  struct keep keep = KEEP_INIT;
  char id[UUID_STRING_SIZE];
  bool known = keep_read (vault, run->folder, of->uuid, &keep, NULL) == 0;
  json_t *object;

  uuid_to_string (of->uuid, id);
  object = json_pack ("{s:s,s:o,s:o,s:o,s:b}",
    "id", id,
    "host", output_json_text (known ? keep.host : NULL),
    "overlay", output_json_text (known ? keep.path : NULL),
    "time", known ? output_json_time ((int64_t) keep.created) : json_null (),
    "in-vain", known && keep_is_vain (&keep));
  keep_destroy (&keep);
  return object;
}

static json_t *
keeps_to_json (const struct generations *g, const struct entry *e)
{
  json_t *list = json_array ();

  for (size_t i = 0; list != NULL && i < e->names.keeps.len; ++i)
    json_array_append_new (list, keep_to_json (g->vault, e->run,
                                               &e->names.keeps.ptr[i]));
  return list;
}

static void
print_keeps (const struct generations *g, const struct entry *e)
{
  for (size_t i = 0; i < e->names.keeps.len; ++i) {
    const struct vault_keep *of = &e->names.keeps.ptr[i];
    char id[UUID_STRING_SIZE], text[KEEP_STRING_SIZE];
    struct keep keep = KEEP_INIT;
    bool known = keep_read (g->vault, e->run->folder, of->uuid, &keep,
                            NULL) == 0;

    uuid_to_string (of->uuid, id);
    printf ("    kept for ");
    output_text (keep_to_string (known ? &keep : NULL, text));
    printf (" (%.8s)\n", id);
    keep_destroy (&keep);
  }
  if (e->names.dropped)
    printf ("    dropped, and there as long as it is kept\n");
}

static int
add_json (struct generations *g, const struct entry *e, struct err *err)
{
  char id[UUID_STRING_SIZE], time[VAULT_TIME_SIZE];
  json_t *object;

  uuid_to_string (e->h->run, id);
  vault_time_to_string (e->h->time, time);
  object = json_pack ("{s:o,s:s,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:b}",
    "disk", output_json_text (e->h->name),
    "generation", time,
    "id", id,
    "time", output_json_time ((int64_t) e->h->time),
    "size", json_integer ((json_int_t) e->h->disk_size),
    "data", json_integer ((json_int_t) data_of (e, e->m.counts.data)),
    "new", json_integer ((json_int_t) data_of (e, e->m.counts.fresh)),
    "stored", json_integer ((json_int_t) e->m.counts.stored),
    "unreadable", json_integer ((json_int_t) e->m.counts.unreadable_bytes),
    "absent", json_of_absent (e),
    "keeps", keeps_to_json (g, e),
    "dropped", e->names.dropped);
  return object == NULL || json_array_append_new (g->list, object) < 0
    ? err_nomem (err) : 0;
}

static void
print (const struct entry *e)
{
  char time[VAULT_TIME_SIZE], size[SIZE_STRING_SIZE], data[SIZE_STRING_SIZE];
  char fresh[SIZE_STRING_SIZE], stored[SIZE_STRING_SIZE];
  CLEANUP_FREE char *absent = e->absent.len > 0 ? absent_to_text (&e->absent)
    : NULL;

  vault_time_to_string (e->h->time, time);
  printf ("%s  %10s  %10s  %10s  %10s  ", time,
          size_to_string (e->h->disk_size, size),
          size_to_string (data_of (e, e->m.counts.data), data),
          size_to_string (data_of (e, e->m.counts.fresh), fresh),
          size_to_string (e->m.counts.stored, stored));
  output_text (e->h->name);
  if (e->m.counts.unreadable_bytes > 0)
    printf ("  (%" PRIu64 " bytes could not be read)",
            e->m.counts.unreadable_bytes);
  if (absent != NULL)
    printf ("  (without %s)", absent);
  putchar ('\n');
}

static int
show (struct generations *g, const struct vault_run *run,
      const struct vault_opened *opened, struct err *err)
{
  char path[STORE_PATH_SIZE];
  struct entry e = { .run = run, .h = generation_header (opened->gen) };
  size_t len;
  const char *json = generation_manifest (opened->gen, &len);
  bool dropped;
  int r;

  if (g->disk != NULL && strcmp (g->disk, e.h->name) != 0)
    return 0;
  g->any = true;
  r = manifest_read (json, len, e.h, &e.m, err);
  if (r < 0)
    return err_in (err, "%s: manifest", run->folder);
  r = absent_list (&e.m, &e.absent, err);
  snprintf (path, sizeof path, "files/%s", run->folder);
  if (r == 0)
    r = vault_look_in (g->vault, path, 0, &e.names, err);
  if (r == 0 && g->json)
    r = add_json (g, &e, err);
  else if (r == 0) {
    print (&e);
    print_keeps (g, &e);
  }
  dropped = e.names.dropped;
  vector_free (&e.absent);
  vault_folder_free (&e.names);
  manifest_destroy (&e.m);
  if (r == 0 && !dropped && json_object_set_new (g->newest, e.h->name,
                                     json_integer ((json_int_t) e.h->time)) < 0)
    r = err_nomem (err);
  return r;
}

/*--- Too old? ---------------------------------------------------------------*/

static void
parse_age (struct generations *g)
{
  static const struct { char unit; unsigned seconds; } units[] = {
    { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 604800 },
  };
  const char *text = g->max_age;
  unsigned long n;
  char *end;

  if (text == NULL)
    return;
  errno = 0;
  n = strtoul (text, &end, 10);
  for (size_t i = 0; i < sizeof units / sizeof units[0]; ++i)
    if (*text >= '0' && *text <= '9' && errno == 0 && n > 0 && n < 1000000 &&
        end[0] == units[i].unit && end[1] == '\0')
      g->max_seconds = (uint64_t) n * units[i].seconds;
  if (g->max_seconds == 0)
    command_usage_error (&command_generations, "--max-age: ‘%s’ is no age; "
                         "expected 36h, 2d or 1w", text);
}

/* After a clock was ahead, all that comes later would be older for long. */
static int
check_age (const struct generations *g, const char *name, uint64_t t,
           uint64_t now)
{
  char text[VAULT_TIME_SIZE];

  vault_time_to_string (t, text);
  if (t > now + VAULT_AHEAD)
    tool_error ("%s: the newest generation of ‘%s’ is %s, more than a day "
                "later than it is now: nobody knows how old it is", g->path,
                name, text);
  else if (t + g->max_seconds < now)
    tool_error ("%s: the newest generation of ‘%s’ is %s, older than %s",
                g->path, name, text, g->max_age);
  else
    return STATUS_DONE;
  return STATUS_FAILED;
}

/* Of each disk that was listed; and where nothing was, that is too old. */
static int
check_ages (const struct generations *g)
{
  uint64_t now = (uint64_t) time (NULL);
  int status = STATUS_DONE;
  const char *name;
  json_t *time_of;

  if (g->max_seconds == 0)
    return STATUS_DONE;
  if (json_object_size (g->newest) == 0) {
    tool_error ("%s: there is no generation", g->path);
    return STATUS_FAILED;
  }
  json_object_foreach (g->newest, name, time_of)
    if (check_age (g, name, (uint64_t) json_integer_value (time_of), now) !=
        STATUS_DONE)
      status = STATUS_FAILED;
  return status;
}

/* Who only reads the vault can't ask for its time: ours has to do. */
static void
warn_ahead (struct generations *g, struct report *report)
{
  const char *name;
  json_t *time_of;
  uint64_t now = (uint64_t) time (NULL);

  json_object_foreach (g->newest, name, time_of) {
    uint64_t t = (uint64_t) json_integer_value (time_of);

    if (t > now + VAULT_AHEAD)
      vault_warn_ahead (report, name, t);
  }
}

/* One that can't be opened: who stands on it, as only who knows that can take
 * the keep away.  By its folder's name.
 */
static int
show_keeps (struct generations *g, const struct vault_run *run,
            struct err *err)
{
  char path[STORE_PATH_SIZE], id[UUID_STRING_SIZE], time[VAULT_TIME_SIZE];
  struct entry e = { .run = run };
  int r;

  snprintf (path, sizeof path, "files/%s", run->folder);
  uuid_to_string (run->run, id);
  vault_time_to_string (run->time, time);
  r = vault_look_in (g->vault, path, 0, &e.names, NULL);
  if (r == 0 && e.names.keeps.len > 0 && !g->json) {
    printf ("%s  can't be read  ", time);
    output_text (run->disk);
    putchar ('\n');
    print_keeps (g, &e);
  }
  else if (r == 0 && e.names.keeps.len > 0 && json_array_append_new (g->list,
    json_pack ("{s:n,s:s,s:s,s:s,s:o,s:b}", "disk", "folder", run->folder,
               "generation", time, "id", id, "keeps", keeps_to_json (g, &e),
               "dropped", e.names.dropped)) < 0)
    r = err_nomem (err);
  vault_folder_free (&e.names);
  return r == -ENOMEM ? r : 0;
}

/* One that can't be opened is named, and the others are listed. */
static int
list (struct generations *g, struct report *report, struct err *err)
{
  const struct vault_runs *runs = vault_view_runs (g->view);

  for (size_t i = 0; i < runs->len; ++i) {
    struct vault_opened opened;
    struct err why = ERR_INIT;
    int r = vault_view_open (g->view, i, false, &opened, report, &why);

    if (r == 0) {
      r = show (g, &runs->ptr[i], &opened, &why);
      vault_opened_close (&opened);
    }
    if (r == 0 || r == -ENOENT)         /* dropped, or gone meanwhile */
      continue;
    if (!vault_is_damage (r)) {
      *err = why;
      return r;
    }
    g->damaged = true;
    report_warn (report, "%s", why.msg);
    r = show_keeps (g, &runs->ptr[i], err);
    if (r < 0)
      return r;
  }
  return 0;
}

/*--- Releasing --------------------------------------------------------------*/

/* Does the text begin the id?  With dashes or without. */
static bool
begins (const uint8_t uuid[UUID_SIZE], const char *text)
{
  char id[UUID_STRING_SIZE];
  size_t k = 0;

  uuid_to_string (uuid, id);
  for (; *text; ++text) {
    if (*text == '-')
      continue;
    while (id[k] == '-')
      ++k;
    if (tolower ((unsigned char) *text) != id[k++])
      return false;
  }
  return k >= 4;
}

struct keep_place {
  const struct vault_run *run;
  uint8_t uuid[UUID_SIZE];
  size_t nr;                    /* that begin so */
};

static int
find_keep (const struct generations *g, struct keep_place *place,
           struct err *err)
{
  const struct vault_runs *runs = vault_view_runs (g->view);
  int r = 0;

  for (size_t i = 0; r == 0 && i < runs->len; ++i) {
    CLEANUP_VAULT_FOLDER struct vault_folder names = { .dropped = false };
    char path[STORE_PATH_SIZE];

    snprintf (path, sizeof path, "files/%s", runs->ptr[i].folder);
    r = vault_look_in (g->vault, path, 0, &names, err);
    for (size_t k = 0; r == 0 && k < names.keeps.len; ++k)
      if (begins (names.keeps.ptr[k].uuid, g->release)) {
        place->run = &runs->ptr[i];
        memcpy (place->uuid, names.keeps.ptr[k].uuid, UUID_SIZE);
        ++place->nr;
      }
    if (r == -ENOENT)           /* pruned meanwhile */
      r = 0;
  }
  return r;
}

static int
release (struct generations *g, struct err *err)
{
  struct keep_place place = { .nr = 0 };
  int r = find_keep (g, &place, err);

  if (r < 0)
    return r;
  if (place.nr == 0)
    return err_set (err, -ENOENT, "no generation has a keep ‘%s’; ids have at "
                    "least four digits here", g->release);
  if (place.nr > 1)
    return err_set (err, -EINVAL, "%zu keeps begin with ‘%s’", place.nr,
                    g->release);
  return keep_release (g->vault, place.run->folder, place.uuid, err);
}

/*----------------------------------------------------------------------------*/

struct naming {
  struct generations *g;
  struct report *report;
};

static int
tell_name (void *opaque, const struct err *what, struct err *err)
{
  const struct naming *n = opaque;

  (void) err;
  n->g->damaged = true;
  report_warn (n->report, "%s", what->msg);
  return 0;
}

static int
open_vault (struct generations *g, struct report *report, struct err *err)
{
  int r = generation_caches_init (&g->caches, CHUNKS_LIMIT, err);

  if (r == 0)
    r = store_at (g->path, false, NULL, &g->store, err);
  if (r == 0)
    r = vault_open (g->store, 0, &g->vault, report, err);
  g->caches.keys = keys_get ();
  if (r == 0)
    r = vault_unlock (g->vault, keys_get (), report, err);
  return r < 0 ? r : vault_view_new (g->vault, &g->caches, &g->view, err);
}

static int
generations (struct generations *g)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct err err = ERR_INIT;
  struct naming naming = { g, &report };
  int r = open_vault (g, &report, &err), status;

  if (r == 0 && g->release != NULL)
    r = release (g, &err);
  if (r == 0 && ((g->list = json_array ()) == NULL ||
                 (g->newest = json_object ()) == NULL))
    r = err_nomem (&err);
  if (r == 0 && !g->json)
    printf ("%-16s  %10s  %10s  %10s  %10s  %s\n", "GENERATION", "SIZE",
            "DATA", "NEW", "STORED", "DISK");
  if (r == 0)
    r = list (g, &report, &err);
  if (r == 0)
    r = vault_view_names (g->view, tell_name, &naming, &err);
  if (r == 0)
    warn_ahead (g, &report);
  tool_warnings (g->path, &report);
  if (r < 0)
    return tool_fail (g->path, &err);
  if (g->disk != NULL && !g->any) {
    tool_error ("%s: the vault has no generation of ‘%s’", g->path, g->disk);
    return g->damaged ? STATUS_DAMAGED : STATUS_FAILED;
  }
  status = g->json ? output_json (json_incref (g->list)) : STATUS_DONE;
  if (status == STATUS_DONE)
    status = check_ages (g);
  return status != STATUS_FAILED && g->damaged ? STATUS_DAMAGED : status;
}

static int
run (int argc, char *argv[])
{
  struct generations g = { .json = false };
  struct err err = ERR_INIT;
  int first, status;

  command_parse (&command_generations, argc, argv, &g, &first);
  if (argc - first < 1 || argc - first > 2)
    command_usage_error (&command_generations, "expected a vault, and perhaps "
                         "the name of a disk");
  if (keys_use (&g.keys, &err) < 0)
    command_usage_error (&command_generations, "%s", err.msg);
  parse_age (&g);
  g.path = argv[first];
  if (argc - first == 2)
    g.disk = argv[first + 1];
  else
    (void) vault_operand_cut (argv[first], &g.disk);
  status = generations (&g);
  json_decref (g.list);
  json_decref (g.newest);
  vault_view_free (g.view);
  vault_close (g.vault);
  generation_caches_destroy (&g.caches);
  store_close (g.store);
  return status;
}

const struct command command_generations = {
  .name = "generations",
  .alias = "snapshots",
  .operands = "VAULT [DISK]|VAULT/DISK",
  .summary = "List what is in a vault of backups",
  .options = generations_options,
  .run = run,
};
