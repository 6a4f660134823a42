"""Reads which blocks a node listed for events: in step with them where the list lies beside them, by index elsewhere."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from connectors.sqlite import bound
from operators.encoding.event_blocks import pack_by_event

WINDOW_ROWS_AN_EVENT = 24
"""A row read in a window costs 0.2 us, an event found by the index 3 us. A signed event lists
two or three blocks, a time event some ten more."""

FETCH_ROWS = 1024
"""How many rows the driver gathers at a time."""

# in a damaged page there can be values of any type; a node reads a codec of 64 bits and a flag of 32
_COLUMNS = """
    coalesce(CAST(event_cid AS BLOB), x'') AS event_cid,
    coalesce(CAST(block_multihash AS BLOB), x'') AS block_multihash,
    CASE WHEN typeof(codec) = 'integer' AND typeof(root) = 'integer' THEN codec ELSE -1 END AS codec,
    CASE WHEN typeof(root) = 'integer' THEN root & 0xFFFFFFFF <> 0 ELSE 0 END AS root
"""
LISTED = f"SELECT {_COLUMNS} FROM ceramic_one_event_block WHERE event_cid = ?"  # a constant
"""The blocks that are listed for an event."""

EXTENT = "SELECT coalesce(min(rowid), 0) AS first, coalesce(max(rowid), 0) AS last FROM ceramic_one_event_block WHERE event_cid = ?"
WINDOW = f"SELECT {_COLUMNS} FROM ceramic_one_event_block WHERE rowid BETWEEN ? AND ?"  # a constant


class ListingReader:
    """Finds the blocks that are listed for events, on one connection; not to be shared between threads."""

    def __init__(self, connection: Any) -> None:
        self._extents, self._windows, self._lists = (connection.cursor() for _ in range(3))
        self._windows.adbc_statement.set_options(
            **{"adbc.sqlite.query.batch_rows": str(FETCH_ROWS)}
        )

    def close(self) -> None:
        """Free the statements; the connection is the caller's."""
        for cursor in (self._extents, self._windows, self._lists):
            cursor.close()

    def read(self, cids: pa.Array) -> pa.Array:
        """For each of some events, in the order in which they were stored, its event blocks, packed.

        A node lists an event's blocks when it stores the event, so all that was listed between the
        first and the last of the events is read. What it listed at another time is not seen then,
        so where a block is not listed here it must be asked for again.
        """
        first, last = self._extent(cids[0])[0], self._extent(cids[-1])[1]
        if first and first <= last <= first + WINDOW_ROWS_AN_EVENT * len(cids):
            rows = self._windows.execute(WINDOW, bound(first, last)).fetch_arrow_table()
        else:
            rows = self._lists.execute(
                LISTED, pa.record_batch([cids], names=["event_cid"])
            ).fetch_arrow_table()
        return joined(rows, cids)

    def _extent(self, cid: pa.Scalar) -> tuple[int, int]:
        found = self._extents.execute(EXTENT, bound(cid.as_py())).fetch_arrow_table()
        return found["first"][0].as_py(), found["last"][0].as_py()


def joined(rows: pa.Table, cids: pa.Array) -> pa.Array:
    """The packed event blocks of each of n distinct events, from rows with the columns above."""
    if not rows.num_rows:
        return pa.array([b""] * len(cids), pa.binary())
    listed = rows.combine_chunks().to_batches()[0]
    event = np.asarray(pc.index_in(listed["event_cid"], value_set=cids).fill_null(len(cids)))
    codec, root = np.asarray(listed["codec"]), np.asarray(listed["root"])
    return pack_by_event(event, len(cids), listed["block_multihash"], codec, root)
