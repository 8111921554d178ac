/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a name says is read from its end, as a disk may be called like
 * anything, and only if it is just what would be written: so a name has one
 * meaning, and what it means has one name.
 *
 * A run's DISK is the exception: whatever stands there, a sealed run is one,
 * for if its folder were overlooked, a prune would delete what it refers to.
 */

#include <config.h>

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "lib/repo/nbi.h"
#include "lib/repo/vault-names.h"

#define HEX_SIZE (2 * UUID_SIZE)
#define TIME_FORMAT "%Y%m%dT%H%M%SZ"

/*--- Pieces -----------------------------------------------------------------*/

static void
put_hex (const uint8_t uuid[UUID_SIZE], char hex[HEX_SIZE + 1])
{
  for (size_t i = 0; i < UUID_SIZE; ++i)
    sprintf (hex + 2 * i, "%02x", uuid[i]);
}

/* Takes it off the front; false, and *p as it was, if it isn't there. */
static bool
take_hex (const char **p, uint8_t uuid[UUID_SIZE])
{
  static const char digits[] = "0123456789abcdef";
  uint8_t bytes[UUID_SIZE] = { 0 };

  for (size_t i = 0; i < HEX_SIZE; ++i) {
    char c = (*p)[i];
    const char *digit = c ? strchr (digits, c) : NULL;

    if (digit == NULL)
      return false;
    bytes[i / 2] = (uint8_t) (bytes[i / 2] << 4 | (digit - digits));
  }
  memcpy (uuid, bytes, UUID_SIZE);
  *p += HEX_SIZE;
  return true;
}

static bool
take_text (const char **p, const char *text)
{
  size_t len = strlen (text);

  if (strncmp (*p, text, len) != 0)
    return false;
  *p += len;
  return true;
}

void
vault_time_to_string (uint64_t seconds, char str[VAULT_TIME_SIZE])
{
  time_t t = (time_t) seconds;
  struct tm tm = { 0 };

  gmtime_r (&t, &tm);
  if (strftime (str, VAULT_TIME_SIZE, TIME_FORMAT, &tm) == 0)
    str[0] = '\0';
}

/* strptime takes spaces and signs, and the 31st of February. */
static bool
take_time (const char **p, uint64_t *seconds)
{
  char text[VAULT_TIME_SIZE], again[VAULT_TIME_SIZE];
  struct tm tm = { 0 };
  time_t t;

  if (strnlen (*p, VAULT_TIME_SIZE - 1) < VAULT_TIME_SIZE - 1)
    return false;
  memcpy (text, *p, VAULT_TIME_SIZE - 1);
  text[VAULT_TIME_SIZE - 1] = '\0';
  if (strptime (text, TIME_FORMAT, &tm) == NULL)
    return false;
  t = timegm (&tm);
  if (t < 1 || (uint64_t) t > NBI_MAX_TIME)
    return false;
  vault_time_to_string ((uint64_t) t, again);
  if (strcmp (text, again) != 0)
    return false;
  *seconds = (uint64_t) t;
  *p += VAULT_TIME_SIZE - 1;
  return true;
}

static bool
take_edition (const char **p, uint32_t *edition)
{
  const char *start = *p, *end = start;
  uint64_t n = 0;

  while (*end >= '0' && *end <= '9' && n <= NBI_MAX_EDITION)
    n = n * 10 + (uint64_t) (*end++ - '0');
  if (end == start || n > NBI_MAX_EDITION ||
      (*start == '0' && end != start + 1))
    return false;
  *edition = (uint32_t) n;
  *p = end;
  return true;
}

/*--- Kinds ------------------------------------------------------------------*/

/* ".TIME.RUN" is all that is fixed. */
static bool
parse_run (const char *name, struct vault_name *out)
{
  const size_t tail = 1 + VAULT_TIME_SIZE - 1 + 1 + HEX_SIZE;
  size_t len = strlen (name);
  const char *p;

  if (len <= tail || len >= sizeof out->disk)
    return false;
  p = name + len - tail;
  if (!take_text (&p, ".") || !take_time (&p, &out->time) ||
      !take_text (&p, ".") || !take_hex (&p, out->uuid))
    return false;
  memcpy (out->disk, name, len - tail);
  out->kind = VAULT_NAME_RUN;
  return true;
}

/* What begins with a UUID. */
static bool
parse_uuid (const char *name, struct vault_name *out)
{
  const char *p = name, *behind;

  if (!take_hex (&p, out->uuid))
    return false;
  behind = p;
  if (*p == '\0')
    out->kind = VAULT_NAME_ADOPTED;
  else if (strcmp (p, ".part") == 0)
    out->kind = VAULT_NAME_PART;
  else if (strcmp (p, ".keep") == 0)
    out->kind = VAULT_NAME_KEEP;
  else if (strcmp (p, ".key") == 0)
    out->kind = VAULT_NAME_KEY;
  else if (take_text (&p, ".") && take_edition (&p, &out->edition)) {
    out->root = take_text (&p, ".root");
    if (strcmp (p, ".nbi") == 0)
      out->kind = VAULT_NAME_NBI;
  }
  if (out->kind == VAULT_NAME_OTHER) {
    p = behind;
    if (take_text (&p, ".") && take_time (&p, &out->time) &&
        strcmp (p, ".lock") == 0)
      out->kind = VAULT_NAME_LOCK;
  }
  return out->kind != VAULT_NAME_OTHER;
}

static const struct {
  const char *prefix;
  enum vault_name_kind kind;
} works[] = {
  { "backup-", VAULT_NAME_BACKUP },
  { "prune-", VAULT_NAME_PRUNE },
  { "read-", VAULT_NAME_READ },
};

#define NR_WORKS (sizeof works / sizeof works[0])

static bool
parse_work (const char *name, struct vault_name *out)
{
  for (size_t i = 0; i < NR_WORKS; ++i) {
    const char *p = name;

    if (!take_text (&p, works[i].prefix) || !take_hex (&p, out->uuid))
      continue;
    out->fresh = take_text (&p, ".new");
    if (*p != '\0')
      return false;
    out->kind = works[i].kind;
    return true;
  }
  return false;
}

static bool
parse_fixed (const char *name, struct vault_name *out)
{
  static const struct {
    const char *name;
    enum vault_name_kind kind;
  } fixed[] = {
    { VAULT_DROPPED, VAULT_NAME_DROPPED }, { VAULT_LEASE, VAULT_NAME_LEASE },
    { VAULT_ALIVE, VAULT_NAME_ALIVE }, { VAULT_JSON, VAULT_NAME_JSON },
  };

  for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; ++i)
    if (strcmp (name, fixed[i].name) == 0) {
      out->kind = fixed[i].kind;
      return true;
    }
  return false;
}

static bool
parse_vault (const char *name, struct vault_name *out)
{
  const char *p = name;

  if (!take_text (&p, "vault.") || !take_hex (&p, out->uuid) ||
      strcmp (p, ".new") != 0)
    return false;
  out->kind = VAULT_NAME_VAULT;
  return true;
}

void
vault_name_parse (const char *name, struct vault_name *out)
{
  static bool (*const parsers[]) (const char *, struct vault_name *) = {
    parse_run, parse_uuid, parse_work, parse_fixed, parse_vault,
  };

  *out = (struct vault_name) { .kind = VAULT_NAME_OTHER };
  if (name[0] == '.') {
    out->kind = VAULT_NAME_HIDDEN;
    return;
  }
  for (size_t i = 0; i < sizeof parsers / sizeof parsers[0]; ++i) {
    if (parsers[i] (name, out))
      return;
    /* What was found on the way means nothing. */
    *out = (struct vault_name) { .kind = VAULT_NAME_OTHER };
  }
}

/*--- Making them ------------------------------------------------------------*/

/* Windows takes them for devices whatever stands behind a dot. */
static bool
is_kept_for_a_device (const char *name)
{
  static const char *const devices[] = { "con", "prn", "aux", "nul" };
  size_t len = strcspn (name, ".");

  for (size_t i = 0; i < sizeof devices / sizeof devices[0]; ++i)
    if (len == 3 && strncasecmp (name, devices[i], 3) == 0)
      return true;
  return len == 4 && name[3] >= '0' && name[3] <= '9' &&
    (strncasecmp (name, "com", 3) == 0 || strncasecmp (name, "lpt", 3) == 0);
}

static bool
may_stay (char c)
{
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
    (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

void
vault_hint (const char *disk_name, char hint[VAULT_HINT_MAX + 1])
{
  size_t len = strnlen (disk_name, VAULT_HINT_MAX);
  char *p = hint;

  if (is_kept_for_a_device (disk_name)) {
    *p++ = '_';
    if (len == VAULT_HINT_MAX)
      --len;
  }
  for (size_t i = 0; i < len; ++i)
    *p++ = may_stay (disk_name[i]) ? disk_name[i] : '_';
  *p = '\0';
  if (hint[0] == '.')
    hint[0] = '_';
}

const char *
vault_name_run (char buf[VAULT_NAME_SIZE], const char *disk_name,
                uint64_t time, const uint8_t run[UUID_SIZE])
{
  char hint[VAULT_HINT_MAX + 1], when[VAULT_TIME_SIZE], hex[HEX_SIZE + 1];

  vault_hint (disk_name, hint);
  vault_time_to_string (time, when);
  put_hex (run, hex);
  snprintf (buf, VAULT_NAME_SIZE, "%s.%s.%s", hint, when, hex);
  return buf;
}

const char *
vault_name_nbi (char buf[VAULT_NAME_SIZE], const uint8_t uuid[UUID_SIZE],
                uint32_t edition, bool root)
{
  char hex[HEX_SIZE + 1];

  put_hex (uuid, hex);
  snprintf (buf, VAULT_NAME_SIZE, "%s.%u%s.nbi", hex, edition,
            root ? ".root" : "");
  return buf;
}

const char *
vault_name_part (char buf[VAULT_NAME_SIZE], const uint8_t uuid[UUID_SIZE])
{
  char hex[HEX_SIZE + 1];

  put_hex (uuid, hex);
  snprintf (buf, VAULT_NAME_SIZE, "%s.part", hex);
  return buf;
}

const char *
vault_name_lock (char buf[VAULT_NAME_SIZE], const uint8_t uuid[UUID_SIZE],
                 uint64_t until)
{
  char hex[HEX_SIZE + 1], when[VAULT_TIME_SIZE];

  put_hex (uuid, hex);
  vault_time_to_string (until, when);
  snprintf (buf, VAULT_NAME_SIZE, "%s.%s.lock", hex, when);
  return buf;
}

const char *
vault_name_keep (char buf[VAULT_NAME_SIZE], const uint8_t uuid[UUID_SIZE])
{
  char hex[HEX_SIZE + 1];

  put_hex (uuid, hex);
  snprintf (buf, VAULT_NAME_SIZE, "%s.keep", hex);
  return buf;
}

const char *
vault_name_key (char buf[VAULT_NAME_SIZE], const uint8_t uuid[UUID_SIZE])
{
  char hex[HEX_SIZE + 1];

  put_hex (uuid, hex);
  snprintf (buf, VAULT_NAME_SIZE, "%s.key", hex);
  return buf;
}

const char *
vault_name_adopted (char buf[VAULT_NAME_SIZE], const uint8_t run[UUID_SIZE])
{
  put_hex (run, buf);
  return buf;
}

const char *
vault_name_work (char buf[VAULT_NAME_SIZE], enum vault_name_kind kind,
                 const uint8_t uuid[UUID_SIZE], bool fresh)
{
  char hex[HEX_SIZE + 1];

  buf[0] = '\0';
  put_hex (uuid, hex);
  for (size_t i = 0; i < NR_WORKS; ++i)
    if (works[i].kind == kind)
      snprintf (buf, VAULT_NAME_SIZE, "%s%s%s", works[i].prefix, hex,
                fresh ? ".new" : "");
  return buf;
}

const char *
vault_name_vault (char buf[VAULT_NAME_SIZE], const uint8_t uuid[UUID_SIZE])
{
  char hex[HEX_SIZE + 1];

  put_hex (uuid, hex);
  snprintf (buf, VAULT_NAME_SIZE, "vault.%s.new", hex);
  return buf;
}
