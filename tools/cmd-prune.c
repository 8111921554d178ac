/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdimage prune: drop generations of a vault that no rule keeps. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/base/size.h"
#include "lib/repo/prune.h"
#include "lib/repo/store-at.h"
#include "lib/repo/vault-reserve.h"
#include "tools/change/change.h"
#include "tools/commands.h"
#include "tools/keys.h"
#include "tools/output.h"
#include "tools/report.h"
#include "tools/vault-operand.h"

#define CHUNKS_LIMIT ((size_t) 64 * 1024)       /* none is read */
#define RULES_SIZE 64
#define LEFT_SIZE 160

struct prune_command {
  struct change_options change; /* without an image */
  struct prune_options options;
  struct key_option_values keys;

  struct generation_caches caches;
  struct store *store;
  struct vault *vault;
  struct prune_plan plan;
  struct prune_result result;
  struct report report;
};

#define KEEP_OPTION(name, rule, help)                                   \
  { "keep-" name, 0, OPTION_UNSIGNED, "N", help,                        \
    offsetof (struct prune_command, options.retention.keep[rule]) }

static const struct option_spec prune_options[] = {
  KEEP_OPTION ("last", RETENTION_LAST, "keep the N newest generations"),
  KEEP_OPTION ("daily", RETENTION_DAILY,
               "keep the last one of each of N days"),
  KEEP_OPTION ("weekly", RETENTION_WEEKLY,
               "keep the last one of each of N weeks"),
  KEEP_OPTION ("monthly", RETENTION_MONTHLY,
               "keep the last one of each of N months"),
  KEEP_OPTION ("yearly", RETENTION_YEARLY,
               "keep the last one of each of N years"),
  { "drop-damaged", 0, OPTION_FLAG, NULL,
    "drop generations that are damaged, too",
    offsetof (struct prune_command, options.drop_damaged) },
  { "drop-interrupted", 0, OPTION_FLAG, NULL,
    "drop what is left of backups that did not end, too",
    offsetof (struct prune_command, options.drop_interrupted) },
  { "trust-times", 0, OPTION_FLAG, NULL,
    "also if the newest generation is of the future",
    offsetof (struct prune_command, options.trust_times) },
  { "dry-run", 'n', OPTION_FLAG, NULL,
    "say what would be done, and do nothing",
    offsetof (struct prune_command, change.dry_run) },
  { "yes", 'y', OPTION_FLAG, NULL,
    "do it without asking", offsetof (struct prune_command, change.yes) },
  PROGRESS_OPTION (struct prune_command, change.progress),
  { "json", 0, OPTION_FLAG, NULL,
    "print what was done as JSON",
    offsetof (struct prune_command, change.json) },
  KEY_OPTIONS (struct prune_command, keys),
  OPTION_END
};

/*--- The plan ---------------------------------------------------------------*/

static const char *
fate_to_string (enum prune_fate fate)
{
  static const char *const names[] = {
    [PRUNE_NOT_ASKED] = "other", [PRUNE_KEPT] = "kept",
    [PRUNE_DROPPED] = "dropped", [PRUNE_DAMAGED] = "damaged",
    [PRUNE_MARKED] = "was-dropped",
  };

  return names[fate];
}

/* "last, daily" */
static const char *
rules_to_string (unsigned why, char rules[RULES_SIZE])
{
  size_t len = 0;

  rules[0] = '\0';
  for (unsigned rule = 0; rule < RETENTION_NR_RULES; ++rule)
    if (why & 1U << rule)
      len += (size_t) snprintf (rules + len, RULES_SIZE - len, "%s%s",
                                len > 0 ? ", " : "",
                                retention_rule_to_string (rule));
  return rules;
}

static void
show_generation (const struct prune_generation *g)
{
  static const char *const texts[] = {
    [PRUNE_NOT_ASKED] = "stays", [PRUNE_KEPT] = "stays",
    [PRUNE_DROPPED] = "goes", [PRUNE_DAMAGED] = "goes, as it is damaged",
    [PRUNE_MARKED] = "was dropped before",
  };
  char time[VAULT_TIME_SIZE], rules[RULES_SIZE];

  vault_time_to_string (g->run.time, time);
  printf ("  %s  ", time);
  output_text (g->disk[0] != '\0' ? g->disk : g->run.disk);
  printf (": %s", texts[g->fate]);
  if (g->nr_keeps > 0) {
    if (g->fate == PRUNE_MARKED)
      printf (", and stays");
    printf (": kept for ");
    output_text (g->kept_for);
    if (g->nr_keeps > 1)
      printf (" and %zu more", g->nr_keeps - 1);
  }
  if (g->why != 0)
    printf (" (%s)", rules_to_string (g->why, rules));
  putchar ('\n');
}

/* "2 backups that did not end, 9.2 MiB (9646899 bytes)" */
static const char *
left_to_string (const struct prune_amount *left, char str[LEFT_SIZE])
{
  char size[SIZE_STRING_SIZE];

  snprintf (str, LEFT_SIZE, "%" PRIu64 " backup%s that did not end, %s (%"
            PRIu64 " bytes)", left->nr, left->nr == 1 ? "" : "s",
            size_to_string (left->bytes, size), left->bytes);
  return str;
}

static void
show_left (const struct prune_command *c)
{
  const struct prune_left *left = &c->plan.left;
  char str[LEFT_SIZE];

  if (left->goes.nr > 0)
    change_say (&c->change, "Also freed", "%s",
                left_to_string (&left->goes, str));
  if (left->stays.nr > 0)
    change_say (&c->change, "Left", "%s; the next one of the disk goes on "
                "from there (--drop-interrupted frees it)",
                left_to_string (&left->stays, str));
}

static void
show_plan (const struct prune_command *c)
{
  const struct prune_plan *p = &c->plan;
  char some[SIZE_STRING_SIZE], all[SIZE_STRING_SIZE];

  if (c->change.json)
    return;
  change_say_name (&c->change);
  for (size_t i = 0; i < p->generations.len; ++i)
    if (p->generations.ptr[i].fate != PRUNE_NOT_ASKED)
      show_generation (&p->generations.ptr[i]);
  change_say (&c->change, "Generations", "%zu of %zu go", p->nr_dropped,
              p->generations.len - p->nr_marked);
  change_say (&c->change, "Freed", "%s of %s (%" PRIu64 " bytes), in %" PRIu64
              " files", size_to_string (p->dead.bytes, some),
              size_to_string (p->all.bytes, all), p->dead.bytes, p->dead.nr);
  if (p->mostly_dead.nr > 0)
    change_say (&c->change, "A day later", "%s more (%" PRIu64 " bytes), of %"
                PRIu64 " files that are written anew",
                size_to_string (p->mostly_dead.bytes, some),
                p->mostly_dead.bytes, p->mostly_dead.nr);
  show_left (c);
}

/*--- The result -------------------------------------------------------------*/

static json_t *
rules_to_json (unsigned why)
{
  json_t *rules = json_array ();

  for (unsigned rule = 0; rules != NULL && rule < RETENTION_NR_RULES; ++rule)
    if (why & 1U << rule)
      json_array_append_new (rules,
                             json_string (retention_rule_to_string (rule)));
  return rules;
}

static json_t *
generation_to_json (const struct prune_generation *g)
{
  char id[UUID_STRING_SIZE], time[VAULT_TIME_SIZE];

  uuid_to_string (g->run.run, id);
  vault_time_to_string (g->run.time, time);
  return json_pack ("{s:o,s:s,s:s,s:s,s:o,s:o}",
    "disk", output_json_text (g->disk[0] != '\0' ? g->disk : NULL),
    "generation", time,
    "id", id,
    "fate", fate_to_string (g->fate),
    "rules", rules_to_json (g->why),
    "kept-for", output_json_text (g->nr_keeps > 0 ? g->kept_for : NULL));
}

static int
show_json (const struct prune_command *c, bool changed)
{
  json_t *list = json_array ();

  for (size_t i = 0; list != NULL && i < c->plan.generations.len; ++i)
    json_array_append_new (list,
                           generation_to_json (&c->plan.generations.ptr[i]));
  return output_json (json_pack (
    "{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:b}",
    "name", output_json_text (c->change.name),
    "generations", list,
    "dropped", json_integer ((json_int_t) c->plan.nr_dropped),
    "planned-files", json_integer ((json_int_t) c->plan.dead.nr),
    "planned-bytes", json_integer ((json_int_t) c->plan.dead.bytes),
    "planned-later", json_integer ((json_int_t) c->plan.mostly_dead.bytes),
    "files", json_integer ((json_int_t) c->result.deleted.nr),
    "bytes", json_integer ((json_int_t) c->result.deleted.bytes),
    "interrupted-planned-bytes",
    json_integer ((json_int_t) c->plan.left.goes.bytes),
    "interrupted-left-bytes",
    json_integer ((json_int_t) c->plan.left.stays.bytes),
    "cleared-bytes", json_integer ((json_int_t) c->result.cleared.bytes),
    "rewritten", json_integer ((json_int_t) c->result.nr_rewritten),
    "in-use", json_integer ((json_int_t) c->result.nr_in_use),
    "changed", changed));
}

static int
show_result (const struct prune_command *c, bool changed)
{
  char some[SIZE_STRING_SIZE];

  if (c->change.json)
    return show_json (c, changed);
  if (!changed)
    return STATUS_DONE;
  change_say (&c->change, "Deleted", "%" PRIu64 " file%s, %s (%" PRIu64
              " bytes)", c->result.deleted.nr,
              c->result.deleted.nr == 1 ? "" : "s",
              size_to_string (c->result.deleted.bytes, some),
              c->result.deleted.bytes);
  if (c->result.cleared.nr > 0)
    change_say (&c->change, "Cleared", "%" PRIu64 " file%s that others left, "
                "%s (%" PRIu64 " bytes)", c->result.cleared.nr,
                c->result.cleared.nr == 1 ? "" : "s",
                size_to_string (c->result.cleared.bytes, some),
                c->result.cleared.bytes);
  if (c->result.nr_rewritten > 0)
    change_say (&c->change, "Written anew", "%" PRIu64 " file%s",
                c->result.nr_rewritten,
                c->result.nr_rewritten == 1 ? "" : "s");
  return STATUS_DONE;
}

/*--- Doing it ---------------------------------------------------------------*/

static int
open_vault (struct prune_command *c, unsigned flags, struct err *err)
{
  vault_close (c->vault);
  c->vault = NULL;
  return vault_open (c->store, flags, &c->vault, &c->report, err);
}

static int
plan (void *opaque, struct job *job, struct err *err)
{
  struct prune_command *c = opaque;
  int r = generation_caches_init (&c->caches, CHUNKS_LIMIT, err);

  c->caches.keys = keys_get ();
  if (r == 0)
    r = store_at (c->change.name, false, job, &c->store, err);
  if (r == 0)
    r = open_vault (c, 0, err);
  /* To ask the vault for its time something would have to be written. */
  c->options.now = (int64_t) time (NULL);
  if (r == 0)
    r = prune_plan (c->vault, &c->caches, &c->options, &c->plan, &c->report,
                    job, err);
  if (c->store != NULL)
    store_set_job (c->store, NULL);
  return r;
}

static int
run_plan (void *opaque, struct job *job, struct err *err)
{
  struct prune_command *c = opaque;
  int r;

  store_set_job (c->store, job);
  r = vault_reserve_spend (c->store, err);
  if (r == 0)
    r = open_vault (c, VAULT_WRITE, err);
  if (r == 0)
    r = prune_run (c->vault, &c->caches, &c->plan, &c->result, &c->report,
                   job, err);
  /* The next backup makes it, where there is no room now. */
  vault_reserve_make (c->store, NULL);
  store_set_job (c->store, NULL);
  return r;
}

static int
fail (struct prune_command *c, int r, const struct err *err)
{
  int status = tool_fail (c->change.name, err);

  /* Not where it is vault.json. */
  if (r == -EBADMSG && c->vault != NULL && !c->options.drop_damaged)
    tool_note ("%s: --drop-damaged drops generations that are damaged; what "
               "of them can be read is lost then", c->change.name);
  return status;
}

static int
prune (struct prune_command *c)
{
  struct err err = ERR_INIT;
  int r = change_run (&c->change, plan, c, &err);

  tool_warnings (c->change.name, &c->report);
  if (r < 0)
    return fail (c, r, &err);
  show_plan (c);
  if (c->change.dry_run)
    return show_result (c, false);
  /* What was dropped before needs no second yes. */
  if ((c->plan.nr_dropped > 0 ||
       (c->options.drop_interrupted && c->plan.left.goes.nr > 0)) &&
      !change_confirm (&c->change))
    return STATUS_FAILED;
  r = change_run (&c->change, run_plan, c, &err);
  tool_warnings (c->change.name, &c->report);
  return r < 0 ? fail (c, r, &err) : show_result (c, true);
}

static int
run (int argc, char *argv[])
{
  struct prune_command c = { .report = REPORT_INIT };
  struct err err = ERR_INIT;
  const char *disk;
  int first, status;

  command_parse (&command_prune, argc, argv, &c, &first);
  if (argc - first < 1)
    command_usage_error (&command_prune, "expected a vault, and perhaps names "
                         "of disks");
  /* Without rules all generations stay. */
  if (!retention_has_rules (&c.options.retention) &&
      !c.options.drop_interrupted)
    command_usage_error (&command_prune, "nothing says what to keep; expected "
                         "--keep-last, --keep-daily, --keep-weekly, "
                         "--keep-monthly or --keep-yearly, or "
                         "--drop-interrupted alone");
  c.change.name = argv[first];
  if (argc - first > 1) {
    c.options.disks = (const char *const *) argv + first + 1;
    c.options.nr_disks = (size_t) (argc - first - 1);
  }
  else if (vault_operand_cut (argv[first], &disk)) {
    c.options.disks = &disk;
    c.options.nr_disks = 1;
  }
  /* Before change_check, which asks for keys of images that it has not. */
  if (keys_use (&c.keys, &err) < 0)
    command_usage_error (&command_prune, "%s", err.msg);
  change_check (&command_prune, &c.change);
  status = prune (&c);
  prune_plan_free (&c.plan);
  vault_close (c.vault);
  generation_caches_destroy (&c.caches);
  store_close (c.store);
  report_free (&c.report);
  return status;
}

const struct command command_prune = {
  .name = "prune",
  .operands = "VAULT [DISK…]|VAULT/DISK",
  .summary = "Thin out the backups in a vault",
  .options = prune_options,
  .run = run,
};
