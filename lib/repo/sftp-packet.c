/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/repo/sftp-packet.h"

/* Flags of attributes, §5. */
#define ATTR_SIZE 1U
#define ATTR_UIDGID 2U
#define ATTR_PERMISSIONS 4U
#define ATTR_TIMES 8U
#define ATTR_EXTENDED 0x80000000U

/*--- putting together -------------------------------------------------------*/

static uint8_t *
add (struct sftp_packet *p, size_t len)
{
  uint8_t *bytes;

  if (p->failed)
    return NULL;
  if (len > p->size - p->len) {
    size_t size = p->len + len + 256;

    bytes = realloc (p->bytes, size);
    if (bytes == NULL) {
      p->failed = true;
      return NULL;
    }
    p->bytes = bytes;
    p->size = size;
  }
  bytes = p->bytes + p->len;
  p->len += len;
  return bytes;
}

void
sftp_packet_begin (struct sftp_packet *p, enum sftp_type type)
{
  uint8_t *head;

  p->len = 0;
  head = add (p, SFTP_HEAD);
  if (head) {
    memset (head, 0, SFTP_HEAD);
    head[4] = (uint8_t) type;
  }
}

void
sftp_put_u32 (struct sftp_packet *p, uint32_t value)
{
  uint8_t *to = add (p, 4);

  if (to)
    put_be32 (to, value);
}

void
sftp_put_u64 (struct sftp_packet *p, uint64_t value)
{
  uint8_t *to = add (p, 8);

  if (to)
    put_be64 (to, value);
}

void
sftp_put_raw (struct sftp_packet *p, const void *bytes, size_t len)
{
  uint8_t *to = add (p, len);

  if (to && len > 0)
    memcpy (to, bytes, len);
}

void
sftp_packet_reserve (struct sftp_packet *p, size_t size)
{
  size_t len = p->len;

  if (size > len && add (p, size - len))
    p->len = len;
}

void
sftp_put_bytes (struct sftp_packet *p, const void *bytes, size_t len)
{
  sftp_put_u32 (p, (uint32_t) len);
  sftp_put_raw (p, bytes, len);
}

void
sftp_put_text (struct sftp_packet *p, const char *text)
{
  sftp_put_bytes (p, text, strlen (text));
}

void
sftp_put_mode (struct sftp_packet *p, uint32_t mode)
{
  sftp_put_u32 (p, ATTR_PERMISSIONS);
  sftp_put_u32 (p, mode);
}

int
sftp_packet_end (struct sftp_packet *p, uint32_t id, struct err *err)
{
  if (p->failed)
    return err_nomem (err);
  put_be32 (p->bytes, (uint32_t) (p->len - 4));
  put_be32 (p->bytes + 5, id);
  return 0;
}

void
sftp_packet_free (struct sftp_packet *p)
{
  free (p->bytes);
  *p = (struct sftp_packet) { NULL, 0, 0, false };
}

/*--- taking apart -----------------------------------------------------------*/

static const uint8_t *
take (struct sftp_reader *r, size_t len)
{
  const uint8_t *p = r->p;

  if (r->bad || len > r->left) {
    r->bad = true;
    return NULL;
  }
  r->p += len;
  r->left -= len;
  return p;
}

uint32_t
sftp_get_u32 (struct sftp_reader *r)
{
  const uint8_t *p = take (r, 4);

  return p ? get_be32 (p) : 0;
}

uint64_t
sftp_get_u64 (struct sftp_reader *r)
{
  const uint8_t *p = take (r, 8);

  return p ? get_be64 (p) : 0;
}

const uint8_t *
sftp_get_bytes (struct sftp_reader *r, size_t *len)
{
  *len = sftp_get_u32 (r);
  return take (r, *len);
}

char *
sftp_get_text (struct sftp_reader *r)
{
  size_t len;
  const uint8_t *p = sftp_get_bytes (r, &len);
  char *text;

  if (p == NULL || memchr (p, '\0', len) != NULL) {
    r->bad = true;
    return NULL;
  }
  text = malloc (len + 1);
  if (text == NULL)
    return NULL;
  memcpy (text, p, len);
  text[len] = '\0';
  return text;
}

void
sftp_get_attrs (struct sftp_reader *r, struct sftp_attrs *out)
{
  uint32_t flags = sftp_get_u32 (r);

  memset (out, 0, sizeof *out);
  out->has_size = flags & ATTR_SIZE;
  out->has_mode = flags & ATTR_PERMISSIONS;
  out->has_time = flags & ATTR_TIMES;
  if (out->has_size)
    out->size = sftp_get_u64 (r);
  if (flags & ATTR_UIDGID)
    (void) take (r, 8);
  if (out->has_mode)
    out->mode = sftp_get_u32 (r);
  if (out->has_time) {
    (void) take (r, 4);
    out->mtime = sftp_get_u32 (r);
  }
  if (flags & ATTR_EXTENDED) {
    uint32_t n = sftp_get_u32 (r);
    size_t len;

    for (; n > 0 && !r->bad; --n) {
      (void) sftp_get_bytes (r, &len);
      (void) sftp_get_bytes (r, &len);
    }
  }
}
