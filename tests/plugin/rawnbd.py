# SPDX-License-Identifier: GPL-2.0-or-later

"""NBD by hand, for clients that misbehave: bytes in, bytes out, and nothing
here minds what is in them.  Numbers and names are those of the NBD protocol
(doc/proto.md of the reference implementation)."""

import os
import socket
import struct

IHAVEOPT = 0x49484156454F5054
OPTION_REPLY = 0x3E889045565A9
REQUEST, SIMPLE, STRUCTURED = 0x25609513, 0x67446698, 0x668E33EF

OPT_EXPORT_NAME, OPT_ABORT, OPT_LIST, OPT_STARTTLS, OPT_INFO, OPT_GO, \
    OPT_STRUCTURED, OPT_LIST_META, OPT_SET_META = 1, 2, 3, 5, 6, 7, 8, 9, 10
REP_ACK, REP_SERVER, REP_INFO, REP_META = 1, 2, 3, 4
REP_ERROR = 1 << 31

CMD_READ, CMD_WRITE, CMD_DISC, CMD_FLUSH, CMD_TRIM, CMD_CACHE, CMD_ZERO, \
    CMD_STATUS = range(8)
FLAG_FUA, FLAG_NO_HOLE, FLAG_DF, FLAG_REQ_ONE, FLAG_FAST = 1, 2, 4, 8, 16
EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN = \
    1, 5, 12, 22, 28, 75, 95, 108

# Generous: it only keeps a server that hangs from hanging the test.
TIMEOUT = 60


class Closed(Exception):
    """The server ended the connection."""


def option(number, data=b"", length=None, magic=IHAVEOPT):
    """An option as bytes; length may lie."""
    return struct.pack(">QII", magic, number,
                       len(data) if length is None else length) + data


def go_data(name, infos=(), name_length=None, nr_infos=None):
    return struct.pack(">I", len(name) if name_length is None
                       else name_length) + name + \
        struct.pack(">H", len(infos) if nr_infos is None else nr_infos) + \
        b"".join(struct.pack(">H", i) for i in infos)


def meta_data(name, queries, nr=None):
    return struct.pack(">I", len(name)) + name + \
        struct.pack(">I", len(queries) if nr is None else nr) + \
        b"".join(struct.pack(">I", len(q)) + q for q in queries)


def request(command, offset=0, length=0, flags=0, cookie=1, magic=REQUEST):
    return struct.pack(">IHHQQI", magic, flags, command, cookie, offset,
                       length)


class Conn:
    """A connection.  address: the path of a Unix socket, or (host, port)."""

    def __init__(self, address, timeout=TIMEOUT):
        unix = isinstance(address, str)
        self.s = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        self.s.settimeout(timeout)
        try:
            self.s.connect(address)
        except BaseException:
            self.s.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.s.close()

    def reset(self):
        """Close with RST (TCP); what is in flight is thrown away."""
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                          struct.pack("ii", 1, 0))
        self.s.close()

    def half_close(self):
        try:
            self.s.shutdown(socket.SHUT_WR)
        except OSError:                 # ENOTCONN: it was reset
            raise Closed from None

    def send(self, data):
        try:
            self.s.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            raise Closed from None

    def recv(self, length):
        data = bytearray()
        while len(data) < length:
            try:
                piece = self.s.recv(min(length - len(data), 1 << 20))
            except ConnectionResetError:
                raise Closed from None
            if not piece:
                raise Closed
            data += piece
        return bytes(data)

    def drain(self):
        """Read until the server closes; the number of bytes."""
        total = 0
        while True:
            try:
                piece = self.s.recv(1 << 20)
            except ConnectionResetError:
                return total
            if not piece:
                return total
            total += len(piece)

    # --- handshake

    def greet(self, client_flags=3):
        if self.recv(16) != b"NBDMAGICIHAVEOPT":
            raise AssertionError("the greeting is not NBD's")
        self.recv(2)
        if client_flags is not None:
            self.send(struct.pack(">I", client_flags))
        return self

    def option_reply(self):
        """(option, type, data)"""
        magic, number, kind, length = struct.unpack(">QIII", self.recv(20))
        if magic != OPTION_REPLY:
            raise AssertionError("bad magic %x in an option reply" % magic)
        return number, kind, self.recv(length)

    def option(self, number, data=b"", length=None):
        """Send it; all replies up to the last, which is an ACK or error."""
        self.send(option(number, data, length))
        replies = [self.option_reply()]
        while replies[-1][1] != REP_ACK and not replies[-1][1] & REP_ERROR:
            replies.append(self.option_reply())
        return replies

    def refused(self, number, data=b"", length=None):
        """The option must be answered with an error."""
        kind = self.option(number, data, length)[-1][1]
        if not kind & REP_ERROR:
            raise AssertionError("option %d was accepted" % number)

    def go(self, name=b"", structured=True, meta=True):
        """Size of the export, which is open then."""
        if structured:
            self.accepted(OPT_STRUCTURED)
            if meta:
                self.accepted(OPT_SET_META,
                              meta_data(name, [b"base:allocation"]))
        for _, kind, data in self.accepted(OPT_GO, go_data(name)):
            if kind == REP_INFO and data[:2] == b"\0\0":
                self.size, self.flags = struct.unpack(">QH", data[2:])
        self.structured = structured
        return self

    def accepted(self, number, data=b""):
        replies = self.option(number, data)
        if replies[-1][1] != REP_ACK:
            raise AssertionError("option %d: reply %x, %r" %
                                 (number, *replies[-1][1:]))
        return replies

    # --- transmission

    def reply(self, length=0):
        """(error, cookie, data); length: of a simple reply to a read.  The
        data of a block status are its descriptors."""
        magic, = struct.unpack(">I", self.recv(4))
        if magic == SIMPLE:
            error, cookie = struct.unpack(">IQ", self.recv(12))
            return error, cookie, self.recv(length) if not error else b""
        if magic != STRUCTURED:
            raise AssertionError("bad magic %x in a reply" % magic)
        error, data = 0, b""
        while True:
            flags, kind, cookie, length = \
                struct.unpack(">HHQI", self.recv(16))
            payload = self.recv(length)
            if kind & 0x8000:
                error, = struct.unpack(">I", payload[:4])
            elif kind == 1:
                data += payload[8:]
            elif kind == 2:
                data += bytes(struct.unpack(">I", payload[8:])[0])
            elif kind == 5:
                data += payload[4:]
            if flags & 1:
                return error, cookie, data
            self.recv(4)

    def command(self, command, offset=0, length=0, flags=0, payload=b""):
        """Send it, wait for the reply: (error, data)."""
        cookie, = struct.unpack(">Q", os.urandom(8))
        self.send(request(command, offset, length, flags, cookie) + payload)
        error, got, data = self.reply(length if command == CMD_READ else 0)
        if got != cookie:
            raise AssertionError("cookie %x, expected %x" % (got, cookie))
        return error, data
