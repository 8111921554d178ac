/* SPDX-License-Identifier: GPL-2.0-or-later */

/* One command of `nbdimage COMMAND`.
 *
 * Each lives in tools/cmd-NAME.c, which defines one const struct command
 * and lists it in main.c's table.  Its run function is three steps: parse
 * into a struct, check the struct, act.  Options are a table, so that
 * --help, completion and the documentation test read it too.
 */

#ifndef NBDIMAGE_TOOLS_COMMAND_H
#define NBDIMAGE_TOOLS_COMMAND_H

#include <stddef.h>

#include "lib/base/err.h"

/* Exit status. */
enum {
  STATUS_DONE = 0,
  STATUS_FAILED = 1,
  STATUS_USAGE = 2,
  STATUS_DAMAGED = 3,           /* the image is damaged (-EBADMSG) */
};

enum option_kind {
  OPTION_FLAG,                  /* bool: set to true */
  OPTION_STRING,                /* const char *: points into argv */
  OPTION_LIST,                  /* struct option_list: each time it is given */
  OPTION_UNSIGNED,              /* unsigned */
  OPTION_SIZE,                  /* uint64_t bytes, "4K" */
  OPTION_SECONDS,               /* unsigned; "30" or "30s" */
};

#define OPTION_LIST_MAX 32      /* times that an option may be given */

struct option_list {
  size_t nr;
  const char *values[OPTION_LIST_MAX];  /* point into argv */
};

struct option_spec {
  const char *name;             /* without "--" */
  char letter;                  /* 'r' for -r; 0: none; not 'h' */
  enum option_kind kind;
  const char *argument;         /* "SECONDS"; NULL for flags */
  const char *help;             /* one line */
  size_t offset;                /* of the value in the command's struct */
};

#define OPTION_END { NULL, 0, OPTION_FLAG, NULL, NULL, 0 }

/* What opens backups that are encrypted: tools/keys.h. */
struct key_option_values {
  const char *passphrase_fd, *passphrase_file, *key_file;
};

/* For commands without IMAGE_OPTIONS, which has them. */
#define KEY_OPTIONS(type, member)                                       \
  { "passphrase-fd", 0, OPTION_STRING, "N",                             \
    "read the passphrase of an encrypted backup from this descriptor",  \
    offsetof (type, member.passphrase_fd) },                            \
  { "passphrase-file", 0, OPTION_STRING, "FILE",                        \
    "read it from this file",                                           \
    offsetof (type, member.passphrase_file) },                          \
  { "key-file", 0, OPTION_STRING, "FILE",                               \
    "a file that opens an encrypted backup, instead of a passphrase",   \
    offsetof (type, member.key_file) }

/* What every command that opens images takes; the command's struct has a
 * struct image_option_values, and its table the line IMAGE_OPTIONS (struct
 * its_struct, that_member).
 */
struct image_option_values {
  const char *format;
  const char *parent_path;
  const char *size;
  const char *overlay;          /* only with OVERLAY_OPTION */
  const char *overlay_dir;      /* serve's */
  _Bool ignore_checksums;
  struct key_option_values keys;
};

#define IMAGE_OPTIONS(type, member)                                     \
  { "format", 'f', OPTION_STRING, "FORMAT",                             \
    "the format of the image, instead of finding out",                  \
    offsetof (type, member.format) },                                   \
  IMAGE_OPTIONS_BUT_FORMAT (type, member)

/* For those in which it has another name. */
#define IMAGE_OPTIONS_BUT_FORMAT(type, member)                          \
  { "parent-path", 0, OPTION_STRING, "FOLDER[:FOLDER…]",                \
    "where parents of differencing disks may lie besides",              \
    offsetof (type, member.parent_path) },                              \
  { "size", 0, OPTION_STRING, "auto|current|chs",                       \
    "which of the sizes that a VHD states to believe",                  \
    offsetof (type, member.size) },                                     \
  { "ignore-checksums", 0, OPTION_FLAG, NULL,                           \
    "open an image whose metadata fail their checksums, read-only",     \
    offsetof (type, member.ignore_checksums) },                         \
  KEY_OPTIONS (type, member.keys)

/* For commands that write to a disk, and then are to (lib/format/overlay.h).
 */
#define OVERLAY_OPTION(type, member)                                    \
  { "overlay", 0, OPTION_STRING, "FILE",                                \
    "the image with what this VHD or VHDX has of what was written",          \
    offsetof (type, member.overlay) }

struct command {
  const char *name;             /* "attach" */
  const char *alias;            /* another name; NULL: none */
  const char *operands;         /* "IMAGE [/dev/nbdX]"; "": none */
  const char *summary;          /* one line, no full stop */
  const struct option_spec *options;    /* ends with OPTION_END */
  int (*run) (int argc, char *argv[]);  /* argv[0] is the command's name;
                                           returns an exit status */
};

/* Parse the options into *values (set to the defaults by the caller) and
 * leave the operands in argv[*first] to argv[argc-1].  `--` ends options;
 * options and operands may be mixed.  --help or -h prints the help and
 * exits 0; so no command has another -h.  A usage error prints one sentence
 * and exits STATUS_USAGE.
 */
void command_parse (const struct command *command, int argc, char *argv[],
                    void *values, int *first);

/* One sentence about wrong usage and where the help is; exits. */
void command_usage_error (const struct command *command,
                          const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 2, 3), __noreturn__));

#endif /* NBDIMAGE_TOOLS_COMMAND_H */
