"""Look-ups by key: events by CID, blocks by multihash."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import pyarrow as pa
import pyarrow.compute as pc

from connectors.plans import indexed_by, rows_between
from connectors.sqlite import Connection, Cursor, connect, sqlite_errors
from operators.encoding.envelope import MULTIHASH_AT, PLAIN_ENVELOPE

ROOT = """
    root.multihash =
        substr(event.cid, CASE WHEN substr(event.cid, 2, 1) < x'80' THEN 3 ELSE 4 END)
"""
"""The multihash of the root block is the tail of the event's CID, after a codec of one byte or
two."""

READABLE_BYTES = 4 * 2**20
"""Bytes of a block that a node can read, at most (FORMAT.md, What a node needs to serve an event).
"""

_IS_READABLE = f"octet_length({{}}.bytes) <= {READABLE_BYTES}"
"""SQLite answers `octet_length` without reading the block."""

PAYLOAD = f"""
    payload.multihash =
        CASE WHEN {_IS_READABLE.format("root")}
              AND substr(root.bytes, 1, {len(PLAIN_ENVELOPE)}) = x'{PLAIN_ENVELOPE.hex()}'
             THEN substr(root.bytes, {MULTIHASH_AT + 1}, 34) END
"""


def _bytes_of(block: str) -> str:
    """The content of a block, empty where there is none or where it is no content.

    For a block that is too large for a node stand zeros, which are too large as well.
    """
    return f"""
        CASE WHEN typeof({block}.bytes) NOT IN ('blob', 'text') THEN x''
             WHEN {_IS_READABLE.format(block)} THEN CAST({block}.bytes AS BLOB)
             ELSE zeroblob({READABLE_BYTES} + 1) END
    """


BLOCK = f"""
    SELECT CAST(multihash AS BLOB) AS multihash, {_bytes_of("block")} AS bytes
    FROM ceramic_one_block AS block WHERE multihash = ?
"""  # put together from constants
"""A block by its multihash."""


def _size_of(block: str) -> str:
    """How many bytes `_bytes_of` gives, at most."""
    return f"min(coalesce(octet_length({block}.bytes), 0), {READABLE_BYTES} + 1)"


BLOCK_SIZE = f"""
    SELECT CAST(multihash AS BLOB) AS key, {_size_of("block")} AS size
    FROM ceramic_one_block AS block WHERE multihash = ?
"""  # put together from constants
"""How many bytes BLOCK gives."""

_WITH_BLOCKS = f"""
    FROM ceramic_one_event AS event
    LEFT JOIN ceramic_one_block AS root ON {ROOT}
    LEFT JOIN ceramic_one_block AS payload ON {PAYLOAD}
    WHERE event.cid = ?
"""

EVENT_WITH_BLOCKS = f"""
    SELECT event.rowid AS rowid, CAST(event.cid AS BLOB) AS cid,
           {_bytes_of("root")} AS root, {_bytes_of("payload")} AS payload,
           x'' AS order_key, x'' AS event_blocks
    {_WITH_BLOCKS}
"""  # put together from constants
"""An event by CID, as the source reads it, without its order key and its event blocks."""

EVENT_SIZE = f"""
    SELECT CAST(event.cid AS BLOB) AS key, {_size_of("root")} + {_size_of("payload")} AS size
    {_WITH_BLOCKS}
"""  # put together from constants
"""How many bytes of blocks EVENT_WITH_BLOCKS gives."""


def delivered_inits(connection: Connection) -> str:
    """The statement for the init events that are delivered, from one rowid to another.

    They are read in the order of the rows: by the index on `delivered` each would be on another
    page. Each undelivered event comes too, as an empty CID, to be counted.
    """
    return rows_between(
        connection,
        "ceramic_one_event",
        {"cid": "CASE WHEN delivered IS NULL THEN x'' ELSE CAST(cid AS BLOB) END"},
        "(+delivered IS NULL OR (init_cid = cid AND octet_length(cid) > 0))",
    )


def undelivered_by_index(connection: Connection) -> str:
    """The statement for how many undelivered events the index shows from one rowid to another."""
    return f"""
        SELECT count(*)
        FROM ceramic_one_event {indexed_by(connection, "ceramic_one_event", "delivered")}
        WHERE delivered IS NULL AND rowid >= ? AND rowid <= ?
    """  # constants and a name


def known_event(*, has_init_cid: bool) -> str:
    """The statement for an event by CID: whether it is delivered, and its stream.

    The stream is the event's `init_cid`, empty where it has none.
    """
    stream = "coalesce(CAST(init_cid AS BLOB), x'')" if has_init_cid else "x''"
    return f"""
        SELECT CAST(cid AS BLOB) AS cid, delivered IS NOT NULL AS delivered, {stream} AS stream
        FROM ceramic_one_event WHERE cid = ?
    """  # a constant


def looking_up(path: Path) -> AbstractContextManager[None]:
    """`sqlite_errors` for look-ups in the database at `path`."""
    return sqlite_errors(f"Looking up in `{path}` failed")


@dataclass
class PreparedLookUp:
    """Runs one prepared statement for many keys in one call, on one open connection.

    Safe to share between the worker threads of a process: calls wait for each other.
    """

    path: Path
    statement: str | Callable[[Connection], str]
    """Or what puts it together for a database."""
    connect: Callable[[Path], Connection] = connect
    _lock: Lock = field(default_factory=Lock)
    _cursor: Cursor | None = None
    _sql: str = ""

    def find(self, keys: pa.Array) -> pa.Table:
        """The rows that the statement finds for each of `keys`, all together.

        Raises:
            InterruptedRunError: the database can't be read.
        """
        with self._lock, looking_up(self.path):
            if self._cursor is None:
                self._cursor = self.connect(self.path).cursor()
                self._sql = (
                    self.statement
                    if isinstance(self.statement, str)
                    else self.statement(self._cursor.connection)
                )
            # in the order of the index, so that neighbours are found on one page
            in_order = keys.take(pc.sort_indices(keys))
            table: pa.Table = self._cursor.execute(
                self._sql, pa.record_batch([in_order], names=["key"])
            ).fetch_arrow_table()
            return table

    def close(self) -> None:
        """Close the connection, if one was opened."""
        with self._lock:
            if self._cursor is not None:
                connection = self._cursor.connection
                self._cursor.close()
                connection.close()
                self._cursor = None
