/* SPDX-License-Identifier: GPL-2.0-or-later */

/* KVM, where it really works.
 *
 * Some machines in a cloud have a /dev/kvm without virtualization by their
 * CPU (CONFIG_KVM_PVM): it makes virtual machines in which guests hang.  So
 * the CPU must have what KVM is for.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "tools/boot/boot.h"

/* Is vmx (Intel) or svm (AMD) among the flags of the first CPU? */
static bool
cpu_virtualizes (void)
{
  CLEANUP_FCLOSE FILE *fp = fopen ("/proc/cpuinfo", "re");
  CLEANUP_FREE char *line = NULL;
  size_t size = 0;

  while (fp && getline (&line, &size, fp) > 0) {
    char *saved = NULL;

    if (strncmp (line, "flags", 5) != 0)
      continue;
    for (char *word = strtok_r (line, " \t\n", &saved); word;
         word = strtok_r (NULL, " \t\n", &saved))
      if (strcmp (word, "vmx") == 0 || strcmp (word, "svm") == 0)
        return true;
    return false;
  }
  return false;
}

static bool
kvm_works (void)
{
  CLEANUP_CLOSE int fd = open ("/dev/kvm", O_RDWR | O_CLOEXEC);
  CLEANUP_CLOSE int vm = -1;

  if (fd < 0 || ioctl (fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
    return false;
  vm = ioctl (fd, KVM_CREATE_VM, 0);
  return vm >= 0;
}

int
accel_choose (const char *wish, bool *use_kvm, struct err *err)
{
  if (strcmp (wish, "kvm") == 0)
    *use_kvm = true;
  else if (strcmp (wish, "tcg") == 0)
    *use_kvm = false;
  else if (strcmp (wish, "auto") == 0)
    *use_kvm = cpu_virtualizes () && kvm_works ();
  else
    return err_set (err, -EINVAL, "‘%s’ is not an accelerator: expected "
                    "auto, kvm or tcg", wish);
  return 0;
}
