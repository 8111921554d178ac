/* SPDX-License-Identifier: GPL-2.0-or-later */

/* vault.json (docs/NBI.md §13). */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/repo/json.h"
#include "lib/repo/vault.h"

#define KEY_ID_SIZE (2 * UUID_SIZE)

static const struct repo_json_limits limits = {
  .len = VAULT_JSON_MAX,
  .structures = 1024,
  .rule = 135,
};

/* A key id is hex without dashes: it is no UUID. */
static void
key_id_to_string (const uint8_t id[UUID_SIZE], char text[UUID_STRING_SIZE])
{
  char *to = text;

  uuid_to_string (id, text);
  for (const char *from = text; *from; ++from)
    if (*from != '-')
      *to++ = *from;
  *to = '\0';
}

static bool
read_key_id (const json_t *value, uint8_t id[UUID_SIZE])
{
  static const char digits[] = "0123456789abcdef";
  const char *text = json_string_value (value);
  uint8_t bytes[UUID_SIZE] = { 0 };

  if (text == NULL || strlen (text) != KEY_ID_SIZE)
    return false;
  for (size_t i = 0; i < KEY_ID_SIZE; ++i) {
    const char *digit = strchr (digits, text[i]);

    if (digit == NULL)
      return false;
    bytes[i / 2] = (uint8_t) (bytes[i / 2] << 4 | (digit - digits));
  }
  memcpy (id, bytes, UUID_SIZE);
  return true;
}

int
vault_about_encode (const struct vault_about *about, char **json, size_t *len,
                    struct err *err)
{
  char uuid[UUID_STRING_SIZE], key_id[UUID_STRING_SIZE];
  char created[REPO_JSON_TIME_SIZE];
  json_t *object;

  uuid_to_string (about->uuid, uuid);
  key_id_to_string (about->key_id, key_id);
  repo_json_time_to_string (about->created, created);
  object = json_pack ("{s:i, s:s, s:s, s:i, s:i, s:s?}", "nbi-vault", 1,
                      "uuid", uuid, "created", created,
                      "worm_days", (int) about->worm_days,
                      "encryption", (int) about->encryption,
                      "key", about->encryption ? key_id : NULL);
  *json = object ? json_dumps (object, JSON_INDENT (2) | JSON_PRESERVE_ORDER)
                 : NULL;
  json_decref (object);
  if (*json == NULL)
    return err_nomem (err);
  *len = strlen (*json);
  return 0;
}

static int
refuse (struct err *err, const char *member)
{
  return nbi_refuse (err, 130, "vault.json: ‘%s’ is missing or not what it "
                     "should be", member);
}

static int
read_encryption (const json_t *object, struct vault_about *about,
                 struct err *err)
{
  const json_t *key = json_object_get (object, "key");
  uint64_t n;

  if (!repo_json_number (json_object_get (object, "encryption"), &n))
    return refuse (err, "encryption");
  if (n > 1)
    return nbi_beyond (err, 130, "vault.json: encryption %llu",
                       (unsigned long long) n);
  about->encryption = (uint8_t) n;
  if (n == 0 ? !json_is_null (key)
             : !read_key_id (key, about->key_id) ||
               uuid_is_zero (about->key_id))
    return refuse (err, "key");
  return 0;
}

static int
read_about (const json_t *object, struct vault_about *about, struct err *err)
{
  uint64_t n;

  if (!repo_json_number (json_object_get (object, "nbi-vault"), &n))
    return refuse (err, "nbi-vault");
  if (n != 1)
    return nbi_beyond (err, 130, "vault.json: version %llu, not 1",
                       (unsigned long long) n);
  if (!repo_json_uuid (json_object_get (object, "uuid"), about->uuid) ||
      uuid_is_zero (about->uuid))
    return refuse (err, "uuid");
  if (!repo_json_time (json_object_get (object, "created"), &about->created))
    return refuse (err, "created");
  if (!repo_json_number (json_object_get (object, "worm_days"), &n) ||
      n > VAULT_WORM_MAX)
    return refuse (err, "worm_days");
  about->worm_days = (unsigned) n;
  return read_encryption (object, about, err);
}

int
vault_about_decode (const char *json, size_t len, struct vault_about *out,
                    struct err *err)
{
  struct vault_about about = { .created = 0 };
  json_t *object;
  int r = repo_json_parse (json, len, &limits, &object, err);

  if (r < 0)
    return r;
  r = read_about (object, &about, err);
  json_decref (object);
  if (r == 0)
    *out = about;
  return r;
}
