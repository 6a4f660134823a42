"""From the SQLite file to DuckDB tables: rows are read once, blocks are decoded on the way."""

import os
import subprocess
import sys
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import duckdb
import pyarrow as pa

from connectors.errors import InterruptedRunError
from flows.verify.decoder import UNREADABLE, DecodedPart, decoded
from flows.verify.readings import READINGS
from flows.verify.rows import EVENT_BLOCKS, EVENTS, OTHER_NUMBERS, connect_immutable, rowids, stream

if TYPE_CHECKING:
    from io import BufferedReader

BLOCKS_FOR_PROCESSES = 100_000
"""From so many blocks on, other processes decode. To start one takes a quarter of a second, as long
as to decode half as many blocks."""

POLL_SECONDS = 0.2
"""How often progress is reported."""

_LISTED_COLUMNS = """
    hash(event_cid) AS event,
    hash(listed_cid(codec, multihash)) AS block,
    root <> (listed_cid(codec, multihash) = event_cid)::BIGINT AS is_root_wrong,
    codec < 0 OR NOT is_multihash(TRY_CAST(multihash AS BLOB)) AS is_unreadable
"""
"""Columns of the table `listed`, from those that `flows.verify.rows.EVENT_BLOCKS` selects.
Without rows their types are not known."""

Progress = Callable[[int, int], None]


@dataclass
class _Loading:
    blocks: int = 0
    unknown_hashes: int = 0
    is_stopped: bool = False


def insert(
    tables: duckdb.DuckDBPyConnection,
    table: str,
    incoming: pa.Table | pa.RecordBatchReader,  # noqa: ARG001 # DuckDB finds it by its name
    columns: str = "*",
) -> None:
    """Append Arrow rows to a DuckDB table, column by name."""
    # what is registered within a transaction is held until that ends
    tables.execute(f"INSERT INTO {table} BY NAME SELECT {columns} FROM incoming").fetchall()


def _create(
    tables: duckdb.DuckDBPyConnection,
    table: str,
    incoming: pa.Table,  # noqa: ARG001 # as above
) -> None:
    tables.execute(f"CREATE TABLE {table} AS SELECT * FROM incoming").fetchall()


def insert_rows(
    tables: duckdb.DuckDBPyConnection, table: str, path: Path, select: str, columns: str = "*"
) -> None:
    """Append the rows that a statement selects from an SQLite file to a DuckDB table.

    Raises:
        READ_ERRORS: SQLite can't read the file.
    """
    with closing(connect_immutable(path)) as connection, stream(connection, select) as rows:
        try:
            insert(tables, table, rows, columns)
        except duckdb.InvalidInputException as cause:
            # only reading can fail here; what SQLite says is inside the words of Arrow and DuckDB
            raise OSError(str(cause).rpartition("get_next failed(): ")[2]) from cause


def load_events(tables: duckdb.DuckDBPyConnection, path: Path, table: str) -> None:
    """Append the events of a database to a table like `stored_event` (sql/stored.sql)."""
    insert_rows(tables, table, path, EVENTS)


def load_baseline(tables: duckdb.DuckDBPyConnection, path: Path, baseline: Path) -> None:
    """Fill `baseline_event`, and the tables of values that are no numbers (sql/stored.sql)."""
    load_events(tables, baseline, "baseline_event")
    insert_rows(tables, "other_number", path, OTHER_NUMBERS)
    insert_rows(tables, "baseline_other_number", baseline, OTHER_NUMBERS)


def load_database(
    tables: duckdb.DuckDBPyConnection,
    path: Path,
    processes: int,
    on_blocks: Progress,
    *,
    hashes: bool,
    least_blocks: int = BLOCKS_FOR_PROCESSES,
) -> tuple[int, int]:
    """Fill `stored_event`, `listed`, the `block_*` tables and, if `hashes`, `wrong_hash`.

    Args:
        tables: a DuckDB connection.
        path: the database.
        processes: how many decode if there are many blocks; if there are few, or with 0, this
            process decodes.
        on_blocks: gets how many blocks have been decoded, and about how many there are (the span
            of their rowids).
        hashes: compare the bytes of each block with its multihash.
        least_blocks: how many blocks count as many.

    Returns:
        How many blocks there are, and of how many the hash function is not known (0 without
        `hashes`).

    Raises:
        READ_ERRORS: SQLite can't read the file.
        InterruptedRunError: a decoding process was killed.
    """
    for name, schema in READINGS.items():
        _create(tables, name, schema.empty_table())
    sources, expected = _sources(path, processes, hashes=hashes, least_blocks=least_blocks)
    loading = _Loading()
    cursors = [tables.cursor() for _ in range(len(sources) + 1)]
    with ThreadPoolExecutor(len(cursors)) as threads:
        waiting = {threads.submit(_load_rows, cursors[0], path)}
        waiting |= {
            threads.submit(_keep, *both, loading) for both in zip(cursors[1:], sources, strict=True)
        }
        try:
            while waiting:
                finished, waiting = wait(waiting, POLL_SECONDS, FIRST_EXCEPTION)
                for thread in finished:
                    thread.result()
                on_blocks(loading.blocks, expected)
        except BaseException:
            loading.is_stopped = True
            for cursor in cursors:
                cursor.interrupt()
            raise
    return loading.blocks, loading.unknown_hashes


def _sources(
    path: Path, processes: int, *, hashes: bool, least_blocks: int
) -> tuple[list[Generator[DecodedPart, None, None]], int]:
    with closing(connect_immutable(path)) as connection:
        expected = rowids(connection, "ceramic_one_block").span
    if expected < least_blocks or not processes:
        return [decoded(path, hashes=hashes)], expected
    return [
        _decoded_elsewhere(path, part, processes, hashes=hashes) for part in range(processes)
    ], expected


def _load_rows(tables: duckdb.DuckDBPyConnection, path: Path) -> None:
    load_events(tables, path, "stored_event")
    insert_rows(tables, "listed", path, EVENT_BLOCKS, _LISTED_COLUMNS)


def _keep(
    tables: duckdb.DuckDBPyConnection, source: Generator[DecodedPart, None, None], loading: _Loading
) -> None:
    # many small inserts into a table with rows take four times as long if each is a transaction
    tables.begin()
    with closing(source):
        for part in source:
            for name, rows in part.tables.items():
                insert(tables, name, rows)
            loading.blocks += part.blocks
            loading.unknown_hashes += part.unknown_hashes
            if loading.is_stopped:
                return
    tables.commit()


def _decoded_elsewhere(
    path: Path, part: int, parts: int, *, hashes: bool
) -> Generator[DecodedPart, None, None]:
    # -P: a folder `flows` in the current folder must not be imported in place of ours
    command = [sys.executable, "-P", "-m", "flows.verify.decoder", str(path), str(part), str(parts)]
    if hashes:
        command.append("hashes")
    # numpy, which Arrow imports, would start threads that nothing uses, in a quarter of the time
    # that the process takes to start
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        out, errors = cast("BufferedReader", process.stdout), cast("BufferedReader", process.stderr)
        try:
            while out.peek(1):
                table = pa.ipc.open_stream(out).read_all()
                name = table.schema.metadata[b"table"].decode()
                yield (
                    DecodedPart({}, *table["counts"].to_pylist())
                    if name == "counted"
                    else DecodedPart({name: table}, 0, 0)
                )
            words = errors.read().decode(errors="replace").strip()
            code = process.wait()
        except BaseException:
            process.kill()
            raise
    if code == UNREADABLE:
        raise OSError(words)
    if code:
        raise InterruptedRunError(
            f"A process that decodes blocks for `verify` ended with code `{code}`",
            unchanged="Nothing was changed.",
            advice="Run `verify` again.",
        )
