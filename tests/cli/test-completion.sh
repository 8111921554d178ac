#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Completion in bash: commands, options, their arguments, files.

. "$(dirname "$0")/../functions.sh"

requires test -r /usr/share/bash-completion/bash_completion
. /usr/share/bash-completion/bash_completion
. "$abs_top_srcdir/tools/completion/nbdimage"

# completed WORD...: what the last word can become, sorted, on a line.
completed ()
{
    COMP_WORDS=(nbdimage "$@")
    COMP_CWORD=$#
    COMP_LINE="nbdimage $*"
    COMP_POINT=${#COMP_LINE}
    COMPREPLY=()
    _nbdimage nbdimage "${COMP_WORDS[COMP_CWORD]}" \
              "${COMP_WORDS[COMP_CWORD - 1]}" 2>/dev/null
    printf '%s\n' "${COMPREPLY[@]}" | sort | xargs
}

mkdir -p "$tmp/here/folder"
cd "$tmp/here" || exit 99
touch disk.vhd

same "commands" "$(completed inf)" "info"
same "commands" "$(completed '')" \
     "$( (nbdimage --complete; printf '%s\n' help --help --version) |
         sort | xargs)"
same "help" "$(completed help ser)" "serve"
same "options" "$(completed serve --th)" "--throw-away"
same "options with an argument" "$(completed serve --li)" "--listen="
same "options of detach" "$(completed detach --j)" "--json"
same "all options" "$(completed boot --)" \
     "$(nbdimage --complete boot | sort | xargs)"
same "an argument" "$(completed boot --accel k)" "kvm"
same "an argument behind =" "$(completed info --format=i)" "iso"
same "a file" "$(completed info di)" "disk.vhd"
same "a file after an option" "$(completed info --json di)" "disk.vhd"
same "a folder" "$(completed info --parent-path '')" "folder"
same "nothing for an unknown command" "$(completed frobnicate --)" ""
