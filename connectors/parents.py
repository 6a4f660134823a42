"""Look-ups of events by CID: does the parent exist, and is it delivered."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa

from connectors.database import connect, read_schema
from connectors.source import PLAIN_ENVELOPE

ROOT = "root.multihash = substr(event.cid, CASE WHEN substr(event.cid, 2, 1) < x'80' THEN 3 ELSE 4 END)"
"""The multihash of the root block is the tail of the event's CID, behind a codec of one byte or two."""

PAYLOAD = f"""
    payload.multihash = CASE WHEN substr(root.bytes, 1, {len(PLAIN_ENVELOPE)}) = x'{PLAIN_ENVELOPE.hex()}'
                             THEN substr(root.bytes, {len(PLAIN_ENVELOPE) - 1}, 34) END
"""


@dataclass
class EventLookUp:
    """Finds events by CID, many in one call, on one open connection with one prepared statement.

    Safe to share between the worker threads of a process: calls wait for each other.
    """

    path: Path
    connect: Callable[[Path], Any] = connect
    _lock: Lock = field(default_factory=Lock)
    _cursor: Any = None
    _statement: str = ""

    def find(self, cids: pa.Array) -> pa.Table:
        """The events among `cids` that exist.

        Returns a table with the columns delivered, stream (the node's `init_cid`, empty where it has none) and, to be decoded where
        stream is empty, those of the source: rowid, cid, root, payload.
        """
        with self._lock:
            if self._cursor is None:
                connection = self.connect(self.path)
                self._statement = _statement(has_init_cid=read_schema(connection, self.path).has_init_cid)
                self._cursor = connection.cursor()
            parameters = pa.record_batch([cids], names=["cid"])
            table: pa.Table = self._cursor.execute(self._statement, parameters).fetch_arrow_table()
            return table

    def close(self) -> None:
        """Close the connection, if one was opened."""
        with self._lock:
            if self._cursor is not None:
                connection = self._cursor.connection
                self._cursor.close()
                connection.close()
                self._cursor = None


def _statement(*, has_init_cid: bool) -> str:
    stream = "coalesce(event.init_cid, x'')" if has_init_cid else "x''"
    return f"""
        SELECT event.delivered IS NOT NULL AS delivered, {stream} AS stream, event.rowid AS rowid, event.cid AS cid,
               coalesce(root.bytes, x'') AS root, coalesce(payload.bytes, x'') AS payload
        FROM ceramic_one_event AS event
        LEFT JOIN ceramic_one_block AS root ON {stream} = x'' AND {ROOT}
        LEFT JOIN ceramic_one_block AS payload ON {PAYLOAD}
        WHERE event.cid = ?
    """  # noqa: S608 # put together from constants
