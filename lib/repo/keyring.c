/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Argon2id for a slot of ours: three passes over 256 MiB in four lanes.  RFC
 * 9106 §4 recommends 2 GiB and one pass, or 64 MiB and three; a machine that
 * restores may have little memory.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "lib/base/cleanup.h"
#include "lib/base/kdf.h"
#include "lib/repo/keyring.h"

#define PASSES 3
#define MEMORY (256 * 1024)     /* KiB */
#define LANES 4

/* A master key, or why there is none. */
struct opened {
  uint8_t id[NBI_KEY_ID_SIZE];
  uint8_t master[CRYPT_KEY_SIZE];
  int r;
  struct err why;
};

struct keyring {
  keyring_ask *ask;
  void *opaque;

  pthread_mutex_t lock;         /* guards what follows */
  bool asked;
  int refused;                  /* by ask: negative errno */
  struct err why;
  struct crypt_secret secret;   /* buf NULL: there is none */
  struct opened opened[KEYRING_MAX];
  unsigned nr_opened;
  unsigned nr_vain;             /* slots that the passphrase did not open */
};

/* A core has all that the process knows.  Who takes cores by a pipe
 * (core_pattern) is told the limit, and asked to respect it.
 */
static void
leave_no_core (void)
{
  struct rlimit limit;

  if (getrlimit (RLIMIT_CORE, &limit) == 0) {
    limit.rlim_cur = 0;
    (void) setrlimit (RLIMIT_CORE, &limit);
  }
}

static int
make (struct keyring **out, struct err *err)
{
  *out = calloc (1, sizeof **out);
  if (*out == NULL)
    return err_nomem (err);
  pthread_mutex_init (&(*out)->lock, NULL);
  leave_no_core ();
  return 0;
}

int
keyring_new (const struct crypt_secret *secret, struct keyring **out,
             struct err *err)
{
  struct keyring *keys;
  void *copy;
  int r = make (&keys, err);

  if (r < 0)
    return r;
  copy = malloc (secret->len + 1);      /* a passphrase may be empty */
  if (copy == NULL) {
    keyring_free (keys);
    return err_nomem (err);
  }
  memcpy (copy, secret->buf, secret->len);
  keys->secret = (struct crypt_secret) { secret->kind, copy, secret->len };
  *out = keys;
  return 0;
}

int
keyring_new_asking (keyring_ask *ask, void *opaque, struct keyring **out,
                    struct err *err)
{
  int r = make (out, err);

  if (r < 0)
    return r;
  (*out)->ask = ask;
  (*out)->opaque = opaque;
  return 0;
}

void
keyring_free (struct keyring *keys)
{
  if (keys == NULL)
    return;
  if (keys->secret.buf != NULL)
    kdf_forget ((void *) keys->secret.buf, keys->secret.len);
  free ((void *) keys->secret.buf);
  pthread_mutex_destroy (&keys->lock);
  kdf_forget (keys, sizeof *keys);
  free (keys);
}

bool
keyring_is_ready (struct keyring *keys)
{
  if (keys == NULL)
    return false;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&keys->lock);

  return keys->secret.buf != NULL;
}

/*--- Under the lock ---------------------------------------------------------*/

static int
get_secret (struct keyring *keys, struct err *err)
{
  char *passphrase = NULL;
  size_t len = 0;

  if (keys->secret.buf != NULL)
    return 0;
  if (!keys->asked) {
    keys->asked = true;
    keys->refused = keys->ask (keys->opaque, &passphrase, &len, &keys->why);
    if (keys->refused == 0)
      keys->secret = (struct crypt_secret) {
        NBI_SLOT_PASSPHRASE, passphrase, len,
      };
  }
  if (keys->refused < 0 && err != NULL)
    *err = keys->why;
  return keys->refused;
}

static const char *
name_of (const struct crypt_secret *secret)
{
  return secret->kind == NBI_SLOT_PASSPHRASE ? "passphrase" : "key file";
}

/* The first slot that the secret opens.  One that is damaged, or wants more
 * memory than there is, is not in the way of others.  How long one try takes is
 * said by whoever made the file (NBI-123), and many files could say it: tries
 * have an end.
 */
static int
try_slots (struct keyring *keys, const uint8_t *slots, unsigned nr_slots,
           uint8_t master[CRYPT_KEY_SIZE], struct err *err)
{
  bool is_slow = keys->secret.kind == NBI_SLOT_PASSPHRASE;
  const char *name = name_of (&keys->secret);
  struct err other = ERR_INIT;
  unsigned nr_tried = 0;

  for (unsigned i = 0; i < nr_slots; ++i) {
    struct err why = ERR_INIT;
    struct nbi_slot slot;
    int r;

    if (nbi_slot_decode (slots + (size_t) i * NBI_SLOT_SIZE, false, &slot,
                         NULL) < 0 || slot.kind != keys->secret.kind)
      continue;
    if (is_slow && keys->nr_vain == KEYRING_TRIES)
      return err_set (err, -EACCES, "it is encrypted, and this passphrase did "
                      "not open %d key slots by now", KEYRING_TRIES);
    ++nr_tried;
    r = crypt_unwrap (&slot, &keys->secret, master, &why);
    if (r == 0)
      return 0;
    keys->nr_vain += is_slow;
    if (r != -EACCES)
      other = why;
  }
  if (other.code < 0)
    return err_set (err, other.code, "%s", other.msg);
  return err_set (err, -EACCES, nr_tried > 0
                  ? "it is encrypted, and this %s does not open it"
                  : "it is encrypted, and not for a %s", name);
}

static int
open_key (struct keyring *keys, struct opened *opened, const uint8_t *slots,
          unsigned nr_slots, struct err *err)
{
  uint8_t id[NBI_KEY_ID_SIZE];
  int r = get_secret (keys, err);

  if (r == 0)
    r = try_slots (keys, slots, nr_slots, opened->master, err);
  if (r == 0)
    r = crypt_key_id (opened->master, id, err);
  if (r == 0 && memcmp (id, opened->id, sizeof id) != 0)
    r = err_set (err, -EACCES, "the key in its key slot is that of something "
                 "else (NBI-124)");
  if (r < 0)
    kdf_forget (opened->master, sizeof opened->master);
  return r;
}

/* The one with that id; it is opened if it is none of those known. */
static int
find (struct keyring *keys, const uint8_t id[NBI_KEY_ID_SIZE],
      const uint8_t *slots, unsigned nr_slots, struct opened **out,
      struct err *err)
{
  struct opened *opened;

  for (unsigned i = 0; i < keys->nr_opened; ++i)
    if (memcmp (keys->opened[i].id, id, NBI_KEY_ID_SIZE) == 0) {
      *out = &keys->opened[i];
      return 0;
    }
  if (keys->nr_opened == KEYRING_MAX)
    return err_set (err, -EACCES, "more than %d different keys", KEYRING_MAX);
  opened = &keys->opened[keys->nr_opened];
  memcpy (opened->id, id, NBI_KEY_ID_SIZE);
  opened->r = open_key (keys, opened, slots, nr_slots, &opened->why);
  /* What another try may mend is not the answer for ever. */
  if (opened->r == 0 || opened->r == -EACCES)
    ++keys->nr_opened;
  *out = opened;
  return 0;
}

/*----------------------------------------------------------------------------*/

const char *keyring_options = "passphrase=+FILE or key-file=FILE";
const char *keyring_options_of_target =
  "--passphrase-file or --key-file";

static int
refuse_without (struct err *err)
{
  return err_set (err, -EACCES, "it is encrypted, and there is no key "
                  "(NBI-41): %s names it", keyring_options);
}

int
keyring_open (struct keyring *keys, const uint8_t id[NBI_KEY_ID_SIZE],
              const uint8_t *slots, unsigned nr_slots,
              uint8_t master[CRYPT_KEY_SIZE], struct err *err)
{
  struct opened *opened = NULL;
  int r;

  if (keys == NULL)
    return refuse_without (err);

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&keys->lock);

  r = find (keys, id, slots, nr_slots, &opened, err);
  if (r < 0)
    return r;
  if (opened->r == 0)
    memcpy (master, opened->master, CRYPT_KEY_SIZE);
  else if (err != NULL)
    *err = opened->why;
  return opened->r;
}

int
keyring_open_header (struct keyring *keys, const struct nbi_header *h,
                     uint8_t master[CRYPT_KEY_SIZE], struct err *err)
{
  return keyring_open (keys, h->key_id, h->slots, h->nr_slots, master, err);
}

static int
make_key (struct keyring *keys, struct nbi_header *h,
          uint8_t master[CRYPT_KEY_SIZE], struct err *err)
{
  struct nbi_slot slot = { .kind = 0 };
  int r = get_secret (keys, err);

  if (r < 0)
    return r;
  if (keys->secret.kind == NBI_SLOT_PASSPHRASE) {
    slot.passes = PASSES;
    slot.memory = MEMORY;
    slot.lanes = LANES;
  }
  r = crypt_master_new (master, err);
  if (r == 0)
    r = crypt_wrap (master, &keys->secret, &slot, err);
  if (r == 0)
    r = crypt_key_id (master, h->key_id, err);
  if (r < 0)
    return r;
  h->need |= NBI_NEED_ENCRYPTED;
  h->encryption = 1;
  h->nr_slots = 1;
  memset (h->slots, 0, sizeof h->slots);
  nbi_slot_encode (&slot, h->slots);
  return 0;
}

int
keyring_make (struct keyring *keys, struct nbi_header *h,
              uint8_t master[CRYPT_KEY_SIZE], struct err *err)
{
  struct opened *opened;
  int r;

  if (keys == NULL)
    return refuse_without (err);

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&keys->lock);

  r = make_key (keys, h, master, err);
  if (r < 0 || keys->nr_opened == KEYRING_MAX)
    return r;
  opened = &keys->opened[keys->nr_opened++];
  memcpy (opened->id, h->key_id, NBI_KEY_ID_SIZE);
  memcpy (opened->master, master, CRYPT_KEY_SIZE);
  opened->r = 0;
  return 0;
}
