# SPDX-License-Identifier: GPL-2.0-or-later

# A real sshd on a port of this machine, with keys of its own, for who sources
# this behind functions.sh.  Nothing of the user's own ~/.ssh is used.
#
#   sshd_start [REQUEST,...]  start it, without these requests of SFTP; sets
#                   $sshd_port and $sshd_pid, and exports NBDIMAGE_SSH_CONFIG
#   sshd_uri PATH [OPTION...]   ssh://127.0.0.1:PORT/PATH?OPTION&...
#   sshd_sessions   the processes that serve connections now, one on a line
#   sshd_stop       end it, and them
#
# The client's side is in $tmp/ssh: config, known_hosts, id, and other, a key
# that is not let in.

sshd_program=/usr/sbin/sshd

_sshd_keys ()
{
    mkdir -m 700 "$tmp/ssh"
    for key in host host2 id other; do
        ssh-keygen -q -t ed25519 -N '' -C "$key" -f "$tmp/ssh/$key"
    done
    cp "$tmp/ssh/id.pub" "$tmp/ssh/authorized_keys"
    cat >"$tmp/ssh/config" <<CONFIG
Host *
    UserKnownHostsFile $tmp/ssh/known_hosts
    GlobalKnownHostsFile $tmp/ssh/none
    IdentityFile $tmp/ssh/id
    IdentityAgent none
CONFIG
    export NBDIMAGE_SSH_CONFIG=$tmp/ssh/config
    unset SSH_AUTH_SOCK
}

# _sshd_run PORT [REQUEST,...]: is it up?
_sshd_run ()
{
    cat >"$tmp/ssh/sshd_config" <<CONFIG
ListenAddress 127.0.0.1:$1
HostKey $tmp/ssh/host
PidFile none
AuthorizedKeysFile $tmp/ssh/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 100
Subsystem sftp internal-sftp${2:+ -P $2}
CONFIG
    "$sshd_program" -D -f "$tmp/ssh/sshd_config" -E "$tmp/ssh/log" &
    sshd_pid=$!
    for _ in {1..100}; do
        if (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then
            return 0
        fi
        kill -0 "$sshd_pid" 2>/dev/null || return 1
        sleep 0.05
    done
    return 1
}

sshd_start ()
{
    [ -d "$tmp/ssh" ] || _sshd_keys
    # It wants its folder, also where nothing is separated.
    [ "$(id -u)" != 0 ] || mkdir -p -m 755 /run/sshd
    for _ in {1..20}; do
        sshd_port=${sshd_port:-$((20000 + RANDOM % 12000))}
        if _sshd_run "$sshd_port" "${1:-}"; then
            break
        fi
        sshd_port=
    done
    if [ -z "$sshd_port" ]; then
        cat "$tmp/ssh/log"
        echo "$0: sshd does not start" >&2
        exit 99
    fi
    echo "[127.0.0.1]:$sshd_port $(cut -d' ' -f1,2 "$tmp/ssh/host.pub")" \
        >"$tmp/ssh/known_hosts"
    cleanup_fn sshd_stop
}

sshd_uri ()
{
    local path=$1 options
    shift
    options=$(IFS='&'; echo "$*")
    echo "ssh://127.0.0.1:$sshd_port$path${options:+?$options}"
}

_descendants ()
{
    local child
    for child in $(ps -o pid= --ppid "$1"); do
        _descendants "$child"
        echo "$child"
    done
}

sshd_sessions ()
{
    _descendants "$sshd_pid"
}

sshd_stop ()
{
    local pid
    [ -n "${sshd_pid:-}" ] || return 0
    for pid in $(sshd_sessions) "$sshd_pid"; do
        kill -CONT "$pid" 2>/dev/null || :
        kill -KILL "$pid" 2>/dev/null || :
    done
    wait "$sshd_pid" 2>/dev/null || :
    sshd_pid=
}
