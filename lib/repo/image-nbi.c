/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A backup image as a disk image: what a generation reads as, for everything
 * that works on images.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/format/check.h"
#include "lib/format/folder.h"
#include "lib/repo/generation-diff.h"
#include "lib/repo/image-nbi-private.h"
#include "lib/repo/image-nbi.h"
#include "lib/repo/reader-lease.h"
#include "lib/repo/verify-one.h"

struct keyring *nbi_keys;

void
nbi_use_keys (struct keyring *keys)
{
  nbi_keys = keys;
}

static int
nbi_probe (const struct probe *probe)
{
  const uint8_t *tail = probe->tail;

  /* One whose first sector is lost is known by its trailer. */
  if (probe->head_len >= 8 && nbi_header_has_magic (probe->head))
    return PROBE_YES;
  return probe->tail_len >= NBI_TRAILER_SIZE && nbi_trailer_is_whole (tail)
    ? PROBE_YES : PROBE_NO;
}

/*--- Opening ----------------------------------------------------------------*/

/* A file of a run that has more of them can be read with the others only. */
static int
check_alone (struct file_reader *file, struct err *err)
{
  const struct nbi_header *h = file_reader_header (file);
  const struct nbi_trailer *t = file_reader_trailer (file);

  if (t->root == 0)
    return err_set (err, -ENOTSUP, "this is file %" PRIu32 " of a backup of "
                    "‘%s’, which ends in another file", h->number, h->name);
  for (uint32_t i = 0; i < t->nr_files; ++i) {
    struct nbi_file needed;
    int r = file_reader_file (file, i, &needed, err);

    if (r < 0)
      return r;
    if (memcmp (needed.uuid, h->file, UUID_SIZE) != 0)
      return err_set (err, -ENOTSUP, "this is the last file of a backup of "
                      "‘%s’, which needs %" PRIu32 " files; name it as "
                      "VAULT/%s", h->name, t->nr_files, h->name);
  }
  return 0;
}

static int
read_manifest (struct nbi_image *nbi, struct err *err)
{
  size_t len;
  const char *json = generation_manifest (nbi->gen, &len);

  if (manifest_read (json, len, generation_header (nbi->gen), &nbi->manifest,
                     err) < 0)
    return err_in (err, "manifest");
  return absent_list (&nbi->manifest, &nbi->absent, err);
}

void
nbi_image_destroy (struct nbi_image *nbi)
{
  vector_free (&nbi->absent);
  manifest_destroy (&nbi->manifest);
  generation_unref (nbi->gen);
  file_reader_unref (nbi->file);
  vault_opened_close (&nbi->before);
  vault_view_free (nbi->view);
  if (nbi->has_caches)
    generation_caches_destroy (&nbi->caches);
  if (nbi->vault != NULL) {
    vault_images_release (nbi->vault, nbi->held);
    vault_images_unprotect (nbi->vault, nbi->lease);
  }
  vault_images_unref (nbi->vault);
}

int
nbi_image_describe (struct image *img, struct err *err)
{
  struct nbi_image *nbi = img->state;
  const struct nbi_header *h = generation_header (nbi->gen);

  img->readonly_reason = strdup ("a backup image never changes");
  if (img->readonly_reason == NULL)
    return err_nomem (err);
  if (img->writable)
    return err_set (err, -EROFS, "can't be opened for writing: %s",
                    img->readonly_reason);
  img->title = vault_image_title (image_name (img), h);
  img->size = h->disk_size;
  img->sizes.minimum = 1;
  img->sizes.preferred = h->chunk_size;
  img->sizes.logical = h->logical;
  return read_manifest (nbi, err);
}

/* As the parent of an overlay it is found by its last file alone. */
static int
open_with_others (struct image *img, struct report *report,
                  const struct err *why, struct err *err)
{
  struct nbi_image *nbi = img->state;
  int r = file_reader_trailer (nbi->file)->root == 0 ? 0
    : vault_image_beside (nbi, image_name (img), report, err);

  return r < 0 ? r : r > 0 ? 0 : err_set (err, why->code, "%s", why->msg);
}

static int
nbi_open (struct image *img, const struct image_options *options,
          struct report *report, struct err *err)
{
  struct nbi_image *nbi = img->state;
  struct err why = ERR_INIT;
  int r = generation_caches_init (&nbi->caches, NBI_IMAGE_CACHE, err);

  (void) options;
  nbi->has_caches = r == 0;
  nbi->caches.keys = nbi_keys;
  if (r == 0)
    r = file_reader_open (img->block, nbi->caches.sheets, nbi->caches.keys,
                          &nbi->file, report, err);
  if (r == 0)
    r = file_reader_unlock (nbi->file, nbi->caches.keys, err);
  if (r == 0)
    r = check_alone (nbi->file, &why);
  if (r == 0)
    r = generation_open (nbi->file, NULL, &nbi->caches, &nbi->gen, err);
  else if (why.code == -ENOTSUP)
    r = open_with_others (img, report, &why, err);
  else if (why.code != 0)
    r = err_set (err, why.code, "%s", why.msg);
  return r < 0 ? r : nbi_image_describe (img, err);
}

static void
nbi_close (struct image *img)
{
  nbi_image_destroy (img->state);
}

/*--- The disk ---------------------------------------------------------------*/

/* Whoever goes on reading for a while shall not lose what is dropped meanwhile.
 * Not before something is read: until then a server may still fork.
 */
static void
protect (struct nbi_image *nbi)
{
  if (nbi->vault == NULL ||
      __atomic_load_n (&nbi->reads, __ATOMIC_RELAXED) != 0 ||
      __atomic_exchange_n (&nbi->reads, 1, __ATOMIC_RELAXED) != 0)
    return;
  nbi->lease = vault_images_protect (nbi->vault, &nbi->run,
                                     READER_LEASE_DELAY);
}

static int
nbi_pread (struct image *img, void *buf, size_t len, uint64_t off,
           struct err *err)
{
  struct nbi_image *nbi = img->state;
  int r = 0;

  protect (nbi);
  if (nbi->absent.len > 0)
    r = absent_check (nbi->gen, &nbi->absent, len, off, err);
  return r < 0 ? r : generation_pread (nbi->gen, buf, len, off, err);
}

static int
nbi_extents (struct image *img, uint64_t len, uint64_t off,
             struct extent_list *list, struct err *err)
{
  struct nbi_image *nbi = img->state;

  if (nbi->before.gen != NULL)
    return generation_diff_extents (nbi->before.gen, nbi->gen, len, off, list,
                                    err);

  CLEANUP_EXTENT_LIST struct extent_list inner = { .limit = list->limit };
  CLEANUP_EXTENT_LIST struct extent_list known = EXTENT_LIST_INIT;
  int r = generation_extents (nbi->gen, len, off, &inner, err);

  for (size_t i = 0; r == 0 && i < inner.v.len; ++i)
    r = absent_add_extent (&nbi->absent, &inner.v.ptr[i], &known, err);

  /* What nobody uses reads as zeros, and nothing of it is known. */
  for (size_t i = 0; r == 0 && i < known.v.len; ++i) {
    const struct extent *e = &known.v.ptr[i];
    bool hole = e->kind == EXTENT_UNALLOCATED && !list->unallocated;

    r = extent_list_add (list, e->off, e->len, hole ? EXTENT_HOLE : e->kind,
                         e->layer, err);
  }
  return r;
}

static bool
nbi_image_id (struct image *img, uint8_t id[UUID_SIZE])
{
  const struct nbi_image *nbi = img->state;

  memcpy (id, generation_header (nbi->gen)->run, UUID_SIZE);
  return true;
}

static int
nbi_keep_for (struct image *img, const char *path, struct report *report,
              struct err *err)
{
  struct nbi_image *nbi = img->state;

  return nbi->vault == NULL ? 0
    : vault_images_keep (nbi->vault, &nbi->run, path, report, err);
}

/* Which generation of the vault is it? */
static int
nbi_tell_other (struct image *img, const uint8_t id[UUID_SIZE],
                struct err *err)
{
  const struct nbi_image *nbi = img->state;
  const struct vault_runs *runs = nbi->view ? vault_view_runs (nbi->view)
    : NULL;
  const struct nbi_header *h = generation_header (nbi->gen);
  char time[VAULT_TIME_SIZE], now[VAULT_TIME_SIZE];

  for (size_t i = 0; runs != NULL && i < runs->len; ++i) {
    const struct vault_run *run = &runs->ptr[i];
    bool same = strcmp (run->disk, nbi->run.disk) == 0;
    const char *vault = vault_images_name (nbi->vault);
    const char *disk = same ? h->name : run->disk;

    if (memcmp (run->run, id, UUID_SIZE) != 0)
      continue;
    vault_time_to_string (run->time, time);
    vault_time_to_string (h->time, now);
    return err_set (err, -ENOENT, "lies over %s/%s@%s, not over %s/%s@%s: "
                    "name %s/%s@%s with it", vault, disk, time, vault, h->name,
                    now, vault, disk, time);
  }
  return 0;
}

/* Another edition of the file. */
static bool
is_renamed (const char *listed, const char *wanted)
{
  struct vault_name a, b;

  vault_name_parse (listed, &a);
  vault_name_parse (wanted, &b);
  return a.kind == VAULT_NAME_NBI && b.kind == VAULT_NAME_NBI &&
    a.edition != b.edition && memcmp (a.uuid, b.uuid, UUID_SIZE) == 0;
}

/*--- What info shows --------------------------------------------------------*/

static int
add_text (struct image_info *info, const char *key, const char *label,
          const char *text, struct err *err)
{
  return text == NULL ? 0 : image_info_add (info, key, label, err, "%s", text);
}

static int
add_absent (struct image_info *info, const struct nbi_image *nbi,
            struct err *err)
{
  CLEANUP_FREE char *text = NULL;

  if (nbi->absent.len == 0)
    return 0;
  text = absent_to_text (&nbi->absent);
  return text == NULL ? err_nomem (err)
    : image_info_add (info, "absent", "Left out", err, "%s", text);
}

static int
add_hash (struct image_info *info, const uint8_t hash[DIGEST_SIZE],
          struct err *err)
{
  char text[2 * DIGEST_SIZE + 1];

  for (int i = 0; i < DIGEST_SIZE; ++i)
    snprintf (text + 2 * i, 3, "%02x", hash[i]);
  return image_info_add (info, "hash", "Hash", err, "%s", text);
}

/* A disc is one in a backup too: where a file with these bytes would be an ISO
 * image, so is this, to boot and to whoever looks.
 */
static int
add_disc (struct image *img, struct image_info *info, struct err *err)
{
  const struct image_options as_iso = { .format = "iso" };
  CLEANUP_IMAGE_INFO struct image_info disc = { .created = -1 };
  CLEANUP_BLOCK struct block *disk = NULL;
  CLEANUP_IMAGE struct image *iso = NULL;
  int r = image_to_block (img, &disk, err);

  if (r < 0)
    return r;
  if (image_open_block (disk, &as_iso, &iso, NULL, NULL) < 0 ||
      image_get_info (iso, &disc, NULL) < 0 || !disc.is_optical)
    return 0;
  info->is_optical = true;
  info->label = steal_ptr (&disc.label);
  info->boot = disc.boot;
  disc.boot = (struct image_boot_vector) VECTOR_INIT;
  return add_text (info, "disc", "Disc", disc.type, err);
}

static int
nbi_info (struct image *img, struct image_info *info, struct err *err)
{
  const struct nbi_image *nbi = img->state;
  const struct nbi_header *h = generation_header (nbi->gen);
  const struct manifest *m = &nbi->manifest;
  int r;

  info->created = (int64_t) h->time;
  info->allocation_size = h->chunk_size;
  info->type = strdup ("backup");
  info->creator = h->creator[0] != '\0' ? strdup (h->creator) : NULL;
  if (info->type == NULL || (h->creator[0] != '\0' && info->creator == NULL))
    return err_nomem (err);
  r = image_info_add (info, "disk", "Disk", err, "%s", h->name);
  if (r == 0)
    r = add_text (info, "host", "Host", m->host, err);
  if (r == 0)
    r = add_text (info, "source", "Source", m->source_path, err);
  if (r == 0)
    r = add_text (info, "source-model", "Model", m->source_model, err);
  if (r == 0)
    r = add_text (info, "source-serial", "Serial", m->source_serial, err);
  if (r == 0)
    r = image_info_add (info, "chunk-size", "Chunks", err, "%" PRIu32
                        " bytes", h->chunk_size);
  if (r == 0 && m->counts.unreadable_bytes > 0)
    r = image_info_add (info, "unreadable", "Unreadable", err, "%" PRIu64
                        " bytes of the disk could not be read",
                        m->counts.unreadable_bytes);
  if (r == 0)
    r = add_absent (info, nbi, err);
  if (r == 0)
    r = add_hash (info, m->hash, err);
  return r < 0 ? r : add_disc (img, info, err);
}

/*--- What check finds -------------------------------------------------------*/

static int
found (void *opaque, struct file_reader *file,
       const struct verify_finding *finding, struct err *err)
{
  struct check *c = opaque;
  bool copy = strcmp (finding->kind, "nbi-header") == 0 ||
    strcmp (finding->kind, "nbi-trailer") == 0;
  const struct finding_subject subject = {
    .severity = copy ? FINDING_REPAIRABLE : FINDING_DAMAGE,
    .kind = finding->kind,
    .off = finding->off == VERIFY_NOWHERE ? FINDING_NOWHERE : finding->off,
    .disk_off = finding->disk_off,
    .disk_len = finding->disk_len,
  };

  (void) file;
  return check_add_err (c, &subject, finding->what, err);
}

static int
nbi_check_open (struct image *img, struct check *c, struct err *err)
{
  const struct verify verify = {
    .data = c->data, .job = c->job, .found = found, .opaque = c,
  };
  struct verify_result result;

  return nbi_image_verify (img, &verify, &result, err);
}

/*----------------------------------------------------------------------------*/

static const char *const endings[] = { "nbi", NULL };

const struct image_ops nbi_image_ops = {
  .name = "nbi",
  .endings = endings,
  .lack = "it has neither the header nor the trailer of a backup image",
  .state_size = sizeof (struct nbi_image),
  .probe = nbi_probe,
  .open = nbi_open,
  .close = nbi_close,
  .pread = nbi_pread,
  .extents = nbi_extents,
  .info = nbi_info,
  .identity = nbi_image_id,
  .keep_for = nbi_keep_for,
  .tell_other = nbi_tell_other,
  .check_open = nbi_check_open,
};

void
nbi_register (void)
{
  image_formats_add (&nbi_image_ops);
  image_opener_set (vault_image_open);
  folder_renamed_set (is_renamed);
}

struct generation *
nbi_image_generation (struct image *img)
{
  return img->ops == &nbi_image_ops
    ? ((struct nbi_image *) img->state)->gen : NULL;
}

const struct absent_vector *
nbi_image_absent (struct image *img)
{
  static const struct absent_vector none = VECTOR_INIT;

  return img->ops == &nbi_image_ops
    ? &((struct nbi_image *) img->state)->absent : &none;
}

void
nbi_image_allow_absent (struct image *img)
{
  if (img->ops == &nbi_image_ops)
    vector_free (&((struct nbi_image *) img->state)->absent);
}

int
nbi_image_hold (struct image *img, struct err *err)
{
  struct nbi_image *nbi = img->state;

  if (img->ops != &nbi_image_ops || nbi->vault == NULL)
    return 0;
  if (__atomic_exchange_n (&nbi->reads, 1, __ATOMIC_RELAXED) == 0)
    nbi->lease = vault_images_protect (nbi->vault, &nbi->run, 0);
  return nbi->lease == NULL ? err_set (err, -EAGAIN, "no thread can be made")
    : vault_images_wait (nbi->lease, err);
}

int
nbi_image_open_files (struct image *img, struct err *err)
{
  struct generation *gen = nbi_image_generation (img);
  uint32_t n = gen ? generation_nr_files (gen) : 0;
  int r = 0;

  if (gen != NULL && n <= VAULT_IMAGES_HELD)
    return generation_hold_files (gen, err);
  for (uint32_t i = 0; r == 0 && i < n; ++i) {
    struct file_reader *file;

    r = generation_get_file (gen, i, &file, err);
    if (r == 0)
      file_reader_unref (file);
  }
  return r;
}

int
nbi_image_verify (struct image *img, const struct verify *v,
                  struct verify_result *result, struct err *err)
{
  const struct nbi_image *nbi = img->state;

  return verify_one (nbi->gen, nbi->file, &nbi->manifest, v, result, err);
}
