"""Reads event blocks: one range scan where they were stored together, by index otherwise."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from connectors.page_sizes import PageSizes
from connectors.plans import indexed_by, rows_between
from connectors.sqlite import Connection, bound
from operators.encoding.cid import CBOR
from operators.encoding.event_blocks import NO_CODEC, pack_rows
from operators.encoding.positions import NOWHERE, Index

FETCH_ROWS = 1024
"""Rows that the driver collects at a time."""

FEW_EVENTS = 64
"""Events whose rows are asked for by the index in one call."""

TABLE = "ceramic_one_event_block"

LARGEST_CODEC = 2**62 - 1
"""The largest codec that is read: none is as large. A row with a larger one is unreadable."""

# in a damaged page there can be values of any type
COLUMNS = {
    "event_cid": "coalesce(CAST(event_cid AS BLOB), x'')",
    "block_multihash": "coalesce(CAST(block_multihash AS BLOB), x'')",
    "form": f"""
        CASE WHEN root = 0 AND codec = {CBOR} THEN {2 * CBOR}
             WHEN typeof(codec) = 'integer' AND typeof(root) = 'integer'
                  AND codec BETWEEN 0 AND {LARGEST_CODEC}
             THEN 2 * codec + (root & 0xFFFFFFFF <> 0) ELSE 2 * {NO_CODEC} END
    """,
}
"""The codec and the flag are one number, because each column of each row costs time: twice the
codec, and 1 where the row is flagged as root. A node reads a codec of 64 bits and a flag of 32."""

_NAMED = ", ".join(f"{expression} AS {name}" for name, expression in COLUMNS.items())


def of_event(connection: Connection) -> str:
    """The statement for the event blocks of an event."""
    index = indexed_by(connection, TABLE, "event_cid")
    return f"SELECT {_NAMED} FROM {TABLE} {index} WHERE event_cid = ?"  # constants and a name


def extent(connection: Connection) -> str:
    """The statement for the first and the last rowid of an event's blocks; 0: it has none."""
    return f"""
        SELECT coalesce(min(rowid), 0) AS first, coalesce(max(rowid), 0) AS last
        FROM {TABLE} {indexed_by(connection, TABLE, "event_cid")} WHERE event_cid = ?
    """  # constants and a name


class EventBlockReader:
    """Finds the event blocks of events, on one connection; not to be shared between threads."""

    def __init__(self, connection: Connection, sizes: PageSizes) -> None:
        self._rows_an_event = sizes.event_block_rows_an_event
        self._most_bytes = sizes.page_bytes
        self._extent = extent(connection)
        self._of_event = of_event(connection)
        self._range = rows_between(connection, TABLE, COLUMNS)
        self._extents, self._windows, self._events = (connection.cursor() for _ in range(3))
        self._windows.adbc_statement.set_options(
            **{"adbc.sqlite.query.batch_rows": str(FETCH_ROWS)}
        )

    def close(self) -> None:
        """Free the statements; the connection is the caller's."""
        for cursor in (self._extents, self._windows, self._events):
            cursor.close()

    def read(self, cids: pa.Array) -> pa.Array:
        """The event blocks of each of some events, or of the first of them where they are many.

        A node stores an event's blocks with the event, so what lies between the first and the last
        of these is read in one range. Blocks listed later are outside it: look a block up before
        calling it not listed. Events whose rows do not lie together are asked for by few, because
        one may have thousands.

        Args:
            cids: of the events, in the order in which they were stored.
        """
        first, last = self._rows_of(cids[0])[0], self._rows_of(cids[-1])[1]
        if first and first <= last <= first + self._rows_an_event * len(cids):
            rows = self._windows.execute(self._range, bound(first, last)).fetch_arrow_table()
            return packed_by_event(rows, cids)
        parts, size = [], 0
        for start in range(0, len(cids), FEW_EVENTS):
            few = cids.slice(start, FEW_EVENTS)
            rows = self._events.execute(
                self._of_event, pa.record_batch([few], names=["event_cid"])
            ).fetch_arrow_table()
            parts.append(packed_by_event(rows, few))
            size += parts[-1].nbytes
            if size > self._most_bytes:
                break
        return pa.concat_arrays(parts)

    def _rows_of(self, cid: pa.Scalar) -> tuple[int, int]:
        found = self._extents.execute(self._extent, bound(cid.as_py())).fetch_arrow_table()
        return found["first"][0].as_py(), found["last"][0].as_py()


def packed_by_event(rows: pa.Table, cids: pa.Array) -> pa.Array:
    """The packed event blocks of each of n distinct events, from rows with COLUMNS."""
    if not rows.num_rows:
        return pa.array([b""] * len(cids), pa.binary())
    rows = rows.combine_chunks()
    row_cids, multihashes = rows["event_cid"].chunk(0), rows["block_multihash"].chunk(0)
    form = np.asarray(rows["form"].chunk(0))
    # the rows of an event mostly lie together, so one comparison a row finds where each begins
    changes = pc.not_equal(row_cids.slice(1), row_cids.slice(0, len(row_cids) - 1))
    run_starts = np.flatnonzero(np.append(True, changes.to_numpy(zero_copy_only=False)))
    run_rows = np.diff(run_starts, append=len(row_cids))
    index = Index()
    index.hold(cids)
    event_of_run = index.find(row_cids.take(pa.array(run_starts)))
    is_wanted = event_of_run != NOWHERE
    if not is_wanted.all():
        wanted_rows = np.repeat(is_wanted, run_rows)
        multihashes, form = multihashes.filter(pa.array(wanted_rows)), form[wanted_rows]
        event_of_run, run_rows = event_of_run[is_wanted], run_rows[is_wanted]
    if (np.diff(event_of_run) < 0).any():
        by_event = np.argsort(np.repeat(event_of_run, run_rows), kind="stable")
        multihashes, form = multihashes.take(pa.array(by_event)), form[by_event]
    event_rows = np.bincount(event_of_run, weights=run_rows, minlength=len(cids)).astype(np.int64)
    return pack_rows(event_rows, multihashes, form >> 1, form & 1)
