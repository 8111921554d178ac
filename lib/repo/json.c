/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <string.h>
#include <time.h>

#include "lib/repo/json.h"
#include "lib/repo/nbi.h"

#define TIME_FORMAT "%Y-%m-%dT%H:%M:%SZ"

static bool
is_bounded (const char *text, size_t len, size_t max)
{
  size_t n = 0;

  for (size_t i = 0; i < len; ++i)
    n += text[i] == '{' || text[i] == '[' || text[i] == ',';
  return n <= max;
}

/* Of what is no JSON the answer may be either. */
static bool
is_deep (const char *text, size_t len)
{
  bool in_string = false;
  unsigned depth = 0;

  for (size_t i = 0; i < len; ++i) {
    char c = text[i];

    if (in_string && c == '\\')
      ++i;
    else if (c == '"')
      in_string = !in_string;
    else if (!in_string && (c == '{' || c == '[') &&
             ++depth > REPO_JSON_DEPTH_MAX)
      return true;
    else if (!in_string && (c == '}' || c == ']') && depth > 0)
      --depth;
  }
  return false;
}

int
repo_json_parse (const char *text, size_t len,
                 const struct repo_json_limits *limits, json_t **out,
                 struct err *err)
{
  json_error_t error;
  json_t *object;

  if (len > limits->len)
    return nbi_refuse (err, limits->rule, "%zu bytes of JSON, more than %zu",
                       len, limits->len);
  if (!is_bounded (text, len, limits->structures))
    return nbi_refuse (err, limits->rule, "JSON with more than %zu objects, "
                       "arrays and commas", limits->structures);
  if (is_deep (text, len))
    return nbi_refuse (err, limits->rule, "JSON nested deeper than %d",
                       REPO_JSON_DEPTH_MAX);
  object = json_loadb (text, len, JSON_REJECT_DUPLICATES, &error);
  if (object == NULL && json_error_code (&error) == json_error_out_of_memory)
    return err_nomem (err);
  if (object == NULL)
    return nbi_refuse (err, limits->rule, "no JSON: line %d: %s", error.line,
                       error.text);
  if (!json_is_object (object)) {
    json_decref (object);
    return nbi_refuse (err, limits->rule, "JSON that is no object");
  }
  *out = object;
  return 0;
}

bool
repo_json_number (const json_t *value, uint64_t *n)
{
  json_int_t i;

  if (!json_is_integer (value))
    return false;
  i = json_integer_value (value);
  if (i < 0 || (uint64_t) i > REPO_JSON_NUMBER_MAX)
    return false;
  *n = (uint64_t) i;
  return true;
}

/* In one form only: what is read prints as it was. */
bool
repo_json_uuid (const json_t *value, uint8_t uuid[UUID_SIZE])
{
  const char *text = json_string_value (value);
  char again[UUID_STRING_SIZE];
  uint8_t guid[UUID_SIZE], bytes[UUID_SIZE];

  if (text == NULL || !guid_from_string (text, guid))
    return false;
  /* The first three fields the other way round. */
  memcpy (bytes, guid, UUID_SIZE);
  for (size_t i = 0; i < 4; ++i)
    bytes[i] = guid[3 - i];
  bytes[4] = guid[5];
  bytes[5] = guid[4];
  bytes[6] = guid[7];
  bytes[7] = guid[6];
  uuid_to_string (bytes, again);
  if (strcmp (again, text) != 0)
    return false;
  memcpy (uuid, bytes, UUID_SIZE);
  return true;
}

void
repo_json_time_to_string (uint64_t seconds, char str[REPO_JSON_TIME_SIZE])
{
  time_t t = (time_t) seconds;
  struct tm tm = { 0 };

  gmtime_r (&t, &tm);
  if (strftime (str, REPO_JSON_TIME_SIZE, TIME_FORMAT, &tm) == 0)
    str[0] = '\0';
}

bool
repo_json_time (const json_t *value, uint64_t *seconds)
{
  const char *text = json_string_value (value), *end;
  char again[REPO_JSON_TIME_SIZE];
  struct tm tm = { 0 };
  time_t t;

  end = text ? strptime (text, TIME_FORMAT, &tm) : NULL;
  if (end == NULL || *end != '\0')
    return false;
  t = timegm (&tm);
  if (t < 0 || (uint64_t) t > NBI_MAX_TIME)
    return false;
  repo_json_time_to_string ((uint64_t) t, again);
  if (strcmp (text, again) != 0)
    return false;
  *seconds = (uint64_t) t;
  return true;
}
