"""Reads SQLite's locks on a database file; as a program of its own it prints two words.

The first is `free`, `in use` (some process has the database open), or `closed` (a run of
ceramic-order lets no other program open it). The second is the journal mode, `wal` or `rollback`,
or `newer` where the format is one that SQLite can't write.

Every open connection of a database in WAL mode holds a shared lock on it (FORMAT.md, Tables).
Asking for a lock with F_GETLK takes none and needs no write access. But it needs the file open,
and a process that closes a file drops all its POSIX locks on it, also those of an SQLite
connection. So this program must be a process of its own wherever this process has the database
open, or may open it before the descriptor is closed.
"""

import fcntl
import os
import struct
import sys

PENDING = 0x40000000
"""The byte that a connection locks for a moment when it begins to read (SQLite's file format)."""

SHARED, SHARED_BYTES = 0x40000002, 510
"""The bytes that a connection in WAL mode keeps locked."""

MAGIC = b"SQLite format 3\0"
"""The first bytes of a database (SQLite's file format)."""

WAL_VERSION = 2
"""The version of the format to write and to read, at bytes 18 and 19 of a database in WAL mode; 1
is that of the other journal modes."""


def is_locked(descriptor: int, start: int, length: int, kind: int = fcntl.F_WRLCK) -> bool:
    """Whether another process holds a lock that is in the way of one of this kind.

    Locks of this process do not count.

    Raises:
        OSError: the file system has no locks.
    """
    if sys.platform == "darwin":
        wanted = struct.pack("qqihh", start, length, 0, kind, os.SEEK_SET)
        *_, found, _ = struct.unpack("qqihh", fcntl.fcntl(descriptor, fcntl.F_GETLK, wanted))
    else:
        wanted = struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0)
        found, *_ = struct.unpack("hhqqi4x", fcntl.fcntl(descriptor, fcntl.F_GETLK, wanted))
    return bool(found != fcntl.F_UNLCK)


def journal_mode(descriptor: int) -> str:
    """The journal mode in the header of the database (SQLite's file format).

    `wal` also where it is no database: SQLite says that better.
    """
    versions = os.pread(descriptor, 2, 18)
    if os.pread(descriptor, len(MAGIC), 0) != MAGIC or not versions:
        return "wal"
    if max(versions) > WAL_VERSION:
        return "newer"
    return "wal" if versions[-1] == WAL_VERSION else "rollback"


def _state(descriptor: int) -> str:
    if not is_locked(descriptor, SHARED, SHARED_BYTES):
        return "free"
    return "closed" if is_locked(descriptor, PENDING, 1, fcntl.F_RDLCK) else "in use"


if __name__ == "__main__":
    try:
        opened = os.open(sys.argv[1], os.O_RDONLY)
        sys.stdout.write(f"{_state(opened)}, {journal_mode(opened)}")
    except OSError as cause:
        sys.exit(cause.strerror)
