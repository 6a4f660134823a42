"""Reads event blocks: one range scan where they were stored together, by index otherwise."""

from functools import reduce
from itertools import product
from operator import or_

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from connectors.page_sizes import PageSizes
from connectors.plans import indexed_by, rows_between
from connectors.sqlite import Connection, bound, scalar
from operators.encoding.cid import CBOR, JOSE
from operators.encoding.event_blocks import (
    NO_CODEC,
    USUAL_ENTRY,
    USUAL_MULTIHASH,
    head,
    pack_rows,
    pack_usual,
)
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

SHORTER_CID, LONGER_CID = 36, 37
"""Bytes of the CIDs of nearly all events; those of signed events are the longer ones."""

USUAL_ROW = np.dtype([("cid", f"V{LONGER_CID}"), ("length", "u1"), ("entry", f"V{USUAL_ENTRY}")])
"""The CID of an event, with a zero after a shorter one; its length; the entry of a block of it."""


def _usual_row() -> str:
    """The expression for a row as USUAL_ROW; empty for one that does not fit."""
    forms = " ".join(
        f"WHEN codec = {codec} AND root = {int(is_root)} THEN CASE octet_length(event_cid) "
        f"WHEN {LONGER_CID} THEN event_cid || x'{LONGER_CID:02x}{entry}' || block_multihash "
        f"WHEN {SHORTER_CID} THEN event_cid || x'00{SHORTER_CID:02x}{entry}' || block_multihash "
        "ELSE x'' END"
        for codec, is_root in product((CBOR, JOSE), (False, True))
        for entry in [head(codec, is_root=is_root).hex()]
    )
    return (
        f"coalesce(CASE WHEN octet_length(block_multihash) <> {USUAL_MULTIHASH} THEN x'' "
        f"{forms} END, x'')"
    )


def joined_range(connection: Connection) -> str | None:
    """The statement for all usual rows of a range as one value, and how many rows there are.

    To hand over each column of each row takes the driver longer than SQLite takes to find them.
    `group_concat` is made for texts. It joins bytes as they are, but not in a database whose texts
    are in UTF-16: None where it does not.
    """
    every = bytes(range(256))
    joined = "CAST(group_concat({}, '') AS BLOB)"
    if scalar(connection, f"SELECT {joined.format('? || ?')}", (every, every)) != every * 2:
        return None
    rows = rows_between(connection, TABLE, {"usual": _usual_row()})
    return f"SELECT count(*) AS rows, {joined.format('usual')} AS joined FROM ({rows})"


def of_event(connection: Connection) -> str:
    """The statement for the event blocks of an event, with their rowids."""
    index = indexed_by(connection, TABLE, "event_cid")
    # constants and a name
    return f"SELECT rowid AS rowid, {_NAMED} FROM {TABLE} {index} WHERE event_cid = ?"


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
        self._joined_range = joined_range(connection)
        self._extents, self._joined, self._windows, self._events = (
            connection.cursor() for _ in range(4)
        )
        self._windows.adbc_statement.set_options(
            **{"adbc.sqlite.query.batch_rows": str(FETCH_ROWS)}
        )

    def close(self) -> None:
        """Free the statements; the connection is the caller's."""
        for cursor in (self._extents, self._joined, self._windows, self._events):
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
            return self._read_range(first, last, cids)
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

    def _read_range(self, first: int, last: int, cids: pa.Array) -> pa.Array:
        if self._joined_range:
            found = self._joined.execute(self._joined_range, bound(first, last)).fetch_arrow_table()
            rows, joined = found["rows"][0].as_py(), found["joined"][0]
            if rows and len(joined.as_buffer()) == rows * USUAL_ROW.itemsize:
                return _usual_by_event(np.frombuffer(joined.as_buffer(), USUAL_ROW), cids)
        rows = self._windows.execute(self._range, bound(first, last)).fetch_arrow_table()
        return packed_by_event(rows, cids)

    def _rows_of(self, cid: pa.Scalar) -> tuple[int, int]:
        found = self._extents.execute(self._extent, bound(cid.as_py())).fetch_arrow_table()
        return found["first"][0].as_py(), found["last"][0].as_py()


def packed_by_event(rows: pa.Table, cids: pa.Array) -> pa.Array:
    """The packed event blocks of each of n distinct events, from rows with COLUMNS.

    Those of an event are in the order of the rows; or of their rowids, if they have these. A node
    stores the blocks of a time event in the order of its way, by which many are checked at once.
    """
    if not rows.num_rows:
        return pa.array([b""] * len(cids), pa.binary())
    if "rowid" in rows.column_names:
        rows = rows.sort_by("rowid")
    rows = rows.combine_chunks()
    row_cids, multihashes = rows["event_cid"].chunk(0), rows["block_multihash"].chunk(0)
    changes = pc.not_equal(row_cids.slice(1), row_cids.slice(0, len(row_cids) - 1))
    starts = _starts(changes.to_numpy(zero_copy_only=False))
    by_event, event_rows = _by_event(row_cids.take(pa.array(starts)), starts, len(row_cids), cids)
    form = np.asarray(rows["form"].chunk(0))[by_event]
    return pack_rows(event_rows, multihashes.take(pa.array(by_event)), form >> 1, form & 1)


def _usual_by_event(rows: NDArray[np.void], cids: pa.Array) -> pa.Array:
    """`packed_by_event` of usual rows."""
    # all bytes of the CID and its length, the last word from both on
    words = [
        np.ndarray((len(rows),), np.uint64, rows, at, (rows.itemsize,))
        for at in (0, 8, 16, 24, LONGER_CID + 1 - 8)
    ]
    starts = _starts(reduce(or_, (column[1:] != column[:-1] for column in words)))
    by_event, event_rows = _by_event(_cids_of(rows[starts]), starts, len(rows), cids)
    return pack_usual(event_rows, rows["entry"][by_event])


def _cids_of(rows: NDArray[np.void]) -> pa.Array:
    padded = np.ascontiguousarray(rows["cid"]).view(np.uint8).reshape(len(rows), LONGER_CID)
    is_content = np.arange(LONGER_CID) < rows["length"][:, None]
    ends = np.append(0, rows["length"].cumsum(dtype=np.int32)).astype(np.int32)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(padded[is_content])]
    return pa.Array.from_buffers(pa.binary(), len(rows), buffers)


def _starts(changes: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Where runs of equal rows begin, from which rows but the first differ from those before.

    The rows of an event mostly lie together, so few CIDs must be found.
    """
    return np.flatnonzero(np.append(True, changes))


def _by_event(
    run_cids: pa.Array, starts: NDArray[np.int64], rows: int, cids: pa.Array
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of distinct events, in the order of the events; and how many rows each has.

    Args:
        run_cids: of the runs of rows.
        starts: their first rows.
        rows: in all of them.
        cids: of the events.
    """
    index = Index()
    index.hold(cids)
    event_of_row = np.repeat(index.find(run_cids), np.diff(starts, append=rows))
    wanted = np.flatnonzero(event_of_row != NOWHERE)
    event_of_row = event_of_row[wanted]
    if (np.diff(event_of_row) < 0).any():
        by_event = np.argsort(event_of_row, kind="stable")
        wanted, event_of_row = wanted[by_event], event_of_row[by_event]
    return wanted, np.bincount(event_of_row, minlength=len(cids))
