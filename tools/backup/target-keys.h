/* SPDX-License-Identifier: GPL-2.0-or-later */

/* With which key a backup is written that is made of another one: by copy, by
 * salvage.  What was encrypted stays so, with the same key and the same
 * passphrases, unless something else is said; of a vault that is there, it
 * says itself what it is, and the key is only to open it.
 */

#ifndef NBDIMAGE_TOOLS_BACKUP_TARGET_KEYS_H
#define NBDIMAGE_TOOLS_BACKUP_TARGET_KEYS_H

#include "lib/repo/backup.h"
#include "lib/repo/keyring.h"
#include "tools/command.h"

struct target_keys {
  _Bool encrypt, decrypt;
  struct key_option_values named;

  /* Of target_keys_choose. */
  struct keyring *ring;         /* NULL: there is none */
  bool is_kept;                 /* the key is that of what was read */
  uint8_t master[CRYPT_KEY_SIZE];       /* if so */
};

#define TARGET_KEY_OPTIONS(type, member)                                \
  { "encrypt", 0, OPTION_FLAG, NULL,                                    \
    "encrypt a new file or vault, with a key of its own",               \
    offsetof (type, member.encrypt) },                                  \
  { "decrypt", 0, OPTION_FLAG, NULL,                                    \
    "what was encrypted may be written without",                        \
    offsetof (type, member.decrypt) },                                  \
  { "to-passphrase-fd", 0, OPTION_STRING, "N",                          \
    "read the passphrase of what is written from this descriptor",      \
    offsetof (type, member.named.passphrase_fd) },                      \
  { "to-passphrase-file", 0, OPTION_STRING, "FILE",                     \
    "read it from this file",                                           \
    offsetof (type, member.named.passphrase_file) },                    \
  { "to-key-file", 0, OPTION_STRING, "FILE",                            \
    "a file that opens what is written, instead of a passphrase",       \
    offsetof (type, member.named.key_file) }

/* Do the options go together, for a new file (vault NULL) or for that vault,
 * which init makes if it is not there?  -EINVAL.
 */
int target_keys_check (const struct target_keys *keys, const char *vault,
                       bool init, struct err *err);

/* Set ring and is_kept, and what options say of encryption.  was: of what is
 * read, which is open, so that its key is there.  -EACCES: there is no key and
 * nobody to ask; errors of keys_use_for_target.
 */
int target_keys_choose (struct target_keys *keys, const struct nbi_header *was,
                        struct backup_options *options, struct err *err);

/* Whatever came of it; the options' master is gone then. */
void target_keys_forget (struct target_keys *keys);

/*--- For backup_to_file and backup_to_vault ---------------------------------*/

static inline struct keyring *
target_keys_of_file (const struct target_keys *keys)
{
  return keys->encrypt ? keys->ring : NULL;
}

static inline bool
target_keys_do_encrypt (const struct target_keys *keys)
{
  return keys->encrypt || keys->is_kept;
}

#endif /* NBDIMAGE_TOOLS_BACKUP_TARGET_KEYS_H */
