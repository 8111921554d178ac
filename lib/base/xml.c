/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <expat.h>

#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/base/utf16.h"
#include "lib/base/xml.h"

struct reading {
  XML_Parser parser;
  const struct xml_handler *handler;
  void *opaque;
  unsigned depth;
  char *text;                   /* since the last tag; as large as all of the
                                   document.  NULL: not wanted */
  size_t text_len;
  int r;                        /* of the handler, or our own refusal */
  struct err err;
};

const char *
xml_attribute (xml_attributes attributes, const char *name)
{
  for (; attributes[0] != NULL; attributes += 2)
    if (strcmp (attributes[0], name) == 0)
      return attributes[1];
  return NULL;
}

int
xml_number (xml_attributes attributes, const char *element, const char *name,
            uint64_t max, uint64_t *value, struct err *err)
{
  const char *str = xml_attribute (attributes, name);
  char clean[64], *end;
  uintmax_t v = 0;
  bool is_hex;

  if (str == NULL)
    return err_set (err, -EBADMSG, "%s has no %s", element, name);
  is_hex = str[0] == '0' && (str[1] == 'x' || str[1] == 'X');
  /* No spaces and no signs, which strtoumax would take. */
  errno = 0;
  end = (char *) str;
  if (strspn (str, is_hex ? "0123456789abcdefABCDEFxX" : "0123456789") ==
      strlen (str))
    v = strtoumax (str, &end, is_hex ? 16 : 10);
  if (end == str || *end != '\0' || errno != 0 || v > max)
    return err_set (err, -EBADMSG, "%s: %s is ‘%s’, expected a number up to %"
                    PRIu64, element, name,
                    text_clean (str, clean, sizeof clean), max);
  *value = v;
  return 0;
}

/*--- what a document may have ----------------------------------------------*/

static void
stop (struct reading *d, int r)
{
  d->r = r;
  XML_StopParser (d->parser, XML_FALSE);
}

static void XMLCALL
on_text (void *opaque, const XML_Char *text, int len)
{
  struct reading *d = opaque;

  memcpy (d->text + d->text_len, text, (size_t) len);
  d->text_len += (size_t) len;
}

/* False when the handler refused. */
static bool
end_text (struct reading *d)
{
  int r;

  if (d->r < 0 || d->text_len == 0)
    return d->r >= 0;
  d->text[d->text_len] = '\0';
  d->text_len = 0;
  r = d->handler->text (d->opaque, d->text, &d->err);
  if (r < 0)
    stop (d, r);
  return r >= 0;
}

static void XMLCALL
on_start (void *opaque, const XML_Char *element, const XML_Char **attributes)
{
  struct reading *d = opaque;
  int r;

  if (!end_text (d))
    return;
  if (d->depth >= XML_MAX_DEPTH) {
    stop (d, err_set (&d->err, -EBADMSG, "elements nest deeper than %d",
                      XML_MAX_DEPTH));
    return;
  }
  r = d->handler->start (d->opaque, element, (xml_attributes) attributes,
                         d->depth++, &d->err);
  if (r < 0)
    stop (d, r);
}

static void XMLCALL
on_end (void *opaque, const XML_Char *element)
{
  struct reading *d = opaque;

  if (!end_text (d))
    return;
  d->depth--;
  if (d->handler->end)
    d->handler->end (d->opaque, element, d->depth);
}

/* Entities are declared in it, and nothing else that we need. */
static void XMLCALL
on_doctype (void *opaque, const XML_Char *name, const XML_Char *system,
            const XML_Char *public, int has_internal)
{
  struct reading *d = opaque;

  (void) name;
  (void) system;
  (void) public;
  (void) has_internal;
  stop (d, err_set (&d->err, -EBADMSG, "it declares a document type, which is "
                    "not accepted"));
}

/*--- bytes to text ---------------------------------------------------------*/

/* Windows writes UTF-16LE without a mark, and may end it with NUL. */
static int
to_utf8 (const uint8_t *p, size_t len, char **text, struct err *err)
{
  const size_t whole = len;
  bool is_le, is_be;

  while (len > 0 && p[len - 1] == 0)
    len--;
  is_le = len >= 2 && ((p[0] == 0xff && p[1] == 0xfe) || p[1] == 0);
  is_be = len >= 2 && ((p[0] == 0xfe && p[1] == 0xff) || p[0] == 0);
  if (!is_le && !is_be) {
    if (len >= 3 && memcmp (p, "\xef\xbb\xbf", 3) == 0)
      p += 3, len -= 3;
    *text = strndup ((const char *) p, len);
    return *text ? strlen (*text) == len ? 0
      : err_set (err, -EBADMSG, "there is a NUL within it") : err_nomem (err);
  }
  /* The last character's high byte may have been one of the NULs. */
  len += is_le && len % 2 != 0 && len < whole;
  if (len % 2 != 0)
    return err_set (err, -EBADMSG, "it is UTF-16, and of %zu bytes", len);
  if (p[0] >= 0xfe)
    p += 2, len -= 2;
  for (size_t i = 0; i < len; i += 2)
    if (p[i] == 0 && p[i + 1] == 0)
      return err_set (err, -EBADMSG, "there is a NUL within it");
  *text = utf16_to_utf8 (p, len, is_le ? UTF16_LE : UTF16_BE);
  return *text ? 0 : err_nomem (err);
}

/*--- reading ---------------------------------------------------------------*/

static int
parse (struct reading *d, const char *text, struct err *err)
{
  unsigned long line;

  XML_SetUserData (d->parser, d);
  XML_SetElementHandler (d->parser, on_start, on_end);
  XML_SetStartDoctypeDeclHandler (d->parser, on_doctype);
  if (d->text)
    XML_SetCharacterDataHandler (d->parser, on_text);
  if (XML_Parse (d->parser, text, (int) strlen (text), XML_TRUE) ==
      XML_STATUS_OK)
    return 0;
  line = XML_GetCurrentLineNumber (d->parser);
  if (d->r < 0) {
    if (err)
      *err = d->err;
    return line > 1 ? (err_in (err, "line %lu", line), d->r) : d->r;
  }
  if (XML_GetErrorCode (d->parser) == XML_ERROR_NO_MEMORY)
    return err_nomem (err);
  return err_set (err, -EBADMSG, "line %lu: is not XML: %s", line,
                  XML_ErrorString (XML_GetErrorCode (d->parser)));
}

int
xml_parse (const void *document, size_t len,
           const struct xml_handler *handler, void *opaque, struct err *err)
{
  struct reading d = { .handler = handler, .opaque = opaque,
                       .err = ERR_INIT };
  CLEANUP_FREE char *text = NULL, *between = NULL;
  int r;

  if (len > INT_MAX / 4)
    return err_set (err, -EBADMSG, "it has %zu bytes, which is too much", len);
  r = to_utf8 (document, len, &text, err);
  if (r < 0)
    return r;
  /* What an entity of XML itself stands for is shorter than it is. */
  if (handler->text) {
    d.text = between = malloc (strlen (text) + 1);
    if (between == NULL)
      return err_nomem (err);
  }
  /* Whatever it says of its encoding, it is UTF-8 now. */
  d.parser = XML_ParserCreate ("UTF-8");
  if (d.parser == NULL)
    return err_nomem (err);
  r = parse (&d, text, err);
  XML_ParserFree (d.parser);
  return r;
}
