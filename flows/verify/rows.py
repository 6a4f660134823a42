"""Rows of SQLite tables as Arrow batches: whole tables in rowid order, never single look-ups."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from connectors.sqlite import Connection, SqliteError, connect, scalar

BATCH_ROWS = 2048
"""Rows of a batch."""

LONG_VALUE = 8_192
"""Bytes. A longer value is read by itself, so a batch of blocks never has more than 17 MB."""

PIECES = 8
"""Into so many pieces a value is cut that may be larger than a node can read: SQLite reads all of
it, and has it in memory once, for each piece."""

READ_ERRORS = (SqliteError, pa.ArrowException, OSError)
"""What reading a damaged file raises: by SQLite, by Arrow, or by the system."""

# where a varint that begins at the fourth byte ends: it has up to ten bytes
_NETWORK_ENDS = " ".join(
    f"WHEN substr(order_key, {4 + length - 1}, 1) < x'80' THEN {length}" for length in range(1, 11)
)
_HAS_EVENT_ID = f"""
    typeof(order_key) = 'blob' AND (
        order_key IN (x'', x'ff') OR (
            substr(order_key, 1, 3) = x'ce0105'
            AND length(order_key) >= 23 + CASE {_NETWORK_ENDS} ELSE length(order_key) END
        )
    )"""
"""An event id is the bytes ce 01 05, a varint, and at least 20 bytes. The ends of a range of keys,
empty and `ff`, count as one too."""

# ADBC takes the type of a column from its first rows and fails at another type in a later one: so
# every column is cast to one type
EVENTS = f"""
    SELECT rowid AS id, CAST(coalesce(cid, x'') AS BLOB) AS cid,
        CASE typeof(delivered) WHEN 'integer' THEN delivered END AS number,
        typeof(delivered) NOT IN ('integer', 'null') AS is_no_integer,
        {_HAS_EVENT_ID} AS has_event_id
    FROM ceramic_one_event ORDER BY rowid"""
EVENT_BLOCKS = """
    SELECT CAST(coalesce(event_cid, x'') AS BLOB) AS event_cid,
        CAST(coalesce(block_multihash, x'') AS BLOB) AS multihash,
        CASE typeof(codec) WHEN 'integer' THEN codec ELSE -1 END AS codec,
        CASE typeof(root) WHEN 'integer' THEN root & 0xFFFFFFFF <> 0 ELSE -1 END AS root
    FROM ceramic_one_event_block ORDER BY rowid"""
OTHER_NUMBERS = """
    SELECT rowid AS id, quote(delivered) AS value FROM ceramic_one_event
    WHERE typeof(delivered) NOT IN ('integer', 'null') ORDER BY rowid"""


def connect_immutable(path: Path) -> Connection:
    """Open a file that nobody writes to and that has no journal.

    A static `connectors.snapshot.Reader` says which file that is.
    """
    return connect(path, "ro", immutable=True)


class RowidRange(NamedTuple):
    """The lowest and highest rowid of a table; not every rowid between them need exist."""

    first: int
    last: int

    @property
    def span(self) -> int:
        """The most rows that there can be."""
        return self.last - self.first + 1


def rowids(connection: Connection, table: str) -> RowidRange:
    """The lowest and highest rowid of a table."""
    # SQLite looks up one end of a table, but scans the table for both in one SELECT
    first, last = (
        scalar(connection, f"SELECT {end}(rowid) FROM {table}") for end in ("min", "max")
    )
    return RowidRange(0, -1) if first is None else RowidRange(first, last)


@contextmanager
def stream(
    connection: Connection, sql: str, parameters: tuple[int, ...] = ()
) -> Iterator[pa.RecordBatchReader]:
    """Run one SQLite statement and read its rows in batches of `BATCH_ROWS`."""
    with connection.cursor() as cursor:
        cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(BATCH_ROWS)})
        cursor.execute(sql, parameters)
        yield cursor.fetch_record_batch()


def pieces(connection: Connection, table: str, column: str, rowid: int) -> Iterator[bytes]:
    """The bytes of one value of any size, some at a time.

    `table` and `column` are as SQL has them, quoted where they need that.
    """
    where = f"FROM {table} WHERE rowid = ?"  # a name of the database's own
    size = scalar(connection, f"SELECT octet_length({column}) {where}", (rowid,)) or 0
    step = max(LONG_VALUE, -(-size // PIECES))
    sql = f"SELECT substr(CAST({column} AS BLOB), ?, ?) {where}"
    for start in range(0, size, step):
        yield scalar(connection, sql, (start + 1, step, rowid))
