/* SPDX-License-Identifier: GPL-2.0-or-later */

/* XML documents that a file holds, read with expat, and bounded: whoever
 * wrote them may be hostile.
 *
 * There is no document type, so no entity but the five of XML itself, and
 * nothing outside is ever read; elements nest to XML_MAX_DEPTH.  A document
 * is in UTF-8, or in UTF-16 of either order with or without a byte order
 * mark, whatever it says of itself; NULs behind it are left out.
 */

#ifndef NBDIMAGE_BASE_XML_H
#define NBDIMAGE_BASE_XML_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

#define XML_MAX_DEPTH 32

/* Name and value by turns, UTF-8, ended by NULL; gone when the call is. */
typedef const char *const *xml_attributes;

/* The value, or NULL.  Case matters. */
const char *xml_attribute (xml_attributes attributes, const char *name);

struct xml_handler {
  /* An element begins; depth of the root is 0.  An error ends the reading. */
  int (*start) (void *opaque, const char *element, xml_attributes attributes,
                unsigned depth, struct err *err);
  void (*end) (void *opaque, const char *element, unsigned depth);  /* NULL */

  /* The text between two tags, with entities and CDATA resolved.  NULL: it is
   * of no interest.
   */
  int (*text) (void *opaque, const char *text, struct err *err);
};

/* Read a whole document.  -EBADMSG with the line when it is not well-formed
 * or more than what is said above; what the handler returned otherwise, with
 * the line in front.
 */
int xml_parse (const void *document, size_t len,
               const struct xml_handler *handler, void *opaque,
               struct err *err);

/* Numbers in attributes: decimal, or hexadecimal after 0x.  Says which
 * attribute of which element is missing (-EBADMSG) or is not a number of at
 * most max.
 */
int xml_number (xml_attributes attributes, const char *element,
                const char *name, uint64_t max, uint64_t *value,
                struct err *err);

#endif /* NBDIMAGE_BASE_XML_H */
