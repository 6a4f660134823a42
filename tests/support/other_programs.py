"""Other programs at a database.

Each is a process: two SQLite libraries in one drop each other's locks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

from connectors.lock_state import lock_state
from tests.support.program import python, ready, run

_DELETE_LAST = (
    "DELETE FROM ceramic_one_event WHERE rowid = (SELECT max(rowid) FROM ceramic_one_event)"
)
_KILLED = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA wal_autocheckpoint=0")
for statement in sys.argv[2:]:
    connection.execute(statement)
os._exit(0)
"""
_EXECUTE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for sql in sys.argv[2:]:
    connection.execute(sql).fetchall()
print("done", flush=True)
sys.stdin.read()
"""


def is_in_use(path: Path) -> bool:
    """Whether any process has the database open, even idle."""
    return lock_state(path)[0] != "free"


@contextmanager
def kept_open(path: Path) -> Iterator[None]:
    """A program has the database open that has deleted its last event: the WAL holds that."""
    with holding(path, "PRAGMA wal_autocheckpoint=0", _DELETE_LAST):
        yield


def leave_a_wal(path: Path) -> None:
    """Delete the last event of a database and end without closing it: the WAL holds that."""
    leave_wal(path, _DELETE_LAST)


def leave_wal(path: Path, *statements: str) -> None:
    """Execute statements and end without closing the database: they are in its WAL alone."""
    run(python("-c", _KILLED, path, *statements))


@contextmanager
def holding(path: Path, *statements: str) -> Iterator[Popen[str]]:
    """A program has the database open, idle, after it has executed these statements."""
    with ready(python("-c", _EXECUTE, path, *statements)) as child:
        yield child


def execute_elsewhere(path: Path, *statements: str) -> None:
    """Execute statements in another process; foreign keys are off there, so rows can be deleted."""
    with holding(path, *statements):
        pass


def bytes_of(folder: Path) -> dict[str, bytes]:
    """All files below a folder, by name."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }
