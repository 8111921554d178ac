dnl SPDX-License-Identifier: GPL-2.0-or-later

dnl Collect what is missing, and say it all at once with the names of the
dnl Debian packages, instead of stopping at the first.

dnl NBDIMAGE_NEED_MODULE (PREFIX, PKG-CONFIG MODULES, DEBIAN PACKAGE)
AC_DEFUN([NBDIMAGE_NEED_MODULE],
[PKG_CHECK_MODULES([$1], [$2], [],
  [nbdimage_missing="$nbdimage_missing $3"])])

dnl NBDIMAGE_NEED_PROGRAM (VARIABLE, PROGRAMS, DEBIAN PACKAGE): one of them
AC_DEFUN([NBDIMAGE_NEED_PROGRAM],
[AC_PATH_PROGS([$1], [$2], [], [$PATH$PATH_SEPARATOR/usr/sbin])
AS_IF([test -z "$$1"], [nbdimage_missing="$nbdimage_missing $3"])])

dnl NBDIMAGE_NEED_HEADER (HEADER, DEBIAN PACKAGE): of a library that pkg-config
dnl does not know; there may be no compiler yet
AC_DEFUN([NBDIMAGE_NEED_HEADER],
[AC_MSG_CHECKING([for $1])
AS_IF([echo '#include <$1>' | ${CC:-$COMPILER} $CPPFLAGS -E - >/dev/null 2>&1 ||
       test -f /usr/include/$1],
  [AC_MSG_RESULT([yes])],
  [AC_MSG_RESULT([no])
   nbdimage_missing="$nbdimage_missing $2"])])

AC_DEFUN([NBDIMAGE_REPORT_MISSING],
[AS_IF([test -n "$nbdimage_missing"],
  [nbdimage_missing=`echo $nbdimage_missing | tr ' ' '\n' | sort -u`
   nbdimage_missing=`echo $nbdimage_missing`
   AC_MSG_ERROR([these Debian packages are missing: ${nbdimage_missing}
Install them with: apt-get install ${nbdimage_missing}])])])
