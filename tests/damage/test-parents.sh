#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Where a differencing VHD may lead us: each case is a child that names its
# parent in some way, good or bad.  `nbdimage info' runs under strace, and
# whatever becomes of the child, no file was opened but in the folders that
# are allowed: the child's own, and those of --parent-path.
#
# Outside lies a file with the right name and the right identity, which would
# be taken if it was ever looked at.

. "$(dirname "$0")/../functions.sh"
set -e

requires strace -f -y -o "$tmp/try" -e trace=openat true
requires python3

make=$abs_top_builddir/tests/support/make-vhd
dump=$abs_top_builddir/tests/support/image-dump
# The sanitizer of leaks uses what strace does.
export ASAN_OPTIONS="detect_leaks=0:${ASAN_OPTIONS:-}"

world=$tmp/world
in=$world/in
bases=$world/bases
outside=$world/outside
nr_cases=0
nr_failed=0

# Block 1 is the child's, block 2 the parent's, the rest is empty.
truth=$({ head -c 4096 /dev/zero
          head -c 4096 /dev/zero | tr '\0' '\1'
          head -c 4096 /dev/zero | tr '\0' '\2'
          head -c $((13 * 4096)) /dev/zero; } | sha256sum)

# A new world, with nothing in the child's folder.
new_world ()
{
    rm -rf "$world"
    mkdir -p "$in/sub" "$bases/deep" "$outside"
    base "$outside/secret.vhd"
    base "$outside/base.vhd"
    options=()
}

# base FILE [OPTION...]: the parent.
base ()
{
    local file=$1
    shift
    "$make" --id=2 "$@" "$file"
}

# child OPTION...: of that parent, as in/child.vhd.
child ()
{
    "$make" --type=4 --id=1 --parent=2 "$@" "$in/child.vhd"
}

# opened FILE...: the files that a trace says were opened, by what they are.
opened ()
{
    sed -n 's/.*) = [0-9]*<\(.*\)>$/\1/p' "$1" | sort -u
}

trace ()
{
    timeout 60 strace -f -y -s 0 -o "$tmp/trace" \
        -e trace=open,openat,openat2,creat,execve,connect \
        nbdimage info "${options[@]}" "$1" >"$tmp/out" 2>"$tmp/err"
}

# What the program opens whatever the image is.
new_world
base "$in/base.vhd"
trace "$in/base.vhd" || fail "the parent itself does not open"
opened "$tmp/trace" | grep -v "^$tmp" >"$tmp/always" || true
rm "$in/base.vhd"
child --locator=W2ru:'.\nothing.vhd'
trace "$in/child.vhd" && fail "a child without its parent was opened"
opened "$tmp/trace" | grep -v "^$tmp" >>"$tmp/always" || true
[ -s "$tmp/always" ] || fail "strace says nothing"
grep -q "^$in\$" <(opened "$tmp/trace") || fail "strace does not say it all"

problem ()
{
    echo "$name: $*" >&2
    cat "$tmp/out" "$tmp/err" >&2
    nr_failed=$((nr_failed + 1))
}

# Nothing outside what is allowed; no program, no connection.
check_trace ()
{
    local allowed=("$in") folder file ok

    for folder in "${options[@]}"; do
        allowed+=("$(realpath "${folder#--parent-path=}")")
    done
    opened "$tmp/trace" | grep -vxFf "$tmp/always" |
        grep -v '^/proc/[0-9]*/' >"$tmp/opened" || true
    while read -r file; do
        ok=
        for folder in "${allowed[@]}"; do
            case $file in
                "$folder"|"$folder"/*) ok=yes ;;
            esac
        done
        [ -n "$ok" ] || problem "opened $file"
    done <"$tmp/opened"
    [ "$(grep -c 'execve(' "$tmp/trace")" -eq 1 ] || problem "ran a program"
    ! grep 'connect(' "$tmp/trace" || problem "connected"
}

# begin NAME: what is in place is the case of that name.
begin ()
{
    name=$1
    nr_cases=$((nr_cases + 1))
}

# opens NAME PARENT: the child opens, and has its bytes from PARENT.
opens ()
{
    begin "$1"
    if ! trace "${3:-$in/child.vhd}"; then
        problem "does not open"
    elif ! grep -qF "  $2  " "$tmp/out"; then
        problem "its parent is not $2"
    elif [ "$("$dump" "${options[@]}" "${3:-$in/child.vhd}" | sha256sum)" \
           != "$truth" ]; then
        problem "has other bytes"
    fi
    check_trace
}

# refused NAME WORDS: the child does not open, and it says why.
refused ()
{
    local status=0

    begin "$1"
    trace "${3:-$in/child.vhd}" || status=$?
    case $status in
        1|3) grep -qF -e "$2" "$tmp/err" || problem "does not say: $2" ;;
        *) problem "ends with status $status" ;;
    esac
    [ ! -s "$tmp/out" ] || problem "is refused and shown"
    check_trace
}

# ------------------------------------------------- beside, in every spelling

new_world
base "$in/base.vhd"
child --locator=W2ru:'.\base.vhd'
opens relative "$in/base.vhd"
child --name=base.vhd
opens name-in-the-header "$in/base.vhd"
child --locator=W2ku:'C:\vm\disks\base.vhd'
opens drive-letter "$in/base.vhd"
child --locator=W2ku:'C:base.vhd'
opens drive-letter-without-slash "$in/base.vhd"
child --locator=W2ku:'\\server\share\base.vhd'
opens unc "$in/base.vhd"
child --locator=W2ku:'\\?\C:\vm\base.vhd'
opens unc-of-a-drive "$in/base.vhd"
child --locator=W2ku:'\\?\UNC\server\share\base.vhd'
opens unc-of-a-server "$in/base.vhd"
child --locator=Wi2r:'.\base.vhd'
opens deprecated-relative "$in/base.vhd"
child --locator=Wi2k:'D:\base.vhd'
opens deprecated-absolute "$in/base.vhd"
child --locator=MacX:'file://./base.vhd'
opens url-relative "$in/base.vhd"
child --locator=MacX:"file://localhost/Users/x/base.vhd"
opens url-of-another-machine "$in/base.vhd"
child --locator=MacX:'file://./b%61%73e.vhd'
opens url-encoded "$in/base.vhd"
child --locator=MacX:'file://./base.vhd%00/../../outside/secret.vhd'
opens url-encoded-nul "$in/base.vhd"
child --locator=W2ru:'.\BASE.VHD'
opens other-case "$in/base.vhd"
child --locator=W2ru:'.\nothing.vhd' --locator=MacX:'file://./base.vhd'
opens second-locator "$in/base.vhd"
child --locator=W2ru:'..\in\base.vhd'
opens out-and-in-again "$in/base.vhd"
child --locator=W2ru:'.\sub\..\base.vhd'
opens down-and-up-again "$in/sub/../base.vhd"
base "$in/base.vhd" --type=2
child --locator=W2ru:'.\base.vhd'
opens fixed-parent "$in/base.vhd"
rm "$in/base.vhd"
base "$in/Größe.vhd"
child --locator=W2ru:'.\GRÖßE.VHD'
opens other-case-not-ascii "$in/Größe.vhd"
base "$in/sub/deep.vhd"
child --locator=MacX:'file://./sub%2Fdeep.vhd'
opens url-encoded-slash "$in/sub/deep.vhd"

# --------------------------------------------------------- moved and elsewhere

new_world
base "$in/base.vhd"
child --locator=W2ku:"$in/base.vhd" --locator=W2ru:'..\in\base.vhd'
# The same names are still where they were, and not to be opened any more.
cp -r "$in" "$world/moved"
in=$world/moved
opens moved-folder "$in/base.vhd"
in=$world/in

new_world
child --locator=W2ru:'..\bases\base.vhd'
base "$bases/base.vhd"
refused parent-elsewhere "‘../bases/base.vhd’ leads out of the folder"
options=(--parent-path="$bases")
opens parent-in-parent-path "$bases/base.vhd"
mv "$bases/base.vhd" "$bases/deep/base.vhd"
child --locator=W2ru:'..\bases\deep\base.vhd'
opens parent-below-parent-path "$bases/deep/base.vhd"
child --locator=W2ku:"$bases/deep/base.vhd"
opens absolute-in-parent-path "$bases/deep/base.vhd"
child --locator=W2ru:'..\bases\..\outside\secret.vhd'
refused out-of-parent-path "leads out of the folder"
ln -s "$bases/deep" "$world/link"
child --locator=W2ru:'.\base.vhd'
options=(--parent-path="$world/link")
opens parent-path-is-a-link "$world/link/base.vhd"
"$make" --id=3 "$in/base.vhd"
opens same-name-other-identity-first "$world/link/base.vhd"

# ------------------------------------------------------------- leading outside

new_world
child --locator=W2ru:'..\outside\secret.vhd'
refused up "the parent is not in a folder that is allowed: ‘../outside/secret.vhd’ leads out of the folder"
child --locator=W2ru:'.\sub\..\..\outside\secret.vhd'
refused down-and-up-too-far "leads out of the folder"
child --locator=W2ru:"$(printf '..\\%.0s' {1..200})etc\\passwd"
refused up-two-hundred-times "leads out of the folder"
child --locator=MacX:'file://%2E%2E/outside/secret.vhd'
refused url-encoded-up "leads out of the folder"
child --locator=MacX:'file://..%2foutside%2Fsecret.vhd'
refused url-encoded-up-and-slash "leads out of the folder"
child --locator=MacX:"file://$outside/secret.vhd"
refused url-absolute "is not in $in"
child --locator=MacX:'file:///etc/passwd'
refused url-of-a-system-file "is not in $in"
child --locator=W2ku:"$outside/secret.vhd"
refused absolute "is not in $in"
child --locator=W2ku:'/proc/self/root/etc/passwd'
refused proc-root "is not in $in"
child --locator=W2ku:'/proc/self/fd/0'
refused proc-fd "is not in $in"
child --locator=W2ku:'/dev/stdin'
refused dev-stdin "is not in $in"
child --locator=W2ku:'\\.\PhysicalDrive0'
refused windows-device "is not in $in"
child --locator=W2ku:'nbd://127.0.0.1:9/secret'
refused nbd-uri "is not in $in"
child --name='nbd+unix:///?socket=/tmp/x'
refused nbd-uri-in-the-header "is not in $in"
child --locator=W2ru:'.\base.vhd:secret'
refused stream "is not in $in"

ln -s ../outside/secret.vhd "$in/up.vhd"
child --locator=W2ru:'.\up.vhd'
refused link-up "‘up.vhd’ leads out of the folder"
child --locator=W2ru:'.\UP.vhd'
refused link-up-in-other-case "leads out of the folder"
ln -s "$outside/secret.vhd" "$in/abs.vhd"
child --locator=W2ru:'.\abs.vhd'
refused link-absolute "‘abs.vhd’ leads out of the folder"
ln -s ../outside "$in/folder"
child --locator=W2ru:'.\folder\secret.vhd'
refused link-to-a-folder "leads out of the folder"
ln -s up.vhd "$in/first.vhd"
child --locator=W2ru:'.\first.vhd'
refused link-to-a-link-up "leads out of the folder"
ln -s /proc/self "$in/proc"
child --locator=W2ru:'.\proc\cwd\secret.vhd'
refused link-to-proc "leads out of the folder"
ln -s loop.vhd "$in/loop.vhd"
child --locator=W2ru:'.\loop.vhd'
refused link-loop "Too many levels of symbolic links"
ln -s nothing.vhd "$in/dangling.vhd"
child --locator=W2ru:'.\dangling.vhd'
refused link-dangling "is not in $in"
base "$in/sub/base.vhd"
ln -s sub/base.vhd "$in/inside.vhd"
child --locator=W2ru:'.\inside.vhd'
opens link-inside "$in/inside.vhd"
# A hard link is the file.  Who can make one here could copy it as well.
ln "$outside/secret.vhd" "$in/hard.vhd"
child --locator=W2ru:'.\hard.vhd'
opens hard-link "$in/hard.vhd"
# The folder is that of the name that was given, not of what it leads to.
child --locator=W2ru:'.\hard.vhd'
mkdir "$in/away"
ln -s ../child.vhd "$in/away/child.vhd"
refused child-is-a-link "is not in $in/away" "$in/away/child.vhd"

# ---------------------------------------------------- not a file, not a parent

new_world
child --locator=W2ru:'.\base.vhd'
refused nothing-there "the parent ‘base.vhd’ with identity"
mkdir "$in/base.vhd"
refused folder "is not a regular file"
rmdir "$in/base.vhd"
mkfifo "$in/base.vhd"
refused fifo "is not a regular file"
rm "$in/base.vhd"
python3 -c 'import socket, sys, os
os.chdir(sys.argv[1])
socket.socket(socket.AF_UNIX).bind("base.vhd")' "$in"
refused socket "is not a regular file"
rm "$in/base.vhd"
: >"$in/base.vhd"
refused empty-file "the parent can't be used: $in/base.vhd: there is no VHD footer"
head -c 65536 /dev/urandom >"$in/base.vhd"
refused raw-disk "the parent can't be used: $in/base.vhd: there is no VHD footer"
"$make" --id=3 "$in/base.vhd"
refused other-identity "the parent is not there: found $in/base.vhd, but its identity is"
cp "$in/child.vhd" "$in/base.vhd"
refused a-copy-of-the-child "but its identity is"
rm "$in/base.vhd"
child --locator=MacX:'file:///dev/zero'
options=(--parent-path=/dev)
refused device "is not a regular file"
options=()
if [ "$(id -u)" -ne 0 ]; then
    child --locator=W2ru:'.\base.vhd'
    base "$in/base.vhd"
    chmod 000 "$in/base.vhd"
    refused unreadable "the parent can't be opened: in the folder $in: ‘base.vhd’ can't be opened: Permission denied"
fi

# --------------------------------------------------------- names that are none

new_world
child
refused no-name "neither header nor locators name its parent"
child --locator=W2ru:'.' --locator=W2ku:'..' --locator=MacX:'file://.' \
    --name='\'
refused only-dots "neither header nor locators name its parent"
long=$(printf 'x%.0s' {1..300})
child --locator=W2ru:".\\$long.vhd"
refused long-name "File name too long"
child --locator=W2ru:"$(printf 'sub\\%.0s' {1..2000})base.vhd"
refused long-path "File name too long"
# Lone surrogates in the locator and in the name.
child --locator=W2ru:'.\base.vhd' --patch=2052:00D800DC
refused half-surrogates-in-a-locator "is not in $in"
child --name=base.vhd --patch=576:DC00D800
refused half-surrogates-in-the-name "is not in $in"
child --locator=W2ru:$'.\\\x1b]0;pwned\x07\nbase.vhd'
refused control-characters "is not in $in"
! grep -q $'[\x1b\x07]' "$tmp/err" || problem "steers the terminal"
child --locator=MacX:$'file://./\xff\xfe%ff%fe.vhd'
refused not-utf-8 "is not in $in"

# ---------------------------------------------------------------- longer chains

new_world
child --locator=W2ru:'.\child.vhd' --parent=1
refused own-parent "is a parent of itself"
child --locator=W2ru:'.\mid.vhd' --parent=3
"$make" --type=4 --id=3 --parent=1 --locator=W2ru:'.\child.vhd' "$in/mid.vhd"
refused loop-of-two "is a parent of itself"
ln "$in/child.vhd" "$in/again.vhd"
"$make" --type=4 --id=3 --parent=1 --locator=W2ru:'.\again.vhd' "$in/mid.vhd"
refused loop-through-a-hard-link "is a parent of itself"
"$make" --type=4 --id=3 --parent=2 \
    --locator=W2ru:'..\outside\secret.vhd' "$in/mid.vhd"
refused grandparent-outside "parent $in/mid.vhd: the parent is not in a folder that is allowed"
"$make" --type=4 --id=3 --parent=2 --name=base.vhd "$in/mid.vhd"
base "$in/base.vhd"
begin grandparent
trace "$in/child.vhd" || problem "does not open"
grep -q "  2  $in/base.vhd  " "$tmp/out" || problem "has not three layers"
check_trace
mv "$in/mid.vhd" "$in/sub/mid.vhd"
child --locator=W2ru:'.\sub\mid.vhd' --parent=3
"$make" --type=4 --id=3 --parent=2 --locator=W2ru:'..\base.vhd' \
    "$in/sub/mid.vhd"
begin grandparent-above-its-child
trace "$in/child.vhd" || problem "does not open"
grep -q "  2  .*/base.vhd  " "$tmp/out" || problem "has not three layers"
check_trace

[ "$nr_cases" -ge 70 ] || fail "only $nr_cases cases"
[ "$nr_failed" -eq 0 ] || fail "$nr_failed problems in $nr_cases cases"
echo "$nr_cases cases"
