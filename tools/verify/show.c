/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "lib/repo/image-nbi.h"
#include "lib/repo/store-at.h"
#include "lib/repo/vault-names.h"
#include "tools/output.h"
#include "tools/verify/verify-tool.h"

/* Shares of the pieces of which it is said how likely damage would have been
 * seen: 1 of so many.
 */
static const unsigned parts[] = { 10, 100, 1000 };

/* Later backups of that disk may refer to what the file has as well. */
static int
note_disk (struct verify_command *v, const struct file_reader *file,
           const struct verify_finding *finding, struct err *err)
{
  static const char *const kinds[] = {
    "nbi-data", "nbi-record", "nbi-table", "nbi-header", "nbi-trailer",
    "nbi-gap",
  };
  bool is = false;

  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; ++i)
    is |= strcmp (finding->kind, kinds[i]) == 0;
  if (file == NULL || !is)
    return 0;
  return json_object_set_new (v->hurt, file_reader_header (file)->name,
                              json_true ()) < 0 ? err_nomem (err) : 0;
}

int
verify_found (void *opaque, struct file_reader *file,
              const struct verify_finding *finding, struct err *err)
{
  struct verify_command *v = opaque;
  json_t *object;

  ++v->nr_found;
  object = json_pack ("{s:o,s:s,s:o,s:o}",
    "file", output_json_text (file != NULL ? file_reader_name (file)
                              : v->path),
    "kind", finding->kind,
    "offset", finding->off == VERIFY_NOWHERE ? json_null ()
    : json_integer ((json_int_t) finding->off),
    "sentence", output_json_text (finding->what->msg));
  return object == NULL || json_array_append_new (v->findings, object) < 0
    ? err_nomem (err) : note_disk (v, file, finding, err);
}

static double
chance_of (const struct verify_command *v, unsigned part)
{
  return verify_sample_chance (v->stored.nr, v->read.nr,
                               (v->stored.nr + part - 1) / part);
}

/*--- For programs -----------------------------------------------------------*/

static json_t *
number (uint64_t n)
{
  return json_integer ((json_int_t) n);
}

static json_t *
generation_json (const struct verify_command *v)
{
  const struct nbi_header *h;

  if (v->image == NULL)
    return json_null ();
  h = generation_header (nbi_image_generation (v->image));
  return json_pack ("{s:o,s:o}", "disk", output_json_text (h->name),
                    "time", output_json_time ((int64_t) h->time));
}

static json_t *
sample_json (const struct verify_command *v)
{
  json_t *chances = json_array ();

  if (!v->sampled) {
    json_decref (chances);
    return json_null ();
  }
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; ++i)
    json_array_append_new (chances, json_pack ("{s:f,s:f}",
      "damaged", 1.0 / parts[i], "chance", chance_of (v, parts[i])));
  return json_pack ("{s:o,s:o}", "seed", number (v->seed),
                    "chances", chances);
}

static json_t *
pieces_json (const struct verify_command *v)
{
  return json_pack ("{s:o,s:o,s:o,s:o}", "stored", number (v->stored.nr),
                    "earlier", number (v->earlier),
                    "read", number (v->structure ? 0 : v->read.nr),
                    "bytes", number (v->structure ? 0 : v->read.bytes));
}

static json_t *
whole_json (const struct verify_command *v)
{
  return v->nr_found > 0 ? json_false ()
    : v->sampled ? json_null () : json_true ();
}

static int
show_json (const struct verify_command *v)
{
  const struct verify_result *res = &v->result;

  return output_json (json_pack (
    "{s:o,s:o,s:o,s:o,s:o,s:o,s:s,s:o,s:o,s:o,s:o,s:o,s:o}",
    "vault", v->image == NULL ? output_json_text (v->path) : json_null (),
    "name", output_json_text (v->path),
    "generation", generation_json (v),
    "generations", number (res->nr_generations),
    "files", number (res->nr_files),
    "bytes", number (res->bytes),
    "data", v->structure ? "none" : v->sampled ? "sample" : "all",
    "pieces", pieces_json (v),
    "sample", sample_json (v),
    "source", verify_source_json (v),
    "boot", verify_boot_json (v),
    "whole", whole_json (v),
    "findings", json_incref (v->findings)));
}

/*--- For people -------------------------------------------------------------*/

static void
show_findings (const struct verify_command *v)
{
  const json_t *finding;
  size_t i;

  json_array_foreach (v->findings, i, finding) {
    output_text (json_string_value (json_object_get (finding, "file")));
    printf (": ");
    output_text (json_string_value (json_object_get (finding, "sentence")));
    putchar ('\n');
  }
}

/* What is in a vault is named with its time: DISK alone is another one
 * tomorrow.
 */
static void
show_name (const struct verify_command *v)
{
  char time[VAULT_TIME_SIZE];

  output_text (v->path);
  if (!v->in_vault || strchr (v->path, '@') != NULL)
    return;
  vault_time_to_string (
    generation_header (nbi_image_generation (v->image))->time, time);
  printf (" (%s)", time);
}

static void
show_amount (const struct verify_command *v)
{
  const struct verify_result *res = &v->result;
  char size[SIZE_STRING_SIZE];
  const char *s = res->nr_files == 1 ? "" : "s";

  if (v->image == NULL)
    printf (": %" PRIu64 " generation%s in %" PRIu64 " file%s, %s, ",
            res->nr_generations, res->nr_generations == 1 ? "" : "s",
            res->nr_files, s, size_to_string (res->bytes, size));
  else if (v->sampled)
    printf (": %" PRIu64 " file%s, %s, ", res->nr_files, s,
            size_to_string (v->stored.bytes, size));
  else
    printf (": %" PRIu64 " piece%s in %" PRIu64 " file%s, %s, ",
            v->stored.nr, v->stored.nr == 1 ? "" : "s", res->nr_files, s,
            size_to_string (v->stored.bytes, size));
}

/* 99.9 of what is never 100. */
static void
show_percent (double part)
{
  unsigned n = (unsigned) (part * 1000);

  printf ("%u.%u %%", n / 10, n % 10);
}

static void
show_sample (const struct verify_command *v)
{
  double read = v->stored.nr == 0 ? 1
    : (double) v->read.nr / (double) v->stored.nr;
  char size[SIZE_STRING_SIZE];

  printf ("%" PRIu64 " of %" PRIu64 " pieces read (", v->read.nr,
          v->stored.nr);
  show_percent (read < 1 ? read : 1);
  printf (", %s; --seed=%u): ", size_to_string (v->read.bytes, size), v->seed);
}

static void
show_chances (const struct verify_command *v)
{
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; ++i) {
    printf (i == 0 ? "If 1 in %u pieces were damaged, one would have been seen "
            "with a chance of " : i + 1 < sizeof parts / sizeof parts[0]
            ? ", if 1 in %u, of " : ", and if 1 in %u, of ", parts[i]);
    show_percent (chance_of (v, parts[i]));
  }
  printf (".\n");
}

/* For free(); NULL: it is none. */
static char *
vault_of (const struct verify_command *v)
{
  const char *end = v->path + strlen (v->path), *slash;
  char *vault;

  if (v->image == NULL)
    return strdup (v->path);
  if (store_at_is_remote (v->path))
    end = v->path + strcspn (v->path, "?");     /* options, of the vault too */
  slash = memrchr (v->path, '/', (size_t) (end - v->path));
  if (!v->in_vault || slash == NULL || slash == v->path ||
      asprintf (&vault, "%.*s%s", (int) (slash - v->path), v->path, end) < 0)
    return NULL;
  return vault;
}

/* A backup takes what is in the vault for whole, and refers to it, unless it is
 * told to look.
 */
static void
show_cure (const struct verify_command *v)
{
  CLEANUP_FREE char *vault = vault_of (v);
  const char *disk;
  json_t *value;

  if (vault == NULL)
    return;
  json_object_foreach (v->hurt, disk, value) {
    printf ("Later backups of ");
    output_text (disk);
    printf (" may refer to what is damaged; this one saves it anew:\n"
            "  nbdimage backup --prove --name=");
    output_shell_word (disk);
    printf (" SOURCE ");
    output_shell_word (vault);
    putchar ('\n');
  }
}

static void
show_text (const struct verify_command *v)
{
  show_findings (v);
  show_name (v);
  show_amount (v);
  if (v->sampled)
    show_sample (v);
  else if (v->earlier > 0)
    printf ("all read, %" PRIu64 " of %" PRIu64 " pieces of it earlier: ",
            v->earlier, v->earlier + v->read.nr);
  else
    printf (v->structure ? "tables and maps looked at: " : "all read: ");
  if (v->nr_found > 0)
    printf ("%" PRIu64 " thing%s wrong\n", v->nr_found,
            v->nr_found == 1 ? " is" : "s are");
  else
    printf (v->sampled ? "nothing wrong in them, nor in tables and maps\n"
            : "whole\n");
  if (v->sampled && v->nr_found == 0)
    show_chances (v);
  if (v->source != NULL)
    verify_source_show (v);
  if (v->boot.wanted)
    verify_boot_show (v);
  show_cure (v);
}

int
verify_show (const struct verify_command *v)
{
  int r;

  if (v->json)
    r = show_json (v);
  else {
    show_text (v);
    r = output_finish ();
  }
  if (r != STATUS_DONE || v->nr_found > 0)
    return r != STATUS_DONE ? r : STATUS_DAMAGED;
  return (v->source != NULL && !verify_source_is_same (v)) ||
    (v->boot.wanted && !verify_boot_is_well (v)) ? STATUS_FAILED : STATUS_DONE;
}
