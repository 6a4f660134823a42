"""Keeps other programs from opening a database, by SQLite's own locks on the file.

In WAL mode a connection locks the pending byte for a moment when it begins to read, and then keeps
a shared lock until it is closed; everything else is locked in `-shm`. So a process that has one
connection open and holds a write lock on the pending byte keeps new connections of others out:
they see "database is locked". Its own connections are not affected, because SQLite asks for no
second shared lock in one process, and POSIX locks of one process never conflict. They end with the
process, however it ends.
"""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from connectors.lock_probe import PENDING, SHARED, SHARED_BYTES, is_locked, journal_mode

POLL_SECONDS = 0.01
"""How often a lock that is in the way is asked for again."""


class FileLocks:
    """Sees and holds SQLite's locks on one database file, through a descriptor of its own.

    Closing the descriptor drops all locks of this process on the file, also those of its SQLite
    connections: `close` it after the last of them.
    """

    def __init__(self, path: Path) -> None:
        """Open the file for reading and writing; nothing is locked yet.

        Raises:
            OSError: it can't be opened.
        """
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    @property
    def descriptor(self) -> int:
        """Of the file, to read it with; -1 when it is closed."""
        return self._descriptor

    def close(self) -> None:
        """Drop all locks; safe to call twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def journal_mode(self) -> str:
        """The journal mode of the file, by its header."""
        return journal_mode(self._descriptor)

    def is_in_place(self) -> bool:
        """Whether the name still means the file that was opened."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except OSError:
            return False

    def others_leave(self, seconds: float) -> bool:
        """Wait until no other process has the database open; False if one still has it at the end.

        Raises:
            OSError: the file system has no locks.
        """
        return _within(seconds, lambda: not is_locked(self._descriptor, SHARED, SHARED_BYTES))

    def keep_others_out(self, seconds: float) -> bool:
        """Let no other process open the database from now on; False if a lock stays in the way.

        Those that have it open stay: look for them afterwards. Call it while a connection of this
        process has begun to read, which otherwise could not.

        Raises:
            OSError: the file system has no locks.
        """
        return _within(seconds, self._lock_pending)

    def _lock_pending(self) -> bool:
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, PENDING)
        except (BlockingIOError, PermissionError):
            # another connection is just being opened
            return False
        return True


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether a condition comes true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
