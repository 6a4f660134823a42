"""Tells whether any process has an SQLite database open, as a program of its own: prints `free` or `in use`.

Every open connection of a database in WAL mode holds a shared lock on it (FORMAT.md, Tables).
Asking for a lock with F_GETLK takes none and needs no write access. But it needs the file open, and
a process that closes a file drops all its POSIX locks on it, also those of an SQLite connection: so
this must never run in a process that has the database open.
"""

import fcntl
import os
import struct
import sys

_SHARED_FIRST, _SHARED_SIZE = 0x40000002, 510
"""The bytes that SQLite locks for reading (its file format: behind the pending byte and the
reserved byte)."""


def _is_locked(path: str) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    # whoever may not write there is whoever would be in the way of a writer
    if sys.platform == "darwin":
        wanted = struct.pack("qqihh", _SHARED_FIRST, _SHARED_SIZE, 0, fcntl.F_WRLCK, os.SEEK_SET)
        *_, kind, _ = struct.unpack("qqihh", fcntl.fcntl(descriptor, fcntl.F_GETLK, wanted))
    else:
        wanted = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, _SHARED_FIRST, _SHARED_SIZE, 0)
        kind, *_ = struct.unpack("hhqqi4x", fcntl.fcntl(descriptor, fcntl.F_GETLK, wanted))
    return bool(kind != fcntl.F_UNLCK)


if __name__ == "__main__":
    try:
        sys.stdout.write("in use" if _is_locked(sys.argv[1]) else "free")
    except OSError as cause:
        sys.exit(cause.strerror)
