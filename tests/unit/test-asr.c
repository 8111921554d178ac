/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The layout of disks in a backup of Windows: what is read, and each thing
 * that can be wrong with it.
 */

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

#include "lib/format/winbackup/asr.h"

/* As Windows 7 wrote it, from a published example: docs/WINDOWS-BACKUP.md. */
#define PARTITION_0 \
  "<MbrPartition PartitionIndex=\"0\" PartitionFlag=\"6\" BootFlag=\"1\" " \
  "PartitionType=\"0x7\" FileSystemType=\"0x0\" NumSymbolicNames=\"1\" " \
  "PartitionOffset=\"1048576\" PartitionLength=\"104857600\" " \
  "IsCritical=\"1\"><VolumeMountPoint SymbolicName=\"\\??\\Volume" \
  "{9b9cfbc3-369e-11e9-a17c-806e6f6e6963}\"/></MbrPartition>"
#define PARTITION_1 \
  "<MbrPartition PartitionIndex=\"1\" PartitionFlag=\"1\" BootFlag=\"0\" " \
  "PartitionType=\"0x7\" FileSystemType=\"0x0\" NumSymbolicNames=\"2\" " \
  "PartitionOffset=\"105906176\" PartitionLength=\"15999172608\" " \
  "IsCritical=\"1\"><VolumeMountPoint SymbolicName=\"\\DosDevices\\C:\"/>" \
  "<VolumeMountPoint SymbolicName=\"\\??\\Volume" \
  "{9b9cfbc4-369e-11e9-a17c-806e6f6e6963}\"/></MbrPartition>"
#define WINDOWS_7 \
  "<AsrSif><Version AsrVersion=\"2.0\"/><System MachineName=\"PC\" " \
  "Platform=\"x86\" FirmwareType=\"1\" OSVersion=\"6.1\"/>" \
  "<DiskBuses NumBusType=\"1\"><BusType Key=\"1\" Type=\"11\"/></DiskBuses>" \
  "<Disks NumMbrDisks=\"1\" NumGptDisks=\"0\">" \
  "<MbrDisk NumPartitions=\"2\" PartitionTableSize=\"4\" BusKey=\"1\" " \
  "DeviceNumber=\"0\" IsCritical=\"1\" MbrSignature=\"0x8ae9dbe5\" " \
  "BytesPerSector=\"512\" SectorsPerTrack=\"63\" TracksPerCylinder=\"255\" " \
  "NumCylinders=\"1958\" MediaType=\"12\" DiskSize=\"16106127360\" " \
  "IsExcluded=\"0\" IsShared=\"0\">" PARTITION_0 PARTITION_1 \
  "</MbrDisk></Disks><AsrVhd NumDisks=\"0\"/>" \
  "<FixedVolumes NumVolumeNames=\"2\"><VolumeName VolumeGuid=\"\\??\\Volume" \
  "{9b9cfbc4-369e-11e9-a17c-806e6f6e6963}\" DosPath=\"\\DosDevices\\C:\" " \
  "FsName=\"NTFS\" Label=\"\" ClusterSize=\"0x1000\"/>" \
  "<VolumeName VolumeGuid=\"\\??\\Volume" \
  "{9b9cfbc3-369e-11e9-a17c-806e6f6e6963}\" DosPath=\"\" FsName=\"NTFS\" " \
  "Label=\"System Reserved\" ClusterSize=\"0x1000\"/></FixedVolumes>" \
  "<RemovableMedia NumRemMedia=\"1\"><Media DevicePath=\"\\Device\\CdRom0\" " \
  "VolumeGuid=\"\\??\\Volume{9b9cfbc7-369e-11e9-a17c-806e6f6e6963}\" " \
  "DosPath=\"\\DosDevices\\D:\"/></RemovableMedia>" \
  "<AsrLdm NumPacks=\"0\"/></AsrSif>"

/* Assumed: nobody published one. */
#define GPT_PARTITION(index, type, id, more) \
  "<GptPartition PartitionIndex=\"" #index "\" " \
  "PartitionType=\"{ebd0a0a2-b9e5-4433-87c0-68b6b72699c" type "}\" " \
  "PartitionId=\"{a1000000-0000-4000-8000-00000000000" id "}\" " more \
  " IsCritical=\"1\"/>"
#define GPT \
  "<AsrSif><Disks NumMbrDisks=\"0\" NumGptDisks=\"1\">" \
  "<GptDisk NumPartitions=\"2\" DeviceNumber=\"3\" " \
  "GptDiskId=\"{0f0e0d0c-1122-4433-8844-5566778899aa}\" " \
  "BytesPerSector=\"4096\" DiskSize=\"1073741824\">" \
  GPT_PARTITION (1, "7", "1", "PartitionOffset=\"2097152\" " \
                 "PartitionLength=\"1048576\"") \
  GPT_PARTITION (0, "8", "2", "PartitionOffset=\"1048576\" " \
                 "PartitionLength=\"1048576\" Attributes=\"0x8000000000000" \
                 "001\" PartitionName=\"n\"") \
  "</GptDisk></Disks></AsrSif>"

static int
read_asr (const char *document, struct asr *asr, struct err *err)
{
  return asr_read (document, strlen (document), asr, err);
}

static void
read_well (const char *document, struct asr *asr)
{
  struct err err = ERR_INIT;

  if (read_asr (document, asr, &err) < 0)
    fail_msg ("%s", err.msg);
  for (size_t i = 0; i < asr->disks.len; ++i) {
    asr_check_disk (&asr->disks.ptr[i]);
    if (asr->disks.ptr[i].refusal.code < 0)
      fail_msg ("%s", asr->disks.ptr[i].refusal.msg);
  }
}

/* A copy of the document in which `old` is something else; for the caller. */
static char *
changed (const char *document, const char *old, const char *new)
{
  const char *at = strstr (document, old);
  char *copy = NULL;

  if (at == NULL)
    fail_msg ("there is no “%s”", old);
  assert_true (asprintf (&copy, "%.*s%s%s", (int) (at - document), document,
                         new, at + strlen (old)) >= 0);
  return copy;
}

/* As text behind something: in an attribute, or an element. */
static char *
as_text (const char *document, const char *before, const char *behind)
{
  char *text = calloc (1, 6 * strlen (document) + 128), *p = text;

  assert_non_null (text);
  p += sprintf (p, "%s", before);
  for (; *document; ++document)
    p += sprintf (p, *document == '<' ? "&lt;" : *document == '"' ? "&quot;"
                  : *document == '&' ? "&amp;" : "%c", *document);
  strcpy (p, behind);
  return text;
}

static char *
in_attribute (const char *document)
{
  return as_text (document, "<BACKUP_COMPONENTS><C a='x'/><C m=\"",
                  "\"/></BACKUP_COMPONENTS>");
}

static void
check_windows_7 (const struct asr *asr)
{
  const struct asr_disk *d = &asr->disks.ptr[0];

  assert_true (asr->found);
  assert_int_equal (asr->disks.len, 1);
  assert_false (d->is_gpt);
  assert_int_equal (d->signature, 0x8ae9dbe5);
  assert_int_equal (d->sector_size, 512);
  assert_true (d->size == 16106127360);
  assert_int_equal (d->parts.len, 2);
  assert_true (d->parts.ptr[0].active && d->parts.ptr[0].critical);
  assert_int_equal (d->parts.ptr[0].off, 1048576);
  assert_int_equal (d->parts.ptr[1].index, 1);
  assert_int_equal (d->parts.ptr[1].mbr_type, 7);
  assert_true (d->parts.ptr[1].len == 15999172608);
  assert_true (d->parts.ptr[1].has_volume);
  assert_int_equal (asr->volumes.len, 2);
  assert_int_equal (asr->volumes.ptr[0].letter, 'C');
  assert_null (asr->volumes.ptr[0].label);
  assert_memory_equal (asr->volumes.ptr[0].guid, d->parts.ptr[1].volume,
                       UUID_SIZE);
  assert_int_equal (asr->volumes.ptr[1].letter, 0);
  assert_string_equal (asr->volumes.ptr[1].label, "System Reserved");
}

static void
what_windows_7_wrote_is_read (void **state)
{
  struct asr asr = { .found = false };

  (void) state;
  read_well (WINDOWS_7, &asr);
  check_windows_7 (&asr);
  asr_free (&asr);
}

static void
text_that_is_a_document_is_read (void **state)
{
  struct asr asr = { .found = false };
  char *text = in_attribute (WINDOWS_7);
  char *other = as_text (WINDOWS_7, "<a>\n <b>\n <![CDATA[ ]]>",
                         "\n</b></a>");

  (void) state;
  read_well (text, &asr);
  check_windows_7 (&asr);
  read_well (other, &asr);
  check_windows_7 (&asr);
  free (other);
  /* The same again changes nothing. */
  read_well (WINDOWS_7, &asr);
  check_windows_7 (&asr);
  asr_free (&asr);
  free (text);
}

static void
a_gpt_disk_is_read (void **state)
{
  struct asr asr = { .found = false };
  const struct asr_disk *d;
  char guid[UUID_STRING_SIZE];

  (void) state;
  read_well (GPT, &asr);
  d = &asr.disks.ptr[0];
  assert_true (d->is_gpt);
  assert_int_equal (d->number, 3);
  guid_to_string (d->guid, guid);
  assert_string_equal (guid, "0f0e0d0c-1122-4433-8844-5566778899aa");
  assert_int_equal (d->parts.ptr[0].index, 0);
  assert_string_equal (d->parts.ptr[0].name, "n");
  assert_true (d->parts.ptr[0].attributes == UINT64_C (0x8000000000000001));
  guid_to_string (d->parts.ptr[0].type, guid);
  assert_string_equal (guid, "ebd0a0a2-b9e5-4433-87c0-68b6b72699c8");
  guid_to_string (d->parts.ptr[0].guid, guid);
  assert_string_equal (guid, "a1000000-0000-4000-8000-000000000002");
  assert_null (d->parts.ptr[1].name);
  asr_free (&asr);
}

static void
a_document_without_a_layout_has_none (void **state)
{
  struct asr asr = { .found = false };

  (void) state;
  read_well ("<WRITER_METADATA a='&lt;Asr'/>", &asr);
  assert_false (asr.found);
}

/*--- what contradicts itself -----------------------------------------------*/

struct row {
  const char *old, *new, *says;
};

/* While it is read. */
static const struct row broken_record[] = {
  { "MbrSignature=\"0x8ae9dbe5\"", "", "MbrDisk has no MbrSignature" },
  { "0x8ae9dbe5", "hello", "MbrSignature is ‘hello’" },
  { "BytesPerSector=\"512\"", "", "MbrDisk has no BytesPerSector" },
  { "DiskSize=\"16106127360\"", "", "MbrDisk has no DiskSize" },
  { "16106127360", "-1", "DiskSize is ‘-1’" },
  { "16106127360", "9223372036854775808", "DiskSize is ‘9223372036854775808’" },
  { "DeviceNumber=\"0\"", "", "MbrDisk has no DeviceNumber" },
  { "NumPartitions=\"2\"", "NumPartitions=\"257\"", "NumPartitions is ‘257’" },
  { "PartitionOffset=\"1048576\"", "", "MbrPartition has no PartitionOffset" },
  { "PartitionLength=\"104857600\"", "", "has no PartitionLength" },
  { "PartitionIndex=\"0\"", "", "MbrPartition has no PartitionIndex" },
  { "PartitionType=\"0x7\"", "PartitionType=\"0x107\"",
    "PartitionType is ‘0x107’" },
  { "BootFlag=\"1\"", "BootFlag=\"2\"", "BootFlag is ‘2’" },
  { "IsCritical=\"1\"><Vol", "><Vol", "MbrPartition has no IsCritical" },
  { "NumMbrDisks=\"1\"", "NumMbrDisks=\"2\"", "Disks says 2 MbrDisk and 0" },
  { "NumGptDisks=\"0\"", "NumGptDisks=\"1\"", "Disks says 1 MbrDisk and 1" },
  { "<Disks NumMbrDisks=\"1\"", "<Disks", "Disks has no NumMbrDisks" },
  { PARTITION_0, "<MbrDisk/>", "MbrDisk lies within another disk" },
  { PARTITION_0, "<GptPartition/>", "GptPartition does not lie within" },
  { "<AsrVhd NumDisks=\"0\"/>", "<MbrPartition/>", "does not lie within" },
  { "\\DosDevices\\C:\"/><VolumeMountPoint", "\\??\\Volume"
    "{00000000-0000-0000-0000-000000000001}\"/><VolumeMountPoint",
    "the partition with index 1 has two volumes" },
  { "<VolumeName VolumeGuid=\"\\??\\Volume{9b9cfbc4", "<VolumeName "
    "VolumeGuid=\"\\??\\Volume{xyz", "VolumeName has no VolumeGuid" },
  { "</AsrSif>", "", "is not XML" },
  { "<AsrSif>", "<!DOCTYPE AsrSif [<!ENTITY a \"b\">]><AsrSif>",
    "a document type" },
};

static void
records_that_can_not_be_read_are_refused (void **state)
{
  (void) state;
  for (size_t i = 0; i < sizeof broken_record / sizeof broken_record[0]; ++i) {
    const struct row *row = &broken_record[i];
    char *text = changed (WINDOWS_7, row->old, row->new);
    char *inner = in_attribute (text);
    struct asr asr = { .found = false };
    struct err err = ERR_INIT;

    assert_int_equal (read_asr (text, &asr, &err), -EBADMSG);
    if (strstr (err.msg, row->says) == NULL)
      fail_msg ("“%s” does not say “%s”", err.msg, row->says);
    asr_free (&asr);
    assert_int_equal (read_asr (inner, &asr, &err), -EBADMSG);
    if (strstr (err.msg, row->says) == NULL)
      fail_msg ("“%s” does not say “%s”", err.msg, row->says);
    asr_free (&asr);
    free (text);
    free (inner);
  }
}

/* When the disk is looked at. */
static const struct row broken_disk[] = {
  { "BytesPerSector=\"512\"", "BytesPerSector=\"520\"",
    "AsrSif: MbrDisk 0: BytesPerSector is 520" },
  { "16106127360", "16106127361", "DiskSize is 16106127361, which are no" },
  { "16106127360", "0", "DiskSize is 0" },
  { "16106127360", "16105078272", "index 1: PartitionOffset 105906176 and "
    "PartitionLength 15999172608 are not within the disk of 16105078272" },
  { "NumPartitions=\"2\"", "NumPartitions=\"3\"",
    "NumPartitions is 3, but there are 2" },
  { "PartitionOffset=\"1048576\"", "PartitionOffset=\"1048577\"",
    "are no whole sectors of 512" },
  { "PartitionLength=\"104857600\"", "PartitionLength=\"0\"",
    "are no whole sectors" },
  { "PartitionOffset=\"1048576\"", "PartitionOffset=\"0\"",
    "are not within the disk" },
  { "PartitionLength=\"104857600\"", "PartitionLength=\"104858112\"",
    "index 1: it overlaps the partition with index 0" },
  { "PartitionOffset=\"105906176\"", "PartitionOffset=\"9223372036854775296\"",
    "are not within the disk" },
  { "PartitionIndex=\"1\"", "PartitionIndex=\"0\"",
    "there are two with that PartitionIndex" },
  { "BootFlag=\"0\"", "BootFlag=\"1\"", "it is active, and so is" },
  { "PartitionType=\"0x7\"", "PartitionType=\"0x0\"", "PartitionType is 0" },
  { "9b9cfbc4-369e-11e9-a17c-806e6f6e6963", "9b9cfbc3-369e-11e9-a17c-"
    "806e6f6e6963", "it has the volume of the partition with index 0" },
};

static const struct row beyond_us[] = {
  { "PartitionType=\"0x7\"", "PartitionType=\"0x42\"", "a dynamic disk" },
  { "PartitionType=\"0x7\"", "PartitionType=\"0xf\"", "extended or a logical" },
  { "PartitionIndex=\"1\"", "PartitionIndex=\"4\"", "extended or a logical" },
};

static const struct row broken_gpt[] = {
  { "PartitionOffset=\"1048576\"", "PartitionOffset=\"20480\"",
    "index 0: PartitionOffset 20480" },
  { "PartitionLength=\"1048576\"", "PartitionLength=\"1071628288\"",
    "are not within the disk" },
  { "PartitionIndex=\"1\"", "PartitionIndex=\"128\"",
    "PartitionIndex is 128, more than a GPT has" },
  { "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7",
    "00000000-0000-0000-0000-000000000000", "its type is zero" },
  { "a1000000-0000-4000-8000-000000000001",
    "a1000000-0000-4000-8000-000000000002",
    "it has the GUID of the partition with index 0" },
  { "DiskSize=\"1073741824\"", "DiskSize=\"4096\"", "are not within the disk" },
};

static const struct row gpt_beyond_us[] = {
  { "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7",
    "af9b60a0-1431-4f62-bc68-3311714a69ad", "a dynamic disk" },
  { "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7",
    "e75caf8f-f680-4cee-afa3-b001e56efc2d", "a storage space" },
};

static void
check_disks (const char *document, const struct row *rows, size_t nr, int code)
{
  for (size_t i = 0; i < nr; ++i) {
    char *text = changed (document, rows[i].old, rows[i].new);
    struct asr asr = { .found = false };
    struct err err = ERR_INIT;

    if (read_asr (text, &asr, &err) < 0)
      fail_msg ("%s: %s", rows[i].new, err.msg);
    asr_check_disk (&asr.disks.ptr[0]);
    if (asr.disks.ptr[0].refusal.code != code ||
        strstr (asr.disks.ptr[0].refusal.msg, rows[i].says) == NULL)
      fail_msg ("“%s” (%d) does not say “%s”", asr.disks.ptr[0].refusal.msg,
                asr.disks.ptr[0].refusal.code, rows[i].says);
    asr_free (&asr);
    free (text);
  }
}

#define CHECK_DISKS(document, rows, code) \
  check_disks (document, rows, sizeof (rows) / sizeof (rows)[0], code)

static void
disks_that_can_not_be_are_refused (void **state)
{
  (void) state;
  CHECK_DISKS (WINDOWS_7, broken_disk, -EBADMSG);
  CHECK_DISKS (WINDOWS_7, beyond_us, -ENOTSUP);
  CHECK_DISKS (GPT, broken_gpt, -EBADMSG);
  CHECK_DISKS (GPT, gpt_beyond_us, -ENOTSUP);
}

/* What is known of GPT is what it must have. */
static void
a_gpt_that_is_not_understood_is_refused (void **state)
{
  static const struct row rows[] = {
    { "PartitionType=", "Kind=", "GptPartition has no GUID of its type" },
    { "PartitionId=", "Other=\"{a1000000-0000-4000-8000-000000000009}\" "
      "PartitionId=", "GptPartition has two GUIDs, Other and PartitionId" },
    { "GptDiskId=\"{0f0e0d0c-1122-4433-8844-5566778899aa}\"", "",
      "GptDisk has no GUID" },
    { "Attributes=\"0x", "Attributes=\"x", "Attributes is ‘x80000000000000" },
  };

  (void) state;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
    char *text = changed (GPT, rows[i].old, rows[i].new);
    struct asr asr = { .found = false };
    struct err err = ERR_INIT;

    assert_int_equal (read_asr (text, &asr, &err), -EBADMSG);
    if (strstr (err.msg, rows[i].says) == NULL)
      fail_msg ("“%s” does not say “%s”", err.msg, rows[i].says);
    asr_free (&asr);
    free (text);
  }
}

static void
two_layouts_must_agree (void **state)
{
  char *other = changed (WINDOWS_7, "0x8ae9dbe5", "0x8ae9dbe6");
  struct asr asr = { .found = false };
  struct err err = ERR_INIT;
  char *both = NULL;

  (void) state;
  assert_int_equal (read_asr (WINDOWS_7, &asr, &err), 0);
  assert_int_equal (read_asr (other, &asr, &err), -EBADMSG);
  assert_non_null (strstr (err.msg, "two AsrSif differ"));
  asr_free (&asr);
  /* In one document, and three of which the last is another. */
  assert_true (asprintf (&both, "<a>%s%s%s</a>", WINDOWS_7, WINDOWS_7,
                         other) >= 0);
  assert_int_equal (read_asr (both, &asr, &err), -EBADMSG);
  asr_free (&asr);
  free (both);
  free (other);
}

static void
there_are_only_so_many (void **state)
{
  char *text = calloc (1, 64 * 1024), *p = text;
  struct asr asr = { .found = false };
  struct err err = ERR_INIT;

  (void) state;
  assert_non_null (text);
  p += sprintf (p, "<AsrSif><Disks NumMbrDisks='64' NumGptDisks='0'>");
  for (int i = 0; i < 65; ++i)
    p += sprintf (p, "<MbrDisk DeviceNumber='%d' NumPartitions='0' "
                  "BytesPerSector='512' DiskSize='512' MbrSignature='0'/>", i);
  strcpy (p, "</Disks></AsrSif>");
  assert_int_equal (read_asr (text, &asr, &err), -EBADMSG);
  assert_non_null (strstr (err.msg, "more than 64 disks"));
  asr_free (&asr);

  p = text;
  p += sprintf (p, "<AsrSif><MbrDisk DeviceNumber='0' NumPartitions='0' "
                "BytesPerSector='512' DiskSize='512' MbrSignature='0'>");
  for (int i = 0; i < 257; ++i)
    p += sprintf (p, "<MbrPartition PartitionIndex='0' PartitionOffset='0' "
                  "PartitionLength='0' BootFlag='0' IsCritical='0' "
                  "PartitionType='7'/>");
  strcpy (p, "</MbrDisk></AsrSif>");
  assert_int_equal (read_asr (text, &asr, &err), -EBADMSG);
  assert_non_null (strstr (err.msg, "more than 256 partitions"));
  asr_free (&asr);
  free (text);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (what_windows_7_wrote_is_read),
    cmocka_unit_test (text_that_is_a_document_is_read),
    cmocka_unit_test (a_gpt_disk_is_read),
    cmocka_unit_test (a_document_without_a_layout_has_none),
    cmocka_unit_test (records_that_can_not_be_read_are_refused),
    cmocka_unit_test (disks_that_can_not_be_are_refused),
    cmocka_unit_test (a_gpt_that_is_not_understood_is_refused),
    cmocka_unit_test (two_layouts_must_agree),
    cmocka_unit_test (there_are_only_so_many),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
