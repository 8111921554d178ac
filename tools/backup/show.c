/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a backup says of itself, to people and programs. */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "lib/repo/absent.h"
#include "lib/repo/prune.h"
#include "lib/repo/store-at.h"
#include "tools/backup/backup-command.h"
#include "tools/output.h"
#include "tools/report.h"

static uint64_t
bytes_of (const struct backup_work *w, uint64_t chunks)
{
  uint64_t bytes = chunks * w->options.header.chunk_size;

  return bytes < w->options.header.disk_size ? bytes
    : w->options.header.disk_size;
}

/* Each with what is in the backup of it. */
static json_t *
json_of_partitions (const struct manifest *m)
{
  json_t *list = json_array ();

  for (size_t i = 0; i < m->partitions.len; ++i) {
    const struct manifest_partition *p = &m->partitions.ptr[i];

    json_array_append_new (list, json_pack ("{s:o,s:o,s:o,s:o,s:o}",
      "number", json_integer ((json_int_t) p->number),
      "offset", json_integer ((json_int_t) p->off),
      "length", json_integer ((json_int_t) p->len),
      "fs", output_json_text (p->fs.type),
      "saved", output_json_text (p->saved)));
  }
  return list;
}

/* One object, or one among several. */
static int
put_json (const struct backup_work *w, json_t *object)
{
  if (w->command->list == NULL)
    return output_json (object);
  return json_array_append_new (w->command->list, object) < 0 ? STATUS_FAILED
    : STATUS_DONE;
}

void
backup_tell_interrupted (const char *vault, const char *file)
{
  if (vault != NULL)
    tool_note ("%s lists what it listed before; what was written is kept "
               "there, and the same command goes on with it", vault);
  else if (strcmp (file, "-") != 0)
    tool_note ("%s was not made, and nothing of it is left; the same command "
               "begins anew", file);
}

void
backup_tell_full (const char *vault, struct job *job)
{
  struct prune_left left;
  struct store *store;
  char size[SIZE_STRING_SIZE];

  if (store_at (vault, false, job, &store, NULL) < 0)
    return;
  if (prune_look_for_left (store, &left, NULL) == 0 && left.stays.nr > 0)
    tool_note ("%s are left in %s of %" PRIu64 " backup%s that did not end; "
               "the next one of the disk goes on from there, once there is "
               "room, or ‘nbdimage prune --drop-interrupted %s’ frees it",
               size_to_string (left.stays.bytes, size), vault, left.stays.nr,
               left.stays.nr == 1 ? "" : "s", vault);
  store_close (store);
}

void
backup_show_failure (const struct backup_work *w, const struct err *err)
{
  if (w->command->list != NULL)
    (void) put_json (w, json_pack ("{s:o,s:o}",
      "source", output_json_text (w->source),
      "error", output_json_text (err->msg)));
}

static int
show_json (const struct backup_work *w, int status)
{
  const struct manifest_counts *c = &w->result.backup.counts;
  char id[UUID_STRING_SIZE];
  int r;

  uuid_to_string (w->options.header.run, id);
  r = put_json (w, json_pack (
    "{s:o,s:o,s:o,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}",
    "source", output_json_text (w->source),
    "target", output_json_text (w->command->vault ? w->command->vault
                                : w->command->single),
    "disk", output_json_text (w->options.header.name),
    "generation", id,
    "size", json_integer ((json_int_t) w->options.header.disk_size),
    "chunk-size", json_integer (w->options.header.chunk_size),
    "data", json_integer ((json_int_t) bytes_of (w, c->data)),
    "new", json_integer ((json_int_t) bytes_of (w, c->fresh)),
    "adopted", json_integer (
      (json_int_t) bytes_of (w, w->result.backup.adopted)),
    "zero", json_integer ((json_int_t) bytes_of (w, c->zero)),
    "unallocated", json_integer ((json_int_t) bytes_of (w, c->unallocated)),
    "unreadable", json_integer ((json_int_t) c->unreadable_bytes),
    "file-size", json_integer ((json_int_t) w->result.backup.bytes),
    "read", json_integer ((json_int_t) w->result.backup.read),
    "changes", output_json_text (w->manifest.changes),
    "partitions", json_of_partitions (&w->manifest)));
  return r == STATUS_DONE ? status : r;
}

/* What an interrupted backup had written of it. */
static void
show_adopted (const struct backup_work *w)
{
  char adopted[SIZE_STRING_SIZE];

  if (w->result.backup.adopted > 0)
    printf (", %s of that adopted from a backup that was interrupted",
            size_to_string (bytes_of (w, w->result.backup.adopted), adopted));
}

/* Which partitions are in it and which are not, where that was chosen. */
static void
show_chosen (const struct backup_work *w)
{
  struct absent_vector absent = VECTOR_INIT;
  const struct manifest *m = &w->manifest;
  CLEANUP_FREE char *text = NULL;
  size_t nr = 0, all = 0;

  if (absent_list (m, &absent, NULL) == 0 && absent.len > 0)
    text = absent_to_text (&absent);
  vector_free (&absent);
  if (text == NULL)
    return;
  for (size_t i = 0; i < m->partitions.len; ++i)
    all += !manifest_partition_is_absent (&m->partitions.ptr[i]);
  printf ("; with partition%s", all > 1 ? "s" : "");
  for (size_t i = 0; i < m->partitions.len; ++i)
    if (!manifest_partition_is_absent (&m->partitions.ptr[i])) {
      ++nr;
      printf ("%s %" PRIu64, nr == 1 ? "" : nr == all ? " and" : ",",
              m->partitions.ptr[i].number);
    }
  printf (", without %s", text);
}

static void
show_text (const struct backup_work *w)
{
  const struct manifest_counts *c = &w->result.backup.counts;
  char size[SIZE_STRING_SIZE], data[SIZE_STRING_SIZE], file[SIZE_STRING_SIZE];
  char fresh[SIZE_STRING_SIZE], time[VAULT_TIME_SIZE];

  if (w->command->vault != NULL) {
    vault_time_to_string (w->result.time, time);
    output_generation (w->command->vault, w->options.header.name, time);
    printf (": %s, of which %s hold data, %s of it new",
            size_to_string (w->options.header.disk_size, size),
            size_to_string (bytes_of (w, c->data), data),
            size_to_string (bytes_of (w, c->fresh), fresh));
    show_adopted (w);
    printf (", in %s", size_to_string (w->result.backup.bytes, file));
    show_chosen (w);
    putchar ('\n');
    return;
  }
  if (strcmp (w->command->single, "-") == 0)
    return;
  output_text (w->source);
  printf (": %s, of which %s hold data, in %s: ",
          size_to_string (w->options.header.disk_size, size),
          size_to_string (bytes_of (w, c->data), data),
          size_to_string (w->result.backup.bytes, file));
  output_text (w->command->single);
  show_chosen (w);
  putchar ('\n');
}

int
backup_show_result (const struct backup_work *w)
{
  const struct manifest_counts *c = &w->result.backup.counts;
  char bad[SIZE_STRING_SIZE];
  int status = c->unreadable_bytes > 0 ? STATUS_FAILED : STATUS_DONE;

  if (w->command->json)
    status = show_json (w, status);
  else
    show_text (w);
  if (c->unreadable_bytes > 0)
    tool_error ("%s: %s (%" PRIu64 " bytes) of the disk could not be read; all "
                "else is in the backup, which gives an error for these",
                w->source, size_to_string (c->unreadable_bytes, bad),
                c->unreadable_bytes);
  return status;
}

