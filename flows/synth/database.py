"""Write a synthetic database: the tables of a ceramic-one node, with synthetic events in them.

create_database(path, *, schema_version="v0.38") -> ADBC connection
write_database(path, population, order="parents", progress=...) -> Counts
"""

import gc
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha384
from itertools import islice
from pathlib import Path
from typing import Literal

import pyarrow as pa

from connectors.database import require_short
from connectors.errors import CannotStartError, InterruptedRunError
from connectors.mounts import on_file_system
from connectors.scratch import Scratch, remove_all_of
from connectors.sqlite import Connection, SqliteError, connect, execute, query, sqlite_says
from flows.synth.rows import TableRows, in_cid_order, pack, unpack
from flows.synth.schema import CREATE_LISTED_BLOCKS, LISTED_BLOCKS, MIGRATIONS, SchemaVersion
from flows.synth.streams import Population, grow
from flows.terminal.signals import stopped_by_signals

Order = Literal["parents", "shuffled"]
"""How the rows lie: parents first, streams interleaved, as after normal operation; or by CID, as
after a migration."""

BATCH_EVENTS = 16_384
CACHE_KIB = 256 * 1024
"""Page cache of SQLite while the database is filled: enough for the leaf pages of all indices of
more than a million events."""

DISCOVERED = "2025-01-01 00:00:00"
"""When all synthetic events were discovered: a fixed time, so that the same options make the
same rows."""


def create_database(path: Path, *, schema_version: SchemaVersion = "v0.38") -> Connection:
    """Create a database in WAL mode without events; its open connection, in autocommit mode."""
    connection = connect(path, "rwc")
    execute(connection, "PRAGMA page_size=4096")
    execute(connection, "PRAGMA journal_mode=WAL")
    execute(
        connection,
        "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,"
        " installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL,"
        " checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)",
    )
    for version, description, statements in MIGRATIONS[schema_version]:
        for statement in statements:
            execute(connection, statement)
        # the checksum is of our own text, so a node refuses to start on a synthetic database
        checksum = sha384("".join(statements).encode()).digest()
        row = (version, description, DISCOVERED, checksum)
        query(
            connection,
            "INSERT INTO _sqlx_migrations VALUES (?, ?, ?, TRUE, ?, 0) RETURNING version",
            row,
        )
    return connection


def insert_rows(connection: Connection, rows: TableRows) -> None:
    """Insert the rows of some events; columns that the database does not have are left out."""
    # an earlier batch may have stored a block that this one shares with it
    _insert(connection, "OR IGNORE INTO ceramic_one_block", rows.blocks)
    present = set(
        query(connection, "SELECT name FROM pragma_table_info('ceramic_one_event')")
        .column("name")
        .to_pylist()
    )
    events = rows.events.select([name for name in rows.events.schema.names if name in present])
    _insert(
        connection,
        "INTO ceramic_one_event",
        events.append_column("discovered", pa.repeat(DISCOVERED, events.num_rows)),
    )
    _insert(connection, "INTO ceramic_one_event_block", rows.event_blocks)


def _insert(connection: Connection, into: str, rows: pa.RecordBatch) -> None:
    columns, values = ", ".join(rows.schema.names), ", ".join("?" * rows.num_columns)
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT {into} ({columns}) VALUES ({values})", rows
        )  # names from our own schemas


@dataclass
class Counts:
    """How many events a synthetic database holds. The last three add up to `events`."""

    events: int = 0
    missing: int = 0
    """Events that were left out."""
    delivered: int = 0
    deliverable: int = 0
    """Events that are not delivered, and whose ancestors are all there."""
    waiting: int = 0
    """Events below a missing one."""


def write_database(
    path: Path,
    population: Population,
    order: Order = "parents",
    progress: Callable[[int], None] = lambda _: None,
) -> Counts:
    """Write the events of `population` to a new database.

    `progress` is called with a number of events when they are made, and again when stored.
    Everything is made in a folder next to `path` and moved there when it is complete.

    Raises:
        CannotStartError: `path`, or a file that SQLite would take for its journal, exists, or its
            folder can't be written.
        InterruptedRunError: the disk is full or fails. Nothing is left.
    """
    _require_free(path)
    counts = Counts()
    with (
        _workshop(path) as folder,
        stopped_by_signals(partial(_clear, folder, path), retry=False),
    ):
        unfinished = folder / "database"
        try:
            batches = _batches(population, counts, progress)
            if order == "shuffled":
                batches = in_cid_order(batches, folder, BATCH_EVENTS)
            with _fast_interpreter():
                _fill(unfinished, batches, progress)
            unfinished.rename(path)
        except (SqliteError, OSError) as cause:
            # Arrow's own OSErrors have no strerror
            reason = getattr(cause, "strerror", None) or sqlite_says(cause)
            if "I/O error" in reason:
                reason += on_file_system(path.absolute())
            raise InterruptedRunError(
                f"Can't write `{path}`",
                why=f"{reason}",
                unchanged="Nothing was left behind.",
                advice="It takes about 2 KB an event, and in shuffled order 2 KB more while it "
                "works: free some space, or choose another folder.",
            ) from cause
    return counts


def _require_free(path: Path) -> None:
    require_short(path.absolute())
    for suffix in ("", "-wal", "-shm", "-journal"):
        if os.path.lexists(f"{path}{suffix}"):
            raise CannotStartError(
                f"`{path}{suffix}` exists",
                unchanged="Nothing was created or changed.",
                advice="Choose another name.",
            )


@contextmanager
def _workshop(path: Path) -> Iterator[Path]:
    """A folder next to the database; what killed processes have left there is removed."""
    scratch = Scratch(path.parent)
    try:
        folder = scratch.folder()
    except OSError as cause:
        raise CannotStartError(
            f"Can't create `{path}`",
            why=f"{cause.strerror}",
            unchanged="Nothing was created.",
            advice="Check its folder.",
        ) from cause
    with closing(scratch):
        yield folder


def _clear(folder: Path, path: Path) -> str:
    is_gone = remove_all_of(folder)
    if path.exists():
        return f"`{path}` is complete."
    return "Nothing was left behind." if is_gone else f"The next command removes `{folder}`."


@contextmanager
def _fast_interpreter() -> Iterator[None]:
    """Switch threads more often, and turn off the search for cycles.

    Events have no cycles, and looking for cycles takes 7 of 24 us an event.

    The writer takes the interpreter's lock a few times for each statement, and each time waits for
    one interval while events are made in the main thread: with Python's 5 ms 200,000 events take
    7.5 s, with 0.5 ms 5.1 s.
    """
    interval, collects = sys.getswitchinterval(), gc.isenabled()
    sys.setswitchinterval(0.0005)
    gc.disable()
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        if collects:
            gc.enable()


def _batches(
    population: Population, counts: Counts, progress: Callable[[int], None]
) -> Iterator[pa.RecordBatch]:
    grown = grow(population)
    while batch := list(islice(grown, BATCH_EVENTS)):
        counts.events += len(batch)
        counts.delivered += sum(one.delivered is not None for one in batch)
        counts.waiting += sum(one.waits for one in batch)
        yield pack([one.event for one in batch], [one.delivered for one in batch])
        progress(len(batch))
    counts.missing = population.streams * population.length - counts.events
    counts.deliverable = counts.events - counts.delivered - counts.waiting


def _fill(path: Path, batches: Iterable[pa.RecordBatch], progress: Callable[[int], None]) -> None:
    """Write all batches to a new database, each while the next one is made.

    SQLite is called in the writer's thread alone: during a call in the main thread the driver takes
    SIGINT for itself and loses it.
    """
    with ThreadPoolExecutor(max_workers=1) as writer:
        connection = writer.submit(_begin, path).result()
        try:
            writing: Future[int] | None = None
            for batch in batches:
                if writing is not None:
                    progress(writing.result())
                writing = writer.submit(_write, connection, batch)
            if writing is not None:
                progress(writing.result())
            writer.submit(_finish, connection).result()
        finally:
            writer.submit(connection.close).result()


def _begin(path: Path) -> Connection:
    connection = create_database(path)
    # nobody else sees the file until it is complete, so nothing in it needs to survive a crash
    for pragma in (
        "journal_mode=OFF",
        "synchronous=OFF",
        "locking_mode=EXCLUSIVE",
        f"cache_size=-{CACHE_KIB}",
    ):
        execute(connection, f"PRAGMA {pragma}")
    # made afterwards, in sorted order, it saves 12 of 65 us an event
    execute(connection, f"DROP INDEX {LISTED_BLOCKS}")
    execute(connection, "BEGIN")
    return connection


def _write(connection: Connection, batch: pa.RecordBatch) -> int:
    insert_rows(connection, unpack(batch))
    return int(batch.num_rows)


def _finish(connection: Connection) -> None:
    for statement in (
        CREATE_LISTED_BLOCKS,
        "COMMIT",
        "PRAGMA locking_mode=NORMAL",
        "PRAGMA journal_mode=WAL",
    ):
        execute(connection, statement)
