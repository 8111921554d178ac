# SPDX-License-Identifier: GPL-2.0-or-later

# What an initramfs for the stock kernel is made of.  To be sourced; the
# caller has `fail'.

# kernel_modules RELEASE FOLDER MODULE...
# These and all that they need, unpacked, into FOLDER, under names whose order
# is that in which insmod takes them.
kernel_modules ()
{
    local release=$1 folder=$2 module ko name list n=100
    shift 2

    list=$(for module; do
               modprobe -S "$release" --show-depends "$module" 2>/dev/null ||
                   echo "missing $module"
           done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }
                       $1 == "missing" { print }')
    while read -r ko; do
        name=$folder/$((n++)).ko
        case $ko in
            missing*) fail "the kernel $release has no module ${ko#* }" ;;
            *.ko) cp "$ko" "$name" ;;
            *.xz) xz -dc "$ko" >"$name" ;;
            *.zst) zstd -dcq "$ko" >"$name" ;;
            *.gz) gzip -dc "$ko" >"$name" ;;
        esac || fail "reading $ko failed"
    done <<<"$list"
}

# pack_initramfs FOLDER FILE
pack_initramfs ()
{
    (cd "$1" && find . | cpio -o -H newc --quiet) >"$2" ||
        fail "making the initramfs failed"
}
