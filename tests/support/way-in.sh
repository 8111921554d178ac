# SPDX-License-Identifier: GPL-2.0-or-later

# What ./demo and ./check share: steps of one line each, the Debian packages,
# the build.  They source this in the top folder of the sources.

export LC_ALL=C.UTF-8
export PATH=$PATH:/usr/sbin:/sbin
top=$PWD
program=$(basename "$0")

die ()
{
    printf '%s: %s\n' "$program" "$*" >&2
    exit 1
}

case $top in
    *[[:space:]\'\"\$\`\\\&\#\;]*)
        die "the path of this folder has a space or a sign in it that" \
            "autotools can't build in: $top"
        ;;
esac

# ------------------------------------------------------------------ steps

# The log of everything that the steps print.
log=/dev/null

if [ -t 1 ]; then
    bold=$(tput bold 2>/dev/null || true)
    plain=$(tput sgr0 2>/dev/null || true)
else
    bold=
    plain=
fi

now_ms ()
{
    date +%s%3N
}

# seconds_since MS: with one decimal.
seconds_since ()
{
    local ms=$(($(now_ms) - $1))
    echo "$((ms / 1000)).$((ms % 1000 / 100))"
}

# tick NAME MS: how long that takes, which began then, on a terminal, as long as
# the script lives.
tick ()
{
    while sleep 1 && kill -0 $$ 2>/dev/null; do
        printf '\r  %-42s%6s s' "$1" "$(seconds_since "$2")"
    done
}

# step NAME COMMAND ARG...
# One line for it.  When it fails, the end of what it said, where all of it
# is, and status 1.
step ()
{
    local name=$1 began status=0 from ticker=
    shift

    printf '  %-42s' "$name"
    began=$(now_ms)
    if [ -t 1 ]; then
        tick "$name" "$began" &
        ticker=$!
    fi
    from=$(($(stat -c %s "$log") + 1))
    printf '\n=== %s: %s\n' "$name" "$*" >>"$log"
    # A subshell, so that a step may change the folder.
    ("$@") </dev/null >>"$log" 2>&1 || status=$?
    if [ -n "$ticker" ]; then
        kill "$ticker" 2>/dev/null
        wait "$ticker" 2>/dev/null
        printf '\r  %-42s' "$name"
    fi
    if [ "$status" -eq 0 ]; then
        printf '%6s s\n' "$(seconds_since "$began")"
        return 0
    fi
    printf 'FAILED after %s s\n' "$(seconds_since "$began")"
    tail -c "+$from" "$log" | tail -n 25 | sed 's/^/    | /'
    printf '    all of it: %s\n' "$log"
    return 1
}

# --------------------------------------------------------------- packages

# packages_of SECTION...: their names in the file `packages'.
packages_of ()
{
    awk -v wanted=" $* " '
        { sub (/#.*/, "") }
        /^\[/ { gsub (/[][ ]/, ""); on = index (wanted, " " $0 " "); next }
        NF && on { print $1 }' packages
}

# packages_missing SECTION...: those that are not installed.
packages_missing ()
{
    local package

    for package in $(packages_of "$@"); do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null |
            grep -qx installed || echo "$package"
    done
}

install_packages ()
{
    local root=()

    if [ "$(id -u)" -ne 0 ]; then
        root=(sudo -n)
    fi
    # Held up by another apt for five minutes at most.
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q \
        -o DPkg::Lock::Timeout=300 update &&
        "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
            -o DPkg::Lock::Timeout=300 --no-install-recommends install "$@"
}

# need_packages SECTION...: install what is missing, if anything.
need_packages ()
{
    local missing

    command -v dpkg-query >/dev/null ||
        die "this wants Debian 12: there is no dpkg-query here"
    missing=$(packages_missing "$@")
    [ -n "$missing" ] || return 0
    missing=$(echo $missing)
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null ||
            die "run me as root, or install sudo; missing are: $missing"
        # Ask for the password here, where it can be seen.
        sudo -v || die "sudo refused; missing are: $missing"
    fi
    # shellcheck disable=SC2086
    step "install $(echo $missing | wc -w) Debian packages" \
        install_packages $missing ||
        die "apt-get could not install: $missing"
    missing=$(packages_missing "$@")
    [ -z "$missing" ] || die "still missing: $(echo $missing)"
}

# ------------------------------------------------------------------ build

# The folder holds absolute paths: a build that was moved starts anew.
build_configured ()
{
    [ -f "$1/Makefile" ] && [ "$(cat "$1/.built-for" 2>/dev/null)" = "$2" ]
}

configure_in ()
{
    local folder=$1
    shift
    rm -rf "$folder"
    mkdir -p "$folder"
    (cd "$folder" && ../configure "$@") &&
        echo "$top $*" >"$folder/.built-for"
}

# configured_in FOLDER CONFIGURE-ARGUMENT...
configured_in ()
{
    local folder=$1
    shift

    if [ ! -x configure ]; then
        step "make configure" ./autogen.sh || return 1
    fi
    if ! build_configured "$folder" "$top $*"; then
        step "configure $folder/" configure_in "$folder" "$@" || return 1
    fi
}

# build_in FOLDER NAME CONFIGURE-ARGUMENT...
build_in ()
{
    local folder=$1 name=$2
    shift 2

    configured_in "$folder" "$@" &&
        step "$name" make -C "$folder" -j"$(nproc)"
}
