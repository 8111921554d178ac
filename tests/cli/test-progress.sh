#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later

# How far a long command is: a line that is drawn again and again on a
# terminal and goes away, lines of JSON for programs, nothing otherwise.

. "$(dirname "$0")/../functions.sh"
set -e
set -x

requires jq
requires python3
cd "$tmp"

# Some three seconds of work.
head -c 16M /dev/urandom >src.img
start_nbdkit -r --filter=delay file src.img rdelay=350ms
slow=(nbdimage convert --threads=1 -f raw "$uri")

# JSON: each line is an object, and the numbers go up to the total.
"${slow[@]}" --progress=json a.img 2>lines
jq -se 'length >= 3 and all (.[];
    (keys | . == ["done", "left", "phase", "rate", "total"]) and
    (.phase | type == "string") and (.done | type == "number") and
    (.rate | type == "number"))' lines
jq -se '[.[] | select (.phase == "copying")] |
    length >= 3 and all (.[]; .total == 16777216 and .done <= .total) and
    ([.[].done] | . == sort) and .[-1].done > 0 and .[-1].rate > 0 and
    .[-1].left < 60' lines

# No terminal: nothing.
"${slow[@]}" b.img 2>out
[ ! -s out ] || fail "it said something"
# Unless it is asked for.
"${slow[@]}" --progress=line c.img 2>out
grep -q 'copying c.img: [0-9]* %, [0-9.]* MiB of 16 MiB' out

# A terminal of 60 columns: what is drawn, and what is there at the end.
cat >terminal.py <<'END'
import fcntl, os, pty, re, signal, struct, sys, termios, time
interrupt, argv = sys.argv[1], sys.argv[2:]
pid, fd = pty.fork()
if pid == 0:
    os.execvp(argv[0], argv)
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
said, pressed = "", 0
while True:
    try:
        said += os.read(fd, 1000).decode()
    except OSError:
        break
    if pressed < len(interrupt) and " %," in said:
        os.write(fd, b"\3")             # Ctrl-C
        pressed += 1
        time.sleep(0.05)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

# A terminal of one line.
screen, drawn = "", []
for part in re.split("(\r\033\\[K|\r\n)", said):
    if part == "\r\033[K":
        screen = ""
    elif part == "\r\n":
        print("LINE " + screen.replace("^C", ""))
        screen = ""
    else:
        screen += part
        drawn.append(part.replace("^C", ""))
print("LEFT " + screen)
print("STATUS %d" % status)
for part in drawn:
    assert len(part) < 60, part
    assert not re.search("[\0-\x1f]", part), part
    print("DRAWN " + part)
END
python3 terminal.py '' "${slow[@]}" d.img >seen
cat seen
grep -x 'STATUS 0' seen
grep -x 'LEFT ' seen
[ "$(grep -cE '^DRAWN copying d.img: [0-9]+ %, ' seen)" -ge 3 ] ||
    fail "it drew too little"
grep -E '^DRAWN copying d.img: .* MiB of 16 MiB, .*/s, [0-9]+:[0-9]+ left' seen
grep '^LINE' seen && fail "a line is left"
# A name with what would steer the terminal, and one that is too long.
weird=$(printf 'x\033[31m%0100d.img' 7)
python3 terminal.py '' "${slow[@]}" "$weird" >seen
grep -xE 'DRAWN copying x\?\[31m0{40,}' seen

# Ctrl-C: it says that it ends, and why it ended; no file is left.
python3 terminal.py 1 "${slow[@]}" e.img >seen
cat seen
grep -x 'STATUS 1' seen
grep -E '^DRAWN copying e.img: [0-9]+ %, .*, ending' seen
grep -x 'LINE nbdimage: e.img: interrupted' seen
[ ! -e e.img ] || fail "there is a file"

# Twice: by the signal.
python3 terminal.py 12 "${slow[@]}" f.img >seen
cat seen
grep -xE 'STATUS (-2|1)' seen
[ ! -e f.img ] || fail "there is a file"
find . -name '.?*' ! -name . | grep . && fail "something is left"

cmp src.img a.img
cmp src.img d.img
