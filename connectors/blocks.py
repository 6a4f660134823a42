"""Reads blocks: one range scan where they were stored together, a look-up each otherwise."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from connectors.lookup import BLOCK
from connectors.page_sizes import PageSizes
from connectors.plans import rows_between
from connectors.sqlite import Connection, bound
from operators.encoding.columns import spans
from operators.encoding.positions import NOWHERE, Index
from operators.schemas import BLOCKS

FETCH_ROWS = 512
"""Rows that the driver collects at a time, within a call."""

FEW_MISSES = 8
"""A window that could not be read whole is used if at most one event in so many lacks its root
block there."""

SMALLEST, LARGEST = -(2**63), 2**63 - 1
"""The smallest and the largest rowid."""

# in a damaged page there can be values of any type
COLUMNS = {
    "multihash": "coalesce(CAST(multihash AS BLOB), x'')",
    "bytes": "coalesce(CAST(bytes AS BLOB), x'')",
}

ROW = "SELECT rowid FROM ceramic_one_block WHERE multihash = ?"
SIZED_BLOCK = """
    SELECT coalesce(CAST(multihash AS BLOB), x'') AS multihash,
           CASE WHEN octet_length(bytes) <= {} THEN CAST(bytes AS BLOB) ELSE x'' END AS bytes,
           coalesce(octet_length(bytes), 0) AS size
    FROM ceramic_one_block WHERE multihash = ?
"""
"""A block and its size; one that is too large comes without its bytes."""

_EMPTY = pa.table([[b""], [b""]], schema=BLOCKS)
"""The last row of each window: the block that stands for one that is not there."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found for each of n multihashes."""

    content: pa.Array
    """The block; empty: it is not there, or it is large."""
    size: NDArray[np.int64]
    """The bytes of the block; 0: it is not there."""

    def __getitem__(self, some: slice) -> "Found":
        """What was found for some of the multihashes."""
        return Found(self.content[some], self.size[some])


class BlockReader:
    """Finds blocks by multihash, on one connection; not to be shared between threads."""

    def __init__(self, connection: Connection, sizes: PageSizes) -> None:
        self._sizes = sizes
        self._range = rows_between(
            connection,
            "ceramic_one_block",
            COLUMNS,
            f"octet_length(bytes) <= {sizes.large_bytes}",
        )
        self._sized = SIZED_BLOCK.format(sizes.large_bytes)
        self._rows, self._windows, self._blocks, self._sized_blocks = (
            connection.cursor() for _ in range(4)
        )
        self._windows.adbc_statement.set_options(
            **{"adbc.sqlite.query.batch_rows": str(FETCH_ROWS)}
        )
        self._index = Index()
        self._looked_up = Index()
        self._take_window([])

    def close(self) -> None:
        """Free the statements; the connection is the caller's."""
        for cursor in (self._rows, self._windows, self._blocks, self._sized_blocks):
            cursor.close()

    def read_window(self, roots: pa.Array) -> int:
        """Read the blocks that were stored together with those of some events, up to so many bytes.

        A node stores an event's blocks when it stores the event, so both tables grow in step: the
        window is all blocks between the first and the last of these root blocks. Where that is not
        so, or few of the events there are wanted, it would be too wide and nothing is read.

        Returns for how many of the events, from the first one on, the window was read.
        """
        self._take_window([])
        one, other = self._row_of(roots[0]), self._row_of(roots[-1])
        if one is None or other is None:
            return 0
        first = max(min(one, other) - self._sizes.window_slack, SMALLEST)
        last = min(max(one, other) + self._sizes.window_slack, LARGEST)
        most = 2 * self._sizes.window_slack + self._sizes.window_rows_an_event * len(roots)
        if last - first > most:
            return 0
        if self._read(first, last):
            return len(roots)
        missing = self._index.find(roots) == NOWHERE
        events = np.arange(1, len(roots) + 1)
        covered = np.flatnonzero(~missing & (missing.cumsum() * FEW_MISSES <= events))
        if len(covered) and (covered[-1] + 1) * FEW_MISSES >= len(roots):
            return int(covered[-1]) + 1
        self._take_window([])
        return 0

    def find(self, multihashes: pa.Array) -> Found:
        """Find blocks in the window, and look up those that are not there; none of the large."""
        at = self._index.find(multihashes)
        # an event without a payload has none of the blocks that have no multihash
        is_named = np.diff(_offsets(multihashes)) > 0
        nowhere = np.flatnonzero((at == NOWHERE) | ~is_named)
        at[nowhere] = self._window.num_rows - 1
        self._is_claimed[at] = True
        content = self._window["bytes"].chunk(0).take(pa.array(at))
        size = np.diff(_offsets(content))
        absent = nowhere[is_named[nowhere]]
        if not len(absent):
            return Found(content, size)
        wanted = multihashes.take(pa.array(absent))
        found = self._sized_blocks.execute(
            self._sized, pa.record_batch([pc.unique(wanted)], names=["multihash"])
        ).fetch_arrow_table()
        if not found.num_rows:
            return Found(content, size)
        blocks = found.select(BLOCKS.names).cast(BLOCKS)
        there, at = self._places(wanted, blocks)
        absent = absent[there]
        size[absent] = np.asarray(found["size"])[at]
        return Found(_replaced(content, absent, blocks["bytes"].take(pa.array(at))), size)

    def whole(self, multihashes: pa.Array, found: Found) -> pa.Array:
        """The blocks that were found for these multihashes, with the large ones.

        No byte is read of one that is too large for a node.
        """
        large = np.flatnonzero(found.size > self._sizes.large_bytes)
        if not len(large):
            return found.content
        wanted = multihashes.take(pa.array(large))
        blocks = self._blocks.execute(
            BLOCK, pa.record_batch([pc.unique(wanted)], names=["multihash"])
        ).fetch_arrow_table()
        if not blocks.num_rows:
            return found.content
        blocks = blocks.cast(BLOCKS)
        there, at = self._places(wanted, blocks)
        return _replaced(found.content, large[there], blocks["bytes"].take(pa.array(at)))

    def not_named(self) -> pa.Table:
        """The small blocks of the window that nobody asked for: schema BLOCKS."""
        small = np.diff(_offsets(self._window["bytes"].chunk(0))) <= self._sizes.other_block_bytes
        self._is_claimed[-1] = True
        return self._window.filter(pa.array(~self._is_claimed & small))

    def _read(self, first: int, last: int) -> bool:
        """Read the window from the row `first` on; whether it is read up to `last`."""
        parts, size, start = [], 0, first
        while start <= last and size < self._sizes.window_bytes:
            end = min(start + self._sizes.part_rows - 1, last)
            part = self._windows.execute(self._range, bound(start, end)).fetch_arrow_table()
            # the driver takes the types from the first row
            if part.num_rows:
                parts.append(part.cast(BLOCKS))
            size += part.nbytes
            start = end + 1
        self._take_window(parts)
        return start > last

    def _take_window(self, parts: list[pa.Table]) -> None:
        self._window = pa.concat_tables([*parts, _EMPTY]).combine_chunks()
        self._is_claimed = np.zeros(self._window.num_rows, dtype=np.bool_)
        self._index.hold(self._window["multihash"].chunk(0))

    def _places(
        self, wanted: pa.Array, blocks: pa.Table
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which of these multihashes are in `blocks`, and the row of each of those."""
        self._looked_up.hold(blocks["multihash"].combine_chunks())
        at = self._looked_up.find(wanted)
        there = np.flatnonzero(at != NOWHERE)
        return there, at[there]

    def _row_of(self, multihash: pa.Scalar) -> int | None:
        found = self._rows.execute(ROW, bound(multihash.as_py())).fetch_arrow_table()
        return int(found["rowid"][0].as_py()) if found.num_rows else None


def _replaced(column: pa.Array, rows: NDArray[np.int64], by: pa.ChunkedArray) -> pa.Array:
    """The column with other values in these rows."""
    if len(rows) == len(column):
        return by.combine_chunks()
    mask = np.zeros(len(column), dtype=np.bool_)
    mask[rows] = True
    return pc.replace_with_mask(column, pa.array(mask), by.combine_chunks())


def _offsets(column: pa.Array) -> NDArray[np.int64]:
    """Where in their bytes n binary values begin, and where the last one ends."""
    _, start, end = spans(column)
    return np.append(start, end[-1:])
