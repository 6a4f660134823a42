"""Reads which blocks a node listed for events: in step with them where the list lies beside them, by index elsewhere."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from connectors.sqlite import bound

WINDOW_ROWS_AN_EVENT = 24
"""A row read in a window costs 0.2 us, an event found by the index 3 us. A signed event lists
two or three blocks, a time event some ten more."""

FETCH_ROWS = 1024
"""How many rows the driver gathers at a time."""

# in a damaged page there can be values of any type
_COLUMNS = "coalesce(CAST(event_cid AS BLOB), x'') AS event_cid, coalesce(CAST(block_multihash AS BLOB), x'') AS block_multihash"
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
        """For each of some events, in the order in which they were stored, the multihashes that are listed, one behind the other.

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
    """For each of n distinct events the multihashes in rows of `event_cid` and `block_multihash`, one behind the other."""
    if not rows.num_rows:
        return pa.array([b""] * len(cids), pa.binary())
    listed = rows.combine_chunks().to_batches()[0]
    event = np.asarray(pc.index_in(listed["event_cid"], value_set=cids).fill_null(len(cids)))
    by_event = np.argsort(event, kind="stable")
    first_rows = np.searchsorted(event[by_event], np.arange(len(cids) + 1))
    multihashes = listed["block_multihash"].take(pa.array(by_event[: first_rows[-1]]))
    ends = np.cumsum(pc.binary_length(multihashes), dtype=np.int32)
    offsets = np.concatenate([np.zeros(1, dtype=np.int32), ends])[first_rows]
    return pa.Array.from_buffers(
        pa.binary(), len(cids), [None, pa.py_buffer(offsets), multihashes.buffers()[2]]
    )
