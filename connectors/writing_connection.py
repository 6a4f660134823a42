"""The connection by which a run writes: it is opened and closed without a change unasked.

The first connection makes `-wal` and `-shm`, and the last one to be closed brings the WAL into the
database.
"""

import re
from contextlib import closing, suppress
from pathlib import Path

from connectors.errors import CannotStartError
from connectors.file_locks import FileLocks
from connectors.mounts import on_file_system
from connectors.sqlite import (
    DATABASE_ERRORS,
    Connection,
    connect,
    execute,
    sqlite_errors,
    sqlite_says,
    starting,
)

_NO_FILE = re.compile("I/O error|unable to open|full")
"""What SQLite says where it could not make `-wal` or `-shm`, or share the latter."""

_NOT_READABLE = re.compile("not a database|malformed|unsupported")
"""What SQLite says of a file that is none of its own, or damaged, or of another format."""


def connected(locks: FileLocks, path: Path, busy_seconds: float, made: list[Path]) -> Connection:
    """A connection that may write and has begun to read.

    Args:
        locks: on the file.
        path: of the database.
        busy_seconds: how long another connection's lock is waited for.
        made: of `-wal` and `-shm` those that are not there. They are not left behind.

    Raises:
        CannotStartError: it can't be opened.
    """
    with starting(path):
        connection = connect(path, "rw", busy_seconds=busy_seconds)
    try:
        execute(connection, "SELECT count(*) FROM sqlite_master")
    except DATABASE_ERRORS as cause:
        connection.close()
        said = sqlite_says(cause)
        if _NOT_READABLE.search(said):
            # the check of the schema says so as for whoever reads
            return connect(path, "rw", busy_seconds=busy_seconds)
        is_lacking = _NO_FILE.search(said) is not None
        if is_lacking:
            remove_made(locks, made)
        if "I/O error" not in said:
            advice = "Check the file, its folder and the disk"
            room = ": `df` and `df -i` show the room that is left" if is_lacking else ""
            raise CannotStartError(
                f"Can't open `{path}`", why=said, advice=f"{advice}{room}."
            ) from cause
        raise CannotStartError(
            f"Can't open `{path}`",
            why=f"{said}{on_file_system(path)}",
            advice="Check the disk. A database in WAL mode also needs a file system on which "
            "processes can share memory: a local disk.",
        ) from cause
    return connection


def remove_made(locks: FileLocks, made: list[Path]) -> None:
    """Remove the empty WAL and the `-shm` that a connection made which could not use them.

    Not where another process has the database open by now: they are its own, too. The claim lets
    others in again when it fails.
    """
    with suppress(OSError):  # no locks, so nobody knows who has it open
        if not (locks.keep_others_out(0.0) and locks.others_leave(0.0)):
            return
        if all(file.stat().st_size == 0 for file in made if file.name.endswith("-wal")):
            for file in made:
                file.unlink(missing_ok=True)


def close_keeping_wal(connection: Connection, path: Path) -> None:
    """Close a connection that would be the last, and would bring the WAL into the database.

    One that only reads is opened before and closed after it: that one can't.
    """
    with suppress(*DATABASE_ERRORS), closing(connect(path)) as last:
        execute(last, "SELECT count(*) FROM sqlite_master")
        connection.close()


def bring_in_wal(connection: Connection, path: Path) -> None:
    """Bring a WAL that was left into the database, which is then as long as its header says.

    Raises:
        CannotStartError: the disk is full or fails; the WAL is kept.
    """
    with sqlite_errors(
        f"Can't bring `{path.name}-wal` into `{path}`",
        CannotStartError,
        unchanged=f"No number was given; `{path.name}-wal` is kept and belongs to the database.",
        advice="Check the disk and its free space.",
    ):
        execute(connection, "PRAGMA wal_checkpoint(TRUNCATE)")
