"""One writer at a time: every check before a run, and what keeps all others out until its end."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from connectors.database import require_wal_mode, require_whole
from connectors.errors import CannotStartError, InterruptedRunError
from connectors.file_locks import FileLocks
from connectors.leftover_wal import require_own_wal
from connectors.lock_file import lock, no_locks, unlock
from connectors.mounts import require_own_disk
from connectors.numbers import highest_number
from connectors.schema import Schema, read_schema, require_orderable
from connectors.sqlite import (
    BUSY_SECONDS,
    DATABASE_ERRORS,
    Connection,
    connect,
    execute,
    query,
    starting,
)
from connectors.writing_connection import (
    bring_in_wal,
    close_keeping_wal,
    connected,
    remove_made,
)

DESCRIPTORS = 256
"""Open files that are allowed: a run needs about 60, and three more a partition of the source."""


class MovedError(InterruptedRunError):
    """The database was renamed, deleted or replaced while it was claimed."""


class WalGoneError(InterruptedRunError):
    """The WAL was removed, renamed or replaced while this run wrote to it."""


CHANGE_NOTHING = "UPDATE ceramic_one_event SET delivered = delivered WHERE 0"


@dataclass(frozen=True)
class ClaimSettings:
    """How a database is claimed."""

    busy_seconds: float = BUSY_SECONDS
    """How long a program that has the database open is waited for."""
    keep_out: bool = True
    """Let no other process open the database until the claim ends: a program that started midway
    would read a highest number that is out of date a moment later. Without it a run is like one on
    a file system whose locks do not hold."""


@dataclass
class Claim:
    """The hold that one run has on a database, until it is closed or the process ends.

    Up to `begin` nothing is changed, also where a killed program left a WAL and the claim is closed
    again. As a context it says of a refusal after that what became of the WAL.
    """

    path: Path
    lock_path: Path
    connection: Connection
    """Opened first and closed last: the last connection to close brings the WAL into the database,
    and while this one is open no other of this process needs a lock that others could hold."""
    _lock_file: int | None
    _locks: FileLocks = field(repr=False)
    _made: list[Path]
    """Of `-wal` and `-shm` those that were not there before."""
    _has_wal: bool
    """Whether a WAL was left that is not in the database yet."""
    _has_begun: bool = False
    _wal: os.stat_result | None = None
    """The WAL that this process has open, from `begin` on."""
    schema: Schema = field(init=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it.

        Raises:
            CannotStartError: the same that ends the context, where the WAL that was left is in the
                database by now.
        """
        self.close()
        if isinstance(error, CannotStartError) and self._has_wal and self._has_begun:
            raise error.replaced(unchanged=_brought_in(self.path)) from error

    def begin(self) -> None:
        """Make the database ready to be changed; safe to call twice.

        A WAL that was left is brought into it, and then it must be as long as its header says.

        Raises:
            CannotStartError: it is not, or the disk is full. No number was given.
        """
        if self._has_wal and not self._has_begun:
            bring_in_wal(self.connection, self.path)
            self._has_begun = True
            require_whole(self.connection, self.path)
        self._has_begun = True
        with suppress(FileNotFoundError):
            self._wal = self._wal or self._wal_path.stat()

    @property
    def _wal_path(self) -> Path:
        return self.path.with_name(self.path.name + "-wal")

    @property
    def descriptor(self) -> int:
        """Of the database file, open until the claim is closed."""
        return self._locks.descriptor

    def require_in_place(self) -> None:
        """Check that the name still means the file that was claimed, and that of the WAL, too.

        Raises:
            MovedError: it was renamed, deleted or replaced.
            WalGoneError: the WAL was.
        """
        if not self._locks.is_in_place():
            raise MovedError(
                f"`{self.path}` is no longer the file that this run has open",
                why="it was renamed, deleted or replaced meanwhile",
                advice="The numbers that were given are in that file, wherever it is now.",
            )
        if self._wal is not None and not self._has_own_wal(self._wal):
            raise WalGoneError(
                f"`{self._wal_path}` is no longer the file that this run writes to",
                why="it was renamed, deleted or replaced meanwhile",
                unchanged="What it held is lost, unless it is in the database by now.",
                advice="Let `PRAGMA integrity_check` say whether the database is whole; if it is "
                "not, go back to a backup.",
            )

    def _has_own_wal(self, wal: os.stat_result) -> bool:
        try:
            return os.path.samestat(wal, self._wal_path.stat())
        except OSError:
            return False

    def rescue(self) -> bool:
        """Bring a WAL into the database that has lost its name: SQLite still has it open.

        Returns:
            Whether all of it is there.
        """
        with suppress(*DATABASE_ERRORS):
            answer = query(self.connection, "PRAGMA wal_checkpoint(PASSIVE)").to_pylist()[0]
            return bool(0 <= answer["log"] == answer["checkpointed"])
        return False

    def connect(self, path: Path) -> Connection:
        """Open another connection.

        To another file of this name it would take `-shm` away from the connections to this one, and
        with another WAL it would read and write what does not belong to the database.

        Raises:
            MovedError: the name means another file by now.
            WalGoneError: that of the WAL does.
        """
        self.require_in_place()
        return connect(path)

    def close(self) -> None:
        """Close the last connection, and let others in; safe to call twice."""
        try:
            if self._has_wal and not self._has_begun:
                close_keeping_wal(self.connection, self.path)
                remove_made(self._locks, self._made)
                self._has_wal = False
            self.connection.close()
        finally:
            self._locks.close()
            self.release()

    def release(self) -> None:
        """Let other runs in; safe to call twice, and from a thread that ends the process."""
        descriptor, self._lock_file = self._lock_file, None
        if descriptor is not None:
            unlock(self.lock_path, descriptor)


def claim(
    path: Path, settings: ClaimSettings = ClaimSettings(), *, with_others: bool = False
) -> Claim:
    """Make every check before a run, and hold the database for it.

    Two runs exclude each other by a lock on `<database>-order-lock`, which is removed at the end.
    Before anything is changed, `Claim.begin` is to be called.

    Args:
        path: as `locate` gives it, for writing. This process must not have it open.
        settings: how long others are waited for, and whether they are kept out.
        with_others: others may have the database open already, and open it at any time. Whether
            the WAL and the file are whole can't be checked then, and is not. Only for a run
            that finds out whether others give numbers.

    Raises:
        CannotStartError: it can't be ordered, or another run or program has it; nothing is changed.
    """
    _allow_descriptors()
    require_own_disk(path)
    lock_path = path.with_name(path.name + "-order-lock")
    lock_file = lock(lock_path)
    if lock_file is None:
        raise CannotStartError(
            f"Another `ceramic-order run` is working on `{path}`",
            advice="Wait for it, or stop it first.",
        )
    locks, held = None, None
    try:
        locks = _opened_locks(path)
        with _lockable(path):
            if not with_others:
                _require_alone(locks, path, settings.busy_seconds)
            is_first = not with_others or locks.others_leave(0.0)
        require_wal_mode(path, locks.journal_mode())
        if is_first:
            require_own_wal(path)
        wal, shm = (path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))
        made = [file for file in (wal, shm) if not file.exists()]
        has_wal = is_first and wal not in made and wal.stat().st_size > 0
        connection = connected(locks, path, settings.busy_seconds, made)
        held = Claim(path, lock_path, connection, lock_file, locks, made, has_wal)
        held.schema = read_schema(connection, path)
        with _lockable(path):
            if settings.keep_out and not with_others:
                _keep_others_out(locks, path, settings.busy_seconds)
        require_orderable(connection, path)
        highest_number(connection, path)
        if is_first:
            with starting(path):
                # a database of a newer format can be read, and refuses only what writes
                execute(connection, CHANGE_NOTHING)
            if not has_wal:
                require_whole(connection, path)
    except BaseException:
        if held is not None:
            held.close()
        else:
            if locks is not None:
                locks.close()
            unlock(lock_path, lock_file)
        raise
    return held


def _allow_descriptors() -> None:
    """Raise the limit of open files to what a run needs, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < DESCRIPTORS:
        wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        if wanted < DESCRIPTORS:
            raise CannotStartError(
                f"A run needs up to `{DESCRIPTORS}` open files",
                why=f"the limit of this process is `{hard}`",
                advice="Raise it with `ulimit -n` or `LimitNOFILE=`.",
            )


@contextmanager
def _lockable(path: Path) -> Iterator[None]:
    try:
        yield
    except CannotStartError:
        raise
    except OSError as cause:
        raise no_locks(path, cause) from cause


def _opened_locks(path: Path) -> FileLocks:
    try:
        return FileLocks(path)
    except OSError as cause:
        raise CannotStartError(
            f"Can't open `{path}`", why=f"{cause.strerror}", advice="Check its permissions."
        ) from cause


def _require_alone(locks: FileLocks, path: Path, seconds: float) -> None:
    if not locks.others_leave(seconds):
        raise _in_use(path)


def _keep_others_out(locks: FileLocks, path: Path, seconds: float) -> None:
    if not locks.keep_others_out(seconds):
        raise _in_use(path)
    # another program may have opened it between the two
    _require_alone(locks, path, seconds)


def _in_use(path: Path) -> CannotStartError:
    return CannotStartError(
        f"`{path}` is open in another process, which could number events at the same time",
        advice="Stop the node (and any SQLite shell), then run again.",
    )


def _brought_in(path: Path) -> str:
    return (
        f"No number was given; what a program that was killed had left in `{path.name}-wal` is in "
        "the database now."
    )
