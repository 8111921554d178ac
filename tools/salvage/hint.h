/* SPDX-License-Identifier: GPL-2.0-or-later */

/* For whoever comes upon a damaged backup. */

#ifndef NBDIMAGE_TOOLS_SALVAGE_HINT_H
#define NBDIMAGE_TOOLS_SALVAGE_HINT_H

/* The image of that name is damaged.  If it is a backup whose header is whole,
 * say of what, and what helps; else nothing.
 */
void salvage_hint (const char *path);

#endif /* NBDIMAGE_TOOLS_SALVAGE_HINT_H */
