/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is attached, for the other commands: one small JSON file for each
 * attachment, /run/nbdimage/nbdX.json.  The folder belongs to root and is
 * closed to others (a URI may hold more than its owner wants to show).
 *
 * A file is replaced as a whole, so that a reader never sees half of one.
 * What it says is checked against the kernel before it is believed: the
 * processes by pid and start time, the device by the backend identifier that
 * the kernel keeps while the device is connected.
 */

#ifndef NBDIMAGE_ATTACH_STATE_H
#define NBDIMAGE_ATTACH_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/err.h"
#include "lib/base/vector.h"
#include "tools/attach/process.h"

#define STATE_FOLDER "/run/nbdimage"

enum attachment_status {
  ATTACHMENT_LIVE,
  ATTACHMENT_UNSUPERVISED,      /* a URI; works, but nobody watches it */
  ATTACHMENT_DEAD,              /* the server is gone: I/O fails */
  ATTACHMENT_STALE,             /* a remnant; the device is free */
};

const char *attachment_status_to_string (enum attachment_status status);

struct attachment {
  int index;                    /* X of /dev/nbdX; -1: not connected yet */
  char *source;                 /* as given; a file's path made absolute */
  char *uri;                    /* what the kernel is connected to */
  char *socket;                 /* of the private server; NULL: a URI */
  char *backend;                /* identifier in the kernel */
  unsigned connections;
  unsigned timeout;             /* seconds */
  bool writable;
  struct process supervisor;
  struct process server;        /* private nbdkit */
  int64_t since;                /* seconds since 1970 */
  char *dead;                   /* why the server is gone; NULL: it lives */
};

#define ATTACHMENT_INIT { .index = -1 }

void attachment_free (struct attachment *attachment);
#define CLEANUP_ATTACHMENT __attribute__ ((__cleanup__ (attachment_free)))

DEFINE_VECTOR (attachment_vector, struct attachment);
void attachment_vector_free (struct attachment_vector *list);
#define CLEANUP_ATTACHMENTS \
  __attribute__ ((__cleanup__ (attachment_vector_free)))

/* JSON there and back.  The caller frees the text.  -EINVAL for text that is
 * not a state file.
 */
char *attachment_to_json (const struct attachment *attachment);
int attachment_from_json (const char *text, struct attachment *attachment,
                          struct err *err);

/* Make the folder, 0700.  -EPERM when it belongs to somebody else. */
int state_prepare (struct err *err);

/* Write the file of attachment; while index is -1, that of its supervisor
 * ("setup-PID.json"), which goes away when the index is known.
 */
int state_save (const struct attachment *attachment, struct err *err);

/* Remove all files of the attachment, its socket included. */
void state_remove (const struct attachment *attachment);

/* The path of the log of an attachment. */
void state_log_path (const struct attachment *attachment, char *path,
                     size_t size);

/* All files, remnants included, by index. */
int state_list (struct attachment_vector *list, struct err *err);

/* -ENOENT: we know nothing of the device. */
int state_load (unsigned index, struct attachment *attachment,
                struct err *err);

/* What is it, according to the kernel? */
enum attachment_status attachment_status (const struct attachment *a);

/* End what is left of attachments whose device is free: their servers, their
 * files.
 */
void state_reap (void);

#endif /* NBDIMAGE_ATTACH_STATE_H */
