/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is in a backup's folder: the files of volumes, GUID.vhd or GUID.vhdx,
 * and the documents that may record the layout: GUID_Components.xml, the
 * backup's, and that of the ASR writer.  More than one of each is read, and
 * they must agree.
 *
 * BackupSpecs.xml is searched for GUIDs of volumes only: one that it names is
 * in the backup, so that its file must be there.
 */

#include <config.h>

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/beneath.h"
#include "lib/base/cleanup.h"
#include "lib/base/fdio.h"
#include "lib/base/text.h"
#include "lib/format/folder.h"
#include "lib/format/winbackup/backup.h"

#define MAX_VOLUMES 256
#define MAX_DOCUMENTS 64
#define ASR_WRITER "_Writerbe000cbe-11fe-4426-9c58-531aa6355fc4.xml"

struct backup *
backup_ref (struct backup *backup)
{
  __atomic_add_fetch (&backup->refs, 1, __ATOMIC_RELAXED);
  return backup;
}

static void
volume_free (struct backup_volume *v)
{
  free (v->file);
  free (v->second_file);
  free (v->name);
  free (v->label);
}

void
backup_unref (struct backup *backup)
{
  if (backup == NULL ||
      __atomic_sub_fetch (&backup->refs, 1, __ATOMIC_ACQ_REL) > 0)
    return;
  for (size_t i = 0; i < backup->volumes.len; ++i)
    volume_free (&backup->volumes.ptr[i]);
  for (size_t i = 0; i < backup->disks.len; ++i)
    free (backup->disks.ptr[i].name);
  vector_free (&backup->volumes);
  vector_free (&backup->disks);
  asr_free (&backup->asr);
  backup_place_free (&backup->place);
  free (backup);
}

/*--- the files -------------------------------------------------------------*/

static struct backup_volume *
find_volume (struct backup *b, const uint8_t guid[UUID_SIZE])
{
  for (size_t i = 0; i < b->volumes.len; ++i)
    if (memcmp (b->volumes.ptr[i].guid, guid, UUID_SIZE) == 0)
      return &b->volumes.ptr[i];
  return NULL;
}

static int
add_volume (struct backup *b, const char *file,
            const uint8_t guid[UUID_SIZE], struct err *err)
{
  struct backup_volume v = { .file = strdup (file) };
  struct backup_volume *old = find_volume (b, guid);

  if (v.file == NULL)
    return err_nomem (err);
  if (old) {
    free (old->second_file);
    old->second_file = v.file;
    return 0;
  }
  memcpy (v.guid, guid, UUID_SIZE);
  if (b->volumes.len < MAX_VOLUMES && vector_append (&b->volumes, &v) == 0)
    return 0;
  free (v.file);
  return b->volumes.len < MAX_VOLUMES ? err_nomem (err)
    : err_set (err, -EBADMSG, "there are more than %d volumes", MAX_VOLUMES);
}

static int
add_file (struct backup *b, const char *name, struct name_list *documents,
          struct err *err)
{
  uint8_t guid[UUID_SIZE];
  const char *rest = backup_after_guid (name, guid);
  int r;

  if (rest == NULL)
    return 0;
  if (strcasecmp (rest, ".vhd") == 0 || strcasecmp (rest, ".vhdx") == 0)
    return add_volume (b, name, guid, err);
  if (strcasecmp (rest, "_Components.xml") != 0 &&
      strcasecmp (rest, ASR_WRITER) != 0)
    return 0;
  if (documents->len >= MAX_DOCUMENTS)
    return err_set (err, -EBADMSG, "there are more than %d documents of a "
                    "layout", MAX_DOCUMENTS);
  r = name_list_add (documents, name, err);
  return r < 0 ? r : 0;
}

static int
compare_files (const void *a, const void *b)
{
  return strcmp (((const struct backup_volume *) a)->file,
                 ((const struct backup_volume *) b)->file);
}

static int
read_folder (struct backup *b, struct name_list *documents, struct err *err)
{
  int fd = openat (b->place.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = fd >= 0 ? fdopendir (fd) : NULL;
  struct dirent *d;
  int r = 0;

  if (dir == NULL) {
    r = err_sys (err, "the folder can't be read");
    if (fd >= 0)
      close (fd);
    return r;
  }
  while (r == 0 && (errno = 0, d = readdir (dir)) != NULL)
    r = add_file (b, d->d_name, documents, err);
  if (r == 0 && errno != 0)
    r = err_sys (err, "the folder can't be read");
  closedir (dir);
  if (b->volumes.len > 0)
    qsort (b->volumes.ptr, b->volumes.len, sizeof *b->volumes.ptr,
           compare_files);
  return r;
}

static int
read_text (int fd, char **text, size_t *len, struct err *err)
{
  CLEANUP_FREE char *buf = NULL;
  struct stat st;
  int r;

  if (fstat (fd, &st) < 0)
    return err_sys (err, "fstat");
  if (st.st_size > BACKUP_DOCUMENT_MAX)
    return err_set (err, -EBADMSG, "it has %lld bytes, expected at most %d",
                    (long long) st.st_size, BACKUP_DOCUMENT_MAX);
  buf = malloc ((size_t) st.st_size + 1);
  if (buf == NULL)
    return err_nomem (err);
  r = fd_pread (fd, buf, (size_t) st.st_size, 0, err);
  if (r < 0)
    return r;
  *text = steal_ptr (&buf);
  *len = (size_t) st.st_size;
  return 0;
}

int
backup_read_document (const struct backup *b, const char *name, char **text,
                      size_t *len, struct err *err)
{
  CLEANUP_CLOSE int fd = -1;
  int r = beneath_open_file (b->place.fd, name, &fd, err);

  if (r < 0)
    return r;
  r = read_text (fd, text, len, err);
  if (r < 0)
    err_in (err, "%s", name);
  return r;
}

/*--- the layout ------------------------------------------------------------*/

static int
read_layout (struct backup *b, const struct name_list *documents,
             struct err *err)
{
  int r = 0;

  for (size_t i = 0; r == 0 && i < documents->len; ++i) {
    CLEANUP_FREE char *text = NULL;
    size_t len;

    r = backup_read_document (b, documents->ptr[i], &text, &len, err);
    if (r < 0)
      return r;
    r = asr_read (text, len, &b->asr, err);
    if (r < 0)
      err_in (err, "%s", documents->ptr[i]);
  }
  if (r == 0 && !b->asr.found)
    return err_set (err, -ENOTSUP, "the layout of the disk is not recorded: "
                    "there is no AsrSif in the %zu documents that may have it",
                    documents->len);
  return r;
}

/* Is it the partition's?  A partition of a GPT that names no volume has the
 * one of its own GUID: that is how Windows names them.
 */
static bool
is_volume_of (const struct asr_disk *disk, const struct asr_partition *p,
              const struct backup_volume *v)
{
  const uint8_t *guid = p->has_volume ? p->volume
    : disk->is_gpt ? p->guid : NULL;

  return guid && memcmp (guid, v->guid, UUID_SIZE) == 0;
}

/* Where each volume lies; one that two partitions claim is a contradiction. */
static int
place_volume (struct backup *b, struct backup_volume *v, struct err *err)
{
  for (size_t d = 0; d < b->asr.disks.len; ++d) {
    const struct asr_disk *disk = &b->asr.disks.ptr[d];

    for (size_t i = 0; i < disk->parts.len; ++i) {
      if (!is_volume_of (disk, &disk->parts.ptr[i], v))
        continue;
      if (v->placed && v->disk != d)
        return err_set (err, -EBADMSG, "AsrSif has the volume of %s on the "
                        "disks %u and %u", v->file,
                        b->asr.disks.ptr[v->disk].number, disk->number);
      v->placed = true;
      v->disk = d;
      v->part = i;
    }
  }
  return 0;
}

/* A disk whose record is refused keeps its volumes, and says why when it is
 * asked for.
 */
static int
place_volumes (struct backup *b, struct err *err)
{
  int r = 0;

  for (size_t d = 0; d < b->asr.disks.len; ++d)
    asr_check_disk (&b->asr.disks.ptr[d]);
  for (size_t i = 0; r == 0 && i < b->volumes.len; ++i)
    r = place_volume (b, &b->volumes.ptr[i], err);
  return r;
}

/*--- names -----------------------------------------------------------------*/

/* May it be the name of an export, and be typed behind a slash? */
static bool
good_name (const char *label)
{
  return label[0] != '\0' && label[0] != '.' && strlen (label) <= 64 &&
    strchr (label, '/') == NULL && strncasecmp (label, "disk", 4) != 0 &&
    text_is_clean (label);
}

static bool
name_taken (const struct backup *b, const char *name)
{
  for (size_t i = 0; i < b->volumes.len; ++i)
    if (b->volumes.ptr[i].name &&
        strcasecmp (b->volumes.ptr[i].name, name) == 0)
      return true;
  return false;
}

static int
name_volume (struct backup *b, struct backup_volume *v, struct err *err)
{
  char guid[UUID_STRING_SIZE], letter[2] = { v->letter, '\0' };
  const char *name = letter[0] ? letter : v->label;

  if (name == NULL || !good_name (name) || name_taken (b, name)) {
    guid_to_string (v->guid, guid);
    name = guid;
  }
  v->name = strdup (name);
  return v->name ? 0 : err_nomem (err);
}

static int
describe_volume (struct backup *b, struct backup_volume *v, struct err *err)
{
  for (size_t i = 0; i < b->asr.volumes.len; ++i) {
    const struct asr_volume *a = &b->asr.volumes.ptr[i];

    if (memcmp (a->guid, v->guid, UUID_SIZE) != 0)
      continue;
    v->letter = a->letter;
    free (v->label);
    v->label = a->label ? strdup (a->label) : NULL;
    if (a->label && v->label == NULL)
      return err_nomem (err);
  }
  return name_volume (b, v, err);
}

static bool
has_volumes (const struct backup *b, size_t disk)
{
  for (size_t i = 0; i < b->volumes.len; ++i)
    if (b->volumes.ptr[i].placed && b->volumes.ptr[i].disk == disk)
      return true;
  return false;
}

/* Disks of which nothing was backed up are only recorded. */
static int
name_disks (struct backup *b, struct err *err)
{
  size_t nr = 0;

  for (size_t i = 0; i < b->asr.disks.len; ++i)
    nr += has_volumes (b, i);
  for (size_t i = 0; i < b->asr.disks.len; ++i) {
    struct backup_disk d = { NULL, i };

    if (!has_volumes (b, i))
      continue;
    if ((nr == 1 ? asprintf (&d.name, "disk")
         : asprintf (&d.name, "disk-%u", b->asr.disks.ptr[i].number)) < 0)
      return err_nomem (err);
    if (vector_append (&b->disks, &d) < 0) {
      free (d.name);
      return err_nomem (err);
    }
  }
  return 0;
}

/*--- opening ---------------------------------------------------------------*/

static int
fill (struct backup *b, struct report *report, struct err *err)
{
  struct name_list documents = VECTOR_INIT;
  int r = read_folder (b, &documents, err);

  if (r == 0 && b->volumes.len == 0)
    r = err_set (err, -EBADMSG, "the backup has no volume: there is no "
                 "GUID.vhd or GUID.vhdx in it");
  if (r == 0 && read_layout (b, &documents, &b->layout) == 0)
    place_volumes (b, &b->layout);
  name_list_free (&documents);
  if (b->layout.code == -ENOMEM)
    return err_nomem (err);
  for (size_t i = 0; r == 0 && i < b->volumes.len; ++i)
    r = describe_volume (b, &b->volumes.ptr[i], err);
  if (r == 0 && b->layout.code == 0)
    r = name_disks (b, err);
  if (r == 0 && b->layout.code == 0 && b->disks.len == 0)
    err_set (&b->layout, -EBADMSG, "AsrSif records no disk with the volumes "
             "of this backup");
  if (r == 0 && b->layout.code < 0)
    report_warn (report, "%s: no disk can be put together: %s; its volumes "
                 "can be had", b->place.path, b->layout.msg);
  return r;
}

int
backup_open (struct backup_place *place, struct backup **out,
             struct report *report, struct err *err)
{
  struct backup *b = calloc (1, sizeof *b);
  int r;

  if (b == NULL) {
    backup_place_free (place);
    return err_nomem (err);
  }
  b->refs = 1;
  b->place = *place;
  *place = (struct backup_place) BACKUP_PLACE_INIT;
  r = fill (b, report, err);
  if (r < 0) {
    backup_unref (b);
    return r;
  }
  *out = b;
  return 0;
}
