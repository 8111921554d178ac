/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <inttypes.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/repo/nbi-slot.h"

#define MAX_PASSES 64
#define MAX_LANES 16
#define MAX_MEMORY (1024 * 1024)        /* KiB */

/* Of the structure on disk. */
enum {
  OFF_KIND = 0,
  OFF_PASSES = 4,
  OFF_MEMORY = 8,
  OFF_LANES = 12,
  OFF_SALT = 16,
  OFF_NONCE = 48,
  OFF_WRAPPED = 64,
  OFF_LABEL = 112,
  OFF_END = 144,
};

void
nbi_slot_encode (const struct nbi_slot *slot, uint8_t buf[NBI_SLOT_SIZE])
{
  memset (buf, 0, NBI_SLOT_SIZE);
  buf[OFF_KIND] = slot->kind;
  put_le32 (buf + OFF_PASSES, slot->passes);
  put_le32 (buf + OFF_MEMORY, slot->memory);
  put_le32 (buf + OFF_LANES, slot->lanes);
  memcpy (buf + OFF_SALT, slot->salt, sizeof slot->salt);
  memcpy (buf + OFF_NONCE, slot->nonce, sizeof slot->nonce);
  memcpy (buf + OFF_WRAPPED, slot->wrapped, sizeof slot->wrapped);
  memcpy (buf + OFF_LABEL, slot->label, sizeof slot->label);
}

static int
check_reserved (const uint8_t *buf, struct err *err)
{
  int r = nbi_check_zeros (buf, OFF_KIND + 1, OFF_PASSES - OFF_KIND - 1,
                           "slot", err);

  if (r == 0)
    r = nbi_check_zeros (buf, OFF_NONCE + 12, OFF_WRAPPED - OFF_NONCE - 12,
                         "slot", err);
  if (r == 0)
    r = nbi_check_zeros (buf, OFF_END, NBI_SLOT_SIZE - OFF_END, "slot", err);
  return r;
}

static int
check_fields (const struct nbi_slot *s, struct err *err)
{
  if (s->kind == 0)
    return nbi_refuse (err, 120, "the slot is empty");
  if (s->kind > NBI_SLOT_KEY_FILE)
    return nbi_beyond (err, 120, "a slot of kind %u", s->kind);
  if (s->kind == NBI_SLOT_KEY_FILE && (s->passes | s->memory | s->lanes) != 0)
    return nbi_refuse (err, 121, "a key file with numbers for Argon2id");
  if (!nbi_text_is_right (s->label, NBI_LABEL_SIZE))
    return nbi_refuse (err, 122, "the label is not text");
  if (s->kind == NBI_SLOT_PASSPHRASE &&
      (s->passes < 1 || s->passes > MAX_PASSES || s->lanes < 1 ||
       s->lanes > MAX_LANES || s->memory < 8 * s->lanes ||
       s->memory > MAX_MEMORY))
    return nbi_refuse (err, 123, "Argon2id with %" PRIu32 " passes, %" PRIu32
                       " lanes, %" PRIu32 " KiB", s->passes, s->lanes,
                       s->memory);
  return 0;
}

int
nbi_slot_decode (const uint8_t buf[NBI_SLOT_SIZE], bool strict,
                 struct nbi_slot *out, struct err *err)
{
  struct nbi_slot slot = {
    .kind = buf[OFF_KIND], .passes = get_le32 (buf + OFF_PASSES),
    .memory = get_le32 (buf + OFF_MEMORY), .lanes = get_le32 (buf + OFF_LANES),
  };
  int r;

  memcpy (slot.salt, buf + OFF_SALT, sizeof slot.salt);
  memcpy (slot.nonce, buf + OFF_NONCE, sizeof slot.nonce);
  memcpy (slot.wrapped, buf + OFF_WRAPPED, sizeof slot.wrapped);
  memcpy (slot.label, buf + OFF_LABEL, sizeof slot.label);
  r = check_fields (&slot, err);
  if (r == 0 && strict)
    r = check_reserved (buf, err);
  if (r == 0)
    *out = slot;
  return r;
}
