#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later

"""Clients that misbehave, one case after the other.

    abuse.py [OPTION…] GROUP…

GROUP is `options', `requests', `many', `hangups', `fatal', `writes',
`hangups-writing' or `changing'; --help lists the options, --list the cases.  After each case the server must be the
same process, and a good client must read the right bytes from it; after those
of `fatal', which end nbdkit 1.32 by its own fault (docs/NBDKIT.md), it may be
another one.  At the end it must have as many descriptors and threads as at
the beginning, and as much memory but for what malloc keeps.
"""

import argparse
import contextlib
import os
import random
import signal
import sys
import threading
import time

from rawnbd import *

MIB = 1 << 20

# What malloc may keep for good.  Its thresholds for giving memory back grow
# with the buffers that were freed, up to 64 MiB in each arena.
RSS_TOLERANCE = 64 * MIB

# nbdimage serve keeps nothing of the nbdkits that ended.
SERVE_TOLERANCE = 1 * MIB

CASES = {}                      # name: (group, function)


def case(group, name, *args):
    def add(function):
        CASES[name] = (group, lambda server: function(server, *args))
        return function
    return add


def expect(what, found, *expected):
    if found not in expected:
        raise AssertionError("%s: %r, expected %s" % (
            what, found, " or ".join(map(repr, expected))))


# ------------------------------------------------------------- the server

class Server:
    def __init__(self, args):
        self.address = args.unix or ("127.0.0.1", args.port)
        self.args = args
        self.name = args.export.encode()
        self.model = open(args.model, "rb")
        self.size = os.fstat(self.model.fileno()).st_size
        self.pid = self.find_pid()

    def find_pid(self):
        """Of nbdkit: given, or the child of serve, which may be between
        two."""
        if not self.args.serve:
            return self.args.pid
        path = "/proc/%d/task/%d/children" % (self.args.pid, self.args.pid)
        for _ in range(3000):
            with open(path) as f:
                children = f.read().split()
            for pid in children:
                with contextlib.suppress(OSError):
                    with open("/proc/%s/comm" % pid) as f:
                        comm = f.read()
                    with open("/proc/%s/stat" % pid) as f:
                        state = f.read().rsplit(")", 1)[1].split()[0]
                    if comm == "nbdkit\n" and state != "Z":
                        return int(pid)
            time.sleep(0.01)
        raise AssertionError("nbdkit does not run")

    def connect(self):
        return Conn(self.address)

    def go(self, **how):
        """A connection that is ready for requests."""
        return self.connect().greet().go(self.name, **how)

    def bytes(self, offset, length):
        return os.pread(self.model.fileno(), length, offset)

    def good_client(self):
        """Reads and compares, as any client would."""
        with self.go(structured=random.random() < 0.5) as c:
            expect("size", c.size, self.size)
            for _ in range(3):
                length = random.randrange(1, 65536)
                offset = random.randrange(self.size - length)
                error, data = c.command(CMD_READ, offset, length)
                expect("error of a read", error, 0)
                if data != self.bytes(offset, length):
                    raise AssertionError("wrong bytes at %d" % offset)
            c.send(request(CMD_DISC))
            expect("bytes after the goodbye", c.drain(), 0)

    def usage(self, pid=None):
        """(descriptors, threads, bytes of memory)"""
        proc = "/proc/%d/" % (pid or self.pid)
        with open(proc + "status") as f:
            status = dict(line.split(":", 1) for line in f)
        return (len(os.listdir(proc + "fd")), int(status["Threads"]),
                int(status["VmRSS"].split()[0]) * 1024)

    def settles_at(self, base):
        """Clients that went away leave nothing behind, before long."""
        for _ in range(600):
            now = self.usage()
            if now[0] <= base[0] and now[1] <= base[1]:
                return now
            time.sleep(0.05)
        raise AssertionError("%d descriptors and %d threads are left, before "
                             "it were %d and %d" % (*now[:2], *base[:2]))


# ---------------------------------------------------------------- options

@case("options", "silent")
def silent(server):
    conns = [server.connect() for _ in range(20)]
    server.good_client()
    for c in conns:
        c.close()


def handshake(server):
    """What a good client sends, in one piece."""
    name = server.name
    return struct.pack(">I", 3) + option(OPT_STRUCTURED) + \
        option(OPT_SET_META, meta_data(name, [b"base:allocation"])) + \
        option(OPT_INFO, go_data(name, (1, 2, 3))) + \
        option(OPT_GO, go_data(name, (3,)))


def whole_session(server):
    return handshake(server) + request(CMD_READ, 0, 4096) + \
        request(CMD_STATUS, 0, 65536) + request(CMD_DISC)


@case("options", "cut-handshake-close", Conn.close, handshake)
@case("options", "cut-handshake-reset", Conn.reset, handshake)
@case("options", "cut-handshake-half-close", Conn.half_close, handshake)
@case("fatal", "cut-close", Conn.close, whole_session)
@case("fatal", "cut-half-close", Conn.half_close, whole_session)
@case("fatal", "cut-reset", Conn.reset, whole_session)
def cut(server, how, what):
    """After each byte.  In the requests one may be under way."""
    session = what(server)
    for n in range(len(session) + 1):
        with server.connect() as c, contextlib.suppress(Closed):
            c.send(session[:n])
            how(c)
            if how is Conn.half_close:
                c.drain()


@case("options", "client-flags")
def client_flags(server):
    """Those that are not known must end the connection, says the protocol."""
    for flags in [1 << n for n in range(2, 32)] + [0xFFFFFFFF]:
        with server.connect() as c:
            c.greet(flags)
            expect("bytes after unknown flags", c.drain(), 0)
    with server.connect() as c:         # without fixed newstyle
        c.greet(0)
        c.send(option(OPT_EXPORT_NAME, server.name))
        size, = struct.unpack(">Q", c.recv(8))
        expect("size", size, server.size)
        c.recv(2 + 124)
        expect("error", c.command(CMD_READ, 0, 512)[0], 0)


@case("options", "option-magic")
def option_magic(server):
    for magic in 0, IHAVEOPT ^ 1, 0xFFFFFFFFFFFFFFFF:
        with server.connect() as c:
            c.greet()
            c.send(option(OPT_GO, go_data(server.name), magic=magic))
            c.drain()


@case("options", "option-lengths")
def option_lengths(server):
    """Nothing, garbage, and more than is ever sent."""
    for number in list(range(12)) + [4096, 0x7FFFFFFF, 0xFFFFFFFF]:
        for data in b"", b"\xff" * 4096, os.urandom(4096), b"\0" * 65536:
            with server.connect() as c, contextlib.suppress(Closed):
                c.greet()
                c.send(option(number, data))
                c.half_close()
                c.drain()
        for length in 4096, 65537, 0x7FFFFFFF, 0xFFFFFFFF:
            with server.connect() as c, contextlib.suppress(Closed):
                c.greet()
                c.send(option(number, b"", length))
                c.send(bytes(2048))
                c.half_close()
                c.drain()


@case("options", "unknown-options")
def unknown_options(server):
    with server.connect() as c:
        c.greet()
        for number in 0, 4, 11, 12, 4096, 0xFFFFFFFF:
            c.refused(number, b"x" * 100)
        c.refused(OPT_LIST, b"payload")
        c.refused(OPT_STARTTLS)
        c.go(server.name)
        expect("error", c.command(CMD_READ, 0, 512)[0], 0)


@case("options", "go-that-lies")
def go_that_lies(server):
    """Names and counts that do not fit the option they are in."""
    name = server.name
    for number in OPT_INFO, OPT_GO:
        for data in [go_data(name)[:n] for n in range(len(go_data(name)))] + [
                go_data(name, name_length=n) for n in
                (0, 1, len(name) + 1, len(name) + 2, 4096, 0x7FFFFFFF,
                 0xFFFFFFFE, 0xFFFFFFFF)] + [
                go_data(name, (), nr_infos=n) for n in (1, 2, 65535)] + [
                go_data(name, (3,) * 100, nr_infos=n) for n in (0, 99, 101)]:
            with server.connect() as c, contextlib.suppress(Closed):
                c.greet()
                c.refused(number, data)


@case("options", "names")
def names(server):
    for name in b"\xff\xfe", b"\xc0\x80", b"a\0b", b"\0", b"x" * 4096, \
            b"x" * 4097, b"x" * 60000, b"../" + server.name, b"/", b"..", \
            b"%s%n%s", b"\n", b"\xed\xa0\x80", server.name + b"\0", \
            server.name + b"/", b"./" + server.name:
        for number in OPT_INFO, OPT_GO:
            with server.connect() as c, contextlib.suppress(Closed):
                c.greet()
                c.refused(number, go_data(name))
        with server.connect() as c, contextlib.suppress(Closed):
            c.greet()
            c.send(option(OPT_EXPORT_NAME, name))
            expect("bytes after a wrong name", c.drain(), 0)


@case("options", "meta-contexts")
def meta_contexts(server):
    name = server.name
    with server.connect() as c:
        c.greet()
        c.refused(OPT_SET_META, meta_data(name, [b"base:allocation"]))
        c.option(OPT_LIST_META, meta_data(name, []))
        c.accepted(OPT_STRUCTURED)
        c.accepted(OPT_SET_META, meta_data(name, [b"base:"] * 300))
        c.accepted(OPT_LIST_META, meta_data(name, [b""] * 300))
        c.accepted(OPT_SET_META, meta_data(name, [b"x:" + b"y" * 3000] * 9))
        c.refused(OPT_SET_META, meta_data(name, [b"base:"], nr=2))
        c.refused(OPT_SET_META, meta_data(name, [b"base:"], nr=0xFFFFFFFF))
        c.refused(OPT_SET_META, meta_data(name, [b"base:"])[:-1])
        c.refused(OPT_SET_META, struct.pack(">I", 0xFFFFFFFF) + name)
        c.option(OPT_SET_META, meta_data(name, []) + b"\0\0\0\0")
        # Contexts of another export than that of GO do not count.
        c.accepted(OPT_SET_META, meta_data(b"other", [b"base:allocation"]))
        c.go(name, structured=False)
        expect("error", c.command(CMD_STATUS, 0, 512)[0], EINVAL)


@case("options", "hundreds-of-options")
def hundreds_of_options(server):
    with server.connect() as c, contextlib.suppress(Closed):
        c.greet()
        for _ in range(1000):
            c.option(OPT_LIST)


@case("options", "list-and-abort")
def list_and_abort(server):
    with server.connect() as c:
        c.greet()
        replies = c.accepted(OPT_LIST)
        listed = [data[4:4 + struct.unpack(">I", data[:4])[0]]
                  for _, kind, data in replies if kind == REP_SERVER]
        if server.name not in listed:
            raise AssertionError("%r is not among %r" % (server.name, listed))
        c.accepted(OPT_ABORT)
        c.drain()


@case("options", "options-after-go")
def options_after_go(server):
    with server.go() as c, contextlib.suppress(Closed):
        c.send(option(OPT_LIST) + option(OPT_GO, go_data(server.name)))
        c.drain()


# --------------------------------------------------------------- requests

def usable(c):
    """What was refused leaves the connection as it was."""
    error, data = c.command(CMD_READ, 512, 512)
    expect("error of the read after it", error, 0)
    expect("length of the read after it", len(data), 512)


@case("requests", "out-of-range")
def out_of_range(server):
    size = server.size
    with server.go() as c:
        for command in CMD_READ, CMD_CACHE, CMD_STATUS:
            for offset, length in [
                    (size, 1), (size - 1, 2), (size + 1, 1), (1 << 63, 512),
                    (0xFFFFFFFFFFFFFFFF, 1), (0xFFFFFFFFFFFFFFFF, 512),
                    (0xFFFFFFFFFFFFFE00, 512), (size - 512, 0xFFFFFFFF),
                    ((1 << 64) - size, size & 0xFFFFFFFF)]:
                expect("error of %d at %d+%d" % (command, offset, length),
                       c.command(command, offset, length)[0], EINVAL)
                usable(c)


@case("requests", "unaligned")
def unaligned(server):
    with server.go() as c:
        for _ in range(300):
            length = random.choice((1, 3, 511, 513, 4095, 70001))
            offset = random.randrange(server.size - length)
            error, data = c.command(CMD_READ, offset, length)
            expect("error", error, 0)
            if data != server.bytes(offset, length):
                raise AssertionError("wrong bytes at %d" % offset)
            expect("error", c.command(CMD_STATUS, offset, length)[0], 0)
            expect("error", c.command(CMD_CACHE, offset, length)[0], 0)


@case("requests", "zero-length")
def zero_length(server):
    """Not specified: an error or nothing, and it goes on."""
    with server.go() as c:
        for command in CMD_READ, CMD_CACHE, CMD_STATUS, CMD_TRIM, CMD_ZERO:
            for offset in 0, 511, server.size, 1 << 63:
                error, data = c.command(command, offset, 0)
                expect("error", error, 0, EINVAL, EPERM)
                expect("data", data, b"")
                usable(c)


@case("requests", "oversized")
def oversized(server):
    """More than nbdkit ever takes is refused; a server of a smaller disk
    may find it out of range first."""
    with server.go() as c:
        for length in (64 * MIB + 1, 128 * MIB, 0x7FFFFFFF, 0x80000000,
                       0xFFFFFFFF):
            expect("error of %d bytes" % length,
                   c.command(CMD_READ, 0, length)[0], EINVAL, ENOMEM)
            usable(c)


@case("requests", "unknown-commands")
def unknown_commands(server):
    with server.go() as c:
        for command in [8, 9, 10, 255, 256, 0x7FFF, 0xFFFF]:
            expect("error of %d" % command, c.command(command, 0, 512)[0],
                   EINVAL)
            usable(c)


@case("requests", "unknown-flags")
def unknown_flags(server):
    with server.go() as c:
        for bit in range(16):
            for command in CMD_READ, CMD_STATUS, CMD_CACHE, CMD_FLUSH:
                length = 0 if command == CMD_FLUSH else 512
                error, _ = c.command(command, 0, length, flags=1 << bit)
                expect("error of %d with flag %d" % (command, bit), error,
                       0 if bit < 5 else EINVAL, EINVAL)
                usable(c)


@case("requests", "flush-of-a-range")
def flush_of_a_range(server):
    with server.go() as c:
        for offset, length in (0, 1), (1, 0), (1 << 63, 0xFFFFFFFF):
            error, _ = c.command(CMD_FLUSH, offset, length)
            expect("error", error, EINVAL)
            usable(c)


@case("requests", "bad-magic")
def bad_magic(server):
    for magic in 0, REQUEST ^ 1, SIMPLE, 0xFFFFFFFF:
        with server.go() as c:
            c.send(request(CMD_READ, 0, 512, magic=magic))
            expect("bytes after bad magic", c.drain(), 0)


@case("requests", "garbage")
def garbage(server):
    for _ in range(50):
        with server.connect() as c, contextlib.suppress(Closed):
            c.send(os.urandom(random.randrange(1, 3000)))
            c.half_close()
            c.drain()
        with server.go() as c, contextlib.suppress(Closed):
            c.send(os.urandom(random.randrange(28, 3000)))
            c.half_close()
            c.drain()


@case("requests", "write-read-only")
def write_read_only(server):
    """The payload is swallowed and the connection goes on."""
    with server.go() as c:
        for length in 1, 511, 65536, MIB:
            payload = struct.pack(">I", REQUEST) * (length // 4 + 1)
            expect("error of a write",
                   c.command(CMD_WRITE, 0, length, 0, payload[:length])[0],
                   EPERM, EINVAL)
            usable(c)
        for command in CMD_TRIM, CMD_ZERO:
            for flags in 0, FLAG_FUA, FLAG_NO_HOLE, FLAG_FAST:
                expect("error of %d" % command,
                       c.command(command, 0, 4096, flags)[0], EPERM, EINVAL)
                usable(c)


@case("requests", "simple-replies")
def simple_replies(server):
    """What needs structured ones is refused."""
    with server.go(structured=False) as c:
        expect("error", c.command(CMD_STATUS, 0, 512)[0], EINVAL)
        expect("error", c.command(CMD_READ, 0, 512, FLAG_DF)[0], EINVAL)
        usable(c)


@case("requests", "status-of-all")
def status_of_all(server):
    """As much as the disk has, and 2³²-1 bytes of one that has more."""
    huge = server.args.huge
    with server.connect() as c:
        c.greet().go(huge.encode() if huge else server.name)
        for flags in 0, FLAG_REQ_ONE:
            for offset in 0, 1, 512, 65536, max(0, c.size - 0xFFFFFFFF):
                length = min(c.size - offset, 0xFFFFFFFF)
                error, data = c.command(CMD_STATUS, offset, length, flags)
                expect("error", error, 0)
                if not data or len(data) % 8:
                    raise AssertionError("descriptors of %d bytes" % len(data))
                usable(c)


@case("requests", "after-the-goodbye")
def after_the_goodbye(server):
    with server.go() as c, contextlib.suppress(Closed):
        c.send(request(CMD_DISC) + request(CMD_READ, 0, 512) * 100)
        expect("bytes after the goodbye", c.drain(), 0)


# ------------------------------------------------------------ many of them

@case("many", "quick-connects")
def quick_connects(server):
    for n in range(1000):
        server.connect().close()
        if n % 100 == 0:
            server.good_client()


@case("many", "idle")
def idle(server):
    with contextlib.ExitStack() as stack:
        for n in range(200):
            c = stack.enter_context(server.connect())
            if n % 4 > 0:
                c.greet()
            if n % 4 > 2:
                c.go(server.name)
        server.good_client()


@case("many", "slowloris")
def slowloris(server):
    """A byte now and then."""
    session = whole_session(server)
    with contextlib.ExitStack() as stack:
        conns = [stack.enter_context(server.connect()) for _ in range(50)]
        for n in range(40):
            for at, c in enumerate(conns):
                c.send(session[n + at:n + at + 1] if n else session[:at + 1])
            server.good_client()
            time.sleep(0.05)


@case("many", "never-reads")
def never_reads(server):
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            c = stack.enter_context(server.go())
            c.send(request(CMD_READ, 0, MIB))
        for _ in range(20):
            server.good_client()


@case("many", "interleaved")
def interleaved(server):
    """All that is harmless at once, and good clients between them."""
    names = [name for name, (group, _) in CASES.items()
             if group in ("options", "requests")]
    problems = []

    def work(names):
        try:
            for name in names:
                CASES[name][1](server)
                server.good_client()
        except Exception as e:
            problems.append("%s: %r" % (name, e))

    random.shuffle(names)
    threads = [threading.Thread(target=work, args=(names[n::6],))
               for n in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if problems:
        raise AssertionError("; ".join(problems))


# ---------------------------------------------------------------- hang-ups

def reads_under_way(server, n, length=MIB):
    """A connection with n replies to come that nobody reads."""
    c = server.go()
    count = server.size // length
    offsets = [i % count * length for i in range(n)]
    c.send(b"".join(request(CMD_READ, at, length, cookie=at)
                    for at in offsets))
    return c


@case("options", "half-close-1", 1)
@case("options", "half-close-15", 15)
@case("options", "half-close-16", 16)
@case("options", "half-close-64", 64)
def half_close(server, n):
    """And reads on: all replies come, with the bytes or with the error that
    the server is about to hang up."""
    with reads_under_way(server, n) as c:
        c.half_close()
        for _ in range(n):
            error, offset, data = c.reply()
            expect("error", error, 0, ESHUTDOWN)
            if not error and data != server.bytes(offset, MIB):
                raise AssertionError("wrong bytes at %d" % offset)
        expect("bytes behind the replies", c.drain(), 0)


def shut_reading(c):
    with contextlib.suppress(OSError):  # it ended before us
        c.s.shutdown(socket.SHUT_RD)


def goodbye(c):
    c.send(request(CMD_DISC))


@case("hangups", "close-1", Conn.close, 1)
@case("hangups", "close-2", Conn.close, 2)
@case("hangups", "close-16", Conn.close, 16)
@case("hangups", "close-64", Conn.close, 64)
@case("hangups", "reset-1", Conn.reset, 1)
@case("hangups", "reset-15", Conn.reset, 15)
@case("hangups", "reset-64", Conn.reset, 64)
@case("hangups", "half-close-unread-1", Conn.half_close, 1)
@case("hangups", "half-close-unread-15", Conn.half_close, 15)
@case("hangups", "half-close-unread-16", Conn.half_close, 16)
@case("hangups", "half-close-unread-64", Conn.half_close, 64)
@case("hangups", "shut-reading-16", shut_reading, 16)
@case("hangups", "goodbye-unread-16", goodbye, 16)
def hang_up(server, how, n):
    """At once, when replies are on their way, and in the midst of one."""
    for delay, read in (0, 0), (0.05, 0), (0.05, 100000):
        with reads_under_way(server, n) as c:
            time.sleep(delay)
            c.recv(read)
            how(c)
            time.sleep(0.05 if how not in (Conn.close, Conn.reset) else 0)


# ------------------------------------------------------------------- fatal

@case("fatal", "bad-magic-under-way", b"x" * 28)
@case("fatal", "half-a-request-under-way", request(CMD_READ, 0, 512)[:20])
@case("fatal", "half-a-write-under-way",
      request(CMD_WRITE, 0, 65536) + bytes(1000))
def fatal(server, data):
    for n in 2, 16, 64:
        # The nbdkit of the round before may still be ending.
        with contextlib.suppress(Closed), reads_under_way(server, n) as c:
            time.sleep(0.05)
            c.send(data)
            c.half_close()
            time.sleep(0.05)


@case("fatal", "killed")
def killed(server):
    """What a client that comes right after it waits for is in the line of
    this case."""
    os.kill(server.pid, signal.SIGKILL)


@case("fatal", "again-and-again")
def again_and_again(server):
    for _ in range(8):
        fatal(server, b"x" * 28)


# ------------------------------------------------------------------ writes
# To an export whose bytes are all 0, and after a write of ours 0xAA.

def no_others(server):
    """Each sector is as before or as written, whole."""
    with server.go() as c:
        for offset in range(0, server.size, MIB):
            error, data = c.command(CMD_READ, offset, MIB)
            expect("error", error, 0)
            for at in range(0, MIB, 512):
                sector = data[at:at + 512]
                if sector not in (bytes(512), b"\xaa" * 512):
                    raise AssertionError("bytes that nobody wrote at %d" %
                                         (offset + at))


@case("writes", "write-out-of-range")
def write_out_of_range(server):
    size = server.size
    with server.go() as c:
        for offset, length in (size, 512), (size - 512, 1024), \
                (0xFFFFFFFFFFFFFE00, 512), (1 << 63, MIB):
            error, _ = c.command(CMD_WRITE, offset, length, 0,
                                 b"\x55" * length)
            expect("error of a write", error, ENOSPC, EINVAL)
            usable(c)
        for command in CMD_ZERO, CMD_TRIM:
            for offset, length in (size, 1), (size - 1, 2), (0, 0xFFFFFFFF), \
                    (0xFFFFFFFFFFFFFFFF, 0xFFFFFFFF):
                error, _ = c.command(command, offset, length)
                expect("error", error, ENOSPC, EINVAL)
                usable(c)


@case("writes", "write-oversized")
def write_oversized(server):
    """It is swallowed, or the connection ends."""
    with server.go() as c, contextlib.suppress(Closed):
        expect("error", c.command(CMD_WRITE, 0, 64 * MIB + 1, 0,
                                  b"\x55" * (64 * MIB + 1))[0],
               ENOMEM, ENOSPC, EINVAL)
        usable(c)
    with server.go() as c, contextlib.suppress(Closed):
        c.send(request(CMD_WRITE, 0, 0xFFFFFFFF) + b"\x55" * MIB)
        c.half_close()
        c.drain()


@case("writes", "write-flags")
def write_flags(server):
    """Refused writes do not write, and their payload is swallowed."""
    with server.go() as c:
        for bit in range(1, 16):
            error, _ = c.command(CMD_WRITE, 0, 4096, 1 << bit, b"\x55" * 4096)
            expect("error with flag %d" % bit, error, EINVAL)
            usable(c)
        expect("error", c.command(CMD_WRITE, 0, 4096, FLAG_FUA,
                                  b"\xaa" * 4096)[0], 0)


@case("writes", "goodbye-in-a-write")
def goodbye_in_a_write(server):
    """It is payload that is cut, and no goodbye."""
    for n in 1, 27, 28, 4000:
        with server.go() as c:
            c.send(request(CMD_WRITE, 0, 8192) + b"\xaa" * 4096)
            c.send((request(CMD_DISC) * 200)[:n])
            c.half_close()
            c.drain()


@case("writes", "close-in-a-write", Conn.close)
@case("writes", "reset-in-a-write", Conn.reset)
def end_in_a_write(server, how):
    """What comes in whole may be written, the other must not be."""
    for n in 0, 1, 511, 65535:
        with server.go() as c, contextlib.suppress(Closed):
            c.send(request(CMD_WRITE, 65536, 65536) + b"\x55" * n)
            time.sleep(0.02)
            how(c)


@case("hangups-writing", "close-after-writes", Conn.close)
@case("hangups-writing", "reset-after-writes", Conn.reset)
def end_after_writes(server, how):
    for n in 1, 16, 64:
        c = server.go()
        count = server.size // 65536
        for i in range(n):
            c.send(request(CMD_WRITE, i % count * 65536, 65536) +
                   b"\xaa" * 65536)
        how(c)
    no_others(server)


@case("writes", "zeroes-everywhere")
def zeroes_everywhere(server):
    with server.go() as c:
        for command in CMD_ZERO, CMD_TRIM:
            for flags in 0, FLAG_FUA, FLAG_NO_HOLE, FLAG_FAST, 0xFFFF:
                for offset, length in (0, 512), (1, 1000), (0, server.size):
                    error, _ = c.command(command, offset, length, flags)
                    expect("error", error, 0, EINVAL, ENOTSUP)
        expect("error", c.command(CMD_ZERO, 0, server.size)[0], 0)
        expect("error", c.command(CMD_FLUSH)[0], 0)


# ---------------------------------------------------------------- changing
# The image's file changes under the clients: right bytes or an error.

class Reader(threading.Thread):
    """Reads until it is told to stop."""

    def __init__(self, server):
        super().__init__()
        self.server, self.conn = server, server.go()
        self.stop, self.problem, self.errors = False, None, 0

    def run(self):
        try:
            while not self.stop:
                offset = random.randrange(self.server.size - 65536)
                error, data = self.conn.command(CMD_READ, offset, 65536)
                expect("error", error, 0, EIO)
                self.errors += error != 0
                if not error and data != self.server.bytes(offset, 65536):
                    raise AssertionError("wrong bytes at %d" % offset)
                error, _ = self.conn.command(CMD_STATUS, offset, 65536)
                expect("error of the status", error, 0, EIO)
        except Exception as e:
            self.problem = e


@contextlib.contextmanager
def readers(server, errors):
    """Some that read while the image changes; do they see errors?"""
    threads = [Reader(server) for _ in range(8)]
    for t in threads:
        t.start()
    try:
        yield threads
    finally:
        for t in threads:
            t.stop = True
        for t in threads:
            t.join()
            t.conn.close()
    for t in threads:
        if t.problem:
            raise t.problem
    if errors is not None:
        expect("are there errors", any(t.errors for t in threads), errors)


@case("changing", "truncated")
def truncated(server):
    path = server.args.image
    with open(path, "r+b") as f:
        contents = f.read()
        with readers(server, True) as threads:
            f.truncate(len(contents) // 2)
            for _ in range(600):        # until one has seen it
                if any(t.errors for t in threads):
                    break
                time.sleep(0.05)
            f.truncate(0)
            time.sleep(0.1)
            f.seek(0)
            f.write(contents)
            f.flush()


@case("changing", "replaced")
def replaced(server):
    path = server.args.image
    with open(path, "rb") as f:
        contents = f.read()
    with readers(server, False):
        for _ in range(10):
            with open(path + ".new~", "wb") as f:
                f.write(contents)
            os.rename(path + ".new~", path)
            time.sleep(0.02)
            server.good_client()


@case("changing", "removed")
def removed(server):
    path = server.args.image
    with readers(server, False):
        os.rename(path, path + ".away~")
        time.sleep(0.1)
        with server.connect() as c:
            c.greet()
            # Of a FILE that is held open by others they get the same.
            kind = c.option(OPT_GO, go_data(server.name))[-1][1]
            expect("reply to GO", kind & REP_ERROR, 0, REP_ERROR)
        os.rename(path + ".away~", path)


@case("changing", "other-contents")
def other_contents(server):
    """Something else comes under its name: nobody gets a mixture."""
    path = server.args.image
    with readers(server, False):
        os.rename(path, path + ".away~")
        with open(path, "wb") as f:
            f.write(os.urandom(1000))
        with server.connect() as c, contextlib.suppress(Closed):
            c.greet().option(OPT_LIST)
            c.option(OPT_GO, go_data(server.name))
        os.rename(path + ".away~", path)


# -------------------------------------------------------------------- main

def run(server, name, group, function):
    """One case, and what must hold after each."""
    # A connection that is reset within a write: docs/NBDKIT.md.
    may_end = group == "fatal" or \
        server.args.serve and group == "hangups-writing" or \
        server.args.may_end and group in ("hangups", "hangups-writing")
    began = time.monotonic()
    try:
        function(server)
    except Closed:
        if not may_end:
            raise
    took = time.monotonic() - began
    began = time.monotonic()
    # It waits while nbdkit is started again, or is turned away by one that
    # is just ending.
    for attempt in range(300):
        try:
            server.good_client()
            break
        except (Closed, OSError):
            if not may_end:
                raise
            time.sleep(0.01)
    else:
        raise AssertionError("a good client is not served")
    back = time.monotonic() - began
    pid = server.find_pid()
    text = ""
    if pid != server.pid:
        text = "; nbdkit was started again, a client served after %.3f s" % \
            back
        if not may_end:
            raise AssertionError("nbdkit ended")
        server.pid = pid
    elif not os.path.exists("/proc/%d" % pid):
        raise AssertionError("nbdkit ended")
    print("ok %s (%.2f s%s)" % (name, took, text), flush=True)


def arguments():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument("--unix", help="socket of the server")
    p.add_argument("--port", type=int, help="TCP port of the server")
    p.add_argument("--pid", type=int, help="nbdkit, or serve with --serve")
    p.add_argument("--serve", action="store_true",
                   help="the pid is that of nbdimage serve")
    p.add_argument("--export", default="", help="its name")
    p.add_argument("--model", help="a file with its bytes")
    p.add_argument("--huge", help="an export of more than 4 GiB")
    p.add_argument("--image", help="the file that is served")
    p.add_argument("--any-memory", action="store_true",
                   help="memory is not compared")
    p.add_argument("--may-end", action="store_true",
                   help="nbdkit may end by those of hangups too")
    p.add_argument("--case", action="append", help="only these")
    p.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    p.add_argument("--list", action="store_true")
    p.add_argument("groups", nargs="*")
    return p.parse_args()


def main():
    args = arguments()
    if args.list:
        for name, (group, _) in CASES.items():
            print(group, name)
        return
    print("seed %d" % args.seed, flush=True)
    random.seed(args.seed)
    server = Server(args)
    serve = server.usage(args.pid) if args.serve else None
    for _ in range(20):         # nbdkit's and malloc's first time
        server.good_client()
    if args.huge:               # once opened, it stays open for the next
        server.connect().greet().go(args.huge.encode()).close()
    base = server.settles_at((1000000, 1, 0))
    count = 0
    for name, (group, function) in CASES.items():
        if group in args.groups and (not args.case or name in args.case):
            try:
                run(server, name, group, function)
            except BaseException as e:
                print("FAILED %s: %r" % (name, e), flush=True)
                raise
            count += 1
    if count == 0:
        sys.exit("no case is called that")
    end = server.settles_at(base)
    print("%d cases; descriptors, threads, memory: %d, %d, %d KiB before, "
          "%d, %d, %d KiB after" % (count, base[0], base[1], base[2] // 1024,
                                    end[0], end[1], end[2] // 1024))
    if not args.any_memory and end[2] > base[2] + RSS_TOLERANCE:
        sys.exit("nbdkit keeps %d MiB more than before" %
                 ((end[2] - base[2]) // MIB))
    if serve:
        end = server.usage(args.pid)
        print("serve: %d, %d, %d KiB before, %d, %d, %d KiB after" %
              (*serve[:2], serve[2] // 1024, *end[:2], end[2] // 1024))
        expect("descriptors and threads of serve", end[:2], serve[:2])
        if end[2] > serve[2] + SERVE_TOLERANCE:
            sys.exit("serve keeps %d KiB more than before" %
                     ((end[2] - serve[2]) // 1024))


main()
