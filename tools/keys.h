/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The options that say what opens backups that are encrypted.  A passphrase is
 * never an argument: those are seen by everybody on the machine.
 */

#ifndef NBDIMAGE_TOOLS_KEYS_H
#define NBDIMAGE_TOOLS_KEYS_H

#include "lib/repo/keyring.h"
#include "tools/command.h"

/* Read what they name, once for the process, and let images be opened with it;
 * if nothing is named, a passphrase is asked for when one is needed, if there
 * is a terminal.  -EINVAL: two of them, or they can't be right; errors of the
 * file.
 */
int keys_use (const struct key_option_values *values, struct err *err);

/* What keys_use made; NULL: there is no key, and nobody to ask. */
struct keyring *keys_get (void);

/* The same for what is written, by options that begin with --to-; after
 * keys_use.  new_one: it is made, so that a passphrase is asked for twice.
 */
int keys_use_for_target (const struct key_option_values *values, bool new_one,
                         struct err *err);
struct keyring *keys_get_target (void); /* NULL: there is none */

/* As keys_use did, but for something new: what is asked for is asked for twice.
 * Before anything was asked for.
 */
void keys_are_new (void);

/* Nobody is asked: what runs is a server, elsewhere.  Before keys_use. */
void keys_never_ask (void);

/* Was one of them used? */
bool keys_are_named (const struct key_option_values *values);

#endif /* NBDIMAGE_TOOLS_KEYS_H */
