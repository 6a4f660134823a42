"""What reading takes with nothing next to it: the pages of a run, and the same rows as columns.

    python -m tests.benchmarks.reading db.sqlite3 node

While a run decodes and writes at the same time, the same reading takes up to half as long again:
the threads share caches and wait for the interpreter.
"""

import json
import sys
import time
from contextlib import closing
from pathlib import Path

from connectors.run_state import RunState
from connectors.source import UndeliveredSource
from connectors.sqlite import Connection, connect, query, scalar
from flows.allocator import use_memory_again

COLUMNS = {
    "ceramic_one_event": "rowid, order_key, cid",
    "ceramic_one_block": "multihash, bytes",
    "ceramic_one_event_block": "event_cid, block_multihash, codec, root",
}
"""What a run reads of each table; of the last one only for `--check node`."""

TOGETHER = 16_384
"""Rows that are read by one statement."""

ROUNDS = 5


def pages(connection: Connection, path: Path, check: str) -> int:
    """Read all pages as a run with this check does; the undelivered events in them."""
    source = UndeliveredSource(path, RunState(), 1, event_blocks=check == "node")
    return sum(page.events.num_rows for page in source.pages(connection, "0/1"))


def plain_columns(connection: Connection, check: str) -> None:
    """Read all rows that such a run reads, delivered or not."""
    for table in list(COLUMNS)[: 3 if check == "node" else 2]:
        last = int(scalar(connection, f"SELECT max(rowid) FROM {table}"))
        for first in range(1, last + 1, TOGETHER):
            query(
                connection,
                f"SELECT {COLUMNS[table]} FROM {table} WHERE rowid BETWEEN ? AND ?",
                (first, first + TOGETHER - 1),
            )


def measured(path: Path, check: str) -> dict[str, list[float]]:
    """Microseconds of processor time for each undelivered event, both in turn."""
    found: dict[str, list[float]] = {"pages": [], "plain": []}
    with closing(connect(path)) as connection:
        # the first round finds neither its pages nor its memory
        events = pages(connection, path, check)
        for _ in range(ROUNDS):
            started = time.thread_time()
            pages(connection, path, check)
            between = time.thread_time()
            plain_columns(connection, check)
            found["pages"].append((between - started) / events * 1e6)
            found["plain"].append((time.thread_time() - between) / events * 1e6)
    return found


if __name__ == "__main__":
    use_memory_again()
    print(json.dumps(measured(Path(sys.argv[1]), sys.argv[2])))  # noqa: T201 # the result
