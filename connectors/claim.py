"""One writer at a time: the lock file of a run, and whether any other process has the database open."""

import fcntl
import os
import subprocess
import sys
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from connectors.errors import CannotStartError
from connectors.sqlite import SqliteError, connect, execute, starting


@dataclass(frozen=True)
class Claim:
    """The hold that one run has on a database, until it is released or the process ends."""

    lock_path: Path
    descriptors: list[int]
    """The one that holds the lock; none, once it is released."""

    def release(self) -> None:
        """Let other runs in; safe to call twice, and from another thread."""
        with suppress(IndexError):
            descriptor = self.descriptors.pop()
            self.lock_path.unlink(missing_ok=True)
            os.close(descriptor)


def claim(path: Path) -> Claim:
    """Hold the database for one run: no second run, and no process that has it open.

    Two runs exclude each other by an advisory lock on `<database>-order-lock`, a file that holds
    nothing and is removed at the end. One left behind by a kill holds no lock and does no harm.

    Raises:
        CannotStartError: another run holds the lock, or another process has the database open.
    """
    lock_path = path.with_name(path.name + "-order-lock")
    descriptor = _lock_file(lock_path)
    if descriptor is None:
        raise CannotStartError(
            f"Another `ceramic-order run` is working on `{path}`",
            advice="Wait for it, or stop it first.",
        )
    held = Claim(lock_path, [descriptor])
    try:
        _require_unused(path)
    except BaseException:
        held.release()
        raise
    return held


def _lock_file(lock_path: Path) -> int | None:
    while True:
        try:
            descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as cause:
            raise CannotStartError(
                f"Can't make the lock file `{lock_path}`", why=f"{cause.strerror}"
            ) from cause
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        # the holder removes the file before it lets go: what was locked may no longer be what the
        # name means
        try:
            if os.path.samestat(os.fstat(descriptor), lock_path.stat()):
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)


def _require_unused(path: Path) -> None:
    with starting(path):
        in_use = is_open_elsewhere(path)
    if in_use:
        raise CannotStartError(
            f"`{path}` is open in another process, which could number events at the same time",
            advice="Stop the node (and any SQLite shell), then run again.",
        )


def is_open_elsewhere(path: Path) -> bool:
    """Whether any other connection, of this process or another, has the database open, even idle.

    In WAL mode every open connection holds a shared lock, and a connection in exclusive locking
    mode can't begin beside one. The probe changes nothing and is closed again before this returns.
    It must run before this process opens the database itself.
    """
    with closing(connect(path, "rw")) as probe:
        execute(probe, "PRAGMA locking_mode=EXCLUSIVE")
        try:
            execute(probe, "BEGIN IMMEDIATE")
        except SqliteError as error:
            if "locked" in str(error):
                return True
            raise
        execute(probe, "ROLLBACK")
        return False


def is_in_use(path: Path) -> bool:
    """Whether any other process has the database open, even idle; told by its locks, without taking one and without write access.

    Connections of this process count too.

    Raises:
        CannotStartError: the file can't be opened for reading, or its file system knows no locks.
    """
    probe = Path(__file__).with_name("lock_probe.py")
    answer = subprocess.run(
        [sys.executable, "-I", "-S", str(probe), str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise CannotStartError(
            f"Can't read `{path}`",
            why=f"{answer.stderr.strip()}",
            advice="Check its permissions and its disk.",
        )
    return answer.stdout == "in use"
