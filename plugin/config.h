/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the command line says.  Written while nbdkit configures, in one
 * thread; only read afterwards.
 */

#ifndef NBDIMAGE_PLUGIN_CONFIG_H
#define NBDIMAGE_PLUGIN_CONFIG_H

#include "lib/base/vector.h"
#include "lib/format/image.h"
#include "plugin/source.h"

DEFINE_VECTOR (source_vector, struct source);

struct config {
  struct source_vector files;   /* FILE…, in the order given */
  char *folder;                 /* dir=, absolute; NULL: not given */
  char *vault;                  /* vault=, the same */
  char *overlay_folder;         /* overlay-dir=, the same */
  const char *overlay_format;   /* of what is made there; set when the image
                                   is known */
  bool is_backup;               /* it is a backup of Windows, which has a
                                   disk and volumes rather than images */

  /* The defaults for opening; writable and lock are set by who opens.  The
   * strings are owned by this struct.
   */
  struct image_options options;
};

extern struct config config;

/* nbdkit's callbacks; 0 or -1. */
int config_set (const char *key, const char *value);
int config_complete (void);
void config_free (void);

#define CONFIG_HELP                                                     \
  "[file=]<FILE>              Image to serve: a path or an NBD URI; may be\n" \
  "                           repeated, each is an export.\n"           \
  "dir=<FOLDER>               Serve the images in this folder, or the disk\n" \
  "                           and volumes of a WindowsImageBackup.\n"   \
  "vault=<FOLDER>             Serve the generations in this vault of\n"  \
  "                           backups, as DISK@TIME and DISK.\n"        \
  "format=<FORMAT>            The format of FILE, instead of finding out.\n" \
  "parent-path=<FOLDER>[:...] Where parents of differencing disks may lie\n" \
  "                           besides.\n"                               \
  "passphrase=-|-<FD>|+<FILE> Opens backups that are encrypted.\n"      \
  "key-file=<FILE>            The same, by a file of 32 to 65536 bytes.\n" \
  "overlay=<FILE>             Keep what is written in this VHD, and FILE as\n" \
  "                           it is.\n"                                 \
  "overlay-dir=<FOLDER>       Clients of the export FILE@NAME write to the\n" \
  "                           overlay NAME in this folder.\n"           \
  "size=auto|current|chs      Which of the sizes that a VHD states to\n" \
  "                           believe (default auto).\n"                \
  "ignore-checksums=<BOOL>    Serve images whose metadata fail their\n" \
  "                           checksums, read-only (default false)."

#endif /* NBDIMAGE_PLUGIN_CONFIG_H */
