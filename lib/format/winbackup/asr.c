/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Reading AsrSif.  What a real one of Windows 7 looks like, shortened:
 *
 *   <AsrSif>
 *     <Disks NumMbrDisks="1" NumGptDisks="0">
 *       <MbrDisk NumPartitions="2" DeviceNumber="0" MbrSignature="0x8ae9dbe5"
 *                BytesPerSector="512" SectorsPerTrack="63"
 *                TracksPerCylinder="255" DiskSize="16106127360" …>
 *         <MbrPartition PartitionIndex="0" BootFlag="1" PartitionType="0x7"
 *                       PartitionOffset="1048576" PartitionLength="104857600"
 *                       IsCritical="1" …>
 *           <VolumeMountPoint SymbolicName="\??\Volume{GUID}"/>
 *     <FixedVolumes NumVolumeNames="2">
 *       <VolumeName VolumeGuid="\??\Volume{GUID}" DosPath="\DosDevices\C:"
 *                   Label="…" …/>
 *
 * Of GptDisk and GptPartition no example was found, so that their attributes
 * are recognised by what they are: a GUID whose attribute has "Type" in its
 * name is the type, the only other GUID is the identity; a name that ends in
 * "Attributes" has the attributes, "Name" the name.  What is missing or
 * ambiguous is refused.
 */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/text.h"
#include "lib/base/xml.h"
#include "lib/format/winbackup/asr.h"

#define MAX_DISKS 64
#define MAX_PARTITIONS 256      /* of a disk */
#define MAX_VOLUMES 1024

struct reading {
  struct asr *asr;              /* where the next AsrSif goes */
  struct asr first;             /* one that was there before */
  bool inside;                  /* an AsrSif */
  unsigned depth;               /* of it */
  bool in_text;                 /* what is read is text in a document */
  struct asr_disk *disk;        /* the element we are in; NULL: none */
  struct asr_partition *part;
};

static void
disk_free (struct asr_disk *disk)
{
  for (size_t i = 0; i < disk->parts.len; ++i)
    free (disk->parts.ptr[i].name);
  vector_free (&disk->parts);
}

void
asr_free (struct asr *asr)
{
  for (size_t i = 0; i < asr->disks.len; ++i)
    disk_free (&asr->disks.ptr[i]);
  for (size_t i = 0; i < asr->volumes.len; ++i)
    free (asr->volumes.ptr[i].label);
  vector_free (&asr->disks);
  vector_free (&asr->volumes);
  memset (asr, 0, sizeof *asr);
}

/*--- attributes ------------------------------------------------------------*/

/* "\??\Volume{GUID}" and the like. */
static bool
volume_guid (const char *name, uint8_t guid[UUID_SIZE])
{
  const char *brace = strstr (name, "Volume{");

  return brace && guid_from_string (brace + strlen ("Volume"), guid);
}

/* "\DosDevices\C:": 'C', or 0. */
static char
drive_letter (const char *name)
{
  static const char prefix[] = "\\DosDevices\\";
  const char *p = name + strlen (prefix);

  if (strncmp (name, prefix, strlen (prefix)) != 0 ||
      !isalpha ((unsigned char) p[0]) || strcmp (p + 1, ":") != 0)
    return 0;
  return (char) toupper ((unsigned char) p[0]);
}

static bool
ends_in (const char *str, const char *end)
{
  size_t len = strlen (str), n = strlen (end);

  return len >= n && strcmp (str + len - n, end) == 0;
}

/* The only attribute that is a GUID and whose name has "Type" in it, or has
 * it not.
 */
static int
find_guid (xml_attributes a, const char *element, bool is_type,
           uint8_t guid[UUID_SIZE], struct err *err)
{
  const char *found = NULL;
  uint8_t g[UUID_SIZE];

  for (; a[0] != NULL; a += 2) {
    if ((strstr (a[0], "Type") != NULL) != is_type ||
        !guid_from_string (a[1], g))
      continue;
    if (found)
      return err_set (err, -EBADMSG, "%s has two GUIDs, %.40s and %.40s, and "
                      "it is not known which is meant", element, found, a[0]);
    found = a[0];
    memcpy (guid, g, UUID_SIZE);
  }
  return found ? 0 : err_set (err, -EBADMSG, "%s has no GUID%s", element,
                              is_type ? " of its type" : "");
}

/* The value of the attribute whose name ends so, or NULL. */
static const char *
find_ending (xml_attributes a, const char *end, const char **name)
{
  for (; a[0] != NULL; a += 2)
    if (ends_in (a[0], end)) {
      *name = a[0];
      return a[1];
    }
  return NULL;
}

static int
get_flag (xml_attributes a, const char *element, const char *name, bool *flag,
          struct err *err)
{
  uint64_t v;
  int r = xml_number (a, element, name, 1, &v, err);

  *flag = r == 0 && v == 1;
  return r;
}

static int
get_u32 (xml_attributes a, const char *element, const char *name,
         uint32_t *value, struct err *err)
{
  uint64_t v = 0;
  int r = xml_number (a, element, name, UINT32_MAX, &v, err);

  *value = (uint32_t) v;
  return r;
}

/*--- elements --------------------------------------------------------------*/

static int
start_disks (struct reading *d, xml_attributes a, struct err *err)
{
  struct asr *asr = d->asr;
  int r = xml_number (a, "Disks", "NumMbrDisks", MAX_DISKS,
                      &asr->nr_mbr_said, err);

  return r == 0 ? xml_number (a, "Disks", "NumGptDisks", MAX_DISKS,
                              &asr->nr_gpt_said, err) : r;
}

/* The geometry is for the numbers of cylinders in an MBR only. */
static int
read_disk (xml_attributes a, const char *element, struct asr_disk *disk,
           struct err *err)
{
  uint64_t v;
  int r;

  if (xml_number (a, element, "TracksPerCylinder", 255, &v, NULL) == 0)
    disk->heads = (unsigned) v;
  if (xml_number (a, element, "SectorsPerTrack", 63, &v, NULL) == 0)
    disk->sectors = (unsigned) v;
  r = get_u32 (a, element, "DeviceNumber", &disk->number, err);
  if (r == 0)
    r = xml_number (a, element, "NumPartitions", MAX_PARTITIONS,
                    &disk->nr_said, err);
  if (r == 0)
    r = get_u32 (a, element, "BytesPerSector", &disk->sector_size, err);
  if (r == 0)
    r = xml_number (a, element, "DiskSize", INT64_MAX, &disk->size, err);
  if (r < 0)
    return r;
  return disk->is_gpt ? find_guid (a, element, false, disk->guid, err)
    : get_u32 (a, element, "MbrSignature", &disk->signature, err);
}

static int
start_disk (struct reading *d, const char *element, xml_attributes a,
            struct err *err)
{
  struct asr_disk disk = { .is_gpt = element[0] == 'G' };
  int r;

  if (d->disk)
    return err_set (err, -EBADMSG, "%s lies within another disk", element);
  if (d->asr->disks.len >= MAX_DISKS)
    return err_set (err, -EBADMSG, "more than %d disks", MAX_DISKS);
  r = read_disk (a, element, &disk, err);
  if (r < 0)
    return r;
  if (vector_append (&d->asr->disks, &disk) < 0)
    return err_nomem (err);
  d->disk = &d->asr->disks.ptr[d->asr->disks.len - 1];
  return 0;
}

static int
read_gpt_part (xml_attributes a, const char *element,
               struct asr_partition *p, struct err *err)
{
  const char *name, *value;
  int r = find_guid (a, element, true, p->type, err);

  if (r == 0)
    r = find_guid (a, element, false, p->guid, err);
  if (r == 0 && find_ending (a, "Attributes", &name))
    r = xml_number (a, element, name, UINT64_MAX, &p->attributes, err);
  if (r < 0)
    return r;
  value = find_ending (a, "Name", &name);
  if (value && *value && (p->name = strdup (value)) == NULL)
    return err_nomem (err);
  return 0;
}

static int
read_mbr_part (xml_attributes a, const char *element,
               struct asr_partition *p, struct err *err)
{
  uint64_t type;
  int r = get_flag (a, element, "BootFlag", &p->active, err);

  if (r == 0)
    r = xml_number (a, element, "PartitionType", UINT8_MAX, &type, err);
  if (r == 0)
    p->mbr_type = (uint8_t) type;
  return r;
}

static int
read_part (xml_attributes a, const char *element, bool is_gpt,
           struct asr_partition *p, struct err *err)
{
  int r = get_u32 (a, element, "PartitionIndex", &p->index, err);

  if (r == 0)
    r = xml_number (a, element, "PartitionOffset", INT64_MAX, &p->off, err);
  if (r == 0)
    r = xml_number (a, element, "PartitionLength", INT64_MAX, &p->len, err);
  if (r == 0)
    r = get_flag (a, element, "IsCritical", &p->critical, err);
  if (r < 0)
    return r;
  return is_gpt ? read_gpt_part (a, element, p, err)
                : read_mbr_part (a, element, p, err);
}

static int
start_part (struct reading *d, const char *element, xml_attributes a,
            struct err *err)
{
  bool is_gpt = element[0] == 'G';
  struct asr_partition part = { .index = 0 };
  int r;

  if (d->disk == NULL || d->part || is_gpt != d->disk->is_gpt)
    return err_set (err, -EBADMSG, "%s does not lie within %s", element,
                    is_gpt ? "a GptDisk" : "an MbrDisk");
  if (d->disk->parts.len >= MAX_PARTITIONS)
    return err_set (err, -EBADMSG, "more than %d partitions on a disk",
                    MAX_PARTITIONS);
  r = read_part (a, element, is_gpt, &part, err);
  if (r == 0 && vector_append (&d->disk->parts, &part) < 0)
    r = err_nomem (err);
  if (r < 0) {
    free (part.name);
    return r;
  }
  d->part = &d->disk->parts.ptr[d->disk->parts.len - 1];
  return 0;
}

/* Drive letters are with the volumes, too. */
static int
start_mount_point (struct reading *d, xml_attributes a, struct err *err)
{
  const char *name = xml_attribute (a, "SymbolicName");
  uint8_t guid[UUID_SIZE];

  if (d->part == NULL || name == NULL || !volume_guid (name, guid))
    return 0;
  if (d->part->has_volume && memcmp (guid, d->part->volume, UUID_SIZE) != 0)
    return err_set (err, -EBADMSG, "the partition with index %u has two "
                    "volumes", d->part->index);
  d->part->has_volume = true;
  memcpy (d->part->volume, guid, UUID_SIZE);
  return 0;
}

static int
start_volume (struct reading *d, xml_attributes a, struct err *err)
{
  const char *guid = xml_attribute (a, "VolumeGuid");
  const char *path = xml_attribute (a, "DosPath");
  const char *label = xml_attribute (a, "Label");
  struct asr_volume v = { .letter = path ? drive_letter (path) : 0 };

  if (guid == NULL || !volume_guid (guid, v.guid))
    return err_set (err, -EBADMSG, "VolumeName has no VolumeGuid with a GUID");
  if (d->asr->volumes.len >= MAX_VOLUMES)
    return err_set (err, -EBADMSG, "more than %d volumes", MAX_VOLUMES);
  if (label && *label && (v.label = strdup (label)) == NULL)
    return err_nomem (err);
  if (vector_append (&d->asr->volumes, &v) == 0)
    return 0;
  free (v.label);
  return err_nomem (err);
}

static int
start_inside (struct reading *d, const char *element, xml_attributes a,
              struct err *err)
{
  if (strcmp (element, "Disks") == 0)
    return start_disks (d, a, err);
  if (strcmp (element, "MbrDisk") == 0 || strcmp (element, "GptDisk") == 0)
    return start_disk (d, element, a, err);
  if (strcmp (element, "MbrPartition") == 0 ||
      strcmp (element, "GptPartition") == 0)
    return start_part (d, element, a, err);
  if (strcmp (element, "VolumeMountPoint") == 0)
    return start_mount_point (d, a, err);
  if (strcmp (element, "VolumeName") == 0)
    return start_volume (d, a, err);
  return 0;
}

/*--- the same once more? ---------------------------------------------------*/

static bool
same_part (const struct asr_partition *a, const struct asr_partition *b)
{
  return a->index == b->index && a->off == b->off && a->len == b->len &&
    a->active == b->active && a->mbr_type == b->mbr_type &&
    a->attributes == b->attributes &&
    memcmp (a->type, b->type, UUID_SIZE) == 0 &&
    memcmp (a->guid, b->guid, UUID_SIZE) == 0 &&
    a->has_volume == b->has_volume &&
    memcmp (a->volume, b->volume, UUID_SIZE) == 0;
}

static bool
same_disk (const struct asr_disk *a, const struct asr_disk *b)
{
  if (a->is_gpt != b->is_gpt || a->number != b->number ||
      a->size != b->size || a->sector_size != b->sector_size ||
      a->signature != b->signature || a->parts.len != b->parts.len ||
      memcmp (a->guid, b->guid, UUID_SIZE) != 0)
    return false;
  for (size_t i = 0; i < a->parts.len; ++i)
    if (!same_part (&a->parts.ptr[i], &b->parts.ptr[i]))
      return false;
  return true;
}

static bool
same_layout (const struct asr *a, const struct asr *b)
{
  if (a->disks.len != b->disks.len)
    return false;
  for (size_t i = 0; i < a->disks.len; ++i)
    if (!same_disk (&a->disks.ptr[i], &b->disks.ptr[i]))
      return false;
  return true;
}

static int
check_counts (const struct asr *asr, struct err *err)
{
  uint64_t nr_gpt = 0, nr_mbr;

  for (size_t i = 0; i < asr->disks.len; ++i)
    nr_gpt += asr->disks.ptr[i].is_gpt;
  nr_mbr = asr->disks.len - nr_gpt;
  if (nr_mbr != asr->nr_mbr_said || nr_gpt != asr->nr_gpt_said)
    return err_set (err, -EBADMSG, "Disks says %" PRIu64 " MbrDisk and %"
                    PRIu64 " GptDisk, but there are %" PRIu64 " and %" PRIu64,
                    asr->nr_mbr_said, asr->nr_gpt_said, nr_mbr, nr_gpt);
  return 0;
}

/*--- the document ----------------------------------------------------------*/

static int start_element (void *opaque, const char *element,
                          xml_attributes attributes, unsigned depth,
                          struct err *err);
static void end_element (void *opaque, const char *element, unsigned depth);

static int read_text (void *opaque, const char *text, struct err *err);

static const struct xml_handler handler = {
  start_element, end_element, read_text
};

/* The layout of another AsrSif is put aside, to be compared at the end. */
static int
start_layout (struct reading *d, unsigned depth, struct err *err)
{
  if (d->asr->found) {
    if (d->first.found && !same_layout (&d->first, d->asr))
      return err_set (err, -EBADMSG, "two AsrSif differ");
    asr_free (&d->first);
    d->first = *d->asr;
    memset (d->asr, 0, sizeof *d->asr);
  }
  d->asr->found = true;
  d->inside = true;
  d->depth = depth;
  return 0;
}

/* Text that is a document itself, if it has a layout.  Not in one of these. */
static int
read_text (void *opaque, const char *text, struct err *err)
{
  struct reading *d = opaque;
  int r;

  if (d->in_text || d->inside || strstr (text, "<AsrSif") == NULL)
    return 0;
  text += strspn (text, " \t\r\n");
  if (text[0] != '<')
    return 0;
  d->in_text = true;
  r = xml_parse (text, strlen (text), &handler, d, err);
  d->in_text = false;
  return r;
}

static int
read_attributes (struct reading *d, xml_attributes a, struct err *err)
{
  int r = 0;

  for (; r == 0 && a[0] != NULL; a += 2) {
    r = read_text (d, a[1], err);
    if (r < 0)
      err_in (err, "in the attribute %.60s", a[0]);
  }
  return r;
}

static int
start_element (void *opaque, const char *element, xml_attributes attributes,
               unsigned depth, struct err *err)
{
  struct reading *d = opaque;

  if (d->inside)
    return start_inside (d, element, attributes, err);
  if (strcmp (element, "AsrSif") == 0)
    return start_layout (d, depth, err);
  return read_attributes (d, attributes, err);
}

static void
end_element (void *opaque, const char *element, unsigned depth)
{
  struct reading *d = opaque;

  if (!d->inside)
    return;
  if (depth == d->depth)
    d->inside = false;
  else if (strcmp (element, "MbrDisk") == 0 ||
           strcmp (element, "GptDisk") == 0)
    d->disk = NULL;
  else if (strcmp (element, "MbrPartition") == 0 ||
           strcmp (element, "GptPartition") == 0)
    d->part = NULL;
}

int
asr_read (const void *document, size_t len, struct asr *asr, struct err *err)
{
  struct reading d = { .asr = asr };
  int r = xml_parse (document, len, &handler, &d, err);

  if (r == 0 && asr->found)
    r = check_counts (asr, err);
  if (r == 0 && d.first.found && !same_layout (&d.first, asr))
    r = err_set (err, -EBADMSG, "two AsrSif differ");
  asr_free (&d.first);
  return r;
}
