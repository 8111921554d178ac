/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/repo/sftp-ask.h"

/* Ask, and be told whether it was done. */
static int
ask_status (struct sftp *s, struct sftp_call *call, struct err *err)
{
  int r = sftp_ask (s, call, err);

  return r < 0 ? r : sftp_status (call, err);
}

static int
ask_answer (struct sftp *s, struct sftp_call *call, enum sftp_type type,
            struct sftp_reader *body, struct err *err)
{
  int r = sftp_ask (s, call, err);

  return r < 0 ? r : sftp_answer (call, type, body, err);
}

static void
put_handle (struct sftp_packet *p, const struct sftp_handle *handle)
{
  sftp_put_bytes (p, handle->bytes, handle->len);
}

int
sftp_ask_path (struct sftp *s, enum sftp_type type, const char *path,
               struct err *err)
{
  CLEANUP_SFTP_CALL struct sftp_call call = SFTP_CALL_INIT;

  sftp_packet_begin (&call.packet, type);
  sftp_put_text (&call.packet, path);
  return ask_status (s, &call, err);
}

int
sftp_ask_rename (struct sftp *s, const char *from, const char *to,
                 struct err *err)
{
  CLEANUP_SFTP_CALL struct sftp_call call = SFTP_CALL_INIT;

  sftp_packet_begin (&call.packet, SFTP_RENAME);
  sftp_put_text (&call.packet, from);
  sftp_put_text (&call.packet, to);
  return ask_status (s, &call, err);
}

int
sftp_ask_mkdir (struct sftp *s, const char *path, uint32_t mode,
                struct err *err)
{
  CLEANUP_SFTP_CALL struct sftp_call call = SFTP_CALL_INIT;

  sftp_packet_begin (&call.packet, SFTP_MKDIR);
  sftp_put_text (&call.packet, path);
  sftp_put_mode (&call.packet, mode);
  return ask_status (s, &call, err);
}

int
sftp_ask_close (struct sftp *s, const struct sftp_handle *handle,
                struct err *err)
{
  CLEANUP_SFTP_CALL struct sftp_call call = SFTP_CALL_INIT;

  sftp_packet_begin (&call.packet, SFTP_CLOSE);
  put_handle (&call.packet, handle);
  return ask_status (s, &call, err);
}

void
sftp_tell_close (struct sftp *s, const struct sftp_handle *handle)
{
  struct sftp_call *call = malloc (sizeof *call);

  if (call == NULL)
    return;
  *call = (struct sftp_call) { .state = SFTP_CALL_IDLE, .told = true };
  sftp_packet_begin (&call->packet, SFTP_CLOSE);
  put_handle (&call->packet, handle);
  if (sftp_send (s, call, NULL) == 0)
    return;
  sftp_call_free (call);
  free (call);
}

int
sftp_ask_truncate (struct sftp *s, const struct sftp_handle *handle,
                   uint64_t size, struct err *err)
{
  CLEANUP_SFTP_CALL struct sftp_call call = SFTP_CALL_INIT;

  sftp_packet_begin (&call.packet, SFTP_FSETSTAT);
  put_handle (&call.packet, handle);
  sftp_put_u32 (&call.packet, 1);       /* attributes: the size */
  sftp_put_u64 (&call.packet, size);
  return ask_status (s, &call, err);
}

void
sftp_put_fsync (struct sftp_packet *packet, const struct sftp_handle *handle)
{
  sftp_packet_begin (packet, SFTP_EXTENDED);
  sftp_put_text (packet, "fsync@openssh.com");
  put_handle (packet, handle);
}

int
sftp_ask_fsync (struct sftp *s, const struct sftp_handle *handle,
                struct err *err)
{
  CLEANUP_SFTP_CALL struct sftp_call call = SFTP_CALL_INIT;

  if (!sftp_server (s)->has_fsync)
    return err_set (err, -ENOTSUP, "the server has no fsync@openssh.com");
  sftp_put_fsync (&call.packet, handle);
  return ask_status (s, &call, err);
}

int
sftp_handle_of (const struct sftp_call *call, struct sftp_handle *out,
                struct err *err)
{
  struct sftp_reader body;
  const uint8_t *bytes;
  size_t len;
  int r = sftp_answer (call, SFTP_HANDLE, &body, err);

  if (r < 0)
    return r;
  bytes = sftp_get_bytes (&body, &len);
  r = sftp_check (&body, err);
  if (r < 0)
    return r;
  if (len == 0 || len > sizeof out->bytes)
    return err_set (err, -EPROTO, "the server has a handle of %zu bytes", len);
  memcpy (out->bytes, bytes, len);
  out->len = len;
  return 0;
}

int
sftp_ask_open (struct sftp *s, const char *path, uint32_t flags,
               uint32_t mode, struct sftp_handle *out, struct err *err)
{
  CLEANUP_SFTP_CALL struct sftp_call call = SFTP_CALL_INIT;
  int r;

  sftp_packet_begin (&call.packet, SFTP_OPEN);
  sftp_put_text (&call.packet, path);
  sftp_put_u32 (&call.packet, flags);
  if (flags & SFTP_CREATE)
    sftp_put_mode (&call.packet, mode);
  else
    sftp_put_u32 (&call.packet, 0);
  r = sftp_ask (s, &call, err);
  return r < 0 ? r : sftp_handle_of (&call, out, err);
}

int
sftp_ask_write (struct sftp *s, const struct sftp_handle *handle,
                const void *buf, size_t len, uint64_t off, struct err *err)
{
  CLEANUP_SFTP_CALL struct sftp_call call = SFTP_CALL_INIT;

  sftp_packet_begin (&call.packet, SFTP_WRITE);
  put_handle (&call.packet, handle);
  sftp_put_u64 (&call.packet, off);
  sftp_put_bytes (&call.packet, buf, len);
  return ask_status (s, &call, err);
}

static int
take_attrs (struct sftp_reader *body, struct sftp_attrs *out, struct err *err)
{
  struct sftp_attrs attrs;
  int r;

  sftp_get_attrs (body, &attrs);
  r = sftp_check (body, err);
  if (r < 0)
    return r;
  if (!attrs.has_mode || !attrs.has_size || !attrs.has_time)
    return err_set (err, -EPROTO, "the server does not tell what kind of file "
                    "it is, its size and its time");
  *out = attrs;
  return 0;
}

int
sftp_ask_stat (struct sftp *s, enum sftp_type type, const char *path,
               struct sftp_attrs *out, struct err *err)
{
  CLEANUP_SFTP_CALL struct sftp_call call = SFTP_CALL_INIT;
  struct sftp_reader body;
  int r;

  sftp_packet_begin (&call.packet, type);
  sftp_put_text (&call.packet, path);
  r = ask_answer (s, &call, SFTP_ATTRS, &body, err);
  return r < 0 ? r : take_attrs (&body, out, err);
}

int
sftp_ask_fstat (struct sftp *s, const struct sftp_handle *handle,
                struct sftp_attrs *out, struct err *err)
{
  CLEANUP_SFTP_CALL struct sftp_call call = SFTP_CALL_INIT;
  struct sftp_reader body;
  int r;

  sftp_packet_begin (&call.packet, SFTP_FSTAT);
  put_handle (&call.packet, handle);
  r = ask_answer (s, &call, SFTP_ATTRS, &body, err);
  return r < 0 ? r : take_attrs (&body, out, err);
}

int
sftp_ask_space (struct sftp *s, const char *path, uint64_t *bytes,
                struct err *err)
{
  CLEANUP_SFTP_CALL struct sftp_call call = SFTP_CALL_INIT;
  struct sftp_reader body;
  uint64_t fragment, available;
  int r;

  if (!sftp_server (s)->has_statvfs)
    return err_set (err, -ENOTSUP, "the server has no statvfs@openssh.com");
  sftp_packet_begin (&call.packet, SFTP_EXTENDED);
  sftp_put_text (&call.packet, "statvfs@openssh.com");
  sftp_put_text (&call.packet, path);
  r = ask_answer (s, &call, SFTP_EXTENDED_REPLY, &body, err);
  if (r < 0)
    return r;
  (void) sftp_get_u64 (&body);          /* f_bsize */
  fragment = sftp_get_u64 (&body);
  (void) sftp_get_u64 (&body);          /* f_blocks, f_bfree */
  (void) sftp_get_u64 (&body);
  available = sftp_get_u64 (&body);
  r = sftp_check (&body, err);
  if (r == 0 && __builtin_mul_overflow (fragment, available, bytes))
    *bytes = UINT64_MAX;
  return r;
}
