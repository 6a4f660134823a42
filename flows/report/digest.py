"""The order digest: one number for what an order says of every stream, however it interleaves them.

Two orders of the same events have the same digest if each puts every event after its parent: how
streams are interleaved, and in which order the children of a fork come, differs between runs and
means nothing. Anything else makes another digest: an event more or less, or twice; another stream
or parent of one; a child that comes before its parent.

An event is hashed (SHA-256) as its CIDs of stream, event and prev, concatenated (each says how long
it is), and one character: `-` if its prev is not in the order (it has none, or it was delivered
before), `1` if its prev comes before it, `0` if after it. An event's depth is in this too: it is
the number of prevs above it, and each of them is hashed. The hashes of all events are added up as
four unsigned numbers of 64 bits, each modulo 2^64, so that their order does not count. The digest
is these four in hexadecimal. It is made to find faults: somebody who may choose the CIDs could make
two orders collide.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from connectors.errors import InterruptedRunError
from connectors.log_folder import ORDER_FILES
from connectors.paths import plain_folder
from flows.verify.memory import FLUSH, THREAD_BYTES

MEMORY_BYTES = 2 * 10**9
"""Memory of DuckDB, enough for about 10 million events; what does not fit goes to files."""

_DIGEST = """
    WITH hashed AS (
        SELECT sha256(
            child.stream || child.cid || coalesce(child.prev, ''::BLOB)
            || CASE
                WHEN parent.cid IS NULL THEN '-'::BLOB
                WHEN parent.delivered < child.delivered THEN '1'::BLOB
                ELSE '0'::BLOB
            END
        ) AS hash
        FROM read_parquet($files) AS child
        LEFT JOIN read_parquet($files) AS parent ON parent.cid = child.prev
    )
    SELECT sum(('0x' || hash[1:16])::UBIGINT), sum(('0x' || hash[17:32])::UBIGINT),
           sum(('0x' || hash[33:48])::UBIGINT), sum(('0x' || hash[49:64])::UBIGINT)
    FROM hashed
"""


@contextmanager
def spilling_to(folder: Path, memory_bytes: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB with this much memory, which puts what does not fit into files in `folder`.

    Raises:
        InterruptedRunError: what it was asked failed, for example because there is no room for
            these files.
    """
    try:
        with plain_folder(folder) as plain:
            config: dict[str, str | bool | int | float | list[str]] = {
                "memory_limit": f"{memory_bytes}B",
                "threads": min(os.cpu_count() or 1, max(1, memory_bytes // THREAD_BYTES)),
                "allocator_bulk_deallocation_flush_threshold": FLUSH,
                "temp_directory": plain,
                "preserve_insertion_order": False,
            }
            with duckdb.connect(config=config) as connection:
                yield connection
    except (duckdb.Error, OSError) as cause:
        more_room = "Make room for temporary files next to the log (about 200 bytes an event)"
        # the system gives no memory; DuckDB's own limit has other words
        more_memory = "Raise the limit `ulimit -v`, or that of the container"
        is_memory = "bad allocation" in str(cause)
        raise InterruptedRunError(
            "Reading the new log failed",
            why=str(cause).splitlines()[0],
            unchanged="No part of it was left, and the snapshot is unchanged.",
            advice=f"{more_memory if is_memory else more_room}, then replay again.",
        ) from cause


@contextmanager
def order_files(folder: Path) -> Iterator[list[str]]:
    """The names by which DuckDB finds the files of the order in the folder of a log."""
    with plain_folder(folder) as plain:
        yield [f"{plain}/{file.name}" for file in sorted(folder.glob(ORDER_FILES))]


def order_digest(folder: Path, spill: Path, memory_bytes: int = MEMORY_BYTES) -> str:
    """The digest of the order in a log, as 64 hexadecimal digits.

    Args:
        folder: the log, with files of the schema `connectors.log.ORDER`.
        spill: an existing folder for what does not fit in memory. It is left empty.
        memory_bytes: of DuckDB.

    Raises:
        InterruptedRunError: the log can't be read, or there is no room for such files.
    """
    with spilling_to(spill, memory_bytes) as connection, order_files(folder) as files:
        sums = connection.execute(_DIGEST, {"files": files}).fetchall()[0]
    return "".join(f"{(part or 0) % 2**64:016x}" for part in sums)
