/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Going on with an NBD export.  There is no place in it for a note of how far
 * it is (lib/copy/state.h), so that --state names a file here:
 *
 *   1. The state is opened: this process alone works with it from now on.  It
 *      is compared with the source and the export.
 *   2. The plan is shown, and confirmed: each time, as another may have used
 *      the export meanwhile.  If something is done already, --yes is enough,
 *      as the export has what was copied.
 *   3. Unless there was one, the state is begun at 0, and on stable storage.
 *   4. Data is copied; now and then the export is flushed, and the state gets
 *      the number of bytes in front of which all is flushed.
 *   5. The export is flushed; 6. the state is removed.
 *
 * A crash within 3 leaves an export that was not written to, and perhaps a
 * state that is none: it is refused until somebody removes it, as any other
 * file is that holds something.  After 4, what lies behind the number may be
 * anything; it gets data or zeros when the copy goes on.  After 5 the number is
 * the size, and nothing is left to do but 6.
 *
 * All of that rests on flushes: a server that knows none is refused.  What
 * tells an export from another is its URI, size and description; that its
 * bytes are those of the source, samples have to show.  Unlike a file of ours
 * that can be begun anew, an export that does not fit is never overwritten
 * without being told.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/block/nbd.h"
#include "lib/copy/copy.h"
#include "tools/convert/convert.h"

/* Is there a file?  What is no file, or holds something that is no state, is
 * not to be written over.
 */
static int
check_file (const struct convert *c, bool *found, struct err *err)
{
  struct stat st;

  *found = lstat (c->state, &st) == 0;
  if (!*found)
    return errno == ENOENT ? 0 : err_sys (err, "--state: %s", c->state);
  if (!S_ISREG (st.st_mode))
    return err_set (err, -ENOTSUP, "--state: %s is not a regular file",
                    c->state);
  return 0;
}

static int
open_state (const struct convert *c, struct convert_target *to,
            struct err *err)
{
  const char *slash = strrchr (c->state, '/');
  CLEANUP_FREE char *folder = slash
    ? strndup (c->state, (size_t) (slash - c->state) + 1) : strdup (".");
  const char *name = slash ? slash + 1 : c->state;
  struct stat st;
  int r;

  if (folder == NULL)
    return err_nomem (err);
  to->state_folder = open (folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (to->state_folder < 0)
    return err_sys (err, "--state: the folder of %s can't be opened",
                    c->state);
  r = copy_state_open (to->state_folder, name, &to->state, err);
  if (r == -EBUSY)
    return err_set (err, r, "--state: another process works with %s",
                    c->state);
  if (r < 0)
    return err_in (err, "--state");
  if (!copy_state_found (to->state) &&
      fstatat (to->state_folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
      st.st_size > 0)
    return err_set (err, -EEXIST, "--state: %s holds something that does not "
                    "say how far it is; remove it to begin anew", c->state);
  return 0;
}

static int
check_texts (const struct convert *c, const struct convert_source *from,
             const struct convert_target *to, struct err *err)
{
  CLEANUP_FREE char *how = convert_describe_how (c, to, err);
  CLEANUP_FREE char *source = how ? convert_describe_source (from, err)
    : NULL;

  if (source == NULL)
    return err->code;
  if (strcmp (copy_state_how (to->state), how) != 0)
    return err_set (err, -EEXIST, "%s was begun with another source, other "
                    "options, or another export, perhaps of that name; remove "
                    "it to begin anew", c->state);
  if (strcmp (copy_state_source (to->state), source) != 0)
    return err_set (err, -ESTALE, "the source was changed since %s was begun; "
                    "remove it to begin anew", c->state);
  return 0;
}

static int
check_bytes (const struct convert *c, const struct convert_source *from,
             struct convert_target *to, struct err *err)
{
  uint64_t done = copy_state_done (to->state), differs_at;
  struct block_sizes sizes;
  int r;

  if (done > block_size (from->disk))
    return err_set (err, -ESTALE, "%s says that more was done than there is; "
                    "remove it to begin anew", c->state);
  r = copy_compare_samples (from->disk, to->disk, done, &differs_at, err);
  if (r < 0)
    return r;
  if (differs_at != COPY_SAME)
    return err_set (err, -ESTALE, "the source or the export was changed since "
                    "%s was begun, at offset %" PRIu64 "; remove it to begin "
                    "anew", c->state, differs_at);
  block_get_sizes (to->disk, &sizes);
  to->start = round_down (done, sizes.minimum);
  return 0;
}

int
convert_state_look (const struct convert *c, const struct convert_source *from,
                    struct convert_target *to, struct err *err)
{
  bool found = false;
  int r = 0;

  if (!block_nbd_can_flush (to->disk))
    r = err_set (err, -ENOTSUP, "its server can't flush: how much of a copy "
                 "that was interrupted is there, can't be known");
  if (r == 0)
    r = check_file (c, &found, err);
  if (r < 0 || (c->dry_run && !found))
    return r;
  r = open_state (c, to, err);
  if (r < 0 || !copy_state_found (to->state))
    return r;
  r = check_texts (c, from, to, err);
  return r < 0 ? r : check_bytes (c, from, to, err);
}

int
convert_state_begin (const struct convert *c,
                     const struct convert_source *from,
                     struct convert_target *to, struct err *err)
{
  CLEANUP_FREE char *how = NULL;
  CLEANUP_FREE char *source = NULL;

  if (copy_state_found (to->state))
    return 0;
  how = convert_describe_how (c, to, err);
  source = how ? convert_describe_source (from, err) : NULL;
  return source ? copy_state_begin (to->state, how, source, err) : err->code;
}
