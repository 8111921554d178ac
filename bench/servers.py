# SPDX-License-Identifier: GPL-2.0-or-later
"""Servers to measure: each run has its own process, whose processor time and
memory the kernel tells exactly when it ends.
"""

import ctypes
import os
import re
import shlex
import signal
import socket
import struct
import subprocess
import time

PR_SET_CHILD_SUBREAPER = 36     # prctl(2)
TIMEOUT = 120                   # s, so that nothing hangs for ever


class Failed(Exception):
    pass


def nbdkit(plugin, *args):
    return ["nbdkit", "-f", "-r", plugin, *args]


def qemu_nbd(fmt, path):
    return ["qemu-nbd", "-r", "-t", "-f", fmt, "--shared=0", path]


def nbdkit_to_write(plugin, *args):
    return ["nbdkit", "-f", plugin, *args]


def qemu_nbd_to_write(fmt, path):
    return ["qemu-nbd", "-t", "-f", fmt, "--shared=0", "--discard=unmap",
            path]


def nbd_server(path):
    """Knows no socket activation: a configuration with a socket."""
    return ["nbd-server", path]


class Server:
    """Listening before it starts: what connects waits until it answers."""

    def __init__(self, command, folder):
        self.socket_path = os.path.join(folder, "socket")
        self.log = os.path.join(folder, "server.log")
        if os.path.exists(self.socket_path):
            os.unlink(self.socket_path)
        self.start = time.perf_counter()
        if command[0] == "nbd-server":
            self._start_nbd_server(command[1], folder)
        else:
            self._start_activated(command)

    def _start_activated(self, command):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.socket_path)
        listener.listen(16)
        # The shell becomes the server, so that $$ is its number, and puts
        # the socket where the protocol wants it.
        fd = listener.fileno()
        script = "%sexec env LISTEN_PID=$$ LISTEN_FDS=1 %s" % (
            "" if fd == 3 else "exec 3<&%d %d<&-; " % (fd, fd),
            " ".join(shlex.quote(c) for c in command))
        self._popen(["sh", "-c", script], pass_fds=[fd])
        listener.close()

    def _start_nbd_server(self, path, folder):
        """It can't but go to the background; as its reaper we get it back
        as a child.
        """
        config = os.path.join(folder, "nbd-server.conf")
        pidfile = os.path.join(folder, "nbd-server.pid")
        with open(config, "w", encoding="utf-8") as f:
            f.write("[generic]\n\tunixsock = %s\n\tlistenaddr = 127.0.0.1\n"
                    "\tport = %d\n[export]\n\texportname = %s\n"
                    "\treadonly = true\n" % (self.socket_path, _free_port(),
                                             path))
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._popen(["nbd-server", "-C", config, "-p", pidfile])
        self.process.wait(TIMEOUT)
        end = time.monotonic() + TIMEOUT
        while not os.path.exists(pidfile) or not os.path.getsize(pidfile):
            if time.monotonic() > end or self.process.returncode != 0:
                raise Failed(self._said() or "nbd-server does not start")
            time.sleep(0.0002)
        with open(pidfile, encoding="utf-8") as f:
            self.pid = int(f.read())
        os.unlink(pidfile)

    def _popen(self, command, **kwargs):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(  # pylint: disable=R1732
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                **kwargs)
        self.pid = self.process.pid
        self.is_nbd_server = command[0] == "nbd-server"

    @property
    def export(self):
        return "export" if self.is_nbd_server else ""

    @property
    def uri(self):
        return "nbd+unix:///%s?socket=%s" % (self.export, self.socket_path)

    def wait(self):
        """Until the first sector was read: seconds since the start."""
        connection = self._connect()
        try:
            _first_sector(connection, self.export)
        except (OSError, struct.error) as e:
            raise Failed(self._said() or str(e)) from e
        finally:
            connection.close()
        return time.perf_counter() - self.start

    def _connect(self):
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end and not self._ended():
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(TIMEOUT)
            try:
                connection.connect(self.socket_path)
                return connection
            except OSError:
                connection.close()
                time.sleep(0.0002)
        raise Failed(self._said() or "no answer")

    def _ended(self):
        """It stays a zombie, whose use of the processor stop() asks for."""
        return os.waitid(os.P_PID, self.pid,
                         os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _said(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read().strip()[-300:]

    def cpu(self):
        """Seconds of processor time until now: the clock of that process,
        as clock_getcpuclockid(3) would give it.
        """
        return time.clock_gettime((~self.pid << 3) | 2)

    def memory(self):
        """Most memory so far, in KiB."""
        with open("/proc/%d/status" % self.pid,
                  encoding="utf-8") as f:
            found = re.search(r"^VmHWM:\s*(\d+) kB", f.read(), re.M)
        return int(found.group(1)) if found else 0

    def stop(self):
        """Seconds of processor time, of its children too."""
        os.kill(self.pid, signal.SIGTERM)
        _, status, usage = os.wait4(self.pid, 0)
        if self.pid == self.process.pid:
            self.process.returncode = os.waitstatus_to_exitcode(status)
        return usage.ru_utime + usage.ru_stime


def _free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# ------------------------------------------------- just enough of NBD

def _receive(connection, n):
    data = b""
    while len(data) < n:
        piece = connection.recv(n - len(data))
        if not piece:
            raise OSError("the server hung up")
        data += piece
    return data


def _first_sector(connection, export):
    """Handshake with NBD_OPT_GO, then one read."""
    _receive(connection, 18)
    name = export.encode()
    connection.sendall(struct.pack(">I", 3) + struct.pack(
        ">8sIII", b"IHAVEOPT", 7, len(name) + 6, len(name)) + name +
        struct.pack(">H", 0))
    reply = 3
    while reply != 1:
        _, _, reply, length = struct.unpack(">QIII",
                                            _receive(connection, 20))
        body = _receive(connection, length)
        if reply & 0x80000000:
            raise OSError("refused: %s" % body.decode(errors="replace"))
    connection.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, 0, 512))
    _, error, _ = struct.unpack(">IIQ", _receive(connection, 16))
    if error:
        raise OSError("the first read failed with error %d" % error)
    _receive(connection, 512)
    connection.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 2, 2, 0, 0))
