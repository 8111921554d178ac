/* SPDX-License-Identifier: GPL-2.0-or-later */

/* XML from hostile files: what is read, and what is refused. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>

#include <cmocka.h>

#include "lib/base/utf16.h"
#include "lib/base/xml.h"

/* "a(b=1)b(c=2)/": what the handler heard. */
struct heard {
  char text[4096];
  int fail_at;                  /* the n-th element is refused */
  int nr;
};

static int
start (void *opaque, const char *element, xml_attributes attributes,
       unsigned depth, struct err *err)
{
  struct heard *h = opaque;
  size_t len = strlen (h->text);

  if (++h->nr == h->fail_at)
    return err_set (err, -ENOTSUP, "no more");
  len += (size_t) snprintf (h->text + len, sizeof h->text - len, "%u%s(",
                            depth, element);
  for (; attributes[0] && len < sizeof h->text; attributes += 2)
    len += (size_t) snprintf (h->text + len, sizeof h->text - len, "%s=%s;",
                              attributes[0], attributes[1]);
  if (len + 1 < sizeof h->text)
    strcpy (h->text + len, ")");
  return 0;
}

static void
end (void *opaque, const char *element, unsigned depth)
{
  struct heard *h = opaque;
  size_t len = strlen (h->text);

  snprintf (h->text + len, sizeof h->text - len, "/%u%s", depth, element);
}

static const struct xml_handler handler = { start, end, NULL };

static int
hear_text (void *opaque, const char *text, struct err *err)
{
  struct heard *h = opaque;
  size_t len = strlen (h->text);

  if (strcmp (text, "bad") == 0)
    return err_set (err, -ENOTSUP, "bad text");
  snprintf (h->text + len, sizeof h->text - len, "[%s]", text);
  return 0;
}

static const struct xml_handler with_text = { start, end, hear_text };

static void
reads (const void *document, size_t len, const char *expected)
{
  struct err err = ERR_INIT;
  struct heard h = { .nr = 0 };
  int r = xml_parse (document, len, &handler, &h, &err);

  if (r < 0)
    print_error ("%s\n", err.msg);
  assert_int_equal (r, 0);
  assert_string_equal (h.text, expected);
}

static void
refuses (const void *document, size_t len, const char *sentence)
{
  struct err err = ERR_INIT;
  struct heard h = { .nr = 0 };

  assert_int_equal (xml_parse (document, len, &handler, &h, &err), -EBADMSG);
  if (strstr (err.msg, sentence) == NULL)
    fail_msg ("“%s” does not say “%s”", err.msg, sentence);
}

static void
elements_and_attributes_are_heard (void **state)
{
  static const char document[] =
    "<?xml version=\"1.0\" encoding=\"no-such\"?>\n"
    "<a x='1' y='&lt;&#228;>'><!-- b --><b/>text<![CDATA[<c/>]]></a>\n";

  (void) state;
  reads (document, strlen (document), "0a(x=1;y=<ä>;)1b()/1b/0a");
}

static void
utf16_is_known_with_and_without_a_mark (void **state)
{
  static const char document[] = "<ä x='€'/>";
  static const enum utf16_order orders[] = { UTF16_LE, UTF16_BE };
  struct err err = ERR_INIT;

  (void) state;
  for (size_t i = 0; i < 2; ++i) {
    uint8_t *text, with_mark[128] = { 0 };
    size_t len;

    assert_int_equal (utf16_from_utf8 (document, orders[i], &text, &len,
                                       &err), 0);
    reads (text, len, "0ä(x=€;)/0ä");
    with_mark[0] = i == 0 ? 0xff : 0xfe;
    with_mark[1] = i == 0 ? 0xfe : 0xff;
    memcpy (with_mark + 2, text, len);
    reads (with_mark, len + 2, "0ä(x=€;)/0ä");
    /* Windows may count the NUL behind a string. */
    reads (with_mark, len + 4, "0ä(x=€;)/0ä");
    free (text);
  }
}

static void
utf8_may_have_a_mark_and_nuls_behind_it (void **state)
{
  (void) state;
  reads ("\xef\xbb\xbf<a/>\0\0", 9, "0a()/0a");
}

static void
what_is_behind_a_nul_is_not_overlooked (void **state)
{
  static const char utf16[] = "<\0a\0/\0>\0\0\0<\0b\0/\0>\0";

  (void) state;
  refuses ("<a/>\0<b/>", 9, "a NUL within");
  refuses (utf16, sizeof utf16 - 1, "a NUL within");
}

static void
document_types_are_refused (void **state)
{
  static const char *const documents[] = {
    /* A billion laughs, an outside entity, an outside document type. */
    "<!DOCTYPE a [<!ENTITY b \"bbbbbbbbbb\"><!ENTITY c \"&b;&b;&b;&b;\">]>"
      "<a>&c;</a>",
    "<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><a>&b;</a>",
    "<!DOCTYPE a SYSTEM \"http://localhost/a.dtd\"><a/>",
    "<!DOCTYPE a [<!ENTITY % b SYSTEM \"file:///etc/passwd\">%b;]><a/>",
  };

  (void) state;
  for (size_t i = 0; i < sizeof documents / sizeof documents[0]; ++i)
    refuses (documents[i], strlen (documents[i]), "a document type");
}

static void
elements_nest_only_so_deep (void **state)
{
  char document[8 * XML_MAX_DEPTH] = "", expected[16];
  struct heard h = { .nr = 0 };

  (void) state;
  for (int i = 0; i < XML_MAX_DEPTH; ++i)
    strcat (document, "<a>");
  strcat (document, "<b>");
  refuses (document, strlen (document), "nest deeper than 32");
  /* One less is fine. */
  document[3 * XML_MAX_DEPTH] = '\0';
  for (int i = 0; i < XML_MAX_DEPTH; ++i)
    strcat (document, "</a>");
  assert_int_equal (xml_parse (document, strlen (document), &handler, &h,
                               NULL), 0);
  snprintf (expected, sizeof expected, "%da()", XML_MAX_DEPTH - 1);
  assert_non_null (strstr (h.text, expected));
}

static void
what_is_not_xml_is_said_with_its_line (void **state)
{
  (void) state;
  refuses ("", 0, "line 1: is not XML: no element found");
  refuses ("<a>\n\n</b>", 9, "line 3: is not XML: mismatched tag");
  refuses ("<a/>\n<a/>", 9, "line 2: is not XML: junk after document element");
  refuses ("<a x='1' x='2'/>", 16, "duplicate attribute");
  refuses ("<a x='&nbsp;'/>", 15, "undefined entity");
  refuses ("<a>\xff</a>", 8, "not well-formed");
  refuses ("<\0a\0/\0>\0x", 9, "UTF-16, and of 9 bytes");
}

static void
refusals_of_the_handler_come_through (void **state)
{
  static const char document[] = "<a>\n<b/>\n<c/></a>";
  struct heard h = { .fail_at = 2 };
  struct err err = ERR_INIT;

  (void) state;
  assert_int_equal (xml_parse (document, strlen (document), &handler, &h,
                               &err), -ENOTSUP);
  assert_string_equal (err.msg, "line 2: no more");
  assert_int_equal (h.nr, 2);
}

static void
text_is_heard_between_tags (void **state)
{
  static const char document[] =
    "<a>1&lt;2<b>x<![CDATA[<&y]]>&#228;</b>\n<c/><!-- n -->z</a>";
  struct heard h = { .nr = 0 };
  struct err err = ERR_INIT;

  (void) state;
  assert_int_equal (xml_parse (document, strlen (document), &with_text, &h,
                               &err), 0);
  assert_string_equal (h.text, "0a()[1<2]1b()[x<&yä]/1b[\n]1c()/1c[z]/0a");
  assert_int_equal (xml_parse ("<a>bad<b/></a>", 14, &with_text, &h, &err),
                    -ENOTSUP);
  assert_string_equal (err.msg, "bad text");
}

static void
numbers_are_numbers (void **state)
{
  static const char *const a[] = {
    "dec", "18446744073709551615", "hex", "0x7F", "empty", "", "sign", "-1",
    "space", " 1", "tail", "1K", "x", "0x", "big", "18446744073709551616",
    "octal", "010", NULL
  };
  static const struct { const char *name, *says; } bad[] = {
    { "none", "e has no none" },
    { "empty", "e: empty is ‘’, expected a number" },
    { "sign", "‘-1’" }, { "space", "‘ 1’" }, { "tail", "‘1K’" },
    { "x", "‘0x’" }, { "big", "‘18446744073709551616’" },
  };
  struct err err = ERR_INIT;
  uint64_t v;

  (void) state;
  assert_int_equal (xml_number (a, "e", "dec", UINT64_MAX, &v, &err), 0);
  assert_true (v == UINT64_MAX);
  assert_int_equal (xml_number (a, "e", "hex", 127, &v, &err), 0);
  assert_int_equal (v, 127);
  assert_int_equal (xml_number (a, "e", "octal", 10, &v, &err), 0);
  assert_int_equal (v, 10);
  assert_int_equal (xml_number (a, "e", "hex", 126, &v, &err), -EBADMSG);
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
    assert_int_equal (xml_number (a, "e", bad[i].name, UINT64_MAX, &v, &err),
                      -EBADMSG);
    if (strstr (err.msg, bad[i].says) == NULL)
      fail_msg ("“%s” does not say “%s”", err.msg, bad[i].says);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (elements_and_attributes_are_heard),
    cmocka_unit_test (utf16_is_known_with_and_without_a_mark),
    cmocka_unit_test (utf8_may_have_a_mark_and_nuls_behind_it),
    cmocka_unit_test (what_is_behind_a_nul_is_not_overlooked),
    cmocka_unit_test (document_types_are_refused),
    cmocka_unit_test (elements_nest_only_so_deep),
    cmocka_unit_test (what_is_not_xml_is_said_with_its_line),
    cmocka_unit_test (refusals_of_the_handler_come_through),
    cmocka_unit_test (text_is_heard_between_tags),
    cmocka_unit_test (numbers_are_numbers),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
