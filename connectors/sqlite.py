"""The only module that opens a ceramic database, and runs statements on it.

Two SQLite libraries in one process drop each other's file locks, so every connection here is
ADBC's, and nothing here opens the database file in any other way: not for a checksum, not for a
lock.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import adbc_driver_sqlite.dbapi as sqlite
import pyarrow as pa
from adbc_driver_manager.dbapi import Connection, Cursor

from connectors.errors import (
    CannotStartError,
    CeramicOrderError,
    InterruptedRunError,
    file_limit,
    system_says,
)

__all__ = [
    "BUSY_SECONDS",
    "CHECK_DISK",
    "DATABASE_ERRORS",
    "Connection",
    "Cursor",
    "Mode",
    "Parameter",
    "SqliteError",
    "bound",
    "connect",
    "connect_reader",
    "execute",
    "query",
    "scalar",
    "sqlite_errors",
    "sqlite_says",
    "starting",
    "uri",
]

Mode: TypeAlias = Literal["ro", "rw", "rwc"]
"""How SQLite opens a file: for reading, for writing, or for writing and creating it."""

Parameter: TypeAlias = int | bytes | str
"""What can be bound to a statement."""

BUSY_SECONDS = 5.0
"""How long a statement waits for another connection's lock. A node's write transactions take
milliseconds."""


SqliteError = sqlite.Error


DATABASE_ERRORS: tuple[type[Exception], ...] = (SqliteError, OSError, pa.ArrowException)
"""What a failing statement raises; where its rows can't be fetched, Arrow raises the error."""


def uri(
    path: Path,
    mode: Mode,
    *,
    immutable: bool = False,
    readonly_shm: bool = False,
) -> str:
    """The URI of an absolute path, so that no character of the path is read as a parameter."""
    options = f"mode={mode}"
    if immutable:
        options += "&immutable=1"
    if readonly_shm:
        options += "&readonly_shm=1"
    return f"{path.resolve().as_uri()}?{options}"


def connect(
    path: Path,
    mode: Mode = "ro",
    *,
    immutable: bool = False,
    readonly_shm: bool = False,
    busy_seconds: float = BUSY_SECONDS,
) -> Connection:
    """Open an ADBC connection in autocommit mode, its busy timeout set before anything else.

    `immutable` promises SQLite that nobody writes: it then creates no file next to the database,
    but sees no `-wal` either. `readonly_shm`, with mode "ro", reads a `-wal` that has its `-shm`,
    and changes neither.
    """
    connection = sqlite.connect(
        uri(path, mode, immutable=immutable, readonly_shm=readonly_shm), autocommit=True
    )
    execute(connection, f"PRAGMA busy_timeout={int(busy_seconds * 1000)}")
    return connection


def connect_reader(path: Path) -> Connection:
    """Open a read-only connection that creates no file next to the database where that is possible.

    A process that has the database open keeps a `-wal` next to it. Without one nobody writes, and
    the file is opened as immutable: an ordinary read-only connection would create `-wal` and `-shm`
    and leave them there.
    """
    return connect(path, "ro", immutable=not path.with_name(path.name + "-wal").exists())


def execute(connection: Connection, sql: str) -> None:
    """Run one statement and drop its rows."""
    with connection.cursor() as cursor:
        cursor.execute(sql).fetchall()


def bound(*parameters: Parameter) -> pa.RecordBatch:
    """One set of parameters as Arrow.

    Python values without a type make the driver look for optional packages in every call.
    """
    arrays = [pa.array([parameter], _ARROW_TYPES[type(parameter)]) for parameter in parameters]
    return pa.record_batch(arrays, names=[str(at) for at in range(len(parameters))])


_ARROW_TYPES = {int: pa.int64(), bytes: pa.binary(), str: pa.string()}


def query(connection: Connection, sql: str, parameters: Sequence[Parameter] = ()) -> pa.Table:
    """Run one statement and return all its rows."""
    with connection.cursor() as cursor:
        return cursor.execute(sql, bound(*parameters) if parameters else None).fetch_arrow_table()


def scalar(
    connection: Connection, sql: str, parameters: Sequence[Parameter] = ()
) -> Any:  # what Arrow makes of a value
    """Run one statement and return the first column of its first row, None without rows."""
    table = query(connection, sql, parameters)
    return table.column(0)[0].as_py() if table.num_rows else None


def sqlite_says(error: BaseException) -> str:
    """SQLite's own words, without the driver's prefix and the statement it quotes."""
    if isinstance(error, OSError) and error.strerror:
        return system_says(error)
    first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
    said = _DRIVER_SAYS.sub("", first_line)
    if "I/O error" in said:
        return f"{said}{file_limit()}"
    if "readonly" in said:
        return f"{said}; its file system may be read-only by now, or its header is damaged"
    return said


_DRIVER_SAYS = re.compile(r"^([A-Z_]+: )?(\[SQLite\] )?([Ff]ailed to .*?: )?")


_PASSING = re.compile(r"\b(full|I/O error|locked|busy|unable to open|out of memory)\b")


def rerun_helps(error: BaseException) -> bool:
    """Whether running again can help: after a full disk or a lock, but not after damage.

    What SQLite says while rows are fetched comes from Arrow as an OSError without a number.
    """
    is_of_system = isinstance(error, OSError) and error.errno is not None
    return is_of_system or _PASSING.search(sqlite_says(error)) is not None


CHECK_DISK = "Check the disk and `PRAGMA integrity_check`."


@contextmanager
def sqlite_errors(
    what: str,
    kind: type[CeramicOrderError] = InterruptedRunError,
    *,
    unchanged: str | None = None,
    advice: str | None = CHECK_DISK,
) -> Iterator[None]:
    """Turn what SQLite, the driver or Arrow raise within the block into the error for it.

    Args:
        what: what was tried, as the first part of the error: "Reading `node.db` failed".
        kind: the error to raise; CannotStartError where nothing has been changed.
        unchanged: what is as it was; None: nothing, or the usual words of `kind`.
        advice: what to try next; None: running again, or where that does not help CHECK_DISK.

    Raises:
        CeramicOrderError: of `kind`, with SQLite's own words as the cause.
    """
    try:
        yield
    except DATABASE_ERRORS as cause:
        retry = rerun_helps(cause)
        helps = advice if advice is not None or retry else CHECK_DISK
        error = kind(what, why=sqlite_says(cause), advice=helps, retry=retry)
        raise (error if unchanged is None else error.replaced(unchanged=unchanged)) from cause


def starting(path: Path) -> AbstractContextManager[None]:
    """`sqlite_errors` for what is tried before anything is changed."""
    return sqlite_errors(
        f"Can't open `{path}`", CannotStartError, advice="Check the file, its folder and the disk."
    )


def sqlite_version() -> str:
    """The version of the SQLite that the driver brings."""
    with closing(sqlite.connect()) as connection:
        return str(scalar(connection, "SELECT sqlite_version()"))
