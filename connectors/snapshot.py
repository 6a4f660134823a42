"""Reading a database without changing a byte of it or of its folder."""

import shutil
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Self

from connectors.database import require_wal_mode, require_whole
from connectors.errors import CannotStartError, CeramicOrderError, InterruptedRunError
from connectors.leftover_wal import PERMISSIONS, Look, look_at_wal, require_no_journal
from connectors.lock_state import lock_state
from connectors.numbers import highest_number
from connectors.schema import Schema, read_schema, require_orderable
from connectors.scratch import PREFIX, scratch_folder
from connectors.sqlite import DATABASE_ERRORS, Connection, SqliteError, connect, scalar, sqlite_says

JOURNALS = ("-wal", "-journal")
"""What SQLite keeps next to a database and must be read with it."""

Marks = dict[str, tuple[int, int, int]]


class Reader:
    """Opens connections to one database that leave no trace. It is itself a `connect`.

    How depends on what lies next to the database:

    - another process has it open: an ordinary read-only connection, like that of any reader;
    - no WAL, or an empty one: the file is opened as immutable;
    - a WAL, left by a process that was killed, and its `-shm`: both are only read;
    - anything else that SQLite would have to repair first: it does so in a private copy, which is
      removed at the end.

    With `static`, for a result that must belong to one state of the database, only the second and
    the last are left, and a database that is in use is refused. Leaving the context checks that it
    was not changed meanwhile.
    """

    def __init__(self, path: Path, *, static: bool = False) -> None:
        """Look at a resolved `path` and what lies next to it; nothing is opened or copied yet.

        Raises:
            CannotStartError: it can't be read, or (if `static`) another process has it open.
        """
        self.path = path
        state, self._mode = lock_state(path)
        if state == "closed":
            raise CannotStartError(
                f"A `ceramic-order run` is working on `{path}`, and lets no other program open it",
                advice="Wait for its end.",
            )
        self.in_use = state == "in use"
        if static and self.in_use:
            raise CannotStartError(
                f"`{path}` is open in another process, so it could change while it is read",
                advice="Stop the node (and any SQLite shell), or read a copy made by SQLite "
                f'itself: `sqlite3 {path.name} ".backup copy.db"`.',
            )
        self._marks = _marks(path)
        journals = self._marks.keys() - {path.name}
        self._shm_path = path.with_name(path.name + "-shm")
        shm = _inode(self._shm_path)
        self._reads_wal = (
            journals == {path.name + "-wal"} and shm is not None and not static and not self.in_use
        )
        self._shm = shm if self._reads_wal else None
        self.journals = [] if self.in_use or self._reads_wal else sorted(journals)
        """Names of the files next to the database because of which a private copy is made;
        without any it is read where it is."""
        self._copy: Path | None = None
        self._scratch = ExitStack()

    @property
    def file(self) -> Path:
        """The file that is read: the database itself or, within the context, its private copy."""
        return self._copy or self.path

    def __call__(self, path: Path) -> Connection:
        """Open a connection to the file that is read; errors name `path`."""
        if path != self.path:
            raise ValueError(f"a reader of {self.path} was asked for {path}")
        if self._copy is not None:
            return connect(self._copy, "ro", immutable=True)
        return connect(
            path, "ro", immutable=not (self.in_use or self._reads_wal), readonly_shm=self._reads_wal
        )

    def require_orderable(self, connection: Connection) -> Schema:
        """Make every check that a run makes; a dry run foretells what stops it.

        Raises:
            CannotStartError: it can't be ordered.
        """
        require_wal_mode(self.path, self._mode)
        schema = read_schema(connection, self.path)
        require_no_journal(self.path)
        self._look_at_wal("reading")
        require_orderable(connection, self.path)
        highest_number(connection, self.path)
        return schema

    def __enter__(self) -> Self:
        """Make the private copy, if one is needed.

        Raises:
            CannotStartError: there is no room for it, SQLite can't repair it, the WAL belongs to
                another database, or the file is not whole.
            InterruptedRunError: it was changed meanwhile, which looks like one of these.
        """
        try:
            self._look_at_wal("in brief")
            if self.journals:
                self._make_copy()
            if not self.in_use and not self._reads_wal:
                # what can't be read at all is said by the check of the schema
                with suppress(*DATABASE_ERRORS), closing(self(self.path)) as connection:
                    require_whole(connection, self.path, self.file)
        except BaseException as error:
            self.release()
            if isinstance(error, CannotStartError):
                self.require_unchanged()
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Remove the private copy, and check that the database is what it was.

        An error while reading is most often a consequence of the change, and names damage where
        there is none.
        """
        try:
            self._require_copy()
        finally:
            self.release()
        if error is None or isinstance(error, (CeramicOrderError, *DATABASE_ERRORS)):
            self.require_unchanged()
        if error is not None and isinstance(error.__cause__ or error, DATABASE_ERRORS):
            # what says that the database is damaged leads to a repair, which would apply the WAL
            self._look_at_wal("reading")

    def _look_at_wal(self, look: Look) -> None:
        if self._reads_wal:
            look_at_wal(self.path, self.path, look)

    def require_unchanged(self) -> None:
        """Check that the database is what it was when this reader was made.

        Raises:
            InterruptedRunError: it was changed; what was read is worthless. Not of a database
                that another process had open from the start: that one may change.
        """
        self._require_copy()
        is_changed = _marks(self.path) != self._marks or (
            self._reads_wal and self._shm != _inode(self._shm_path)
        )
        if not self.in_use and is_changed:
            raise InterruptedRunError(
                f"`{self.path}` was changed by another process while it was read, so what "
                "was read of it is of no use and was dropped",
                unchanged="Nothing was changed by this command.",
                advice="Stop that process, then try again.",
            )

    def _require_copy(self) -> None:
        """Check that the private copy is still there, where there is one.

        Raises:
            InterruptedRunError: it was removed.
        """
        if self._copy is not None and not self._copy.exists():
            raise InterruptedRunError(
                f"The private copy `{self._copy}` of `{self.path}` was removed while it was read",
                unchanged="Nothing was changed.",
                advice=f"Let nothing clean up folders `{PREFIX}*` while a command is at work.",
                retry=True,
            )

    def release(self) -> None:
        """Remove the private copy; safe to call twice."""
        self._copy = None
        self._scratch.close()

    def _make_copy(self) -> None:
        needed = sum(size for _, size, _ in self._marks.values())
        folder = self._scratch.enter_context(scratch_folder())
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise CannotStartError(
                f"`{self.journals[0]}` is not empty, so `{self.path}` must be read in a "
                f"private copy of `{needed:,}` bytes, but `{folder.parent}` has `{free:,}` "
                "left",
                advice="Set TMPDIR to a folder with more room.",
            )
        copy = folder / "copy.db"
        try:
            for name in self._marks:
                # with its times, by which an old WAL is known
                shutil.copy2(
                    self.path.with_name(name), folder / name.replace(self.path.name, copy.name, 1)
                )
            look_at_wal(copy, self.path, "alone")
            with closing(connect(copy, "rw")) as connection:
                # whatever reads first makes SQLite repair the copy; closing it checkpoints
                scalar(connection, "SELECT count(*) FROM sqlite_master")
        except (OSError, SqliteError) as cause:
            reason = sqlite_says(cause) if isinstance(cause, SqliteError) else cause.strerror
            raise CannotStartError(
                f"Can't make a private copy of `{self.path}` in `{folder}`",
                why=f"{reason}",
                advice=PERMISSIONS,
            ) from cause
        self._copy = copy


def _inode(path: Path) -> int | None:
    """The number of a file, None if there is none."""
    try:
        return path.stat().st_ino
    except (FileNotFoundError, NotADirectoryError):
        return None


def _marks(path: Path) -> Marks:
    """By name, what shows a change of the database or of a journal next to it that is not empty.

    Inode, size and time of change.
    """
    found = {}
    for name in (path.name, *(path.name + suffix for suffix in JOURNALS)):
        try:
            info = path.with_name(name).stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        if info.st_size:
            found[name] = (info.st_ino, info.st_size, info.st_mtime_ns)
    return found
