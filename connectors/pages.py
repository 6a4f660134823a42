"""Makes pages: some events with their blocks, and the blocks stored among these."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from connectors.blocks import BlockReader
from connectors.event_blocks import EventBlockReader
from connectors.page_sizes import PageSizes
from connectors.sqlite import Connection
from operators.encoding.cid import root_multihashes
from operators.encoding.envelope import payload_multihashes
from operators.schemas import BLOCKS, RAW, Page


def read_pages(
    connection: Connection,
    runs: Iterable[pa.RecordBatch],
    sizes: PageSizes,
    *,
    event_blocks: bool,
) -> Generator[Page, None, None]:
    """The pages of the events of some runs; with `event_blocks` what a check needs of them.

    Every statement is a read transaction of its own, so the WAL never grows because of it.
    """
    with (
        closing(BlockReader(connection, sizes)) as blocks,
        closing(EventBlockReader(connection, sizes)) as reader,
    ):
        pages = _Pages(blocks, reader if event_blocks else None, sizes)
        few: list[pa.RecordBatch] = []
        for events in runs:
            # a page of few events costs as much as one of hundreds
            if few and sum(map(len, few)) + len(events) > sizes.looked_up_rows:
                yield from pages.of(pa.concat_batches(few))
                few = []
            few.append(events)
        if few:
            yield from pages.of(pa.concat_batches(few))


class _Pages:
    """Makes pages of events."""

    def __init__(
        self, blocks: BlockReader, event_blocks: EventBlockReader | None, sizes: PageSizes
    ) -> None:
        self._blocks = blocks
        self._event_blocks = event_blocks
        self._sizes = sizes

    def of(self, events: pa.RecordBatch) -> Iterator[Page]:
        """These events in as many pages as their blocks take."""
        while events.num_rows:
            roots = root_multihashes(events["cid"])
            count = self._blocks.read_window(roots)
            if not count and events.num_rows > self._sizes.looked_up_rows:
                # half of them may lie together
                half = events.num_rows // 2
                yield from self.of(events.slice(0, half))
                events = events.slice(half)
                continue
            count = count or events.num_rows
            yield from self._with_blocks(events.slice(0, count), roots.slice(0, count))
            events = events.slice(count)

    def _with_blocks(self, events: pa.RecordBatch, roots: pa.Array) -> Iterator[Page]:
        """These events, cut where the blocks of a page have too many bytes."""
        root = self._blocks.find(roots)
        # the first page of a window brings all other blocks of it
        is_first = True
        for some in cut(root.size, self._sizes.page_bytes):
            some_events = events.slice(some.start, some.stop - some.start)
            some_root = self._blocks.whole(roots[some], root[some])
            named = payload_multihashes(some_root)
            payload = self._blocks.find(named)
            for few in cut(root[some].size + payload.size, self._sizes.page_bytes):
                few_events = some_events.slice(few.start, few.stop - few.start)
                few_payload = self._blocks.whole(named[few], payload[few])
                for raw in self._with_event_blocks(few_events, some_root[few], few_payload):
                    brings = is_first and self._event_blocks is not None
                    yield Page(raw, self._blocks.not_named() if brings else BLOCKS.empty_table())
                    is_first = False

    def _with_event_blocks(
        self, events: pa.RecordBatch, root: pa.Array, payload: pa.Array
    ) -> Iterator[pa.RecordBatch]:
        """These events with schema RAW: one batch, or more where their event blocks are many."""
        rowid, cid, order_key = events.columns
        start = 0
        while start < len(cid):
            packed = (
                self._event_blocks.read(cid.slice(start))
                if self._event_blocks
                else pa.array([b""] * len(cid), pa.binary())
            )
            few = slice(start, start + len(packed))
            columns = [rowid[few], cid[few], root[few], payload[few], order_key[few], packed]
            yield pa.record_batch(columns, schema=RAW)
            start = few.stop


def cut(size: NDArray[np.int64], most: int) -> Iterator[slice]:
    """Slices of n values: the values of each add up to at most `most`, or it has one value."""
    ends = size.cumsum()
    start = 0
    while start < len(size):
        before = ends[start] - size[start]
        stop = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield slice(start, stop)
        start = stop
