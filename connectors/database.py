"""The only module that opens a ceramic database.

Two SQLite libraries in one process drop each other's file locks, so every connection here is ADBC's, and nothing here opens the
database file in any other way: not for a checksum, not for a lock.
"""

import fcntl
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import adbc_driver_sqlite.dbapi as sqlite
import pyarrow as pa

from connectors.errors import CannotStartError

BUSY_SECONDS = 5.0
"""How long a statement waits for another connection's lock. A node's write transactions take milliseconds."""

REQUIRED_COLUMNS = {
    "ceramic_one_event": ("order_key", "cid", "delivered"),
    "ceramic_one_event_block": ("event_cid", "block_multihash"),
    "ceramic_one_block": ("multihash", "bytes"),
}
"""What every schema version since v0.30 has (CERAMIC.md, Tables)."""

SqliteError = sqlite.Error

DATABASE_ERRORS: tuple[type[Exception], ...] = (SqliteError, OSError, pa.ArrowException)
"""What a failing statement raises: an error that comes while its rows are fetched reaches us through Arrow."""


@dataclass(frozen=True)
class Schema:
    """What differs between the versions of a ceramic database."""

    has_init_cid: bool
    """The event table has `init_cid` (since v0.36); older rows hold NULL in it."""
    migration: int | None
    """The newest migration that the node recorded, None where that table is missing."""


def locate(path: Path, *, writable: bool = False) -> Path:
    """Resolve `path` to a regular file that may hold a database, without opening it.

    Raises:
        CannotStartError: missing, a directory or a device, empty, hard-linked, or (if `writable`) read-only.
    """
    try:
        resolved = path.resolve(strict=True)
        info = resolved.stat()
    except (OSError, RuntimeError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else "it is a loop of symbolic links"
        raise CannotStartError(f"Can't open `{path}`: {reason}. Nothing was created or changed. Check the path.") from cause
    if not stat.S_ISREG(info.st_mode):
        kind = "a directory" if stat.S_ISDIR(info.st_mode) else "not a regular file"
        raise CannotStartError(f"`{path}` is {kind}, not a database. Nothing was changed. Name the database file itself.")
    if info.st_size == 0:
        raise CannotStartError(f"`{path}` is empty, not a ceramic-one database. Nothing was changed. Check the path.")
    if info.st_nlink > 1:
        raise CannotStartError(
            f"`{path}` has {info.st_nlink} hard links: SQLite would keep a separate journal for each name and damage the "
            "file. Nothing was changed. Remove the other names, or work on a copy."
        )
    if writable:
        _require_writable(path, resolved, info.st_mode)
    return resolved


def _require_writable(path: Path, resolved: Path, mode: int) -> None:
    # root passes every permission check, so a file that its owner made read-only is recognised by its mode bits
    if not mode & 0o222 or not os.access(resolved, os.W_OK):
        raise CannotStartError(
            f"`{path}` is read-only, and `delivered` must be written in place. Nothing was changed. Make it writable, or "
            "use `--dry-run` to see what a run would do."
        )
    if not os.access(resolved.parent, os.W_OK):
        raise CannotStartError(
            f"The folder of `{path}` is read-only, and SQLite keeps its write-ahead log there. Nothing was changed. Make "
            "the folder writable, or use `--dry-run` to see what a run would do."
        )


def uri(path: Path, mode: Literal["ro", "rw", "rwc"], *, immutable: bool = False, readonly_shm: bool = False) -> str:
    """The URI of an absolute path, so that no character of the path is read as a parameter."""
    return f"{path.resolve().as_uri()}?mode={mode}{'&immutable=1' if immutable else ''}{'&readonly_shm=1' if readonly_shm else ''}"


def connect(path: Path, mode: Literal["ro", "rw", "rwc"] = "ro", *, immutable: bool = False, readonly_shm: bool = False) -> Any:
    """Open an ADBC connection in autocommit mode, its busy timeout set before anything else.

    `immutable` promises SQLite that nobody writes: it then creates no file beside the database, but sees no `-wal` either.
    `readonly_shm`, with mode "ro", reads a `-wal` beside which there is a `-shm`, and changes neither.
    """
    connection = sqlite.connect(uri(path, mode, immutable=immutable, readonly_shm=readonly_shm), autocommit=True)
    execute(connection, f"PRAGMA busy_timeout={int(BUSY_SECONDS * 1000)}")
    return connection


def connect_reader(path: Path) -> Any:
    """Open a connection that leaves no trace: read-only, and without any file beside the database where that is possible.

    A process that has the database open keeps a `-wal` beside it. Without one nobody writes, and the file is opened as immutable:
    an ordinary read-only connection would create `-wal` and `-shm` and leave them there.
    """
    return connect(path, "ro", immutable=not path.with_name(path.name + "-wal").exists())


def execute(connection: Any, sql: str) -> None:
    """Run one statement and drop its rows."""
    with connection.cursor() as cursor:
        cursor.execute(sql).fetchall()


def bound(*parameters: int | bytes | str) -> pa.RecordBatch:
    """One set of parameters as Arrow: untyped Python values make the driver and Arrow look for optional packages in every call."""
    arrays = [pa.array([parameter], _ARROW_TYPES[type(parameter)]) for parameter in parameters]
    return pa.record_batch(arrays, names=[str(at) for at in range(len(parameters))])


_ARROW_TYPES = {int: pa.int64(), bytes: pa.binary(), str: pa.string()}


def query(connection: Any, sql: str, parameters: Sequence[int | bytes | str] = ()) -> pa.Table:
    """Run one statement and return all its rows."""
    with connection.cursor() as cursor:
        return cursor.execute(sql, bound(*parameters) if parameters else None).fetch_arrow_table()


def scalar(connection: Any, sql: str, parameters: Sequence[int | bytes | str] = ()) -> Any:
    """Run one statement and return the first column of its first row, None without rows."""
    table = query(connection, sql, parameters)
    return table.column(0)[0].as_py() if table.num_rows else None


def sqlite_says(error: BaseException) -> str:
    """SQLite's own words, without the driver's prefix and the statement it quotes."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
    return _DRIVER_SAYS.sub("", first_line)


_DRIVER_SAYS = re.compile(r"^([A-Z_]+: )?(\[SQLite\] )?([Ff]ailed to .*?: )?")


@contextmanager
def starting(path: Path) -> Iterator[None]:
    """Turn what fails before anything is changed into the error for it.

    Raises:
        CannotStartError: the database at `path` can't be opened or read.
    """
    try:
        yield
    except DATABASE_ERRORS as cause:
        raise CannotStartError(
            f"Can't open `{path}`: {sqlite_says(cause)}. Nothing was changed. Check the file, its folder and the disk."
        ) from cause


def read_schema(connection: Any, path: Path) -> Schema:
    """Check that this is a ceramic-one database of a known version.

    Raises:
        CannotStartError: not an SQLite database, damaged beyond opening, or a table or column is missing.
    """
    unchanged = "Nothing was changed. Check that it is the node's database (`db.sqlite3` in its store folder)."
    try:
        columns = {table: _columns(connection, table) for table in (*REQUIRED_COLUMNS, "_sqlx_migrations")}
        migration = None
        if "version" in columns["_sqlx_migrations"]:
            migration = scalar(connection, "SELECT max(version) FROM _sqlx_migrations")
    except DATABASE_ERRORS as cause:
        said = sqlite_says(cause)
        hint = unchanged if "not a database" in said else "Nothing was changed. Check the file, its folder and the disk."
        raise CannotStartError(f"Can't read `{path}` as a database: {said}. {hint}") from cause
    for table, required in REQUIRED_COLUMNS.items():
        if not columns[table]:
            raise CannotStartError(f"`{path}` is not a ceramic-one database: table `{table}` is missing. {unchanged}")
        for column in required:
            if column not in columns[table]:
                raise CannotStartError(
                    f"`{path}` is not a ceramic-one database of a known version: column `{table}.{column}` is missing. {unchanged}"
                )
    return Schema(has_init_cid="init_cid" in columns["ceramic_one_event"], migration=migration)


def check_schema(path: Path) -> Schema:
    """`read_schema` on a connection of its own."""
    with starting(path), closing(connect_reader(path)) as connection:
        return read_schema(connection, path)


def require_whole(connection: Any, path: Path) -> None:
    """Check that the file is as long as its header says; SQLite trusts the header, and would write over what lies behind it.

    Only right while there is no write-ahead log: the file may lag behind that.

    Raises:
        CannotStartError: it is cut, or its header is damaged.
    """
    said = scalar(connection, "PRAGMA page_count") * scalar(connection, "PRAGMA page_size")
    if said != path.stat().st_size:
        raise CannotStartError(
            f"`{path}` has `{path.stat().st_size:,}` bytes, but by its header it has `{said:,}`: the copy is not complete, or the file "
            "is damaged. Nothing was changed. Copy it again, or recover it with `.recover` of the SQLite shell."
        )


def _columns(connection: Any, table: str) -> set[str]:
    return set(query(connection, "SELECT name FROM pragma_table_info(?)", (table,)).column("name").to_pylist())


def is_open_elsewhere(path: Path) -> bool:
    """Whether any other connection, of this process or another, has the database open, even idle.

    In WAL mode every open connection holds a shared lock, and a connection in exclusive locking mode can't begin beside one. The
    probe changes nothing and is closed again before this returns. It must run before this process opens the database itself.
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

    Two runs exclude each other by an advisory lock on `<database>-order-lock`, a file that holds nothing and is removed at the
    end. One left behind by a kill holds no lock and does no harm.

    Raises:
        CannotStartError: another run holds the lock, or another process has the database open.
    """
    lock_path = path.with_name(path.name + "-order-lock")
    descriptor = _lock_file(lock_path)
    if descriptor is None:
        raise CannotStartError(f"Another `ceramic-order run` is working on `{path}`. Nothing was changed. Wait for it, or stop it first.")
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
            raise CannotStartError(f"Can't make the lock file `{lock_path}`: {cause.strerror}. Nothing was changed.") from cause
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        # the holder removes the file before it lets go: what was locked may no longer be what the name means
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
            f"`{path}` is open in another process, which could number events at the same time. Nothing was changed. Stop the node (and "
            "any SQLite shell), then run again."
        )
