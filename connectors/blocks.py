"""Reads the blocks of events: in step with them where they lie beside them, by index elsewhere."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from connectors.sqlite import bound
from operators.schemas import BLOCKS

WINDOW_SLACK = 64
"""Rows read before and behind a window: an event's payload may have been stored before its root."""

WINDOW_ROWS_AN_EVENT = 16
"""A block read in a window costs 0.3 us, one found by its index 1.5 to 5 us; a signed event
needs two or three, and a time event whose tree anchors no other event here a dozen."""

WINDOW_BYTES = 32 * 1024 * 1024
"""At the most for the blocks of one window, which bounds the memory of a page; blocks have up to
a megabyte."""

SAMPLE_ROWS = 512
"""Rows that tell how large a window is before the rest is read."""

PART_ROWS = 8192
"""Rows of a window that are read in one call. Between two calls the thread that reads waits for
the interpreter, up to half a millisecond: chunks of 512 rows made a run 4 % slower."""

FETCH_ROWS = 512
"""How many rows the driver gathers at a time, within a call."""

NOTHING = pa.scalar(b"", pa.binary())
"""Stands for a block that is not there. Typed, because Arrow looks for optional packages
whenever it has to guess a type."""

_ROW = "SELECT rowid FROM ceramic_one_block WHERE multihash = ?"
# in a damaged page there can be values of any type
_COLUMNS = "coalesce(CAST(multihash AS BLOB), x'') AS multihash, coalesce(CAST(bytes AS BLOB), x'') AS bytes"
_WINDOW = f"SELECT {_COLUMNS} FROM ceramic_one_block WHERE rowid BETWEEN ? AND ?"  # a constant
_BLOCK = f"SELECT {_COLUMNS} FROM ceramic_one_block WHERE multihash = ?"  # a constant


class WindowTooLargeError(Exception):
    """The blocks of these events do not fit into memory at once; ask for fewer events."""


class BlockReader:
    """Finds blocks by multihash, on one connection; not to be shared between threads."""

    def __init__(self, connection: Any) -> None:
        self._rows, self._windows, self._blocks = (connection.cursor() for _ in range(3))
        self._windows.adbc_statement.set_options(
            **{"adbc.sqlite.query.batch_rows": str(FETCH_ROWS)}
        )
        self._pool = BLOCKS.empty_table()
        self._wanted: list[pa.Array] = []

    def close(self) -> None:
        """Free the statements; the connection is the caller's."""
        for cursor in (self._rows, self._windows, self._blocks):
            cursor.close()

    def read_window(self, roots: pa.Array) -> bool:
        """Read what a node stored beside these events, if it did so: all blocks between the first and the last of their root blocks.

        A node stores an event's blocks when it stores the event, so both tables grow in step. Where
        that is not so, or few of the events there are wanted, the window is too wide and nothing is
        read ahead. Returns whether anything is.

        Raises:
            WindowTooLargeError: the blocks have more than WINDOW_BYTES, or would if all were as large as the first.
        """
        self._pool, self._wanted = BLOCKS.empty_table(), []
        one, other = self._row_of(roots[0]), self._row_of(roots[-1])
        if one is None or other is None:
            return False
        first, last = min(one, other) - WINDOW_SLACK, max(one, other) + WINDOW_SLACK
        if last - first > 2 * WINDOW_SLACK + WINDOW_ROWS_AN_EVENT * len(roots):
            return False
        self._pool = self._between(first, last, WINDOW_BYTES if len(roots) > 1 else None)
        return True

    def find(self, multihashes: pa.Array) -> pa.Array:
        """The blocks of these multihashes, in their order; an empty one for each that the database does not hold."""
        at = pc.index_in(multihashes, value_set=self._pool["multihash"])
        absent = pc.unique(
            multihashes.filter(pc.and_(at.is_null(), pc.not_equal(multihashes, NOTHING)))
        )
        if len(absent):
            found = self._blocks.execute(
                _BLOCK, pa.record_batch([absent], names=["multihash"])
            ).fetch_arrow_table()
            if found.num_rows:
                self._pool = pa.concat_tables([self._pool, found.cast(BLOCKS)]).combine_chunks()
                at = pc.index_in(multihashes, value_set=self._pool["multihash"])
        self._wanted.append(at)
        blocks = self._pool["bytes"].take(at).fill_null(NOTHING).combine_chunks()
        return blocks.chunk(0) if isinstance(blocks, pa.ChunkedArray) else blocks

    def others(self) -> pa.Table:
        """The blocks of the window that nobody asked for, as multihash and bytes: among them those that its events share."""
        unwanted = np.ones(self._pool.num_rows, dtype=np.bool_)
        for at in self._wanted:
            unwanted[np.asarray(at.drop_null())] = False
        return self._pool.filter(pa.array(unwanted))

    def _between(self, first: int, last: int, most_bytes: int | None) -> pa.Table:
        """The blocks of the rows from `first` to `last`."""
        parts, size, start, rows = [BLOCKS.empty_table()], 0, first, SAMPLE_ROWS
        while start <= last:
            end = min(start + rows - 1, last)
            part = self._windows.execute(_WINDOW, bound(start, end)).fetch_arrow_table()
            # the driver takes the types from the first row
            if part.num_rows:
                parts.append(part.cast(BLOCKS))
            size += part.nbytes
            if most_bytes is not None and size * (last - first + 1) > most_bytes * (
                end - first + 1
            ):
                raise WindowTooLargeError
            start, rows = end + 1, PART_ROWS
        return pa.concat_tables(parts).combine_chunks()

    def _row_of(self, multihash: pa.Scalar) -> int | None:
        found = self._rows.execute(_ROW, bound(multihash.as_py())).fetch_arrow_table()
        return int(found["rowid"][0].as_py()) if found.num_rows else None
