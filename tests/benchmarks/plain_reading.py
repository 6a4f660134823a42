"""Reads the tables of a database as plain columns: what SQLite and its driver take, and no more."""

import time
from contextlib import closing
from pathlib import Path

from connectors.sqlite import connect, query, scalar

COLUMNS = {
    "ceramic_one_event": "rowid, order_key, cid",
    "ceramic_one_block": "multihash, bytes",
    "ceramic_one_event_block": "event_cid, block_multihash, codec, root",
}
"""What a run reads of each table; of the last one only for `--check node`."""

TOGETHER = 16_384
"""Rows that are read by one statement."""


def plain_reading(path: Path, check: str) -> float:
    """Seconds of processor time for all rows that a run with this check reads, delivered or not."""
    tables = list(COLUMNS)[: 3 if check == "node" else 2]
    with closing(connect(path)) as connection:
        started = time.thread_time()
        for table in tables:
            last = int(scalar(connection, f"SELECT max(rowid) FROM {table}"))
            for first in range(1, last + 1, TOGETHER):
                query(
                    connection,
                    f"SELECT {COLUMNS[table]} FROM {table} WHERE rowid BETWEEN ? AND ?",
                    (first, first + TOGETHER - 1),
                )
        return time.thread_time() - started
