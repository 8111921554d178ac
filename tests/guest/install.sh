# SPDX-License-Identifier: GPL-2.0-or-later

# What the tests share in which a system is installed onto an overlay.  They
# make the disk below, and
#
#   install_onto OVERLAY GOLDEN
#
# does the rest, here and not in a guest: it starts the servers, and QEMU as
# their client.
#
#   1. `nbdimage serve --overlay'; a guest partitions the disk and installs a
#      system (`installer').  Server and guest are killed while it writes.
#   2. A new server; the system starts from the disk by its BIOS.
#   3. `nbdimage boot --overlay': it starts from there.
#   4. `nbdimage convert', and QEMU starts the file without us.
#
# In each start the system says what it finds, and adds something to it.

. "$(dirname "${BASH_SOURCE[0]}")/guest.sh"

requires_guest
for program in sfdisk mke2fs e2fsck grub-mkimage qemu-img; do
    requires "$program"
done
requires test -x /usr/lib/grub/i386-pc/grub-bios-setup

# Boots are emulated, on a machine that may be busy.
limit=800

# ------------------------------------------------------------------ the disk

# make_golden RAW: with the file system of make-disk.sh in its first
# partition, space behind it, and a boot program that says "no system here" to
# the BIOS (int 18h).
make_golden ()
{
    "$support/make-disk.sh" mbr-ext4 "$1"
    printf '\xcd\x18' | dd of="$1" conv=notrunc status=none
    truncate -s 400M "$1"
}

# What is to be found: what was there, was installed, and is added.
expect_installed ()
{
    local expected=$tmp/expected

    mkdir -p "$expected/srv" "$expected/var"
    "$support/make-files.sh" "$expected/data" "$tmp/sums"
    rm "$expected/data/numbers.txt"
    dd if="$tmp/share/payload" \
       of="$expected/data/a folder/with/more folders/threes.txt" \
       bs=10000 count=2 seek=5 conv=notrunc status=none
    cp "$tmp/share/payload2" "$expected/data/new"
    cp "$tmp/share/"* "$expected/srv/"
}

expect_added ()                 # N
{
    yes "written in start $1" | head -c 3000000 >"$tmp/expected/var/start.$1"
    echo "written in start $1" >"$tmp/expected/data/start.$1"
}

# ----------------------------------------------------------------- the server

# start_serve OVERLAY GOLDEN: sets $serve_pid and $uri
start_serve ()
{
    local i

    rm -f "$tmp/sock"
    : >"$tmp/uris"
    nbdimage serve --unix "$tmp/sock" --overlay "$1" "$2" \
        >"$tmp/uris" 2>"$tmp/serve.err" &
    serve_pid=$!
    cleanup_fn stop_pid "$serve_pid"
    for ((i = 0; i < 300; i++)); do
        [ ! -s "$tmp/uris" ] || break
        kill -0 "$serve_pid" 2>/dev/null || break
        sleep 0.1
    done
    [ -s "$tmp/uris" ] || { cat "$tmp/serve.err" >&2; fail "no server"; }
    uri="nbd+unix:///?socket=$tmp/sock"
}

# Nobody gets to do anything more: neither nbdkit, nor who would start it
# again.
kill_serve ()
{
    local children i

    children=$(cat "/proc/$serve_pid/task/$serve_pid/children")
    [ -n "$children" ] || fail "the server has no nbdkit"
    kill -STOP "$serve_pid"
    # shellcheck disable=SC2086
    kill -KILL $children "$serve_pid"
    wait "$serve_pid" 2>/dev/null || true
    for ((i = 0; i < 100; i++)); do
        # shellcheck disable=SC2086
        kill -0 $children 2>/dev/null || return 0
        sleep 0.1
    done
    fail "the server is still there"
}

# --------------------------------------------------------------- the machines

# The first one, up to where its power fails: until files that were synced are
# on the disk, and it writes more.
install_until_killed ()
{
    local i pid

    : >"$tmp/install"
    "$support/run-in-vm" -t "$limit" -w "$tmp/share" -l "$console" \
        -M virtio_blk -M ext4 \
        -q -drive -q "if=virtio,format=raw,file=$uri" -- \
        "$abs_top_srcdir/tests/guest/installer" "$tmp/share" \
        >"$tmp/install" 2>"$tmp/install.err" &
    pid=$!
    cleanup_fn stop_pid "$pid"
    for ((i = 0; i < limit * 10; i++)); do
        kill -0 "$pid" 2>/dev/null || break
        [ "$(grep -c ^SYNCED "$tmp/install")" -lt 3 ] || break
        sleep 0.1
    done
    kill -0 "$pid" 2>/dev/null || {
        cat "$tmp/install" "$tmp/install.err" >&2
        fail "the installer ended"
    }
    kill_serve
    stop_pid "$pid"
    contains "$tmp/install" INSTALLED
    grep ^SYNCED "$tmp/install" | cut -d ' ' -f 2- >"$tmp/synced"
    # The last line may be a part of one.
    [ -z "$(tail -c 1 "$tmp/install")" ] || sed -i '$d' "$tmp/synced"
    [ -s "$tmp/synced" ] || fail "nothing was synced"
}

# started N COMMAND...: run a machine; it must be the Nth start of the system,
# and find all that is expected.
started ()
{
    local n=$1 status=0 found=$tmp/found
    shift

    timeout -k 20 "$limit" "$@" </dev/null >"$tmp/serial" 2>"$tmp/err" ||
        status=$?
    tr -d '\r' <"$tmp/serial" >"$console.$n"
    [ "$status" -eq 0 ] || {
        tail -n 40 "$console.$n" "$tmp/err" >&2
        fail "start $n ended with status $status"
    }
    contains "$console.$n" "START $n $(uname_of_kernel) from"
    contains "$console.$n" "END $n"
    sed -n 's/^FOUND //p' "$console.$n" >"$found"
    grep /var/synced "$found" >"$found.synced"
    grep -v /var/synced "$found" | sort >"$found.rest"
    (cd "$tmp/expected" && find . -type f -print0 | xargs -0 sha256sum) |
        sed 's/  \./  /' | sort >"$tmp/wanted"
    diff "$tmp/wanted" "$found.rest" >&2 ||
        fail "start $n does not find what it should"
    # Of files that were being written when the power failed, there may be
    # more.
    diff "$tmp/synced" <(grep -xFf "$tmp/synced" "$found.synced" | sort -V -k 2) \
        >&2 || fail "start $n does not find what was synced"
    expect_added "$n"
}

uname_of_kernel ()
{
    local kernel

    kernel=${VM_KERNEL:-$(printf '%s\n' /boot/vmlinuz-* | sort -V |
        tail -n 1)}
    echo "${kernel##*/vmlinuz-}"
}

# A machine without a system ends at once instead of waiting for another disk.
boot=(nbdimage boot --accel tcg --serial --memory 512M)
no_system=(-- -boot reboot-timeout=0 -no-reboot)

does_not_start ()               # IMAGE
{
    timeout -k 20 "$limit" "${boot[@]}" "$1" "${no_system[@]}" </dev/null \
        >"$tmp/serial" 2>"$tmp/err" || { cat "$tmp/err" >&2; fail "QEMU"; }
    ! grep -q START "$tmp/serial" || fail "$1 has a system"
}

# The file and QEMU, as another would start it.
qemu_alone ()                   # FORMAT FILE
{
    qemu-system-x86_64 -nodefaults -no-user-config -no-reboot -display none \
        -accel tcg -m 512 -serial stdio -drive "if=virtio,format=$1,file=$2"
}
export -f qemu_alone

whole ()                        # IMAGE
{
    nbdimage check "$1" >"$tmp/check" 2>&1 || {
        cat "$tmp/check" >&2
        fail "check: $1 is not whole"
    }
    cat "$tmp/check"
}

# ------------------------------------------------------------------- all of it

install_onto ()                 # OVERLAY GOLDEN
{
    local overlay=$1 golden=$2 sum flat=$tmp/flat.vhd n

    console=$abs_top_builddir/tests/guest/$(basename "$0").console
    sum=$(sha256sum <"$golden")
    mkdir "$tmp/share"
    head -c 5000000 /dev/urandom >"$tmp/share/payload"
    head -c 300000 /dev/urandom >"$tmp/share/payload2"

    step "the disk below has no system"
    does_not_start "$golden"

    step "a system is installed, and the power fails"
    start_serve "$overlay" "$golden"
    install_until_killed
    whole "$overlay"
    expect_installed

    step "it starts from the overlay, by a new server"
    start_serve "$overlay" "$golden"
    started 1 "${boot[@]}" --write "$uri" "${no_system[@]}"
    stop_pid "$serve_pid"
    whole "$overlay"

    step "it starts from the overlay, by boot"
    started 2 "${boot[@]}" --overlay "$overlay" "$golden" "${no_system[@]}"
    whole "$overlay"
    same "the disk below" "$(sha256sum <"$golden")" "$sum"
    does_not_start "$golden"

    step "it starts from a copy, without us"
    nbdimage convert "$overlay" "$flat"
    whole "$flat"
    nbdimage convert "$flat" "$tmp/flat.img"
    for n in 1 2; do
        file_system_is_clean "$tmp/flat.img" $n
    done
    started 3 bash -c "qemu_alone vpc $flat"
}

file_system_is_clean ()         # RAW PARTITION
{
    local start

    start=$(sfdisk -d "$1" |
                sed -n "s/.*img$2 : start= *\([0-9]*\),.*/\1/p")
    e2fsck -f -n "$1?offset=$((start * 512))" >"$tmp/fsck" 2>&1 || {
        cat "$tmp/fsck" >&2
        fail "the file system in partition $2 is damaged"
    }
}
