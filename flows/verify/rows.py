"""Rows of SQLite tables as Arrow batches: always whole tables in rowid order, never a look-up for each event."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from connectors.sqlite import SqliteError, connect, scalar

BATCH_ROWS = 2048
LONG_VALUE = 8_192
"""Bytes. A longer value is read by itself, so a batch of blocks is never more than 17 MB."""

READ_ERRORS = (SqliteError, pa.ArrowException, OSError)
"""What a damaged file raises, depending on who reads its next page."""

# ADBC takes a column's type from its first rows and fails at another one later, so every column is
# made to have one type
EVENTS = """
    SELECT rowid AS id, CAST(coalesce(cid, x'') AS BLOB) AS cid,
        CASE typeof(delivered) WHEN 'integer' THEN delivered END AS number,
        typeof(delivered) NOT IN ('integer', 'null') AS is_no_integer
    FROM ceramic_one_event ORDER BY rowid"""
LISTED = """
    SELECT CAST(coalesce(event_cid, x'') AS BLOB) AS event_cid, CAST(coalesce(block_multihash, x'') AS BLOB) AS multihash
    FROM ceramic_one_event_block ORDER BY rowid"""


def connect_still(path: Path) -> Any:
    """Open a file that nobody writes to and beside which there is no journal: what a static `connectors.snapshot.Reader` opens."""
    return connect(path, "ro", immutable=True)


class Rowids(NamedTuple):
    """Where the rows of a table are; between the ends there may be none."""

    first: int
    last: int

    @property
    def span(self) -> int:
        """How many rows there are at the most."""
        return self.last - self.first + 1


def rowids(connection: Any, table: str) -> Rowids:
    """The ends of a table."""
    # SQLite looks up one end of a table, but scans for both in one SELECT
    first, last = (
        scalar(connection, f"SELECT {end}(rowid) FROM {table}") for end in ("min", "max")
    )  # a table of ours
    return Rowids(0, -1) if first is None else Rowids(first, last)


@contextmanager
def stream(
    connection: Any, sql: str, parameters: tuple[int, ...] = ()
) -> Iterator[pa.RecordBatchReader]:
    """Run one SQLite statement and read its rows in batches of `BATCH_ROWS`."""
    with connection.cursor() as cursor:
        cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(BATCH_ROWS)})
        cursor.execute(sql, parameters)
        yield cursor.fetch_record_batch()
