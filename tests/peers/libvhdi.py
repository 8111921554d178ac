# SPDX-License-Identifier: GPL-2.0-or-later
"""libvhdi's reader, called in the library: no mount, no root, and a chain of
any length.
"""

import ctypes
import ctypes.util

from peers import Disagreement

_READ = 1


def _load():
    name = ctypes.util.find_library("vhdi")
    return ctypes.CDLL(name) if name else None


_lib = _load()


def available():
    return _lib is not None


def _call(name, *args):
    error = ctypes.c_void_p()
    fn = getattr(_lib, "libvhdi_" + name)
    result = fn(*args, ctypes.byref(error))
    if result < 0 or (result == 0 and name == "file_open"):
        text = ctypes.create_string_buffer(2000)
        _lib.libvhdi_error_sprint(error, text, ctypes.c_size_t(len(text)))
        _lib.libvhdi_error_free(ctypes.byref(error))
        raise Disagreement("libvhdi %s: %s" % (
            name, text.value.decode(errors="replace")))
    return result


def _open(path):
    f = ctypes.c_void_p()
    _call("file_initialize", ctypes.byref(f))
    try:
        _call("file_open", f, path.encode(), ctypes.c_int(_READ))
    except Disagreement:
        _call("file_free", ctypes.byref(f))
        raise
    return f


def read(paths):
    """The disk in paths[0]; paths[1] is its parent, and so on."""
    files = []
    try:
        for path in reversed(paths):
            f = _open(path)
            if files:
                _call("file_set_parent_file", f, files[-1])
            files.append(f)
        return _read_all(files[-1])
    finally:
        for f in reversed(files):
            _call("file_close", f)
            _call("file_free", ctypes.byref(f))


def _read_all(f):
    size = ctypes.c_uint64()
    _call("file_get_media_size", f, ctypes.byref(size))
    buf = (ctypes.c_char * size.value)()
    off = 0
    _lib.libvhdi_file_read_buffer_at_offset.restype = ctypes.c_ssize_t
    while off < size.value:
        n = _call("file_read_buffer_at_offset", f,
                  ctypes.byref(buf, off), ctypes.c_size_t(size.value - off),
                  ctypes.c_int64(off))
        if n == 0:
            raise Disagreement("libvhdi: nothing to read at %d" % off)
        off += n
    return buf.raw
